"""The fingerprint of classes changes with whatever would make the same JSON text mean something else, and only then."""

import collections
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
import pydantic
import pytest

from eventree.domain.codec import Codec


def fingerprint(kind: Any) -> str:
    return Codec([kind]).fingerprint


def having(kind: Any, **options: Any) -> type:
    return make_dataclass("State", [("value", kind, field(**options))])


def model(**fields: Any) -> Any:
    return pydantic.create_model("Model", **fields)


def enum(**members: Any) -> type:
    return Enum("Color", members)  # type: ignore[return-value]


def positional(*names: str) -> type:
    return msgspec.defstruct("Point", [(name, int) for name in names], array_like=True)


def pair(*names: str) -> Any:
    return collections.namedtuple("Point", names)  # noqa: PYI024 - its fields have no types


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (having(int), having(str)),
        (having(int, default=1), having(int, default=2)),
        (having(dict[str, int]), having(dict[Decimal, int])),
        (having(having(int)), having(having(str))),
        (having(list[having(int)]), having(list[having(str)])),  # type: ignore[misc]
        (having(enum(RED="r")), having(enum(RED="r", BLUE="b"))),
        (having(enum(RED="r", BLUE="b")), having(enum(RED="b", BLUE="r"))),
        (having(pair("x", "y")), having(pair("y", "x"))),
        (having(positional("x", "y")), having(positional("y", "x"))),
        (pair("x", "y"), pair("y", "x")),
        (positional("x", "y"), positional("y", "x")),
        (msgspec.defstruct("A", ["x"], tag="a"), msgspec.defstruct("A", ["x"], tag="b")),
        (msgspec.defstruct("A", ["x", "y"]), msgspec.defstruct("A", ["x", "y"], rename={"x": "y", "y": "x"})),
        (model(value=(int, ...)), model(value=(str, ...))),
        (model(value=(int, 1)), model(value=(int, 2))),
        (model(value=(pair("x", "y"), ...)), model(value=(pair("y", "x"), ...))),
        (having(model(value=(int, ...))), having(model(value=(str, ...)))),
        (having(list[model(value=(int, ...))]), having(list[model(value=(str, ...))])),  # type: ignore[misc]
    ],
)
def test_what_would_be_read_as_something_else_changes_it(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)
    assert len(fingerprint(one)) == 16


Many: Any = enum(**{f"M{number}": number for number in range(500)})  # in a set their order comes by chance


def documented(text: str) -> type:
    return dataclass(type("State", (), {"__annotations__": {"value": int}, "__doc__": text}))


def moved(module: str) -> type:
    return having(dataclass(type("Inner", (), {"__annotations__": {"value": int}, "__module__": module})))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (documented("Before."), documented("After.")),
        (moved("before"), moved("after")),
        (model(__doc__="Before.", value=(int, 1)), model(__doc__="After.", value=(int, 1))),
        (having(frozenset[int], default=frozenset([0, 8])), having(frozenset[int], default=frozenset([8, 0]))),
        (having(frozenset[Many], default=frozenset(Many)), having(frozenset[Many], default=frozenset([*Many][::-1]))),
        (model(value=(frozenset[Many], frozenset(Many))), model(value=(frozenset[Many], frozenset([*Many][::-1])))),
        (having(Any, default=object()), having(Any, default=object())),
    ],
)
def test_what_is_there_for_people_or_comes_by_chance_does_not_change_it(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(other)


class Tree(msgspec.Struct):
    value: int
    parts: "list[Tree]"


class Other(msgspec.Struct, rename={"value": "parts", "parts": "value"}):
    value: int
    parts: list[Tree]


def test_a_class_that_has_itself_as_a_part_has_one_too() -> None:
    assert fingerprint(Tree) == fingerprint(Tree)
    assert Codec([Tree, Other]).fingerprint == Codec([Other, Tree]).fingerprint
    assert len({fingerprint(Tree), fingerprint(Other), Codec([Tree, Other]).fingerprint}) == 3


@pytest.mark.parametrize("make", [lambda: 1, list])
def test_a_default_that_is_made_does_not_change_it_by_what_it_makes(make: Callable[[], object]) -> None:
    assert fingerprint(having(Any, default_factory=make)) == fingerprint(having(Any, default_factory=make))
