"""Whether a value came back from its stored form as it was, and which part of it did not."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from types import NoneType
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from eventree.domain.models import fields_of_model

_Compare: TypeAlias = Callable[[Any, Any], str | None]

_PLAIN: Final[frozenset[type]] = frozenset({str, int, bool, float, bytes, UUID, date, timedelta, NoneType})
"""Types of which equal values are the same; NaN equals nothing."""

_UNEQUAL: Final = ": it does not come back equal"
_INCOMPLETE: Final = ": not all of it comes back"

_DEEPEST: Final = 32
"""Levels that are searched for what cannot be encoded."""


class Comparison:
    """Compare values with what was read back of them, part by part, whatever their `__eq__` leaves out.

    Types have to be the same too: what comes back as another type would surprise in ten years. Only an int may stand
    where a float is declared, as in Python.
    """

    def __init__(self) -> None:
        """Know the simple types; a class is looked at when its first value comes."""
        self._compare: dict[type, _Compare] = {
            **dict.fromkeys(_PLAIN, _of_plain),
            Decimal: _of_decimals,
            datetime: _of_times,
            time: _of_times,
        }

    def difference(self, given: object, read: object) -> str | None:
        """Return the first part that differs and how, as in `.parts[2].price: ...`; None if nothing does."""
        kind = type(given)
        if kind is type(read):
            return (self._compare.get(kind) or self._learn(kind))(given, read)
        if kind is int and type(read) is float and given == read:
            return None
        return f": {kind.__name__} comes back as {type(read).__name__}"

    def _learn(self, kind: type) -> _Compare:
        names = fields_of(kind)
        compare: _Compare = _of_plain
        if names is not None:
            compare = partial(self._of_objects, names)
        elif issubclass(kind, (list, tuple)):
            compare = self._in_order
        elif issubclass(kind, (set, frozenset)):
            compare = self._of_sets
        elif issubclass(kind, dict):
            compare = self._of_dicts
        elif issubclass(kind, Enum):
            compare = _of_enums
        self._compare[kind] = compare
        return compare

    def _of_objects(self, names: Sequence[str], given: object, read: object) -> str | None:
        for name in names:
            one, other = getattr(given, name), getattr(read, name)
            if type(one) is type(other) and type(one) in _PLAIN and one == other:
                continue
            difference = self.difference(one, other)
            if difference is not None:
                return f".{name}{difference}"
        return None

    def _in_order(self, given: Sequence[object], read: Sequence[object], keys: Sequence[object] = ()) -> str | None:
        if len(given) != len(read):
            return _INCOMPLETE
        for at, (one, other) in enumerate(zip(given, read, strict=True)):
            difference = self.difference(one, other)
            if difference is not None:
                return f"[{keys[at] if keys else at!r}]{difference}"
        return None

    def _of_sets(self, given: AbstractSet[object], read: AbstractSet[object]) -> str | None:
        same = {each: each for each in read}
        if given != read:
            return _INCOMPLETE
        return self._in_order(list(given), [same[each] for each in given])

    def _of_dicts(self, given: Mapping[object, object], read: Mapping[object, object]) -> str | None:
        keys = list(given)
        difference = self._in_order(keys, list(read), keys)
        return difference or self._in_order(list(given.values()), list(read.values()), keys)


def _of_plain(given: object, read: object) -> str | None:
    return None if given == read else _UNEQUAL


def _of_enums(given: Enum, read: Enum) -> str | None:
    return None if given is read else _UNEQUAL


def _of_decimals(given: Decimal, read: Decimal) -> str | None:
    if not given.is_finite():
        return ": it is not a finite number"
    return None if given == read else _UNEQUAL


def _of_times(given: datetime | time, read: datetime | time) -> str | None:
    """Compare times as people see them too: the same instant at another offset is another time of day."""
    if given == read and given.utcoffset() == read.utcoffset() and (given.tzinfo or given.fold == read.fold):
        return None
    return _UNEQUAL + ", as its offset is not in whole minutes, or its fold is lost"


def part_that_fails(value: object, function: Callable[[object], object]) -> str:
    """Return for which part of a value a function fails, as in `.parts[2].price`; empty where it is none of them."""
    path = ""
    for _ in range(_DEEPEST):
        found = next(((step, part) for step, part in _parts(value) if _fails(function, part)), None)
        if found is None:
            break
        path, value = path + found[0], found[1]
    return path


def _fails(function: Callable[[object], object], part: object) -> bool:
    try:
        function(part)
    except Exception:  # noqa: BLE001 - whatever it is, this part is to blame
        return True
    return False


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        yield from ((f"[{key!r}]", part) for key, part in pairs)
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{at}]", part) for at, part in enumerate(cast("Iterable[object]", value)))
    else:
        yield from ((f".{name}", getattr(value, name, None)) for name in fields_of(value.__class__) or ())


def fields_of(kind: type[object]) -> Sequence[str] | None:
    """Return the names of the fields of a dataclass, Struct, attrs class or pydantic model; None for another type."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    attributes: Any = getattr(kind, "__attrs_attrs__", None)
    if attributes is not None:
        return [attribute.name for attribute in attributes]
    struct: Sequence[str] | None = getattr(kind, "__struct_fields__", None)
    return struct if struct is not None else fields_of_model(kind)
