"""Fingerprints of commands: what is the same command, what is another one, and what is not compared."""

from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from enum import Enum, IntEnum, IntFlag, StrEnum
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


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Priority(IntEnum):
    HIGH = 1


class Rights(IntFlag):
    READ = 1
    WRITE = 2


class Masked(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "***"


class OddlyShown(datetime):
    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        return f"{sep}{timespec}"


@dataclass(frozen=True)
class Kinds:
    """Values as a caller may pass them: what a web framework makes of them in one process, and code in another one."""

    color: Any = ""
    priority: Any = 0
    rights: Any = 0
    flag: Any = False
    number: Any = 0
    data: Any = b""
    at: Any = None
    declared: tuple[Color, Priority, Rights] | None = None


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
        (Decimal(f"{10**40}.11"), Decimal(f"{10**40}.12")),
        (Masked("a"), Masked("b")),
        (Kinds(color=Color.RED), Kinds(color=Color.BLUE)),
        (Kinds(at=time(12, tzinfo=UTC)), Kinds(at=time(12, tzinfo=timezone(timedelta(hours=1))))),
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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Kinds(color=Color.RED), Kinds(color="red")),
        (Kinds(priority=Priority.HIGH), Kinds(priority=1)),
        (Kinds(rights=Rights.READ | Rights.WRITE), Kinds(rights=3)),
        (Kinds(flag=True), Kinds(flag=1)),
        (Kinds(number=10**70), Kinds(number=Decimal("1E70"))),
        (Kinds(number=1e70), Kinds(number=int(1e70))),
        (Kinds(number=1e-7), Kinds(number=Decimal("1E-7"))),
        (Kinds(number=-0.0), Kinds(number=Decimal("-0.00"))),
        (Kinds(number=float("-inf")), Kinds(number=Decimal("-Infinity"))),
        (Kinds(number=Decimal("1." + "3" * 70)), Kinds(number=Decimal("1." + "3" * 70 + "0"))),
        (Kinds(data=b"a"), Kinds(data=bytearray(b"a"))),
        (Kinds(data=b"a"), Kinds(data=memoryview(b"a"))),
        (Kinds(at=time(12, tzinfo=UTC)), Kinds(at=time(13, tzinfo=timezone(timedelta(hours=1))))),
        (Kinds(at=NOON), Kinds(at=OddlyShown(2026, 1, 1, 12, tzinfo=UTC))),
        (Kinds(color="a"), Kinds(color=Masked("a"))),
    ],
    ids=str_of_class,
)
def test_values_of_other_types_that_are_equal_are_no_other_command(one: object, other: object) -> None:
    prints = CommandFingerprints()
    assert prints.of(one) is not None
    assert prints.of(one) == prints.of(other)


def test_the_decimal_context_of_the_caller_does_not_count() -> None:
    command = Kinds(number=Decimal("1234567.89"))
    expected = CommandFingerprints().of(command)
    with localcontext(prec=3):
        assert CommandFingerprints().of(command) == expected


def test_an_enum_in_a_field_of_any_type_is_not_compared_as_its_class_may_change_unnoticed() -> None:
    def command(member: str) -> str | None:
        functional: Any = Enum  # as mypy wants literals
        sizes = functional("Size", {member: 1})
        return CommandFingerprints().of(Kinds(color=sizes[member]))

    assert command("SMALL") is None


def test_a_class_whose_compared_fields_have_changed_since_is_not_compared() -> None:
    def command(*, is_compared: bool) -> str | None:
        inner = make_dataclass("Inner", [("n", int), ("note", str, field(default="", compare=is_compared))])
        return CommandFingerprints().of(make_dataclass("Outer", [("inner", inner)])(inner(1)))

    assert command(is_compared=True) is not None
    assert not CommandFingerprints().is_other_command(command(is_compared=True), command(is_compared=False))


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
