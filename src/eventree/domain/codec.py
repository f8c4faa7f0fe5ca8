"""Encode values as a stable name, a version and JSON text, and decode them again."""

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from eventree.domain.comparison import Comparison, Difference, fields_of, not_finite, part_that_fails
from eventree.domain.defaults import defaults_of
from eventree.domain.event_types import EventType
from eventree.domain.immutability import is_immutable
from eventree.domain.limits import MAX_PAYLOAD_BYTES
from eventree.domain.models import decode_model, decoder_of_model, encode_model, is_model, path_of
from eventree.domain.schemas import schema_of
from eventree.errors import EventNotDecodable, EventNotEncodable, EventTooNew, InvalidArgument, UnknownEventType
from eventree.errors.failures import is_failure
from eventree.errors.root import error_text
from eventree.isolation import isolated

ValueT = TypeVar("ValueT")

_encode: Final = msgspec.json.Encoder(enc_hook=encode_model).encode
_decode_json: Final = msgspec.json.Decoder().decode
_NOT_FINITE_TEXTS: Final = (b"null", b"NaN", b"Infinity")
"""How the payload of a number that is not finite may look: msgspec writes null for a float."""

_PATH: Final = re.compile(r"`\$([^`]*)`")
"""The path of the faulty part in an error of msgspec."""


class Encoded(Struct, Generic[ValueT], frozen=True, gc=False):
    """The stored form of a value.

    Attributes:
        type: The stable name of its class.
        version: The version of its form, from 1.
        payload: JSON text.
        value: The value decoded from the payload: equal to the original, but a separate object.
    """

    type: str
    version: int
    payload: str
    value: ValueT


class _ClassCodec(Generic[ValueT]):
    """Encode and decode the values of one class."""

    __slots__ = ("compare", "decode", "event_type", "is_immutable", "name", "version")

    def __init__(self, cls: type[ValueT], comparison: Comparison) -> None:
        """Create a codec for a class; raise `InvalidArgument` if JSON cannot represent it."""
        self.event_type = EventType.of(cls)
        self.name = self.event_type.name
        self.version = self.event_type.version
        self.decode: Callable[[str | bytes], ValueT] = decoder_of_model(cls) if is_model(cls) else _decoder_of(cls)
        self.compare = comparison.of(cls)
        self.is_immutable = not is_model(cls) and is_immutable(cls)


def _decoder_of(cls: type[ValueT]) -> Callable[[str | bytes], ValueT]:
    hidden = [name for name in fields_of(cls) or () if name.startswith("_") and hasattr(cls, "__attrs_attrs__")]
    if hidden:
        raise InvalidArgument(
            "events", f"{cls.__name__} has the field {hidden[0]}, which msgspec leaves out; rename it"
        )
    try:
        schema_of([cls])  # checks every field now, unlike the decoder
        return msgspec.json.Decoder(cls, dec_hook=decode_model).decode
    except Exception as error:
        raise InvalidArgument("events", f"{cls.__name__} cannot be stored as JSON: {error}{_remedy(error)}") from error


def _remedy(error: Exception) -> str:
    is_about_classes = re.search("unions may not contain more than one .*(dataclass|Struct)", str(error))
    return '; make them msgspec Structs with different tag="..."' if is_about_classes else ""


class Codec(Generic[ValueT]):
    """Encode and decode the values of a closed set of classes.

    A class is stored under a stable name, never an import path, so it may move to another module. Stored data can only
    create instances of these classes. `event_type` gives a class another name, aliases and upcasters.
    """

    def __init__(self, classes: Iterable[type[ValueT]], *, exact: bool = False) -> None:
        """Create a codec.

        Args:
            classes: Dataclasses, attrs classes, msgspec Structs, pydantic models or enums, with different names.
            exact: Whether to refuse also values that are decoded as equal but not identical; default False. See
                `Comparison`.

        Raises:
            InvalidArgument: There is no class, two have the same name, or one cannot be stored as JSON.
        """
        self._forms: dict[type[ValueT], _ClassCodec[ValueT]] = {}
        self._by_name: dict[str, _ClassCodec[ValueT]] = {}
        comparison = Comparison(exact=exact)
        for cls in classes:
            if not isinstance(cls, type):
                raise InvalidArgument("events", f"must name classes, got {cls!r}")
            form = self._forms[cls] = _ClassCodec(cls, comparison)
            for name in (form.name, *form.event_type.aliases):
                if name in self._by_name:
                    raise InvalidArgument("events", _clash(name, form, self._by_name[name]))
                self._by_name[name] = form
        if not self._forms:
            raise InvalidArgument("events", "must name at least one class")

    @property
    def types(self) -> tuple[EventType, ...]:
        """The event type of each class, in the order given."""
        return tuple(form.event_type for form in self._forms.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The stored names of all classes, in the order given."""
        return tuple(form.name for form in self._forms.values())

    @property
    def fingerprint(self) -> str:
        """A short hash that changes with the fields and types of the classes."""
        return hashlib.sha256(_encode(schema_of(self._forms))).hexdigest()[:16]

    @property
    def defaults(self) -> list[tuple[str, str, str]]:
        """What the fields of the classes default to; see `defaults_of`."""
        return defaults_of(self._forms)

    def encode(self, value: ValueT) -> Encoded[ValueT]:
        """Return the stored form of a value.

        Raises:
            EventNotEncodable: Its class is unknown, JSON cannot represent it, it would be decoded as a different value,
                or it is larger than 1 MiB.
        """
        form = self._forms.get(type(value))
        if form is None:
            known = ", ".join(cls.__name__ for cls in self._forms)
            raise EventNotEncodable(type(value).__name__, f"its class is not one of those declared: {known}")
        try:
            payload = _encode(value)
        except BaseException as error:  # whatever the error is, the value causes it
            if not is_failure(error):
                raise
            raise EventNotEncodable(form.name, error_text(error), part_that_fails(value, _encode)) from error
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise EventNotEncodable(form.name, f"it is larger than {MAX_PAYLOAD_BYTES} bytes")
        return Encoded(form.name, form.version, payload.decode(), _read_back(form, value, payload))

    def copies(self, forms: Iterable[Encoded[ValueT]]) -> tuple[ValueT, ...]:
        """Return copies of the values, so that a caller who changes one does not change the original.

        Values of immutable classes are shared instead of copied.
        """
        values: list[ValueT] = []
        for form in forms:
            is_shareable = self._by_name[form.type].is_immutable
            values.append(form.value if is_shareable else self.decode(form.type, form.version, form.payload))
        return tuple(values)

    def decode(self, type_: str, version: int, payload: str) -> ValueT:
        """Return the value of a stored form of any version up to the current one.

        Raises:
            UnknownEventType: No class has this name.
            EventTooNew: It was stored by a newer version of the code.
            EventNotDecodable: The payload does not match the class, or an upcaster failed.
        """
        form = self._by_name.get(type_)
        try:
            if form is not None and form.version == version:
                return form.decode(payload)
        except BaseException as error:  # any exception, as the class's __post_init__ may raise
            if not is_failure(error):
                raise
            raise EventNotDecodable(type_, version, error_text(error)) from error
        if form is None:
            raise UnknownEventType(type_, version, self.names)
        return _decode_older(form, type_, version, payload)


def _read_back(form: _ClassCodec[ValueT], value: ValueT, payload: bytes) -> ValueT:
    """Return the value decoded from a payload; raise `EventNotEncodable` if it differs from the original."""
    try:
        read = form.decode(payload)
        difference = form.compare(value, read)
        if difference is None and payload.find(b"Infinity") >= 0:
            difference = not_finite(value)
    except BaseException as error:  # any exception, as the class's __post_init__ may raise
        if not is_failure(error):
            raise
        fault = not_finite(value) or Difference(_path_of(error), error_text(error))
        raise EventNotEncodable(form.name, fault.reason, fault.part) from error
    if difference is not None:
        raise EventNotEncodable(form.name, difference.reason, difference.part)
    return read


def _decode_older(form: _ClassCodec[ValueT], type_: str, version: int, payload: str) -> ValueT:
    if version > form.version:
        raise EventTooNew(type_, version, form.version)
    if version < 1:
        raise EventNotDecodable(type_, version, "versions start at 1")
    faulty = "its payload"
    try:
        value = _decode_json(payload)
        for number in range(version, form.version):
            faulty = f"its upcaster from version {number}"
            value = isolated(form.event_type.upcasters[number - 1], value)
        faulty = "the result of its upcasters"
        upcast = _encode(value)
        _check_finite(value, upcast)
        return form.decode(upcast)
    except BaseException as error:  # any exception, as an upcaster may raise
        if not is_failure(error):
            raise
        raise EventNotDecodable(type_, version, f"{faulty}: {error_text(error)}") from error


def _check_finite(value: object, payload: bytes) -> None:
    if any(text in payload for text in _NOT_FINITE_TEXTS) and (found := not_finite(value)) is not None:
        raise ValueError(f"{found.part}: {found.reason}")


def _path_of(error: BaseException) -> str:
    path = _PATH.search(error_text(error))
    try:
        return path[1] if path is not None else path_of(error)
    except BaseException as bug:  # a bug in the error's own class must not hide the error
        if not is_failure(bug):
            raise
        return ""


def _clash(name: str, one: _ClassCodec[ValueT], other: _ClassCodec[ValueT]) -> str:
    if name == one.name == other.name:
        return f"two classes are called {name}; rename one of them, or give it another name with event_type"
    return f"{name} is a name or alias of two classes; use each name for one class only"
