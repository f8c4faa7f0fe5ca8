"""Events and states come back from their stored form equal, or are refused before they are stored."""

import math
import re
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, Never, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, strategies as st

from eventree import InvalidArgument
from eventree.domain.codec import Codec
from eventree.domain.limits import MAX_PAYLOAD_BYTES
from eventree.errors import EventNotDecodable, EventNotEncodable


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Part:
    name: str
    price: Decimal | None


@dataclass(frozen=True)
class Everything:
    text: str
    number: int
    real: float
    money: Decimal
    flag: bool
    color: Color
    at: datetime
    day: date
    span: timedelta
    key: UUID
    raw: bytes
    parts: tuple[Part, ...]
    names: dict[str, int]
    maybe: int | None


@dataclass(frozen=True)
class Number:
    value: float | None


@dataclass(frozen=True)
class Money:
    value: Decimal


@dataclass(frozen=True)
class Text:
    value: str


@dataclass(frozen=True)
class Tags:
    values: list[str] = field(hash=False)


class Word(str):
    __slots__ = ()


class Size(StrEnum):
    SMALL = "small"


class Level(IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Ranked:
    level: Level


@dataclass(frozen=True)
class Daily:
    at: time


class Address(TypedDict):
    street: str


@dataclass
class Collected:
    words: set[str] = field(default_factory=set)
    letters: frozenset[str] = frozenset()
    address: Address | None = None
    counts: dict[str, int] = field(default_factory=dict)


class Moment(datetime):
    pass


@dataclass(frozen=True)
class Longer(Part):
    weight: int


@dataclass(frozen=True)
class Parts:
    parts: tuple[Part, ...]
    by_name: dict[str, Part]


@dataclass(frozen=True)
class Hidden:
    secret: str = field(compare=False)


@dataclass(frozen=True, eq=False)
class Incomparable:
    value: str


@dataclass(frozen=True)
class Meeting:
    at: datetime


class Picky(msgspec.Struct, frozen=True):
    value: int


class Open(pydantic.BaseModel, extra="allow"):
    pass


class Refused(Exception):
    pass


@dataclass(frozen=True)
class Checked:
    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise Refused


SUMMER = timezone(timedelta(hours=2))

texts = st.text(st.characters(exclude_categories=["Cs"]))
offsets = st.integers(-720, 720).map(lambda minutes: timezone(timedelta(minutes=minutes)))
amounts = st.decimals(allow_nan=False, allow_infinity=False)
everything = st.builds(
    Everything,
    text=texts,
    number=st.integers(-(2**80), 2**80),
    real=st.floats(allow_nan=False, allow_infinity=False),
    money=amounts,
    flag=st.booleans(),
    color=st.sampled_from(Color),
    at=st.datetimes(timezones=st.just(UTC) | offsets, min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),  # noqa: DTZ001
    day=st.dates(),
    span=st.timedeltas(timedelta(days=-999_999), timedelta(days=999_999)),
    key=st.uuids(),
    raw=st.binary(),
    parts=st.lists(
        st.builds(Part, name=texts, price=st.none() | st.decimals(allow_nan=False, allow_infinity=False))
    ).map(tuple),
    names=st.dictionaries(texts, st.integers()),
    maybe=st.none() | st.integers(),
)


def there_and_back(codec: Codec[object], value: object) -> object:
    form = codec.encode(value)
    return codec.decode(form.type, form.version, form.payload)


@given(everything)
def test_whatever_is_encoded_comes_back_equal(value: Everything) -> None:
    codec: Codec[object] = Codec([Everything])
    assert there_and_back(codec, value) == value


def test_a_class_is_stored_under_its_plain_name_at_version_one() -> None:
    form = Codec([Text]).encode(Text("hello"))
    assert (form.type, form.version, form.payload) == ("Text", 1, '{"value":"hello"}')


def test_structs_and_enums_are_values_too() -> None:
    codec: Codec[object] = Codec([Picky, Color])
    assert there_and_back(codec, Picky(3)) == Picky(3)
    assert there_and_back(codec, Color.BLUE) is Color.BLUE
    assert codec.names == ("Picky", "Color")


@dataclass(frozen=True)
class Alarms:
    at: frozenset[datetime] = frozenset()
    meetings: frozenset[Meeting] = frozenset()
    nights: frozenset[frozenset[datetime]] = frozenset()
    others: frozenset[Incomparable] = frozenset()


@dataclass
class Diary:
    days: list[dict[datetime, tuple[int, time]]]


class Schedule(pydantic.BaseModel):
    at: datetime


LATE = datetime(2026, 10, 25, 2, 30, fold=1)  # noqa: DTZ001 - the second 2:30 of a night on which clocks are set back


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        (Number(math.nan), "value", "not a finite number"),
        (Number(math.inf), "value", "not a finite number"),
        (Number("1"), "value", "Expected `float | null`, got `str`"),  # type: ignore[arg-type]
        (Number(Decimal(1)), "value", "got `str`"),  # type: ignore[arg-type]
        (Money(Decimal("NaN")), "value", "not a finite number"),
        (Money(Decimal("-Infinity")), "value", "not a finite number"),
        (Money(Decimal("sNaN")), "value", "not a finite number"),
        (Money(0.1), "value", "float comes back as Decimal"),  # type: ignore[arg-type]
        (Money(1), "value", "int comes back as Decimal"),  # type: ignore[arg-type]
        (Text("\ud800"), "value", "surrogates"),
        (Text(7), "value", "Expected `str`, got `int`"),  # type: ignore[arg-type]
        (Text(object()), "value", "object cannot be stored as JSON"),  # type: ignore[arg-type]
        (Text(Word("x")), "value", "Word cannot be stored as JSON"),
        (Text(Size.SMALL), "value", "Size comes back as str"),
        (Tags(("a", "b")), "values", "tuple comes back as list"),  # type: ignore[arg-type]
        (Tags(["a", Word("b")]), "values[1]", "Word cannot be stored as JSON"),
        (Tags(["a", Size.SMALL]), "values[1]", "Size comes back as str"),
        (Tags(["a", "\ud800"]), "values[1]", "surrogates"),
        (Parts((Part("a", None), Longer("b", None, 7)), {}), "parts[1]", "Longer comes back as Part"),
        (Parts((Part("a", Decimal("NaN")),), {}), "parts[0].price", "not a finite number"),
        (Number([math.inf, 1, math.inf]), "value[0]", "not a finite number"),  # type: ignore[arg-type]
        (Parts((), {"x: y": Part("a", Decimal("Infinity"))}), "by_name['x: y'].price", "not a finite number"),
        (Parts((), {"x": Part("a", 1)}), "by_name['x'].price", "int comes back as Decimal"),  # type: ignore[arg-type]
        (Parts((), defaultdict(lambda: Part("", None))), "by_name", "defaultdict comes back as dict"),
        (Hidden(secret=Size.SMALL), "secret", "Size comes back as str"),
        (Incomparable(Size.SMALL), "value", "Size comes back as str"),
        (Meeting(datetime(1880, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam"))), "at", "offset"),
        (Picky(Level.LOW), "value", "Level comes back as int"),
        (Open.model_validate({"note": Decimal(1)}), "model_extra['note']", "Decimal comes back as str"),
        (Collected(words={"\ud800"}), "words[0]", "surrogates"),
        (Collected(letters=frozenset({"\ud800"})), "letters[0]", "surrogates"),
        (Parts((Part("a", None), Part("\ud800", None)), {}), "parts[1].name", "surrogates"),
        (Collected(words={Size.SMALL}), "words[0]", "Size comes back as str"),
        (Collected(counts={"a": 1, Size.SMALL: 2}), "counts[<Size.SMALL: 'small'>]", "Size comes back as str"),
        (Collected(address={"street": "a", "number": 1}), "address", "not all of it comes back"),  # type: ignore[arg-type]
        (Daily(time(1, 2, tzinfo=ZoneInfo("Europe/Berlin"))), "at", "offset"),
        (Ranked(1), "level", "int comes back as Level"),  # type: ignore[arg-type]
        (Number(Level.LOW), "value", "Level comes back as float"),
        (Meeting(Moment(2026, 1, 1, tzinfo=UTC)), "at", "Moment cannot be stored as JSON"),
        (Meeting(LATE), "at", "its fold is lost"),
        (Daily(LATE.time()), "at", "its fold is lost"),
        (Alarms(at=frozenset({LATE})), "at[0]", "its fold is lost"),
        (Alarms(meetings=frozenset({Meeting(LATE)})), "meetings[0].at", "its fold is lost"),
        (Alarms(nights=frozenset({frozenset({LATE})})), "nights[0][0]", "its fold is lost"),
        (Diary([{LATE: (1, LATE.time())}]), f"days[0][{LATE!r}]", "its fold is lost"),
        (
            Diary([{LATE.replace(fold=0): (1, LATE.time())}]),
            f"days[0][{LATE.replace(fold=0)!r}][1]",
            "its fold is lost",
        ),
        (Schedule(at=LATE), "at", "its fold is lost"),
    ],
    ids=lambda each: re.sub(" at 0x[0-9a-f]+", "", str(each)),
)
def test_what_would_not_come_back_as_it_is_is_refused_and_the_field_named(
    value: object, field: str, reason: str
) -> None:
    plain = [Number, Money, Text, Tags, Parts, Hidden, Incomparable, Meeting, Daily, Ranked, Collected, Picky, Open]
    codec: Codec[object] = Codec([*plain, Alarms, Diary, Schedule])
    with pytest.raises(EventNotEncodable, match=reason) as refused:
        codec.encode(value)
    assert refused.value.event_type == type(value).__name__
    assert refused.value.field == field
    assert f"{field}: {refused.value.reason}" in str(refused.value)


def test_a_text_that_looks_like_a_number_which_is_none_hides_nothing() -> None:
    codec: Codec[object] = Codec([Tags])
    assert there_and_back(codec, Tags(["Infinity", "NaN"])) == Tags(["Infinity", "NaN"])
    with pytest.raises(EventNotEncodable, match="Size comes back as str"):
        codec.encode(Tags(["Infinity", Size.SMALL]))


def test_an_int_may_stand_where_a_float_is_declared() -> None:
    assert there_and_back(Codec([Number]), Number(2)) == Number(2.0)
    with pytest.raises(EventNotEncodable):
        Codec([Number]).encode(Number(2**60 + 1))


BERLIN = ZoneInfo("Europe/Berlin")
TWICE = frozenset(datetime(2026, 10, 25, 2, minute, tzinfo=BERLIN) for minute in range(20))
AGAIN = frozenset(each.replace(fold=1) for each in TWICE)
NEVER = frozenset(datetime(2026, 3, 29, 2, minute, tzinfo=BERLIN) for minute in range(20))


@pytest.mark.parametrize(
    "alarms",
    [
        Alarms(at=TWICE),
        Alarms(at=AGAIN),
        Alarms(at=NEVER),
        Alarms(meetings=frozenset(Meeting(each) for each in TWICE)),
        Alarms(nights=frozenset(frozenset({one, other}) for one in AGAIN for other in AGAIN)),
        Alarms(others=frozenset({Incomparable("a"), Incomparable("b")})),
    ],
)
def test_a_set_of_what_equals_nothing_else_comes_back(alarms: Alarms) -> None:
    codec = Codec([Alarms])
    form = codec.encode(alarms)
    back = codec.decode(form.type, form.version, form.payload)
    assert sorted(codec.encode(back).payload) == sorted(form.payload)


def test_a_set_of_what_equals_nothing_else_is_compared_part_by_part() -> None:
    wrong = Alarms(others=frozenset({Incomparable("a"), Incomparable(Size.SMALL)}))
    with pytest.raises(EventNotEncodable, match="Size comes back as str") as refused:
        Codec([Alarms]).encode(wrong)
    assert refused.value.field == "others[1].value"


def test_a_class_that_does_not_compare_is_compared_by_its_fields() -> None:
    back = there_and_back(Codec([Incomparable]), Incomparable("x"))
    assert isinstance(back, Incomparable)
    assert back.value == "x"


def test_what_cannot_be_encoded_at_any_depth_is_refused() -> None:
    ring: list[object] = []
    ring.append(ring)
    with pytest.raises(EventNotEncodable):
        Codec([Tags]).encode(Tags(ring))  # type: ignore[arg-type]


class Planned(pydantic.BaseModel):
    at: datetime | time

    @pydantic.field_serializer("at")
    def in_utc(self, at: datetime | time) -> str:
        return at.astimezone(UTC).isoformat() if isinstance(at, datetime) else "08:00:00Z"


@pytest.mark.parametrize("at", [datetime(2026, 1, 1, 10, tzinfo=SUMMER), time(10, tzinfo=SUMMER)])
def test_an_offset_is_not_lost_where_the_instant_comes_back(at: datetime | time) -> None:
    with pytest.raises(EventNotEncodable, match="its offset is lost"):
        Codec([Planned]).encode(Planned(at=at))


@pytest.mark.parametrize("at", [datetime(2026, 1, 1), time(9, tzinfo=UTC)])  # noqa: DTZ001
def test_a_time_that_comes_back_as_another_one_is_refused(at: datetime | time) -> None:
    with pytest.raises(EventNotEncodable, match="does not come back equal"):
        Codec([Planned]).encode(Planned(at=at))


def test_a_foreign_class_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(EventNotEncodable, match=r"Money.*Text") as refused:
        Codec([Money, Text]).encode(Tags([]))  # type: ignore[arg-type]
    assert refused.value.event_type == "Tags"


def test_a_subclass_is_a_foreign_class() -> None:
    class LongText(Text):
        pass

    with pytest.raises(EventNotEncodable):
        Codec([Text]).encode(LongText("x"))


def test_a_value_whose_comparison_raises_is_refused() -> None:
    with pytest.raises(EventNotEncodable):
        Codec([Money]).encode(Money(Decimal("sNaN")))


def test_what_grows_when_it_is_read_is_refused() -> None:
    @dataclass
    class Growing:
        values: list[str]

        def __post_init__(self) -> None:
            self.values.append("more")

    with pytest.raises(EventNotEncodable, match="not all of it comes back") as refused:
        Codec([Growing]).encode(Growing([]))
    assert refused.value.field == "values"


def test_nesting_without_end_is_refused() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(EventNotEncodable):
        Codec([Tags]).encode(Tags(nested))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Chain:
    rest: "Chain | None" = None


def test_nesting_of_any_depth_comes_back_or_is_refused() -> None:
    codec, chain = Codec([Chain]), Chain()
    for depth in range(sys.getrecursionlimit()):
        chain = Chain(chain)
        if depth >= 800:
            with suppress(EventNotEncodable):
                codec.encode(chain)


@pytest.mark.parametrize("letter", ["a", "ä", "€", "🌳"])
def test_the_largest_payload_is_one_mebibyte_of_utf8(letter: str) -> None:
    size, rest = divmod(MAX_PAYLOAD_BYTES - len('{"value":""}'), len(letter.encode()))
    largest = "x" * rest + letter * size
    assert len(Codec([Text]).encode(Text(largest)).payload.encode()) == MAX_PAYLOAD_BYTES
    with pytest.raises(EventNotEncodable, match=str(MAX_PAYLOAD_BYTES)):
        Codec([Text]).encode(Text(largest + "x"))


def test_what_is_too_large_is_refused_before_it_is_read_back() -> None:
    made: list[str] = []

    @dataclass
    class Noted:
        value: str

        def __post_init__(self) -> None:
            made.append(self.value)

    noted = Noted("x" * MAX_PAYLOAD_BYTES)
    with pytest.raises(EventNotEncodable, match="larger than"):
        Codec([Noted]).encode(noted)
    assert len(made) == 1


@pytest.mark.parametrize(
    ("type_", "version", "payload"),
    [
        ("Missing", 1, "{}"),
        ("Text", 2, '{"value":"x"}'),
        ("Text", 0, '{"value":"x"}'),
        ("Text", 1, "{}"),
        ("Text", 1, '{"value":1}'),
        ("Text", 1, '{"value":'),
        ("Text", 1, ""),
        ("Text", 1, "null"),
        ("Color", 1, '"green"'),
    ],
)
def test_a_stored_form_that_does_not_fit_the_code_is_told_apart(type_: str, version: int, payload: str) -> None:
    codec: Codec[object] = Codec([Text, Color])
    with pytest.raises(EventNotDecodable) as unreadable:
        codec.decode(type_, version, payload)
    assert (unreadable.value.event_type, unreadable.value.event_version) == (type_, version)


def test_fields_that_the_code_no_longer_knows_are_left_out() -> None:
    assert Codec([Text]).decode("Text", 1, '{"value":"x","gone":1}') == Text("x")


def test_a_class_that_refuses_its_stored_form_is_not_decodable() -> None:
    with pytest.raises(EventNotDecodable):
        Codec([Checked]).decode("Checked", 1, '{"value":-1}')


def test_two_classes_with_one_name_clash() -> None:
    def another() -> type:
        @dataclass
        class Text:
            value: str

        return Text

    with pytest.raises(InvalidArgument, match="two classes are called Text"):
        Codec([Text, another()])


def test_a_codec_of_no_classes_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="at least one"):
        Codec([])


def test_a_field_that_json_cannot_tell_apart_is_refused() -> None:
    @dataclass
    class Either:
        part: Part | Text

    with pytest.raises(InvalidArgument, match="Either cannot be stored as JSON"):
        Codec([Either])


def test_structs_with_tags_are_the_remedy_where_classes_cannot_be_told_apart() -> None:
    @dataclass
    class Either:
        part: Part | Text

    @dataclass
    class Unclear:
        amount: Decimal | str

    with pytest.raises(InvalidArgument, match="make them msgspec Structs with different tag="):
        Codec([Either])
    with pytest.raises(InvalidArgument, match="more than one str-like type") as refused:
        Codec([Unclear])
    assert "tag" not in refused.value.reason


def test_a_private_field_of_attrs_is_refused_as_msgspec_would_leave_it_out() -> None:
    kind = attrs.make_class("Hiding", {"_value": attrs.field(type=int)})
    with pytest.raises(InvalidArgument, match="has the field _value"):
        Codec([kind])
    shown: type[Any] = dataclass(type("Showing", (), {"__annotations__": {"_value": int}}))
    assert Codec([shown]).encode(shown(1)).payload == '{"_value":1}'


def test_a_field_whose_type_cannot_be_resolved_is_refused() -> None:
    @dataclass
    class Dangling:
        part: "Nowhere"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidArgument):
        Codec([Dangling])


def test_a_class_without_fields_to_store_is_refused() -> None:
    class Plain:
        pass

    with pytest.raises(InvalidArgument):
        Codec([Plain])


def test_a_class_name_that_no_store_can_keep_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        Codec([dataclass(type("A" * 256, (), {}))])


def test_the_fingerprint_changes_with_the_fields_and_not_with_the_order_of_classes() -> None:
    def shaped(kind: type) -> type:
        return dataclass(type("State", (), {"__annotations__": {"value": kind}}))

    assert Codec([shaped(int)]).fingerprint == Codec([shaped(int)]).fingerprint
    assert len({Codec([shaped(kind)]).fingerprint for kind in (int, float, str, Decimal, bytes, UUID, Part)}) == 7
    assert Codec([Text, Money]).fingerprint == Codec([Money, Text]).fingerprint
    assert Codec([Text]).fingerprint != Codec([Text, Money]).fingerprint


def test_what_is_no_class_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="classes"):
        Codec(["Opened"])  # type: ignore[arg-type]


# --- bugs of users' classes while the faulty part is looked for


def throw(error: Exception) -> Never:
    raise error


class Confused(Exception):
    """An exception that raises when it is looked at: a usual slip in `__getattr__`."""

    def __getattr__(self, name: str) -> object:
        raise KeyError(name)

    def __str__(self) -> str:
        raise KeyError("no words")


def test_an_error_that_cannot_be_looked_at_is_an_error_of_the_event() -> None:
    @dataclass
    class Picky:
        value: int

        def __post_init__(self) -> None:
            if self.value:
                raise Confused

    empty = Picky(0)
    empty.value = 1
    with pytest.raises(EventNotEncodable, match="Confused"):
        Codec([Picky]).encode(empty)


def test_a_part_that_cannot_be_looked_at_is_an_error_of_the_event() -> None:
    @dataclass
    class Torn:
        value: object

    @dataclass
    class Held:
        parts: list[Any]

    torn = Torn(object())
    with_gap: Any = Torn
    with_gap.value = property(lambda _: throw(LookupError("gone")))
    with pytest.raises(EventNotEncodable, match="Held"):
        Codec([Held]).encode(Held([torn, object()]))
