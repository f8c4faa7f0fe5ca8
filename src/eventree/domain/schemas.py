"""Describe the schemas by which classes are decoded from JSON, in a form that can be compared and hashed."""

from collections.abc import Callable, Iterable
from enum import Enum, EnumMeta
from typing import TypeAlias, cast

import msgspec
from msgspec import Struct
from msgspec.inspect import CustomType, Metadata, multi_type_info

from eventree.domain.models import encode_in_order, schema_of_model

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def schema_of(classes: Iterable[type], describe: Callable[[type], Json] | None = None) -> Json:
    """Return the schemas of classes in a fixed order, without descriptions.

    A JSON schema would not be enough: it lacks the field names of values stored as lists, such as a NamedTuple, the
    names of an enum's members, and the types of a dict's keys. Not included are methods and values of a
    `default_factory`.

    Args:
        classes: The classes.
        describe: Returns what else belongs to the schema of a class with fields; default nothing.

    Raises:
        Exception: A class or one of its fields cannot be stored as JSON; msgspec and pydantic each raise their own
            exceptions.
    """
    outline = _Outline(describe)
    return [outline.of(info) for info in multi_type_info(sorted(classes, key=_name_of))]


class _Outline:
    """Describe types; a class that occurs again is only named."""

    def __init__(self, describe: Callable[[type], Json] | None) -> None:
        self._seen: list[Struct] = []
        self._describe = describe

    def of(self, part: object) -> Json:
        """Return the outline of a type, or of a part of msgspec's description of it."""
        if isinstance(part, CustomType):
            schema = _without_prose(cast("Json", schema_of_model(part.cls)))
            return [part.cls.__name__, schema, *self._more_of(part.cls)]
        if isinstance(part, Metadata):
            return self.of(part.type)
        if isinstance(part, Struct) and type(part).__module__ == CustomType.__module__:
            return self._of_parts(part)
        if isinstance(part, EnumMeta):
            members = cast("type[Enum]", part).__members__.items()
            return [part.__name__, *([name, self.of(member.value)] for name, member in members)]
        if isinstance(part, (tuple, list)):
            return [self.of(each) for each in cast("Iterable[object]", part)]
        return _name_of(part) or _as_json(part)

    def _of_parts(self, part: Struct) -> Json:
        cls = getattr(part, "cls", None)
        if any(part is known for known in self._seen):  # a class may contain itself
            return _name_of(cls)
        if cls is not None:
            self._seen.append(part)
        parts = (self.of(getattr(part, name)) for name in part.__struct_fields__)
        return [type(part).__name__, *parts, *self._more_of(cls)]

    def _more_of(self, cls: type | None) -> list[Json]:
        return [] if self._describe is None or cls is None else [self._describe(cls)]


def _name_of(part: object) -> str:
    return str(getattr(part, "__name__", ""))


def _as_json(value: object) -> Json:
    try:
        return cast("Json", msgspec.json.decode(encode_in_order(value)))
    except Exception:  # noqa: BLE001 - a default that cannot be stored is refused when an event contains it
        return type(value).__name__


def _without_prose(schema: Json) -> Json:
    if isinstance(schema, dict):
        return {key: _part_of(key, schema[key]) for key in sorted(schema) if not _is_prose(key, schema[key])}
    return [_without_prose(part) for part in schema] if isinstance(schema, list) else schema


def _part_of(key: str, part: Json) -> Json:
    if key == "default" and isinstance(part, list):  # the default may be a set, whose order is random
        return sorted(part, key=encode_in_order)
    return _without_prose(part)


def _is_prose(key: str, part: Json) -> bool:
    return key == "description" and isinstance(part, str)  # the schema of a field called "description" is a dict
