"""Compare a value with the one decoded from its stored form, and find the part that differs."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from math import isfinite
from types import NoneType
from typing import Any, Final, NamedTuple, TypeAlias, cast
from uuid import UUID

from eventree.domain.models import encode_in_order, fields_of_model
from eventree.errors.failures import is_failure


class Difference(NamedTuple):
    """Name a part of a value that did not round-trip.

    Attributes:
        part: Its path, such as `.parts[2].price`; empty for the whole value.
        reason: What is wrong with it.
    """

    part: str
    reason: str

    def inside(self, step: str) -> "Difference":
        """Return the difference as seen from one level up."""
        return Difference(step + self.part, self.reason)


Compare: TypeAlias = Callable[[Any, Any], Difference | None]
"""Returns the first difference between two values; None if there is none."""

_PLAIN: Final[frozenset[type]] = frozenset({str, int, bool, float, Decimal, bytes, UUID, date, timedelta, NoneType})
"""Types whose equal values are identical; NaN equals nothing."""

_UNEQUAL: Final = Difference("", "it does not come back equal")
_INCOMPLETE: Final = Difference("", "not all of it comes back")
_OFFSET_LOST: Final = Difference("", "its offset is lost; use a datetime with an offset in whole minutes")
_ZONE_LOST: Final = Difference("", "its zone is lost, only the offset comes back; use datetime.astimezone(UTC)")
_FOLD_LOST: Final = Difference("", "its fold is lost, as JSON has none; use a datetime with an offset, such as in UTC")

_MAX_DEPTH: Final = 32
"""How many levels are searched for the part that cannot be encoded."""


class Comparison:
    """Compare values with their decoded counterparts part by part, including parts that their `__eq__` ignores.

    Types must be the same too, because a value that comes back as another type causes bugs years later. There are two
    exceptions: an int may be used where a float is declared, as in Python; and of a time only the instant and the
    offset count, not the zone.
    """

    def __init__(self, *, exact: bool = False) -> None:
        """Start with the simple types; a class is analysed when its first value is compared.

        Args:
            exact: Whether the two exceptions count as differences too, as for states, which code goes on computing
                with; default False.
        """
        self._exact = exact
        of_times = _of_times_and_zones if exact else _of_times
        self._compare: dict[type, Compare] = {
            **dict.fromkeys(_PLAIN, _of_plain),
            datetime: of_times,
            time: of_times,
        }

    def difference(self, given: object, read: object) -> Difference | None:
        """Return the first difference; None if there is none."""
        kind = type(given)
        if kind is type(read):
            return self.of(kind)(given, read)
        if kind is int and type(read) is float and given == read and not self._exact:
            return None
        return not_finite(given) or Difference(
            "", f"{kind.__name__} comes back as {type(read).__name__}; does it have the type that its class declares?"
        )

    def of(self, kind: type) -> Compare:
        """Return the function that compares two values of a type."""
        return self._compare.get(kind) or self._learn(kind)

    def _learn(self, kind: type) -> Compare:
        names = fields_of(kind)
        compare: Compare = _of_plain
        if names is not None:
            compare = partial(self._of_objects, names)
        elif issubclass(kind, (list, tuple)):
            compare = self._in_order
        elif issubclass(kind, (set, frozenset)):
            compare = self._of_sets
        elif issubclass(kind, dict):
            compare = self._of_dicts
        self._compare[kind] = compare
        return compare

    def _of_objects(self, names: Sequence[str], given: object, read: object) -> Difference | None:
        for name in names:
            one: object = getattr(given, name)
            other: object = getattr(read, name)
            kind = type(one)
            if kind is not type(other):
                difference = self.difference(one, other)
            elif kind in _PLAIN and one == other:  # the common case, without a call
                continue
            else:
                difference = self.of(kind)(one, other)
            if difference is not None:
                return difference.inside(f".{name}")
        return None

    def _in_order(
        self, given: Sequence[object], read: Sequence[object], keys: Sequence[object] = ()
    ) -> Difference | None:
        if len(given) != len(read):
            return _INCOMPLETE
        last: type = NoneType  # most lists hold a single type, so look its function up only once
        compare: Compare = _of_plain
        for at, (one, other) in enumerate(zip(given, read, strict=True)):
            if type(one) is not type(other):
                difference = self.difference(one, other)
            else:
                if type(one) is not last:
                    last, compare = type(one), self.of(type(one))
                difference = compare(one, other)
            if difference is not None:
                return difference.inside(f"[{keys[at] if keys else at!r}]")
        return None

    def _of_sets(self, given: AbstractSet[object], read: AbstractSet[object]) -> Difference | None:
        if given == read:
            same = {each: each for each in read}
            return self._in_order(list(given), [same[each] for each in given])
        # Sets that differ may still hold the same values: times in the repeated hour of a clock change equal no time of
        # another zone, and some objects equal only themselves. So compare their members in the order of their JSON.
        return self._in_order(sorted(given, key=encode_in_order), sorted(read, key=encode_in_order))

    def _of_dicts(self, given: Mapping[object, object], read: Mapping[object, object]) -> Difference | None:
        keys = list(given)
        difference = self._in_order(keys, list(read), keys)
        return difference or self._in_order(list(given.values()), list(read.values()), keys)


def _of_plain(given: object, read: object) -> Difference | None:
    return None if given == read else not_finite(given) or _UNEQUAL


def _of_times(given: datetime | time, read: datetime | time) -> Difference | None:
    """Compare local time and offset: Python calls times of two zones in the repeated hour of a clock change unequal.

    Without an offset, only the `fold` tells the two apart, which Python's own comparison ignores.
    """
    if given.tzinfo is None and given.fold != read.fold:
        return _FOLD_LOST
    if given.tzinfo is None or given.tzinfo is read.tzinfo is UTC:
        return None if given == read else _UNEQUAL
    if read.tzinfo is None or given.utcoffset() != read.utcoffset():
        return _OFFSET_LOST
    is_same = given.replace(tzinfo=None) == read.replace(tzinfo=None)
    return None if is_same else _UNEQUAL


def _of_times_and_zones(given: datetime | time, read: datetime | time) -> Difference | None:
    return _of_times(given, read) or (None if given.tzinfo == read.tzinfo else _ZONE_LOST)


def not_finite(value: object) -> Difference | None:
    """Return the first part of a value that is NaN or infinite, at any depth; None if there is none."""
    waiting = [("", value)]
    while waiting:
        path, part = waiting.pop()
        if (isinstance(part, Decimal) and not part.is_finite()) or (isinstance(part, float) and not isfinite(part)):
            return Difference(path, "it is not a finite number")
        if type(part) not in _PLAIN:
            waiting += reversed([(path + step, inner) for step, inner in _parts(part)])
    return None


def part_that_fails(value: object, function: Callable[[object], object]) -> str:
    """Return the path of the part on which a function fails, such as `.parts[2].price`; empty for the whole value."""
    path = ""
    for _ in range(_MAX_DEPTH):
        found = next(((step, part) for step, part in _parts(value) if _fails(function, part)), None)
        if found is None:
            break
        path, value = path + found[0], found[1]
    return path


def _fails(function: Callable[[object], object], part: object) -> bool:
    try:
        function(part)
    except BaseException as error:  # whatever the error is, this part causes it
        if not is_failure(error):
            raise
        return True
    return False


def _parts(value: object) -> Sequence[tuple[str, object]]:
    """Return the parts of a value with their steps; none if it fails to tell them."""
    try:
        return list(_each_part(value))
    except BaseException as error:
        if not is_failure(error):
            raise
        return ()


def _each_part(value: object) -> Iterator[tuple[str, object]]:
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
