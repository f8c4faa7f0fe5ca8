"""Names that stay, names of the past, and payloads of older versions."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from eventree import AggregateType, InvalidArgument, Ok, event_type
from eventree.domain.codec import Codec
from eventree.errors import EventNotDecodable, EventTooNew, UnknownEventType


def with_currency(payload: dict[str, Any]) -> dict[str, Any]:
    return payload | {"currency": "EUR"}


def with_cents(payload: dict[str, Any]) -> dict[str, Any]:
    return {"cents": int(Decimal(payload["amount"]) * 100), "currency": payload["currency"]}


@event_type(aliases=["Deposited", "Paid in"], upcasters={1: with_currency, 2: with_cents})
@dataclass(frozen=True, slots=True)
class CashDeposited:
    cents: int
    currency: str


@event_type(name="Closed")
@dataclass(frozen=True)
class AccountClosed:
    reason: str


@dataclass(frozen=True)
class Opened:
    owner: str


class Late(AccountClosed):
    """It has a base class with a name of its own."""


codec: Codec[object] = Codec([CashDeposited, AccountClosed, Opened])


def test_an_event_is_stored_under_its_name_at_its_newest_version() -> None:
    form = codec.encode(CashDeposited(1_250, "EUR"))
    assert (form.type, form.version, form.payload) == ("CashDeposited", 3, '{"cents":1250,"currency":"EUR"}')
    assert codec.encode(AccountClosed("moved")).type == "Closed"
    assert codec.names == ("CashDeposited", "Closed", "Opened")


@pytest.mark.parametrize("name", ["CashDeposited", "Deposited", "Paid in"])
@pytest.mark.parametrize(
    ("version", "payload"),
    [
        (1, '{"amount":"12.50"}'),
        (2, '{"amount":"12.50","currency":"EUR"}'),
        (3, '{"cents":1250,"currency":"EUR"}'),
    ],
)
def test_each_version_under_each_name_is_read_as_the_newest(name: str, version: int, payload: str) -> None:
    assert codec.decode(name, version, payload) == CashDeposited(1_250, "EUR")


def test_the_name_of_the_class_is_not_known_where_another_one_is_pinned() -> None:
    assert codec.decode("Closed", 1, '{"reason":"moved"}') == AccountClosed("moved")
    with pytest.raises(UnknownEventType, match=r"AccountClosed version 1.*CashDeposited, Closed, Opened.*alias"):
        codec.decode("AccountClosed", 1, '{"reason":"moved"}')


def test_a_version_of_the_future_is_told_apart() -> None:
    with pytest.raises(EventTooNew, match="deploy") as refused:
        codec.decode("Deposited", 4, "{}")
    error = refused.value
    assert (error.event_type, error.event_version, error.newest) == ("Deposited", 4, 3)
    with pytest.raises(EventTooNew):
        codec.decode("Opened", 2, '{"owner":"Ada"}')


@pytest.mark.parametrize(
    ("version", "payload", "reason"),
    [
        (0, "{}", "versions start at 1"),
        (1, "{", "its payload: DecodeError"),
        (1, "7", "its upcaster from version 1: TypeError"),
        (1, "{}", "its upcaster from version 2: KeyError: 'amount'"),
        (2, '{"amount":"NaN","currency":"EUR"}', "its upcaster from version 2: ValueError"),
        (2, '{"amount":"1","currency":7}', r"the result of its upcasters: ValidationError: .*\$\.currency"),
        (3, '{"amount":"1"}', "cents"),
    ],
)
def test_what_cannot_be_made_newer_says_where(version: int, payload: str, reason: str) -> None:
    with pytest.raises(EventNotDecodable, match=reason) as refused:
        codec.decode("CashDeposited", version, payload)
    assert type(refused.value) is EventNotDecodable
    assert refused.value.event_version == version


def test_the_error_has_the_name_that_is_stored_and_not_the_one_of_today() -> None:
    with pytest.raises(EventNotDecodable) as refused:
        codec.decode("Paid in", 3, '{"amount":"1"}')
    assert refused.value.event_type == "Paid in"


def test_an_upcaster_gets_whatever_json_the_payload_is() -> None:
    at = event_type(name="at", upcasters={1: lambda payload: [*payload, 0]})  # type: ignore[dict-item,return-value]
    kind: type[Any] = at(msgspec.defstruct("Point", [("x", int), ("y", int)], array_like=True))
    assert Codec([kind]).decode("at", 1, "[5]") == kind(5, 0)


def test_an_upcaster_that_forgets_to_return_is_found_out() -> None:
    def forgetful(payload: dict[str, Any]) -> dict[str, Any]:  # type: ignore[return]
        payload["currency"] = "EUR"

    @event_type(upcasters={1: forgetful})
    @dataclass
    class Paid:
        currency: str

    with pytest.raises(EventNotDecodable, match=r"the result of its upcasters: ValidationError: .*null"):
        Codec([Paid]).decode("Paid", 1, "{}")


@pytest.mark.parametrize("made", [math.nan, -math.inf, Decimal("NaN"), Decimal("Infinity")])
def test_what_is_not_finite_is_nothing_that_an_upcaster_may_make(made: float | Decimal) -> None:
    @event_type(upcasters={1: lambda payload: payload | {"rates": [1, made]}})
    @dataclass
    class Rated:
        rates: list[float | Decimal | None]

    with pytest.raises(
        EventNotDecodable, match=r"of its upcasters: ValueError: \['rates'\]\[1\]: it is not a finite number"
    ):
        Codec([Rated]).decode("Rated", 1, "{}")


def test_the_decorator_leaves_the_class_as_it_is() -> None:
    assert CashDeposited(1, "EUR") == CashDeposited(1, "EUR")
    assert not hasattr(CashDeposited(1, "EUR"), "__dict__")


def test_what_is_said_of_a_class_is_not_meant_for_its_subclasses() -> None:
    assert Codec([AccountClosed, Late]).names == ("Closed", "Late")


class Lifecycle(Enum):
    OPEN = "open"


def classes() -> Mapping[str, Callable[[], type]]:
    return {
        "slots below": lambda: event_type(name="n")(dataclass(slots=True)(type("A", (), {}))),
        "slots above": lambda: dataclass(slots=True)(event_type(name="n")(type("A", (), {}))),
        "attrs": lambda: attrs.define(event_type(name="n")(type("A", (), {}))),
        "Struct": lambda: event_type(name="n")(msgspec.defstruct("A", ["x"])),
        "enum": lambda: event_type(name="n")(Lifecycle),
        "pydantic": lambda: event_type(name="n")(pydantic.create_model("A", x=int)),
    }


@pytest.mark.parametrize("kind", classes())
def test_every_kind_of_class_can_have_a_name(kind: str) -> None:
    assert Codec([classes()[kind]()]).names == ("n",)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"name": "a" * 256}, "name"),
        ({"aliases": "Deposited"}, "aliases"),
        ({"aliases": "Paid"}, "aliases"),
        ({"aliases": [""]}, "aliases"),
        ({"aliases": ["a", "a"]}, "aliases"),
        ({"aliases": 7}, "aliases"),
        ({"upcasters": [with_currency]}, "upcasters"),
        ({"upcasters": 7}, "upcasters"),
        ({"upcasters": {0: with_currency}}, "upcasters"),
        ({"upcasters": {2: with_currency}}, "upcasters"),
        ({"upcasters": {1: with_currency, 3: with_cents}}, "upcasters"),
        ({"upcasters": {"1": with_currency}}, "upcasters"),
        ({"upcasters": {1: None}}, "upcasters"),
    ],
)
def test_what_makes_no_sense_is_refused_at_the_class(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        event_type(**arguments)
    assert refused.value.name == name


def test_a_gap_between_versions_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"no function for version 2, only for \[1, 3\]"):
        event_type(upcasters={1: with_currency, 3: with_cents})


def test_an_upcaster_that_has_to_be_awaited_is_refused() -> None:
    async def slow(payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    with pytest.raises(InvalidArgument, match="plain functions"):
        event_type(upcasters={1: slow})  # type: ignore[dict-item]


def test_a_class_whose_name_no_store_can_keep_needs_another_one() -> None:
    kind: type[Any] = dataclass(type("A" * 256, (), {}))
    with pytest.raises(InvalidArgument, match="at most 255 bytes"):
        event_type(aliases=["B"])(kind)
    assert Codec([event_type(name="A")(kind)]).names == ("A",)


def test_a_name_is_no_alias_of_itself() -> None:
    with pytest.raises(InvalidArgument, match="is the current name"):
        event_type(aliases=["Same"])(type("Same", (), {}))


def test_names_that_clash_are_refused_when_the_aggregate_type_is_built() -> None:
    @event_type(aliases=["Opened"])
    @dataclass
    class Begun:
        owner: str

    @event_type(name="Opened")
    @dataclass
    class Unlocked:
        door: str

    for events, reason in (
        ([Opened, Begun], "Opened is a name or alias of two classes"),
        ([Begun, Opened], "Opened is a name or alias of two classes"),
        ([Opened, Unlocked], "two classes are called Opened"),
        ([Opened, Opened], "two classes are called Opened"),
    ):
        with pytest.raises(InvalidArgument, match=reason):
            AggregateType[int, int, Any, int](
                "x", handle=lambda _, __: Ok([]), apply=lambda state, _: state, empty_state=int, events=events
            )
