"""Fingerprints of commands, by which a repeated command is told from another one with the same id.

Two commands have the same fingerprint if their classes and fields are equal as Python sees it: `Decimal("1.0")` equals
`Decimal("1.00")`. A field does not count if the class excludes it from comparisons, or if its default is made by a
function, such as `uuid4`, as it then differs each time that the command is built.

A retry may arrive after a deployment, and must not be refused because its class has changed. So a fingerprint names the
class and its shape too, and commands are compared only if both are still what they were.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import msgspec

from eventree.domain.models import is_model
from eventree.domain.schemas import schema_of
from eventree.errors.failures import is_failure

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_OWN: Final = "own"
_SCALARS: Final = (str, int, float, Decimal, bytes, UUID, date, time, timedelta, type(None))
_MAX_DIGITS: Final = 64
"""The largest exponent of a Decimal that is written out."""


class _ClassForm(msgspec.Struct, frozen=True):
    """Hold what is known of a command class.

    Attributes:
        name: A digest of its name.
        shape: A digest of its fields and their types.
        schema: Those as text, in which the classes of its fields are named.
    """

    name: str
    shape: str
    schema: str


class CommandFingerprints:
    """Take fingerprints of commands and compare them, knowing the classes of the commands in this process."""

    def __init__(self, declared: Iterable[type] = ()) -> None:
        """Start with the command classes that the aggregate type declares; others are added as they occur."""
        self._forms: dict[type, _ClassForm | None] = {}
        self._known: dict[str, str] = {}
        for cls in declared:
            self._form(cls)

    def of(self, command: object) -> str | None:
        """Return the fingerprint of a command; None if it has parts that cannot be encoded."""
        form = self._form(_class_of(command))
        if form is None:
            return None
        try:
            content = _Canonical(form.schema).of(command)
        except BaseException as error:  # whatever a part raises, the command cannot be compared
            if not is_failure(error):
                raise
            return None
        return f"{form.name}.{form.shape}.{_digest(content, 32)}"

    @staticmethod
    def of_caller(fingerprint: str | bytes) -> str:
        """Return the form in which a fingerprint given by a caller is stored."""
        data = fingerprint.encode("utf-8", "surrogatepass") if isinstance(fingerprint, str) else fingerprint
        return f"{_OWN}.{hashlib.sha256(data).hexdigest()}"

    def is_other_command(self, recorded: str | None, given: str | None) -> bool:
        """Return whether two fingerprints are certainly of different commands.

        Args:
            recorded: The fingerprint stored with a command; None if it had none.
            given: The fingerprint of a command with the same id.
        """
        if recorded is None or given is None or recorded == given:
            return False
        kind, _, rest = recorded.partition(".")
        other_kind, _, other_rest = given.partition(".")
        if _OWN in {kind, other_kind}:
            return kind == other_kind
        shape, other_shape = rest.partition(".")[0], other_rest.partition(".")[0]
        if kind == other_kind:
            return shape == other_shape
        # A class of another name: another command, unless the recorded class was renamed since.
        return self._known.get(kind) == shape

    def _form(self, cls: type[object]) -> _ClassForm | None:
        if cls not in self._forms:
            form = self._forms[cls] = _form_of(cls)
            if form is not None:
                self._known[form.name] = form.shape
        return self._forms[cls]


def _form_of(cls: type[object]) -> _ClassForm | None:
    if issubclass(cls, _SCALARS) and not issubclass(cls, Enum):
        return _ClassForm("value", "1", "")
    try:
        schema = msgspec.json.encode(schema_of([cls])).decode()
    except BaseException as error:  # msgspec and pydantic each raise their own errors
        if not is_failure(error):
            raise
        return None
    return _ClassForm(_digest(cls.__qualname__, 8), _digest(schema, 8), schema)


def _class_of(value: object) -> type[object]:
    return type(value)


def _digest(value: Json, length: int) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()[:length]


class _Canonical:
    """Turn a command into JSON that is the same for equal commands."""

    def __init__(self, schema: str) -> None:
        """Start with the schema of its class; only classes named there may occur, as others may change unnoticed."""
        self._schema = schema

    def of(self, value: object) -> Json:
        """Return the canonical form of a value.

        Raises:
            TypeError: It has none.
        """
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return [_class_of(value).__name__, value.name]
        if isinstance(value, _SCALARS):
            return _scalar(value)
        if isinstance(value, Mapping):
            items = cast("Mapping[object, object]", value).items()
            return sorted(([self.of(key), self.of(item)] for key, item in items), key=msgspec.json.encode)
        if isinstance(value, AbstractSet):
            return sorted(map(self.of, cast("AbstractSet[object]", value)), key=msgspec.json.encode)
        cls: type[object] = _class_of(value)
        if issubclass(cls, Sequence) and not issubclass(cls, memoryview | range):
            return [self.of(item) for item in cast("Sequence[object]", value)]
        if f'"{cls.__name__}"' not in self._schema:
            raise TypeError(f"{cls.__name__} is not declared")
        fields = _compared_fields(_class_of(value))
        return [cls.__name__, {name: self.of(getattr(value, name)) for name in fields}]


def _scalar(value: object) -> Json:
    match value:
        case int():
            return str(int(value))
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case Decimal():
            return _decimal(value)
        case bytes():
            return value.hex()
        case datetime():
            return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()
        case timedelta():
            return [value.days, value.seconds, value.microseconds]
        case _:
            return str(value)


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        return str(value)
    short = value.normalize() if len(value.as_tuple().digits) <= _MAX_DIGITS else value
    is_whole = short == short.to_integral_value() and short.adjusted() < _MAX_DIGITS
    return str(int(short)) if is_whole else str(short)


def _compared_fields(cls: type[object]) -> list[str]:
    """Return the names of the fields that tell an object from another one.

    Raises:
        TypeError: The class has no fields.
    """
    if dataclasses.is_dataclass(cls):
        every = dataclasses.fields(cls)
        return [field.name for field in every if field.compare and _is_given(field.default_factory)]
    if issubclass(cls, msgspec.Struct):
        return [field.name for field in msgspec.structs.fields(cls) if _is_given(field.default_factory)]
    if is_model(cls):
        fields: dict[str, Any] = getattr(cls, "model_fields", {})
        return [name for name, field in fields.items() if _is_given(field.default_factory)]
    attributes: Any = getattr(cls, "__attrs_attrs__", None)
    if attributes is None:
        raise TypeError(f"{cls.__name__} has no fields")
    return [field.name for field in attributes if field.eq and _is_given(getattr(field.default, "factory", None))]


def _is_given(default_factory: Callable[..., object] | object) -> bool:
    """Return whether a field's value is given by the caller, rather than made by a function for each object."""
    is_missing = default_factory is None or default_factory in {dataclasses.MISSING, msgspec.NODEFAULT}
    return is_missing or isinstance(default_factory, type)
