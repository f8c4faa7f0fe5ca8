"""What code fills in by itself, wherever it is declared, so that a change of it alone is noticed."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import attrs
import msgspec
import pydantic
import pytest

from eventree.domain.defaults import defaults_of, text_of

Make = Callable[[], object]


def plain(make: Make) -> type:
    @dataclass
    class State:
        parts: Any = field(default_factory=make)

    return State


def struct(make: Make) -> type:
    return msgspec.defstruct("State", [("parts", Any, msgspec.field(default_factory=make))])


def with_attrs(make: Make) -> type:
    return attrs.make_class("State", {"parts": attrs.field(factory=make, type=Any)})


def model(make: Make) -> type:
    class State(pydantic.BaseModel):
        parts: Any = pydantic.Field(default_factory=make)

    return State


def part_of_a_plain_class(make: Make) -> type:
    inner: Any = plain(make)
    return make_dataclass("Outer", [("inner", list[inner | None])])


def model_in_a_dict_of_a_plain_class(make: Make) -> type:
    inner: Any = model(make)
    return make_dataclass("Outer", [("inner", dict[str, inner])])


def part_of_a_model(make: Make) -> type:
    inner: Any = plain(make)
    return pydantic.create_model("Outer", inner=list[inner])


ways = pytest.mark.parametrize(
    "way",
    [plain, struct, with_attrs, model, part_of_a_plain_class, model_in_a_dict_of_a_plain_class, part_of_a_model],
)


@ways
def test_what_a_field_defaults_to_is_told_wherever_the_field_is(way: Callable[[Make], type]) -> None:
    assert defaults_of([way(lambda: [1])]) == [("State", "parts", "[1]")]
    assert defaults_of([way(lambda: [2])]) == [("State", "parts", "[2]")]


@ways
def test_what_is_another_value_each_time_says_nothing(way: Callable[[Make], type]) -> None:
    assert defaults_of([way(uuid4)]) == []


def broken() -> object:
    raise ZeroDivisionError


@pytest.mark.parametrize("make", [uuid4, lambda: datetime.now(UTC), itertools.count().__next__, broken, object])
def test_a_value_that_is_random_or_fails_or_cannot_be_stored_has_no_text(make: Make) -> None:
    assert text_of(make) is None


def test_equal_values_have_the_same_text() -> None:
    assert text_of(lambda: {"c", "a", "b"}) == '["a","b","c"]'
    assert text_of(lambda: {"b": 1, "a": 2}) == '{"a":2,"b":1}'


@dataclass
class Tree:
    leaves: list[int] = field(default_factory=lambda: [7])
    trees: "list[Tree]" = field(default_factory=list)


class Bush(pydantic.BaseModel):
    bushes: "list[Bush]" = pydantic.Field(default_factory=list)


def test_a_class_that_contains_itself_is_told_once() -> None:
    assert defaults_of([Tree]) == [("Tree", "leaves", "[7]"), ("Tree", "trees", "[]")]
    assert defaults_of([Bush]) == [("Bush", "bushes", "[]")]
