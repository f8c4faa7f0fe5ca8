"""Fingerprints of commands, by which a repeated command is told from another one with the same id.

Two commands have the same fingerprint if their classes and fields are equal as Python sees it: `Decimal("1.0")` equals
`Decimal("1.00")`, and True equals 1. A field does not count if the class excludes it from comparisons, or if it may
differ each time that the command is built: if its default is made by a function, such as `uuid4`, if it is no parameter
of the class, or if it has a default and the class has a hook, such as `__post_init__`, that may set it. A class with an
`__eq__` of its own is not compared.

A retry may arrive after a deployment, and must not be refused because its class has changed. So a fingerprint names the
class and its shape too, and commands are compared only if both are still what they were.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Final, TypeAlias, cast
from uuid import UUID

import msgspec

from eventree.domain.compared_fields import ComparedField, compared_fields, names_of_compared_fields
from eventree.domain.schemas import schema_of
from eventree.errors.failures import is_failure

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_OWN: Final = "own"
_BYTES: Final = (bytes, bytearray, memoryview)
_SCALARS: Final = (str, int, float, Decimal, *_BYTES, UUID, date, time, timedelta, type(None))


class _ClassForm(msgspec.Struct, frozen=True):
    """Hold what is known of a command class.

    Attributes:
        name: A digest of its name.
        shape: A digest of its fields and their types, and of which fields are compared.
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
        self._fields: dict[type, Sequence[ComparedField]] = {}
        for cls in declared:
            self._form(cls)

    def of(self, command: object) -> str | None:
        """Return the fingerprint of a command; None if it has parts that cannot be encoded."""
        form = self._form(_class_of(command))
        if form is None:
            return None
        try:
            content = _Canonical(form.schema, self._fields).of(command)
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
        schema = msgspec.json.encode(schema_of([cls], names_of_compared_fields)).decode()
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

    def __init__(self, schema: str, fields: dict[type, Sequence[ComparedField]]) -> None:
        """Start with what is known of its class.

        Args:
            schema: The schema of its class; only classes named there may occur, as others may change unnoticed.
            fields: The compared fields of each class; those of classes that occur for the first time are added.
        """
        self._schema = schema
        self._fields = fields

    def of(self, value: object) -> Json:
        """Return the canonical form of a value.

        Raises:
            TypeError: It has none.
        """
        cls: type[object] = _class_of(value)
        if issubclass(cls, Enum):
            self._check_declared(cls)
        if isinstance(value, _SCALARS):
            return _scalar(cast("object", value))
        if isinstance(value, Enum):
            return [cls.__name__, value.name]
        if isinstance(value, Mapping):
            items = cast("Mapping[object, object]", value).items()
            return sorted(([self.of(key), self.of(item)] for key, item in items), key=msgspec.json.encode)
        if isinstance(value, AbstractSet):
            return sorted(map(self.of, cast("AbstractSet[object]", value)), key=msgspec.json.encode)
        if issubclass(cls, Sequence) and not issubclass(cls, range):
            return [self.of(item) for item in cast("Sequence[object]", value)]
        return [cls.__name__, {name: self.of(key(getattr(value, name))) for name, key in self._fields_of(cls)}]

    def _fields_of(self, cls: type[object]) -> Sequence[ComparedField]:
        self._check_declared(cls)
        if cls not in self._fields:
            self._fields[cls] = compared_fields(cls)
        return self._fields[cls]

    def _check_declared(self, cls: type[object]) -> None:
        if f'"{cls.__name__}"' not in self._schema:
            raise TypeError(f"{cls.__name__} is not declared")


def _scalar(value: object) -> Json:
    """Return the form of a value without parts, by the methods of its base class, as a subclass may hide a part."""
    match value:
        case None:
            return None
        case str():
            return str.__str__(value)
        case int() | float() | Decimal():
            return _number(value)
        case bytes() | bytearray() | memoryview():
            return bytes(cast("bytes", value)).hex()
        case date() | time():
            return _time(value)
        case timedelta():
            return [value.days, value.seconds, value.microseconds]
        case _:
            return str(value)


def _number(value: float | Decimal) -> str:
    if isinstance(value, float):
        value = int(value) if float.is_integer(value) else Decimal(float.__repr__(value))
    if isinstance(value, int):
        return _digits(str(int.__index__(value)), 0)
    sign, digits, exponent = Decimal.as_tuple(value)
    if isinstance(exponent, str):  # n, N or F: a signalling NaN, NaN or infinity
        return f"{'-' * sign}{exponent}"
    return _digits("-" * sign + "".join(map(str, digits)), exponent)


def _digits(digits: str, exponent: int) -> str:
    """Return a number such that equal ones look the same, whatever their types, without a limit on their digits."""
    short = digits.rstrip("0")
    return "0" if short in {"", "-"} else f"{short}e{exponent + len(digits) - len(short)}"


def _time(value: date | time) -> Json:
    """Return a date or a time; of an aware one only the instant counts, as in Python."""
    if isinstance(value, datetime):
        is_aware = value.utcoffset() is not None
        return datetime.isoformat(datetime.astimezone(value, UTC) if is_aware else value)
    if isinstance(value, date):
        return date.isoformat(value)
    offset = value.utcoffset()
    if offset is None:
        return time.isoformat(value)
    since = timedelta(0, value.second, value.microsecond, 0, value.minute, value.hour) - offset
    return [since.days, since.seconds, since.microseconds]
