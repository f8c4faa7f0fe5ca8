"""Determine the values that code fills in by itself, to notice when only they have changed."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import cast

from msgspec import NODEFAULT, Struct
from msgspec.inspect import CustomType, DataclassType, Field, StructType, multi_type_info, type_info

from eventree.domain.models import encode_in_order, fields_to_make
from eventree.errors.failures import is_failure
from eventree.isolation import isolated


def text_of(make: Callable[[], object]) -> str | None:
    """Return the JSON text of what a function without arguments makes.

    Returns:
        The text; None if the function raises, makes something else each time, or makes what JSON cannot represent.
    """
    try:
        first, second = (encode_in_order(isolated(make)).decode() for _ in range(2))
    except BaseException as error:  # whatever the failure is, the caller who needs the value will see it
        if not is_failure(error):
            raise
        return None
    return first if first == second else None


def defaults_of(classes: Iterable[type]) -> list[tuple[str, str, str]]:
    """Return the values that the `default_factory` of each field makes, at any depth of classes.

    Factories that make something else each time are left out, as are those that fail or need arguments.

    Args:
        classes: Classes that can be stored as JSON.

    Returns:
        The names of the class and of the field, and the value as JSON text; in a fixed order.
    """
    walk = _Walk()
    walk.visit(multi_type_info(classes))
    return sorted(walk.found)


class _Walk:
    """Visit types and their parts, each class once."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str, str]] = []
        self._seen: list[type] = []

    def visit(self, part: object) -> None:
        """Visit a type, or a part of msgspec's description of it."""
        if isinstance(part, tuple):
            for each in cast("tuple[object, ...]", part):
                self.visit(each)
        elif isinstance(part, CustomType):
            if self._is_new(part.cls):
                self._visit_model(part.cls)
        elif isinstance(part, StructType | DataclassType):
            if self._is_new(part.cls):
                self._visit_fields(part.cls, part.fields)
        elif isinstance(part, Struct):
            self.visit(tuple(getattr(part, name) for name in part.__struct_fields__))

    def _is_new(self, cls: type) -> bool:
        if cls in self._seen:
            return False
        self._seen.append(cls)
        return True

    def _visit_fields(self, cls: type, fields: Iterable[Field]) -> None:
        for each in fields:
            self.visit(each.type)
            if each.default_factory is not NODEFAULT:
                self._add(cls, each.name, each.default_factory)

    def _visit_model(self, cls: type[object]) -> None:
        for name, annotation, factory in fields_to_make(cls):
            with suppress(Exception):  # pydantic allows types that msgspec does not know
                self.visit(type_info(annotation))
            if factory is not None:
                self._add(cls, name, factory)

    def _add(self, cls: type, name: str, factory: Callable[[], object]) -> None:
        text = text_of(factory)
        if text is not None:
            self.found.append((getattr(cls, "__name__", str(cls)), name, text))
