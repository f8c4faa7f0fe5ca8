"""Every type that an event may have comes back as it was, in every kind of class.

`EVENTREE_EXAMPLES` says how many values of each type are tried.
"""

from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings, strategies as st
from typing_extensions import TypedDict  # before Python 3.12 pydantic does not take the one of typing

from eventree.domain.codec import Codec
from harness.effort import examples

EXAMPLES = examples()


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Part:
    name: str
    price: Decimal | None


class Circle(msgspec.Struct, frozen=True, tag=True):
    radius: int


class Square(msgspec.Struct, frozen=True, tag=True):
    side: int


class Point(NamedTuple):
    x: int
    y: float


class Address(TypedDict):
    street: str
    number: int


texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**80), 2**80)
floats = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
offsets = st.integers(-720, 720).map(lambda minutes: timezone(timedelta(minutes=minutes)))
zones = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]).map(ZoneInfo)
moments = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1))  # noqa: DTZ001
recent = st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2037, 1, 1))  # noqa: DTZ001
parts = st.builds(Part, name=texts, price=st.none() | decimals)


def in_a_zone(moment: datetime, zone: ZoneInfo, fold: int) -> datetime:
    """Return a time of day in a zone; also one that comes twice when clocks are set back."""
    return moment.replace(tzinfo=zone, fold=fold).astimezone(UTC).astimezone(zone)


TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "str": (str, texts),
    "int": (int, numbers),
    "float": (float, floats),
    "bool": (bool, st.booleans()),
    "Decimal": (Decimal, decimals),
    "datetime, aware": (datetime, st.builds(lambda at, tz: at.replace(tzinfo=tz), moments, st.just(UTC) | offsets)),
    "datetime, in a zone": (datetime, st.builds(in_a_zone, recent, zones, st.integers(0, 1))),
    "datetime, naive": (datetime, moments.map(lambda at: at.replace(fold=0))),
    "date": (date, st.dates()),
    "time": (time, st.times().map(lambda at: at.replace(fold=0))),
    "timedelta": (timedelta, st.timedeltas(timedelta(days=-999_999), timedelta(days=999_999))),
    "UUID": (UUID, st.uuids()),
    "bytes": (bytes, st.binary()),
    "Enum": (Color, st.sampled_from(Color)),
    "StrEnum": (Size, st.sampled_from(Size)),
    "IntEnum": (Level, st.sampled_from(Level)),
    "Literal": (Literal["a", "b"], st.sampled_from(["a", "b"])),
    "int | None": (int | None, st.none() | numbers),
    "Decimal | None": (Decimal | None, st.none() | decimals),
    "int | str | None": (int | str | None, st.none() | numbers | texts),
    "tuple[int, ...]": (tuple[int, ...], st.lists(numbers).map(tuple)),
    "tuple[int, str]": (tuple[int, str], st.tuples(numbers, texts)),
    "list[Decimal]": (list[Decimal], st.lists(decimals)),
    "set[UUID]": (set[UUID], st.sets(st.uuids())),
    "frozenset[str]": (frozenset[str], st.frozensets(texts)),
    "dict[str, int]": (dict[str, int], st.dictionaries(texts, numbers)),
    "dict[UUID, Decimal]": (dict[UUID, Decimal], st.dictionaries(st.uuids(), decimals)),
    "dict[Enum, list[int]]": (dict[Color, list[int]], st.dictionaries(st.sampled_from(Color), st.lists(numbers))),
    "NamedTuple": (Point, st.builds(Point, numbers, floats)),
    "TypedDict": (Address, st.fixed_dictionaries({"street": texts, "number": numbers})),
    "a dataclass": (Part, parts),
    "tuple of dataclasses": (tuple[Part, ...], st.lists(parts).map(tuple)),
    "dict of dataclasses | None": (dict[str, Part] | None, st.none() | st.dictionaries(texts, parts)),
}
TAGGED = {
    "tagged Structs": (
        Circle | Square,
        st.builds(Circle, st.integers(0, 9)) | st.builds(Square, st.integers(0, 9)),
    ),
}


def as_dataclass(kind: Any) -> type[Any]:
    return make_dataclass("Happened", [("value", kind)], frozen=True)


def as_slotted_dataclass(kind: Any) -> type[Any]:
    return make_dataclass("Happened", [("value", kind)], frozen=True, slots=True)


def as_attrs(kind: Any) -> type[Any]:
    return attrs.make_class("Happened", {"value": attrs.field(type=kind)}, frozen=True)


def as_struct(kind: Any) -> type[Any]:
    return msgspec.defstruct("Happened", [("value", kind)], frozen=True)


def as_model(kind: Any) -> type[Any]:
    return pydantic.create_model(
        "Happened",
        __config__=pydantic.ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64"),
        value=kind,
    )


CLASSES: dict[str, Callable[[Any], type[Any]]] = {
    "dataclass": as_dataclass,
    "slotted dataclass": as_slotted_dataclass,
    "attrs": as_attrs,
    "Struct": as_struct,
    "pydantic": as_model,
}


def made_of(cls: type[Any], value: Any) -> Any:
    return cls(value=value)


@pytest.mark.random
@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("name", [*TYPES, *TAGGED])
def test_what_is_encoded_comes_back_as_it_was(name: str, cls: str) -> None:
    if cls == "pydantic" and name in TAGGED:
        pytest.skip("pydantic does not know the Structs of msgspec")
    kind, values = {**TYPES, **TAGGED}[name]
    codec: Codec[Any] = Codec([CLASSES[cls](kind)])
    [made] = codec._forms

    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    @given(values)
    def there_and_back(value: Any) -> None:
        event = made_of(made, value)
        form = codec.encode(event)
        back = codec.decode(form.type, form.version, form.payload)
        assert type(back) is made
        if isinstance(value, datetime) and value.tzinfo is not None:
            assert back.value.isoformat() == value.isoformat()
        else:
            assert back == event
            assert type(back.value) is type(value)

    there_and_back()


def test_a_model_inside_of_another_class_comes_back() -> None:
    inner = as_model(tuple[Decimal, ...])
    outer = make_dataclass("Outer", [("parts", list[inner]), ("first", inner | None)], frozen=True)  # type: ignore[valid-type]
    codec: Codec[Any] = Codec([outer])
    event = outer([inner(value=(Decimal("1.50"),)), inner(value=())], None)
    form = codec.encode(event)
    assert form.payload == '{"parts":[{"value":["1.50"]},{"value":[]}],"first":null}'
    assert codec.decode(form.type, form.version, form.payload) == event
