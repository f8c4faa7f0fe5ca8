"""What classes look like as JSON: their schemas."""

from collections.abc import Iterable
from typing import TypeAlias, cast

import msgspec

from eventree.domain.models import schema_of_model

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"


def schema_of(classes: Iterable[type]) -> Json:
    """Return the JSON schemas of classes, without what is there for people only.

    Raises:
        Exception: One of them, or of their fields, cannot be stored as JSON; what it is depends on whose class it is.
    """
    _, components = msgspec.json.schema_components(tuple(classes), schema_hook=schema_of_model)
    return _without_prose(cast("Json", components))


def _without_prose(schema: Json) -> Json:
    if isinstance(schema, dict):
        return {key: _without_prose(schema[key]) for key in sorted(schema) if not _is_prose(key, schema[key])}
    return [_without_prose(part) for part in schema] if isinstance(schema, list) else schema


def _is_prose(key: str, part: Json) -> bool:
    return key in {"title", "description"} and isinstance(part, str)  # a field may have such a name too
