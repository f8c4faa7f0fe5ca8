"""Snapshots shorten a load; they are never needed, never waited for, and never believed when they do not fit."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from eventree import AggregateType, EventSourcing, EventStore, InvalidArgument, MemoryStore, Ok, SnapshotConfig
from sourcing.ledger import (
    Added,
    Ledger,
    LedgerSystem,
    LedgerType,
    add,
    add_length,
    crash,
    entries,
    handle,
    ledger,
    ledger_in_place,
)
from sourcing.recording_store import RecordingStore
from sourcing.waiting import written

EVERY_TEN = SnapshotConfig(frequency=10)


def system_on(store: EventStore, kind: LedgerType = ledger) -> LedgerSystem:
    return EventSourcing(kind, store, snapshots=EVERY_TEN)


@pytest.mark.parametrize("kind", [ledger, ledger_in_place], ids=["pure", "in_place"])
async def test_a_snapshot_is_taken_where_a_commit_reaches_the_frequency(store: EventStore, kind: LedgerType) -> None:
    async with system_on(store, kind) as system:
        for number in range(9):
            await system.execute("a", add(number))
        assert await system.latest_snapshot("a") == Ok(None)
        before = datetime.now(UTC)
        await system.execute("a", add(9))
        await written(system, 1)
        await system.execute("a", add(10))
        snapshot = (await system.latest_snapshot("a")).unwrap()
    assert snapshot is not None
    assert (snapshot.aggregate_id, snapshot.sequence, snapshot.state) == ("a", 10, Ledger(list(range(10))))
    assert before <= snapshot.taken_at <= datetime.now(UTC)


async def test_a_commit_that_jumps_over_the_frequency_is_snapshot_too(store: EventStore) -> None:
    async with system_on(store) as system:
        await system.execute("a", add(*range(8)))
        await system.execute("a", add(*range(5)))
        await written(system, 1)
        snapshot = (await system.latest_snapshot("a")).unwrap()
        assert snapshot is not None
        assert (snapshot.sequence, len(snapshot.state.entries)) == (13, 13)
        assert (await system.aggregate_stats("a")).unwrap().has_snapshot


async def test_a_batch_that_jumps_over_the_frequency_is_snapshot_once(store: EventStore) -> None:
    async with system_on(store) as system:
        await system.execute_many([("a", add(number)) for number in range(35)] + [("b", add(1))])
        await written(system, 1)
        snapshot = (await system.latest_snapshot("a")).unwrap()
        assert snapshot is not None
        assert snapshot.sequence == 35
        assert await system.latest_snapshot("b") == Ok(None)
        assert (await system.system_stats()).snapshots_written == 1


@pytest.mark.durable
@pytest.mark.parametrize("kind", [ledger, ledger_in_place], ids=["pure", "in_place"])
async def test_a_snapshot_that_a_crash_prevented_is_taken_with_the_next_commit(
    store: EventStore, kind: LedgerType
) -> None:
    async with system_on(store, kind) as system:
        await system.execute_many([("a", add(*range(9))), ("a", add(9)), ("a", crash)])
        assert await system.latest_snapshot("a") == Ok(None)
        await system.execute("a", add(10))
        await written(system, 1)
        snapshot = (await system.latest_snapshot("a")).unwrap()
        assert snapshot is not None
        assert (snapshot.sequence, snapshot.state) == (11, Ledger(list(range(11))))
        for number in range(11, 19):
            await system.execute("a", add(number))
        await system.execute_many([("a", add(19)), ("a", crash), ("a", add(20))])
        await written(system, 2)
        snapshot = (await system.latest_snapshot("a")).unwrap()
        assert snapshot is not None
        assert (snapshot.sequence, snapshot.state) == (21, Ledger(list(range(21))))
        assert (await system.system_stats()).snapshots_written == 2


async def filled(store: EventStore, count: int = 25) -> None:
    async with system_on(store) as system:
        for start in range(0, count, 5):
            await system.execute("a", add(*range(start, min(start + 5, count))))
        await written(system, count // 10)


async def test_a_load_reads_the_snapshot_and_only_the_events_after_it() -> None:
    async with RecordingStore() as store:
        await filled(store)
        store.loaded.clear()
        async with system_on(store) as system:
            answer = (await system.execute("a", add_length)).unwrap()
        assert [[read.after for read in reads] for reads in store.loaded] == [[20]]
        assert (answer.events, answer.sequence, answer.position) == ((Added(25),), 26, 26)


async def test_an_aggregate_that_was_loaded_keeps_the_rhythm_of_its_snapshots(store: EventStore) -> None:
    await filled(store)
    async with system_on(store) as system:
        for number in range(25, 31):
            await system.execute("a", add(number))
        await written(system, 1)
        snapshot = (await system.latest_snapshot("a")).unwrap()
        assert snapshot is not None
        assert (snapshot.sequence, (await system.system_stats()).snapshots_written) == (30, 1)


async def test_an_aggregate_that_grew_without_snapshots_gets_one_with_its_next_commit(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as system:
        await system.execute("a", add(*range(14)))
    async with system_on(store) as system:
        await system.execute("a", add(14))
        await written(system, 1)
        snapshot = (await system.latest_snapshot("a")).unwrap()
        assert snapshot is not None
        assert snapshot.sequence == 15


@pytest.mark.durable
@pytest.mark.parametrize("count", [9, 10, 20, 25])
async def test_a_load_from_a_snapshot_equals_a_full_replay(store: EventStore, count: int) -> None:
    await filled(store, count)
    async with system_on(store) as quick, EventSourcing(ledger, store) as thorough:
        assert await quick.load_aggregate("a") == await thorough.load_aggregate("a")
        empty = (await quick.execute("a", add())).unwrap()
        assert (empty.sequence, empty.position) == (count, count)


async def test_a_snapshot_of_a_state_of_another_shape_is_ignored(store: EventStore) -> None:
    @dataclass
    class Shaped:
        entries: tuple[str, ...] = ()

    await filled(store)
    other: AggregateType[Any, Any, Any, Any] = AggregateType(
        "ledger",
        handle=handle,
        apply=lambda state, event: Shaped((*state.entries, str(event.amount))),
        empty_state=Shaped,
        events=[Added],
        state=[Shaped],
    )
    async with EventSourcing(other, store, snapshots=EVERY_TEN) as system:
        assert await system.latest_snapshot("a") == Ok(None)
        assert (await system.load_aggregate("a")).unwrap().state == Shaped(tuple(map(str, range(25))))
    async with system_on(store) as system:
        assert (await system.aggregate_stats("a")).unwrap().has_snapshot


def apply_doubled(ledger: Ledger, event: Added) -> Ledger:
    return Ledger([*ledger.entries, 2 * event.amount])


doubled: LedgerType = AggregateType("ledger", handle=handle, apply=apply_doubled, empty_state=Ledger, state_version=2)


@pytest.mark.durable
async def test_a_snapshot_of_another_version_of_the_state_is_not_even_found(store: EventStore) -> None:
    await filled(store)
    async with system_on(store, doubled) as system:
        assert await system.latest_snapshot("a") == Ok(None)
        assert not (await system.aggregate_stats("a")).unwrap().has_snapshot
        assert await entries(system, "a") == [2 * number for number in range(25)]
        assert (await system.execute("a", add_length)).unwrap().events == (Added(25),)
        await written(system, 1)
        assert await entries(system, "a") == [2 * number for number in range(26)]
        assert (await system.system_stats()).snapshots_ignored == 0
    async with system_on(store) as older:
        snapshot = (await older.latest_snapshot("a")).unwrap()
        assert snapshot is not None
        assert snapshot.sequence == 20
        assert await entries(older, "a") == list(range(26))


async def test_without_a_config_no_snapshot_is_taken_or_read(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as system:
        await system.execute("a", add(*range(200)))
        assert await system.latest_snapshot("a") == Ok(None)


def test_snapshots_need_a_known_state() -> None:
    untyped: AggregateType[Any, Any, Any, Any] = AggregateType(
        "x", handle=handle, apply=lambda state, _: state, empty_state=Ledger, events=[Added]
    )
    with pytest.raises(InvalidArgument, match="state="):
        EventSourcing(untyped, MemoryStore(), snapshots=EVERY_TEN)


class Plain:
    pass


def keep_plain(state: Plain, _: Added) -> Plain:
    return state


def keep_list(state: list[int], _: Added) -> list[int]:
    return state


def keep_dangling(state: "Nowhere", event: Added) -> None:  # type: ignore[name-defined]  # noqa: F821
    pass


@pytest.mark.parametrize(
    ("apply", "reason"),
    [
        (lambda state, _: state, "apply: its parameter 'state' has no annotation; annotate it, or give state="),
        (keep_plain, "Plain cannot be stored as JSON"),
        (keep_list, "is not a class or a union of classes"),
        (keep_dangling, "name 'Nowhere' is not defined"),
    ],
)
def test_why_a_state_cannot_be_stored_is_told_to_those_who_ask_for_snapshots(
    apply: Callable[..., Any], reason: str
) -> None:
    kind: AggregateType[Any, Any, Any, Any] = AggregateType(
        "x", handle=handle, apply=apply, empty_state=Plain, events=[Added]
    )
    EventSourcing(kind, MemoryStore())
    with pytest.raises(InvalidArgument, match=reason) as refused:
        EventSourcing(kind, MemoryStore(), snapshots=EVERY_TEN)
    assert refused.value.name == "snapshots"
    assert "a state of x cannot be stored" in refused.value.reason


def test_a_policy_that_is_none_is_refused() -> None:
    every_ten: Any = 10
    with pytest.raises(InvalidArgument, match=r"snapshots: must be a SnapshotConfig or .* is_due.*, got 10"):
        EventSourcing(ledger, MemoryStore(), snapshots=every_ten)


def test_a_state_that_json_cannot_carry_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        AggregateType("x", handle=lambda _, command: command, apply=keep_plain, empty_state=Plain, state=[Plain])


# Python 3.13 warns of what msgspec does when an attribute cannot be looked at.
