"""Determine whether the values of a class are immutable, so that they can be shared."""

from collections.abc import Collection, Iterable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    NoneType,
    WrapperDescriptorType,
)
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from msgspec import Struct, inspect

from eventree.errors.failures import is_failure

_IMMUTABLE_TYPES: Final = (
    inspect.NoneType,
    inspect.BoolType,
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.DateTimeType,
    inspect.TimeType,
    inspect.DateType,
    inspect.TimeDeltaType,
    inspect.UUIDType,
    inspect.DecimalType,
    inspect.EnumType,
    inspect.LiteralType,
)

_ATOMS: Final = frozenset(
    (
        NoneType,
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        Decimal,
        Fraction,
        UUID,
        datetime,
        date,
        time,
        timedelta,
        timezone,
    )
)
"""Classes whose values are immutable; subclasses of them need not be."""

_HARMLESS_DESCRIPTORS: Final = (
    *(FunctionType, BuiltinFunctionType, WrapperDescriptorType, MethodDescriptorType, ClassMethodDescriptorType),
    *(GetSetDescriptorType, MemberDescriptorType, classmethod, staticmethod, property, type),
)
"""Descriptors that are part of the language; others, such as `cached_property`, may cache values in an instance."""

_IS_WRITTEN_IN_PYTHON: Final = 1 << 9
"""The flag of classes that are created by `class`, and of few others."""

_Class: TypeAlias = inspect.DataclassType | inspect.StructType | inspect.NamedTupleType


def is_immutable(cls: type) -> bool:
    """Return whether the decoded values of a class are immutable at any depth, judging by the types of its fields.

    If in doubt, the answer is no: for attrs classes, pydantic models, and classes with a `__post_init__`, a
    `cached_property` or another descriptor that may put anything into a value. Changes by `object.__setattr__` are not
    considered.

    Args:
        cls: A class that msgspec can decode.
    """
    return _is_immutable(inspect.type_info(cls), [])


def cannot_change(value: object) -> bool:
    """Return whether a value is immutable at any depth, judging by the values in it, not by annotations.

    It consists of numbers, texts, times and the like, tuples and frozen sets of them, and frozen dataclasses and
    Structs as in `is_immutable`. If in doubt, the answer is no.
    """
    waiting, seen = [value], set[int]()
    frozen: dict[object, bool] = {}
    while waiting:
        value = waiting.pop()
        cls = type(value)
        if cls in _ATOMS or issubclass(cls, Enum) or id(value) in seen:
            continue
        seen.add(id(value))
        if cls not in frozen:
            frozen[cls] = _holds_items(cls) or _is_frozen(cls)
        if not frozen[cls]:
            return False
        try:
            waiting += _parts(value)
        except BaseException as error:  # an attribute of a user's class may raise anything
            if not is_failure(error):
                raise
            return False
    return True


def _holds_items(cls: type[object]) -> bool:
    is_named_tuple = hasattr(cls, "_fields") and tuple in cls.__mro__ and not cls.__dictoffset__
    return is_named_tuple or cls is tuple or cls is frozenset


def _parts(value: object) -> Iterable[object]:
    """Return the values in an immutable container."""
    if isinstance(value, tuple | frozenset):
        return cast("Iterable[object]", value)
    names = value.__struct_fields__ if isinstance(value, Struct) else [each.name for each in fields(cast("Any", value))]
    return [*(getattr(value, name) for name in names), *getattr(value, "__dict__", {}).values()]


def _is_immutable(info: inspect.Type, seen: list[type]) -> bool:
    if isinstance(info, inspect.Metadata):
        return _is_immutable(info.type, seen)
    if isinstance(info, inspect.UnionType):
        return all(_is_immutable(member, seen) for member in info.types)
    if isinstance(info, inspect.TupleType):
        return all(_is_immutable(item, seen) for item in info.item_types)
    if isinstance(info, inspect.VarTupleType | inspect.FrozenSetType):
        return _is_immutable(info.item_type, seen)
    if isinstance(info, _Class):
        return _is_immutable_class(info, seen)
    return isinstance(info, _IMMUTABLE_TYPES)


def _is_immutable_class(info: _Class, seen: list[type]) -> bool:
    if info.cls in seen:  # a class that contains itself; its fields are being checked already
        return True
    seen.append(info.cls)
    cls = cast("type[object]", getattr(info.cls, "__origin__", info.cls))
    is_tuple = isinstance(info, inspect.NamedTupleType) and not cls.__dictoffset__
    return (is_tuple or _is_frozen(cls)) and all(_is_immutable(field.type, seen) for field in info.fields)


def _is_frozen(cls: type[object]) -> bool:
    """Return whether instances of a dataclass or Struct hold nothing but fields that cannot be set."""
    if issubclass(cls, Struct):
        config: Any = cls.__struct_config__
        names = set(cls.__struct_fields__)
    elif is_dataclass(cls):  # an undecorated subclass of a dataclass is not frozen
        config = vars(cls).get("__dataclass_params__")
        names = {each.name for each in fields(cls)}
    else:
        return False
    if not getattr(config, "frozen", False) or hasattr(cls, "__post_init__") or _storage(cls) not in Struct.__mro__:
        return False
    members = [item for base in cls.__mro__ if base not in Struct.__mro__ for item in vars(base).items()]
    return not any(_may_cache(member) or _is_slot(member, name, names) for name, member in members)


def _storage(cls: type[object]) -> type[object]:
    """Return the class, not written in Python, that holds the values of instances: `dict` for one with its items.

    This is how `copyreg` finds it.
    """
    return next(
        base
        for base in cls.__mro__
        if not base.__flags__ & _IS_WRITTEN_IN_PYTHON or getattr(base.__new__, "__self__", None) is base
    )


def _is_slot(member: object, name: str, fields: Collection[str]) -> bool:
    """Return whether a class attribute is a slot beside the fields."""
    return isinstance(member, MemberDescriptorType) and name not in fields


def _may_cache(member: object) -> bool:
    """Return whether a class attribute is a descriptor that may put a value into an instance when it is read."""
    return hasattr(type(member), "__get__") and not isinstance(member, _HARMLESS_DESCRIPTORS)
