"""What differs between what was expected and what there is, told so that a person sees it at once."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile, zip_longest
from typing import Final, cast

from eventree.domain.comparison import fields_of

LONGEST: Final = 300
"""Characters of a value that are shown; of two long ones that differ, those around the first difference."""


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()
"""Stands where there is no value."""


def differences(what: str, expected: object, got: object) -> list[str]:
    """Return a line for each part of a value that differs; none if it is equal.

    Args:
        what: What to call the value.
        expected: What it should be, or `NOTHING`.
        got: What it is, or `NOTHING`.
    """
    kind = type(got)
    is_known = kind is type(expected) and fields_of(kind) is not None
    return list(_differences(f"{what}, {kind.__name__}" if is_known else what, expected, got))


def differences_in_order(what: str, expected: Sequence[object], got: Sequence[object]) -> list[str]:
    """Return a line for each part of each value that differs, is missing or was not expected; none if all are equal.

    What is equal at the beginning and at the end is left out, so that one that is missing is not found in all others.

    Args:
        what: What to call one of the values; their numbers begin at 1.
        expected: What they should be.
        got: What they are.
    """
    begin = _equal(zip(expected, got, strict=False))
    end = _equal(zip(reversed(expected[begin:]), reversed(got[begin:]), strict=False))
    pairs = zip_longest(expected[begin : len(expected) - end], got[begin : len(got) - end], fillvalue=NOTHING)
    lines = (differences(f"{what} {number}", *pair) for number, pair in enumerate(pairs, begin + 1))
    return [line for found in lines for line in found]


def shown(value: object, around: int = 0) -> str:
    """Return how a value is written, no longer than `LONGEST`, cut so that a certain character is in it."""
    text = _written(value)
    if len(text) <= LONGEST:
        return text
    start = max(min(around - LONGEST // 2, len(text) - LONGEST), 0)
    end = start + LONGEST
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
    one, other = _written(expected), _written(got)
    around = _equal(zip(one, other, strict=False))
    alike = ", which looks alike and is not equal" if one == other else ""
    return f"{place}: expected {shown(expected, around)}, got {shown(got, around)}{alike}"


def _written(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - it must not hide what is told about the value
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
