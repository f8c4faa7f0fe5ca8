"""Differences between an expected and an actual value, one line for each part that differs."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile, zip_longest
from typing import Final, cast

from eventree.domain.comparison import fields_of

MAX_SHOWN: Final = 300
"""How many characters of a value are shown; of two long values, those around the first difference."""


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Absent()
"""Stands in for an absent value."""


def differences(what: str, expected: object, got: object) -> list[str]:
    """Return a line for each part in which two values differ; no lines if they are equal.

    Args:
        what: The name of the value in the lines.
        expected: The expected value, or `NOTHING`.
        got: The actual value, or `NOTHING`.
    """
    kind = type(got)
    is_known = kind is type(expected) and fields_of(kind) is not None
    return list(_differences(f"{what}, {kind.__name__}" if is_known else what, expected, got))


def differences_in_order(what: str, expected: Sequence[object], got: Sequence[object]) -> list[str]:
    """Return a line for each value that is missing or unexpected, and for each part of a value that differs.

    Values that are equal at the beginning and at the end are skipped first, so that one missing value does not make all
    values after it differ.

    Args:
        what: The name of one value in the lines, where its number follows it, counted from 1.
        expected: The expected values.
        got: The actual values.
    """
    begin = _equal(zip(expected, got, strict=False))
    end = _equal(zip(reversed(expected[begin:]), reversed(got[begin:]), strict=False))
    pairs = zip_longest(expected[begin : len(expected) - end], got[begin : len(got) - end], fillvalue=NOTHING)
    lines = (differences(f"{what} {number}", *pair) for number, pair in enumerate(pairs, begin + 1))
    return [line for found in lines for line in found]


def shown(value: object, around: int = 0) -> str:
    """Return the repr of a value, cut to `MAX_SHOWN` characters around the given index."""
    text = _repr(value)
    if len(text) <= MAX_SHOWN:
        return text
    start = max(min(around - MAX_SHOWN // 2, len(text) - MAX_SHOWN), 0)
    end = start + MAX_SHOWN
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def _equal(pairs: "zip[tuple[object, object]]") -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _differences(place: str, expected: object, got: object) -> Iterator[str]:
    if expected == got:
        return
    found = [
        line
        for step, one, other in _parts_of_both(expected, got)
        for line in _differences(f"{place}{step}", one, other)
    ]
    yield from found or [_line(place, expected, got)]


def _parts_of_both(expected: object, got: object) -> Iterator[tuple[str, object, object]]:
    kind = type(expected)
    if kind is not type(got):
        return
    if isinstance(expected, Mapping):
        ours, theirs = cast("Mapping[object, object]", expected), cast("Mapping[object, object]", got)
        yield from ((f"[{key!r}]", ours.get(key, NOTHING), theirs.get(key, NOTHING)) for key in {**ours, **theirs})
    elif isinstance(expected, (list, tuple)):
        pairs = zip_longest(cast("Sequence[object]", expected), cast("Sequence[object]", got), fillvalue=NOTHING)
        yield from ((f"[{at}]", *pair) for at, pair in enumerate(pairs))
    else:
        yield from ((f".{name}", getattr(expected, name), getattr(got, name)) for name in fields_of(kind) or ())


def _line(place: str, expected: object, got: object) -> str:
    if got is NOTHING:
        return f"{place} is missing: {shown(expected)}"
    if expected is NOTHING:
        return f"{place} was not expected: {shown(got)}"
    one, other = _repr(expected), _repr(got)
    around = _equal(zip(one, other, strict=False))
    hint = "; they have the same repr but are not equal, check __eq__" if one == other else ""
    return f"{place}: expected {shown(expected, around)}, got {shown(got, around)}{hint}"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a broken repr must not hide the difference
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
