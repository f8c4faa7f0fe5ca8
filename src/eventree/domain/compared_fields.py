"""The fields that tell a command from another one, for each kind of class that can be stored."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from types import FunctionType
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from eventree.domain.models import is_model
from eventree.domain.schemas import Json

Key: TypeAlias = Callable[[Any], object]

_PLAIN: Final = frozenset({list, dict, set, frozenset, tuple, str, bytes, bytearray, bool, int, float, Decimal})
"""Classes that make the same value each time, if they are called without arguments."""

_HOOKS: Final = ("__post_init__", "__attrs_post_init__")
"""Methods that may set fields once an object has been made."""


class ComparedField(NamedTuple):
    """Name a field that counts in a comparison.

    Attributes:
        name: Its name.
        key: Returns what is compared of its value.
    """

    name: str
    key: Key


class _Field(NamedTuple):
    """Describe a field of any kind of class.

    Attributes:
        name: Its name.
        is_compared: Whether its class compares it.
        is_given: Whether it is a parameter of its class.
        has_default: Whether it may be left out.
        factory: Makes its default; None if nothing does.
        key: See `ComparedField`.
    """

    name: str
    is_compared: bool
    is_given: bool
    has_default: bool
    factory: object
    key: Key


def compared_fields(cls: type[object]) -> Sequence[ComparedField]:
    """Return the fields that tell an object from another one, leaving out those that may differ each time it is made.

    Raises:
        TypeError: The class has no fields, or compares its objects in its own way.
    """
    if _has_own_equality(cls):
        raise TypeError(f"{cls.__name__} has an __eq__ of its own")
    has_hook = _has_hook(cls)
    return [
        ComparedField(field.name, field.key)
        for field in _fields(cls)
        if field.is_compared and field.is_given and _is_plain(field.factory) and not (has_hook and field.has_default)
    ]


def names_of_compared_fields(cls: type[object]) -> Json:
    """Return the names of the compared fields; none if the class cannot be compared."""
    try:
        return [field.name for field in compared_fields(cls)]
    except TypeError:
        return []


def _fields(cls: type[object]) -> Iterator[_Field]:
    models: Mapping[str, Any] = getattr(cls, "__pydantic_fields__", {})  # of a model, or of pydantic's dataclasses
    if is_model(cls):
        for name, model in models.items():
            yield _Field(name, True, True, not model.is_required(), model.default_factory, _itself)
    elif dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            factory, is_given = _known(field.default_factory), field.init
            has_default = factory is not None or field.default is not dataclasses.MISSING
            if (model := models.get(field.name)) is not None:
                factory, is_given, has_default = model.default_factory, model.init is not False, not model.is_required()
            yield _Field(field.name, field.compare, is_given, has_default, factory, _itself)
    elif issubclass(cls, msgspec.Struct):
        for part in msgspec.structs.fields(cls):
            yield _Field(part.name, True, True, not part.required, _known(part.default_factory), _itself)
    else:
        yield from _fields_of_attrs(cls)


def _fields_of_attrs(cls: type[object]) -> Iterator[_Field]:
    attributes: Any = getattr(cls, "__attrs_attrs__", None)
    if attributes is None:
        raise TypeError(f"{cls.__name__} has no fields")
    for field in attributes:
        has_default = getattr(field.default, "name", "") != "NOTHING"
        factory = getattr(field.default, "factory", None)
        yield _Field(field.name, field.eq, field.init, has_default, factory, field.eq_key or _itself)


def _itself(value: object) -> object:
    return value


def _known(factory: object) -> object:
    return None if factory is dataclasses.MISSING or factory is msgspec.NODEFAULT else factory


def _is_plain(factory: object) -> bool:
    """Return whether a default is the same each time, or an object whose own fields are compared in the same way."""
    if factory is None:
        return True
    origin: object = getattr(factory, "__origin__", factory)  # such as `dict[str, str]`
    return isinstance(origin, type) and (origin in _PLAIN or _has_fields(origin))


def _has_fields(cls: type[object]) -> bool:
    return is_model(cls) or dataclasses.is_dataclass(cls) or issubclass(cls, msgspec.Struct)


def _has_hook(cls: type[object]) -> bool:
    if any(hasattr(cls, name) for name in _HOOKS):
        return True
    validators = getattr(getattr(cls, "__pydantic_decorators__", None), "model_validators", ())
    return bool(validators) or _is_written(getattr(cls, "model_post_init", None))


def _has_own_equality(cls: type[object]) -> bool:
    return _is_written(cls.__eq__)


def _is_written(method: object) -> bool:
    """Return whether a method was written for a class, rather than generated, or inherited from a library's base."""
    if not isinstance(method, FunctionType) or method.__module__.partition(".")[0] == "pydantic":
        return False
    return not method.__code__.co_filename.startswith("<")
