"""The stored form of a snapshot: whatever was changed in it since is noticed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from eventree import AggregateType, Snapshot, event_type
from eventree.errors import EventNotDecodable, EventNotEncodable, UnknownEventType
from eventree.sourcing.snapshots.codec import SnapshotCodec, checksum_of
from sourcing.ledger import Added, Ledger, handle, ledger

CODEC = SnapshotCodec(ledger)
STATE = Ledger([1, 2, 3])
STORED = CODEC.encode("ä", STATE, 3)


def test_a_snapshot_comes_back_as_it_was_taken() -> None:
    before = datetime.now(UTC)
    stored = CODEC.encode("a", STATE, 3)
    assert before <= stored.taken_at <= datetime.now(UTC)
    assert CODEC.decode(stored) == Snapshot("a", STATE, 3, stored.taken_at)
    assert (stored.aggregate_type, stored.state_type, stored.payload) == ("ledger", "Ledger", '{"entries":[1,2,3]}')
    assert 0 <= stored.checksum < 2**32


@pytest.mark.parametrize(
    "change",
    [
        {"aggregate_type": "ledgers"},
        {"aggregate_id": "a"},
        {"state_version": STORED.state_version + "0"},
        {"sequence": 4},
        {"state_type": "Ledge"},
        {"payload": '{"entries":[1,2,4]}'},
        {"payload": '{"entries":[1,2,3]} '},
        {"payload": '{"entries":[1,2,3]}\ud800'},
        {"payload": ""},
        {"checksum": STORED.checksum ^ 1},
        {"checksum": -1},
        {"aggregate_id": "ä" + STORED.state_version[0], "state_version": STORED.state_version[1:]},
    ],
    ids=str,
)
def test_a_snapshot_in_which_anything_was_changed_is_not_believed(change: dict[str, Any]) -> None:
    with pytest.raises(EventNotDecodable, match="its checksum is wrong"):
        CODEC.decode(replace(STORED, **change))


def test_the_moment_is_information_only() -> None:
    later = datetime(2999, 1, 1, tzinfo=UTC)
    assert CODEC.decode(replace(STORED, taken_at=later)) == Snapshot("ä", STATE, 3, later)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"payload": "{"}, EventNotDecodable),
        ({"payload": "null"}, EventNotDecodable),
        ({"payload": '{"entries":["x"]}'}, EventNotDecodable),
        ({"state_type": "Missing"}, UnknownEventType),
    ],
    ids=str,
)
def test_a_snapshot_that_does_not_fit_the_code_is_refused(change: dict[str, Any], error: type[Exception]) -> None:
    changed = replace(STORED, **change)
    signed = replace(changed, checksum=checksum_of(changed))
    with pytest.raises(error):
        CODEC.decode(signed)


def test_a_state_that_does_not_fit_its_class_is_refused() -> None:
    entries: Any = "text"
    with pytest.raises(EventNotEncodable):
        CODEC.encode("a", Ledger(entries), 1)


def kind_of(state: type, version: int = 1) -> AggregateType[Any, Any, Any, Any]:
    return AggregateType(
        "ledger",
        handle=handle,
        apply=lambda state, _: state,
        empty_state=lambda: None,
        events=[Added],
        state=[state],
        state_version=version,
    )


def test_the_stored_version_changes_with_the_fields_of_the_state_and_with_the_version_that_was_given() -> None:
    @dataclass
    class Total:
        amount: int = 0

    first = Total

    @dataclass
    class Total:  # type: ignore[no-redef]
        amount: float = 0.0

    versions = {
        SnapshotCodec(kind).state_version
        for kind in (kind_of(first), kind_of(first, 2), kind_of(Total), kind_of(Total, 2), kind_of(Ledger))
    }
    assert len(versions) == 5
    assert SnapshotCodec(kind_of(first)).state_version == SnapshotCodec(kind_of(first, 1)).state_version
    assert starting_with(Ledger) == CODEC.state_version


def starting_with(empty_state: Callable[[], Any], state: type = Ledger) -> str:
    return SnapshotCodec(
        AggregateType(
            "ledger",
            handle=handle,
            apply=lambda state, _: state,
            empty_state=empty_state,
            events=[Added],
            state=[state],
        )
    ).state_version


def test_the_stored_version_changes_with_the_empty_state() -> None:
    assert starting_with(lambda: Ledger([])) == starting_with(Ledger)
    assert len({starting_with(partial(Ledger, entries)) for entries in ([], [0], [100])}) == 3

    @dataclass
    class Empty:
        entries: list[int] = field(default_factory=list)

    assert starting_with(Empty) != starting_with(Ledger)


def test_the_stored_version_changes_with_what_a_field_of_the_state_defaults_to() -> None:
    def having(first: int) -> type:
        @dataclass
        class Total:
            amounts: list[int] = field(default_factory=lambda: [first])

        return Total

    one, same, other = having(1), having(1), having(2)
    assert starting_with(lambda: one([7]), one) == starting_with(lambda: same([7]), same)
    assert starting_with(lambda: one([7]), one) != starting_with(lambda: other([7]), other)


def test_an_empty_state_that_is_another_each_time_or_cannot_be_made_leaves_the_stored_version_as_it_is() -> None:
    numbers = count()
    versions = [starting_with(lambda: Ledger([next(numbers)])) for _ in range(3)]
    assert len(set(versions)) == 1
    assert starting_with(lambda: 1 // 0) == versions[0]


def test_a_state_whose_class_has_upcasters_comes_back_as_it_was_taken() -> None:
    @event_type(aliases=["Amount"], upcasters={1: lambda payload: payload | {"amount": -1}})
    @dataclass
    class Total:
        amount: int = 0

    codec = SnapshotCodec(kind_of(Total))
    assert codec.decode(codec.encode("a", Total(7), 1)).state == Total(7)


def test_a_state_whose_class_has_a_new_version_with_the_same_fields_is_not_read_as_the_old_one() -> None:
    @dataclass
    class Total:
        euros: int = 0

    before = SnapshotCodec(kind_of(Total))

    @event_type(upcasters={1: lambda payload: {"euros": payload["euros"] * 100}})
    @dataclass
    class Total:  # type: ignore[no-redef]
        euros: int = 0

    after = SnapshotCodec(kind_of(Total))
    assert after.state_version != before.state_version


def test_a_new_version_of_an_event_makes_old_snapshots_invisible_as_the_state_may_mean_something_else() -> None:
    def counter(event: type) -> AggregateType[Any, Any, Any, Any]:
        return AggregateType(
            "ledger", handle=handle, apply=lambda state, _: state, empty_state=Ledger, events=[event], state=[Ledger]
        )

    @dataclass
    class Paid:
        amount: int

    first = SnapshotCodec(counter(Paid)).state_version

    @event_type(aliases=["Payment"])
    @dataclass
    class Paid:  # type: ignore[no-redef]
        amount: int
        note: str = ""

    assert SnapshotCodec(counter(Paid)).state_version == first

    @event_type(upcasters={1: lambda payload: {"amount": payload["amount"] * 100}})
    @dataclass
    class Paid:  # type: ignore[no-redef]
        amount: int

    assert SnapshotCodec(counter(Paid)).state_version != first


@dataclass
class Due:
    at: datetime
    total: float = 0.0


@pytest.mark.parametrize(
    ("state", "field"),
    [
        (Due(datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))), "at"),
        (Due(datetime(2026, 1, 1, tzinfo=UTC), 0), "total"),
        (Due(datetime(2026, 10, 25, 2, 30, fold=1)), "at"),  # noqa: DTZ001
    ],
)
def test_a_state_that_would_go_on_otherwise_than_a_replay_is_refused(state: Due, field: str) -> None:
    codec = SnapshotCodec(kind_of(Due))
    with pytest.raises(EventNotEncodable) as refused:
        codec.encode("a", state, 1)
    assert refused.value.field == field
    same = Due(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))), 1.0)
    assert codec.decode(codec.encode("a", same, 1)).state == same
