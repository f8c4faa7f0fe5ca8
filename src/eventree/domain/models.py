"""Support pydantic models as events, states and parts of them, by duck typing, so that pydantic is not imported."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, Self, TypeVar, cast

import msgspec

ModelT = TypeVar("ModelT")


class Model(Protocol):
    """Declare the methods of a pydantic model that are used here."""

    def model_dump_json(self, *, by_alias: bool, round_trip: bool) -> str:
        """Return the model as JSON text."""
        ...

    @classmethod
    def model_validate_json(cls, json_data: str | bytes) -> Self:
        """Return a model from JSON text."""
        ...

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        """Return the JSON schema of the model."""
        ...


def is_model(kind: type[object]) -> bool:
    """Return whether a class is a pydantic model."""
    return hasattr(kind, "model_validate_json") and hasattr(kind, "model_dump_json")


def fields_of_model(kind: type[object]) -> Sequence[str] | None:
    """Return the names of the fields of a model; None for any other class."""
    names: Any = getattr(kind, "model_fields", ())
    return [*names, "model_extra"] if is_model(kind) else None


def fields_to_make(kind: type[object]) -> Iterator[tuple[str, object, Callable[[], object] | None]]:
    """Yield the name, the annotation and the `default_factory` of each field of a model; none for any other class."""
    fields: Any = getattr(kind, "model_fields", {}) if is_model(kind) else {}
    for name, field in fields.items():
        yield name, field.annotation, field.default_factory


def decoder_of_model(kind: type[ModelT]) -> Callable[[str | bytes], ModelT]:
    """Return the function that decodes a model from JSON text."""
    return cast("Callable[[str | bytes], ModelT]", cast("type[Model]", kind).model_validate_json)


def encode_model(value: object) -> object:
    """Encode a model inside another value; a hook of msgspec."""
    if is_model(type(value)):
        return msgspec.Raw(cast("Model", value).model_dump_json(by_alias=True, round_trip=True).encode())
    raise NotImplementedError(f"{type(value).__name__} cannot be stored as JSON")


encode_in_order: Final = msgspec.json.Encoder(enc_hook=encode_model, order="deterministic").encode
"""Returns the same JSON text for equal values, regardless of the order of their sets and dicts."""


def decode_model(kind: type[object], value: object) -> object:
    """Decode a model inside another value; a hook of msgspec."""
    if is_model(kind):
        return decoder_of_model(kind)(msgspec.json.encode(value))
    raise NotImplementedError(f"{kind.__name__} cannot be decoded from JSON")


def schema_of_model(kind: type[object]) -> dict[str, Any]:
    """Return the schema of a model inside another value; a hook of msgspec."""
    if is_model(kind):
        return cast("type[Model]", kind).model_json_schema()
    raise TypeError(f"type {kind.__name__} is not supported")


def path_of(error: BaseException) -> str:
    """Return the path of the part that a pydantic error names, such as `.parts[2].price`; empty for other errors."""
    errors = getattr(error, "errors", None)
    if not callable(errors) or not hasattr(error, "error_count"):
        return ""
    details: Any = errors()
    return (
        "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in details[0]["loc"]) if details else ""
    )
