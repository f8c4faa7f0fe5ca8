"""Classes and their stored form: a class <-> a stable name, a version and JSON text."""

import hashlib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from eventree.domain.limits import MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES, check_id
from eventree.errors import EventNotDecodable, EventNotEncodable, InvalidArgument

ValueT = TypeVar("ValueT")

_METADATA = msgspec.json.Decoder(dict[str, str])
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Encoded:
    """Hold the stored form of a value.

    Attributes:
        type: The stable name of its class.
        version: The version of its form, from 1.
        payload: JSON text.
    """

    type: str
    version: int
    payload: str


class Codec(Generic[ValueT]):
    """Turn the values of a closed set of classes into JSON text and back.

    A class is stored under its plain name, never under an import path, so it may move to another module. Only the
    classes given here are ever made from stored data.
    """

    def __init__(self, classes: Iterable[type[ValueT]]) -> None:
        """Learn the classes.

        Args:
            classes: Dataclasses, attrs classes, msgspec Structs or enums, with different names.

        Raises:
            InvalidArgument: There are none, two have the same name, or one cannot be stored as JSON.
        """
        self._decoders: dict[str, Callable[[str], ValueT]] = {}
        self._names: dict[type[ValueT], str] = {}
        for cls in classes:
            if not isinstance(cls, type):
                raise InvalidArgument("events", f"must name classes, got {cls!r}")
            if cls.__name__ in self._decoders:
                raise InvalidArgument("events", f"two classes are called {cls.__name__}; rename one of them")
            check_id("events", cls.__name__)
            try:
                msgspec.json.schema_components((cls,))  # unlike the decoder, it looks at every field now
                self._decoders[cls.__name__] = msgspec.json.Decoder(cls).decode
            except Exception as error:
                raise InvalidArgument("events", f"{cls.__name__} cannot be stored as JSON: {error}") from error
            self._names[cls] = cls.__name__
        if not self._decoders:
            raise InvalidArgument("events", "must name at least one class")

    @property
    def names(self) -> tuple[str, ...]:
        """The stored names of all classes, in the order in which they were given."""
        return tuple(self._decoders)

    @property
    def fingerprint(self) -> str:
        """A short text that changes when the fields or types of the classes change."""
        _, components = msgspec.json.schema_components(tuple(self._names))
        return hashlib.sha256(_encode(components, order="sorted")).hexdigest()[:16]

    def encode(self, value: ValueT) -> Encoded:
        """Return the stored form of a value.

        Raises:
            EventNotEncodable: Its class is not one of ours, it does not fit JSON, would not come back equal, or is
                larger than 1 MiB.
        """
        name = self._names.get(type(value))
        if name is None:
            known = ", ".join(self._decoders)
            raise EventNotEncodable(type(value).__name__, f"its class is not one of those declared: {known}")
        try:
            payload = _encode(value).decode()
            same = self._decoders[name](payload) == value
        except Exception as error:  # whatever the class's own __post_init__ or __eq__ raises is a misfit too
            raise EventNotEncodable(name, f"{type(error).__name__}: {error}") from error
        if not same:
            raise EventNotEncodable(name, "what is read back does not equal it; is each field of its declared type?")
        if len(payload) * 4 > MAX_PAYLOAD_BYTES and len(payload.encode()) > MAX_PAYLOAD_BYTES:
            raise EventNotEncodable(name, f"it is larger than {MAX_PAYLOAD_BYTES} bytes")
        return Encoded(name, 1, payload)

    def decode(self, type_: str, version: int, payload: str) -> ValueT:
        """Return the value of a stored form.

        Raises:
            EventNotDecodable: The name or version is unknown here, or the text does not fit the class.
        """
        decode = self._decoders.get(type_)
        if decode is None or version != 1:
            known = ", ".join(self._decoders)
            raise EventNotDecodable(type_, version, f"this code knows version 1 of: {known}")
        try:
            return decode(payload)
        except Exception as error:  # whatever the class's own __post_init__ raises is a misfit too
            raise EventNotDecodable(type_, version, f"{type(error).__name__}: {error}") from error


def encode_metadata(metadata: Mapping[str, str]) -> str:
    """Return metadata as JSON text.

    Raises:
        InvalidArgument: It has lone surrogates or is larger than 64 KiB.
    """
    if not metadata:
        return "{}"
    try:
        encoded = _encode(dict(metadata))
    except ValueError as error:
        raise InvalidArgument("metadata", "must not contain lone surrogates") from error
    if len(encoded) > MAX_METADATA_BYTES:
        raise InvalidArgument("metadata", f"must be at most {MAX_METADATA_BYTES} bytes of JSON, got {len(encoded)}")
    return encoded.decode()


def decode_metadata(text: str) -> dict[str, str]:
    """Return metadata from its JSON text."""
    return {} if text == "{}" else _METADATA.decode(text)


def classes_of(annotation: object) -> list[type]:
    """Return the classes that a type annotation stands for: unions and aliases are unfolded.

    Raises:
        InvalidArgument: Something in it is not a class.
    """
    value = getattr(annotation, "__value__", annotation)  # a PEP 695 alias
    origin = typing.get_origin(value)
    if origin is typing.Annotated:
        return classes_of(typing.get_args(value)[0])
    if origin is typing.Union or isinstance(value, types.UnionType):
        return [cls for member in typing.get_args(value) for cls in classes_of(member)]
    if not isinstance(value, type) or value in {object, typing.Any}:
        raise InvalidArgument("apply", f"its annotation {value!r} is not a class or a union of classes")
    return [value]
