"""Which classes are immutable at any depth, and what that saves."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from functools import cached_property
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar
from unittest.mock import patch
from uuid import UUID

import attrs
import msgspec
import pytest
from msgspec import Meta, Struct
from pydantic import BaseModel

from eventree.domain.codec import Codec
from eventree.domain.immutability import cannot_change, is_immutable

T = TypeVar("T")
Euros = NewType("Euros", int)


class Size(Enum):
    SMALL = "small"


class Colour(Flag):
    RED = 1


@dataclass(frozen=True)
class Part:
    name: str


@dataclass
class Loose:
    name: str


class Point(NamedTuple):
    x: int
    part: Part


class Bag(NamedTuple):
    items: list[int]


class Loaded(Point):
    """A subclass of a NamedTuple has a `__dict__`."""


@dataclass(frozen=True)
class TwoBoxes:
    one: "Box[int]"
    other: "Box[list[int]]"


class Row(TypedDict):
    name: str


class Stone(Struct, frozen=True):
    weight: int


class Clay(Struct):
    weight: int


@dataclass(frozen=True)
class Tree:
    name: str
    children: tuple["Tree", ...] = ()


@dataclass(frozen=True)
class Hedge:
    children: tuple["Hedge", ...]
    marks: list[int]


@dataclass(frozen=True)
class Box(Generic[T]):
    content: T


@dataclass(frozen=True)
class Boxed:
    box: Box[int]


@dataclass(frozen=True)
class Listed:
    box: Box[list[int]]


def holding(annotation: Any) -> type:
    """Return a frozen dataclass with one field of a type."""

    class Holder:
        __annotations__ = {"part": annotation}

    return dataclass(frozen=True)(Holder)


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        bool,
        float,
        str,
        bytes,
        None,
        Decimal,
        UUID,
        date,
        datetime,
        time,
        timedelta,
        Size,
        Colour,
        Euros,
        Part,
        Point,
        Stone,
        Tree,
        Boxed,
        Literal["a", 1],
        Optional[Part],  # noqa: UP045
        int | None,
        tuple[int, ...],
        tuple[Part, str],
        frozenset[str],
        Annotated[int, Meta(gt=0)],
        tuple[frozenset[Point], ...],
    ],
    ids=repr,
)
def test_what_cannot_be_changed_at_any_depth_is_immutable(annotation: Any) -> None:
    assert is_immutable(holding(annotation))


@pytest.mark.parametrize(
    "annotation",
    [
        list[int],
        set[int],
        dict[str, int],
        Sequence[int],
        bytearray,
        object,
        Any,
        msgspec.Raw,
        Loose,
        Bag,
        Row,
        Loaded,
        TwoBoxes,
        Clay,
        Hedge,
        Listed,
        tuple[list[int], ...],
        tuple[int, Loose],
        Part | list[int],
        frozenset[Bag],
        Annotated[list[int], Meta(max_length=3)],
        OrderedDict,
        tuple,
    ],
    ids=repr,
)
def test_what_can_be_changed_at_some_depth_is_not(annotation: Any) -> None:
    assert not is_immutable(holding(annotation))


@dataclass(frozen=True)
class Checked:
    amount: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", [])


@dataclass(frozen=True)
class Cached:
    amount: int

    @cached_property
    def parts(self) -> list[int]:
        return [self.amount]


@dataclass(frozen=True)
class CachedToo(Cached):
    more: int


class Undecorated(Part):
    pass


class CheckedStone(Struct, frozen=True):
    weight: int

    def __post_init__(self) -> None:
        pass


@attrs.frozen
class Frozen:
    amount: int


@pytest.mark.parametrize("cls", [Checked, Cached, CachedToo, Undecorated, CheckedStone, Frozen, Loose, Clay])
def test_where_a_value_might_hold_more_than_its_fields_it_is_not(cls: type) -> None:
    assert not is_immutable(cls)


class Model(BaseModel, frozen=True):
    amount: int


@dataclass(frozen=True)
class Tags:
    values: list[str] = field(default_factory=list[str])


@pytest.mark.parametrize("value", [Part("a"), Stone(1), Tree("a", (Tree("b"),)), Size.SMALL], ids=repr)
def test_an_immutable_value_is_decoded_once(value: Any) -> None:
    codec: Codec[Any] = Codec([type(value)])
    form = codec.encode(value)
    with patch.object(codec, "decode", side_effect=AssertionError):
        assert codec.copies([form])[0] is form.value


@pytest.mark.parametrize("value", [Tags(["a"]), Loose("a"), Clay(1), Model(amount=1), Checked(1)], ids=repr)
def test_a_mutable_value_is_decoded_for_each_owner(value: Any) -> None:
    codec: Codec[Any] = Codec([type(value)])
    form = codec.encode(value)
    [copy] = codec.copies([form])
    assert copy == form.value == value
    assert copy is not form.value


class lazy:  # noqa: N801 - in the style of Django's and werkzeug's `cached_property`, which are not that of functools
    def __init__(self, function: Callable[[Any], object]) -> None:
        self.function = function

    def __set_name__(self, _: type, name: str) -> None:
        self.name = name

    def __get__(self, one: Any, _: type) -> object:
        return self if one is None else one.__dict__.setdefault(self.name, self.function(one))


@dataclass(frozen=True)
class Tagged:
    text: str

    @lazy
    def tags(self) -> list[str]:
        return self.text.split()


def test_a_class_with_any_cached_property_is_not_immutable() -> None:
    assert not is_immutable(Tagged)


# --- values


@dataclass(frozen=True)
class Holder:
    value: object = None


@dataclass(frozen=True)
class FrozenLoose:
    """Annotated as immutable, whatever is in it."""

    items: tuple[int, ...] = ()


class FrozenStruct(Struct, frozen=True):
    value: object = None


class LooseStruct(Struct):
    value: object = None


class Unfrozen(Holder):
    """A subclass without a decorator can be changed."""


@dataclass(frozen=True)
class FrozenCart(dict[str, int]):
    """Frozen but for what a dict holds."""

    name: str = ""


@dataclass(frozen=True)
class FrozenError(Exception):
    name: str = ""


class WithSlot:
    __slots__ = ("items",)
    items: list[int]


@dataclass(frozen=True)
class FrozenWithSlot(WithSlot):
    """A slot that is no field may hold anything."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class FrozenSlots:
    name: str = ""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class FrozenWeakSlots(FrozenSlots):
    other: object = None


class Evil:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


@dataclass(frozen=True)
class Sly:
    value: int

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


@dataclass(frozen=True)
class Nested:
    inner: "Nested | None" = None


def nested(depth: int) -> Nested:
    value = Nested()
    for _ in range(depth):
        value = Nested(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "a",
        Decimal(1),
        datetime(2024, 1, 1, tzinfo=UTC),
        UUID(int=1),
        Size.SMALL,
        Colour.RED,
        (1, ("a", frozenset({2}))),
        Point(1, Part("a")),
        Part("a"),
        FrozenLoose((1, 2)),
        Holder((Part("a"), FrozenStruct(Holder(1)))),
        nested(10_000),
        FrozenSlots("a"),
        FrozenWeakSlots("a", FrozenStruct(1)),
    ],
)
def test_a_value_of_immutable_parts_cannot_change(value: object) -> None:
    assert cannot_change(value)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        set(),
        bytearray(),
        object(),
        Loose("a"),
        LooseStruct(),
        Bag([1]),
        Loaded(1, Part("a")),
        ([],),
        Holder([]),
        Holder({"a": 1}),
        Holder((1, [2])),
        FrozenStruct([]),
        FrozenLoose([1, 2]),  # type: ignore[arg-type]
        Unfrozen(1),
        OrderedDict(),
        FrozenCart("a"),
        FrozenError("a"),
        FrozenWithSlot("a"),
        Holder(FrozenCart("a")),
        FrozenSlots([]),  # type: ignore[arg-type]
    ],
)
def test_a_value_with_a_part_that_can_be_changed_may_change(value: object) -> None:
    assert not cannot_change(value)


def test_what_was_put_into_a_frozen_value_past_its_guard_counts_too() -> None:
    value = Holder(1)
    object.__setattr__(value, "cache", [])
    assert not cannot_change(value)


def test_a_value_that_cannot_even_be_looked_at_may_change() -> None:
    assert not cannot_change(Evil())
    assert not cannot_change(Holder(Evil()))
    assert not cannot_change(Sly(1))
