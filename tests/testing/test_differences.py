"""Differences are shown part by part and briefly, for values of any kind."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import attrs
import pytest
from msgspec import Struct
from pydantic import BaseModel

from eventree.testing._differences import MAX_SHOWN, NOTHING, differences, differences_in_order


@dataclass(frozen=True)
class Line:
    product: str
    price: Decimal


@dataclass(frozen=True)
class Order:
    lines: list[Line]
    notes: dict[str, str]


class StructLine(Struct):
    product: str


@attrs.frozen
class AttrsLine:
    product: str


class ModelLine(BaseModel):
    product: str


class Mute:
    def __repr__(self) -> str:
        raise ValueError("not me")


class Alike:
    def __repr__(self) -> str:
        return "Alike()"


PEN, INK = Line("pen", Decimal(1)), Line("ink", Decimal(2))


@pytest.mark.parametrize(
    ("expected", "got", "lines"),
    [
        (1, 1, []),
        (1, 2, ["x: expected 1, got 2"]),
        (1, "1", ["x: expected 1, got '1'"]),
        (PEN, PEN, []),
        (PEN, Line("pen", Decimal(2)), ["x, Line.price: expected Decimal('1'), got Decimal('2')"]),
        (StructLine("a"), StructLine("b"), ["x, StructLine.product: expected 'a', got 'b'"]),
        (AttrsLine("a"), AttrsLine("b"), ["x, AttrsLine.product: expected 'a', got 'b'"]),
        (ModelLine(product="a"), ModelLine(product="b"), ["x, ModelLine.product: expected 'a', got 'b'"]),
        (
            Order([PEN, INK], {}),
            Order([PEN, PEN], {}),
            [
                "x, Order.lines[1].product: expected 'ink', got 'pen'",
                "x, Order.lines[1].price: expected Decimal('2'), got Decimal('1')",
            ],
        ),
        (
            Order([PEN, INK], {"a": "1", "b": "2"}),
            Order([PEN], {"b": "3", "c": "4"}),
            [
                "x, Order.lines[1] is missing: Line(product='ink', price=Decimal('2'))",
                "x, Order.notes['a'] is missing: '1'",
                "x, Order.notes['b']: expected '2', got '3'",
                "x, Order.notes['c'] was not expected: '4'",
            ],
        ),
        (
            Order([], {}),
            Order([PEN], {}),
            ["x, Order.lines[0] was not expected: Line(product='pen', price=Decimal('1'))"],
        ),
        ({1, 2}, {1, 3}, ["x: expected {1, 2}, got {1, 3}"]),
        (PEN, NOTHING, ["x is missing: Line(product='pen', price=Decimal('1'))"]),
        (Mute(), 1, ["x: expected <Mute whose repr raises ValueError>, got 1"]),
        (
            Alike(),
            Alike(),
            ["x: expected Alike(), got Alike(); they have the same repr but are not equal, check __eq__"],
        ),
    ],
)
def test_each_part_that_differs_has_a_line(expected: object, got: object, lines: list[str]) -> None:
    assert differences("x", expected, got) == lines


@pytest.mark.parametrize(
    ("expected", "got", "lines"),
    [
        ([], [], []),
        ([1, 2, 3], [1, 2, 3], []),
        ([1, 2, 3], [1, 3], ["event 2 is missing: 2"]),
        ([1, 3], [1, 2, 3], ["event 2 was not expected: 2"]),
        ([2, 3], [1, 2, 3], ["event 1 was not expected: 1"]),
        ([1, 2], [1], ["event 2 is missing: 2"]),
        ([1, 1], [1], ["event 2 is missing: 1"]),
        ([1, 2, 3, 4], [1, 5, 6, 4], ["event 2: expected 2, got 5", "event 3: expected 3, got 6"]),
        ([1, 2, 3], [1, 5, 6, 3], ["event 2: expected 2, got 5", "event 3 was not expected: 6"]),
    ],
)
def test_equal_values_at_both_ends_are_skipped(expected: list[Any], got: list[Any], lines: list[str]) -> None:
    assert differences_in_order("event", expected, got) == lines


def test_long_values_are_shown_around_the_first_difference() -> None:
    [line] = differences("x", "a" * 1_000 + "b" + "c" * 1_000, "a" * 1_000 + "d" + "c" * 1_000)
    assert len(line) < 2 * MAX_SHOWN + 100
    assert "aabcc" in line
    assert "aadcc" in line


def test_a_long_value_is_cut_at_its_end() -> None:
    [line] = differences("x", "a" * 1_000, NOTHING)
    assert line == f"x is missing: '{'a' * (MAX_SHOWN - 1)}…"
