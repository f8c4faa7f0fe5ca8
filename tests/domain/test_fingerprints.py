"""Fingerprints of commands: what is the same command, what is another one, and what is not compared."""

from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import attrs
import msgspec
import pydantic
import pytest

from eventree.domain.fingerprints import CommandFingerprints


class Currency(Enum):
    EUR = "eur"
    USD = "usd"


@dataclass(frozen=True)
class Line:
    sku: str
    amount: Decimal


@dataclass(frozen=True)
class Order:
    lines: list[Line]
    tags: frozenset[str] = frozenset()
    notes: dict[str, str] = field(default_factory=dict[str, str])
    currency: Currency = Currency.EUR
    at: datetime | None = None


@dataclass(frozen=True)
class Receive:
    n: int


@dataclass(frozen=True)
class Reserve:
    n: int


@dataclass(frozen=True)
class Stamped:
    n: int
    id: UUID = field(default_factory=uuid4)
    note: str = field(default="", compare=False)


@attrs.frozen
class Attrs:
    n: int
    id: UUID = attrs.field(factory=uuid4)


class Struct(msgspec.Struct, frozen=True):
    n: int
    id: UUID = msgspec.field(default_factory=uuid4)


class Model(pydantic.BaseModel):
    amount: Decimal
    id: UUID = pydantic.Field(default_factory=uuid4)


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def str_of_class(value: object) -> str:
    """Return an id for a test that is the same in each process."""
    return type(value).__name__


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Receive(1), Receive(1)),
        (Order([Line("a", Decimal("1.0"))]), Order([Line("a", Decimal("1.00"))])),
        (Order([], frozenset({"x", "y", "z"})), Order([], frozenset({"z", "y", "x"}))),
        (Order([], notes={"a": "1", "b": "2"}), Order([], notes={"b": "2", "a": "1"})),
        (Order([], at=NOON), Order([], at=NOON.astimezone(timezone(timedelta(hours=3))))),
        (Stamped(1), Stamped(1, note="by hand")),
        (Attrs(1), Attrs(1)),
        (Struct(1), Struct(1)),
        (Model(amount=Decimal("1.0")), Model(amount=Decimal(1))),
        (1, 1.0),
        (Decimal("1E+2"), 100),
        (Decimal("1E+100000"), Decimal("10E+99999")),
        ("text", "text"),
    ],
    ids=str_of_class,
)
def test_equal_commands_are_the_same_command(one: object, other: object) -> None:
    prints = CommandFingerprints()
    assert prints.of(one) is not None
    assert prints.of(one) == prints.of(other)
    assert not prints.is_other_command(prints.of(one), prints.of(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Receive(1), Receive(2)),
        (Receive(1), Reserve(1)),
        (Order([]), Order([Line("a", Decimal(1))])),
        (Order([Line("a", Decimal(1))]), Order([Line("a", Decimal("1.01"))])),
        (Order([Line("a", Decimal(1)), Line("b", Decimal(1))]), Order([Line("b", Decimal(1)), Line("a", Decimal(1))])),
        (Order([]), Order([], currency=Currency.USD)),
        (Order([]), Order([], at=NOON)),
        (Order([], at=NOON), Order([], at=NOON + timedelta(microseconds=1))),
        (Stamped(1), Stamped(2)),
        (Attrs(1), Attrs(2)),
        (Struct(1), Struct(2)),
        (Model(amount=Decimal(1)), Model(amount=Decimal(2))),
        (Receive(1), 1),
        (1, 2),
        (True, False),
        (0.1, 0.2),
        ("text", "texts"),
        (b"1", b"2"),
    ],
    ids=str_of_class,
)
def test_different_commands_are_told_from_each_other(one: object, other: object) -> None:
    prints = CommandFingerprints()
    mine, others = prints.of(one), prints.of(other)
    assert mine is not None
    assert others is not None
    assert prints.is_other_command(mine, others)
    assert prints.is_other_command(others, mine)
    assert max(len(mine), len(others)) <= 255


class Odd:
    @property
    def n(self) -> int:
        raise ZeroDivisionError


@dataclass
class Holder:
    content: Any


@dataclass
class Endless:
    next: "Endless | None" = None


def endless() -> Endless:
    loop = Endless()
    loop.next = loop
    return loop


@pytest.mark.parametrize("make", [lambda: print, object, Odd, lambda: Holder(Receive(1)), endless])
def test_a_command_that_cannot_be_encoded_is_not_compared(make: Callable[[], object]) -> None:
    prints = CommandFingerprints()
    assert prints.of(make()) is None
    assert not prints.is_other_command(None, prints.of(Receive(1)))
    assert not prints.is_other_command(prints.of(Receive(1)), None)


def test_a_class_that_has_changed_since_is_not_compared() -> None:
    old, new = make_dataclass("Move", [("to", int)]), make_dataclass("Move", [("to", int), ("speed", int)])
    prints = CommandFingerprints()
    recorded = CommandFingerprints().of(old(1))
    assert recorded is not None
    assert not prints.is_other_command(recorded, prints.of(new(2, 3)))


def test_a_nested_class_that_has_changed_since_is_not_compared() -> None:
    def command(*fields: Any) -> object:
        inner = make_dataclass("Inner", fields)
        return make_dataclass("Outer", [("inner", inner)])(inner(1))

    recorded = CommandFingerprints().of(command(("a", int)))
    assert not CommandFingerprints().is_other_command(recorded, CommandFingerprints().of(command(("b", int))))


def test_a_class_that_was_renamed_since_is_not_compared() -> None:
    recorded = CommandFingerprints().of(Receive(1))
    after = CommandFingerprints([Reserve])
    assert not after.is_other_command(recorded, after.of(Reserve(1)))


def test_a_command_of_another_declared_class_is_another_command_also_after_a_restart() -> None:
    recorded = CommandFingerprints().of(Receive(1))
    after = CommandFingerprints([Receive, Reserve])
    assert after.is_other_command(recorded, after.of(Reserve(1)))


def test_a_fingerprint_of_the_caller_is_compared_only_with_another_one() -> None:
    prints = CommandFingerprints()
    one, same, other = (prints.of_caller(text) for text in ("request 1", b"request 1", "request 2"))
    assert one == same
    assert prints.is_other_command(one, other)
    assert not prints.is_other_command(one, same)
    assert not prints.is_other_command(one, prints.of(Receive(1)))
    assert not prints.is_other_command(prints.of(Receive(1)), one)
    assert len(prints.of_caller("x" * 100_000)) <= 255


@pytest.mark.parametrize("error", [BaseException("odd"), GeneratorExit(), BaseExceptionGroup("g", [BaseException()])])
def test_a_command_with_a_part_that_raises_what_is_no_wish_to_leave_has_none(error: BaseException) -> None:
    class Part:
        @property
        def value(self) -> int:
            raise error

    @dataclass
    class Order:
        value: int

    order = Order(1)
    with_property: Any = Order
    with_property.value = Part.value
    assert CommandFingerprints().of(order) is None
