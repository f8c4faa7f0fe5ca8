"""A snapshot that cannot be used is ignored, counted and replaced, on every store."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from eventree import (
    AggregateType,
    Err,
    EventSourcing,
    EventStore,
    MemoryStore,
    Ok,
    SnapshotConfig,
    SQLiteStore,
    StoreUnavailable,
)
from eventree.sourcing.snapshots.codec import SnapshotCodec
from eventree.testing import FailingStore, settled
from sourcing.damage import AnyStore, Change, damage, damage_signed, opened
from sourcing.ledger import Added, Ledger, LedgerSystem, LedgerType, add, add_length, apply, entries, handle, ledger
from sourcing.waiting import nothing_to_write, written

EVERY_TEN, SELDOM = SnapshotConfig(frequency=10), SnapshotConfig(frequency=1_000)
CODEC = SnapshotCodec(ledger)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where a store is, for `opened`."""
    if request.param == "postgres":
        pytest.importorskip("eventree.stores.postgres.store")
        return str(request.getfixturevalue("postgres_dsn"))
    return str(tmp_path / "events.db") if request.param == "sqlite" else ""


@pytest.fixture(autouse=True)
def every_warning_names_its_reason(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    ours = [record.getMessage() for record in caplog.records if "is not used" in record.getMessage()]
    assert all(message.startswith("ledger 'a': the snapshot at sequence ") for message in ours)


async def filled(store: EventStore) -> None:
    """Store 25 events with a snapshot at the 20th."""
    async with EventSourcing(ledger, store, snapshots=EVERY_TEN) as system:
        for start in range(0, 25, 5):
            await system.execute("a", add(*range(start, start + 5)))
        await written(system, 2)


def counting(applied: list[int]) -> LedgerType:
    """Return a type that notes which events it replays."""

    def apply_and_count(state: Ledger, event: Added) -> Ledger:
        applied.append(event.amount)
        return apply(state, event)

    return AggregateType("ledger", handle=handle, apply=apply_and_count, empty_state=Ledger)


async def ignored(system: LedgerSystem) -> int:
    return (await system.system_stats()).snapshots_ignored


DAMAGES: list[dict[str, Change]] = [
    {"payload": '{"entries":[77]}'},
    {"payload": "null"},
    {"state_type": "Ledge"},
    {"checksum": 0},
    {"sequence": 10},
    {"sequence": 25},
    {"sequence": 99},
]
MISFITS: list[dict[str, Change]] = [
    {"payload": "null"},
    {"payload": '{"entries":["x"]}'},
    {"state_type": "Missing"},
    {"sequence": 99},
]


async def assert_ignored_counted_and_replaced(store: AnyStore) -> None:
    async with EventSourcing(ledger, store, snapshots=SELDOM) as system:
        assert await system.latest_snapshot("a") == Ok(None)
        assert not (await system.aggregate_stats("a")).unwrap().has_snapshot
        assert await entries(system, "a") == list(range(25))
        assert await ignored(system) == 3
        assert (await system.execute("a", add_length)).unwrap().events == (Added(25),)
        await written(system, 1)
        assert await ignored(system) == 4
        snapshot = (await system.latest_snapshot("a")).unwrap()
        assert snapshot is not None
        assert (snapshot.sequence, snapshot.state) == (26, Ledger(list(range(26))))
        await system.execute("a", add(26))
    applied: list[int] = []
    async with EventSourcing(counting(applied), store, snapshots=SELDOM) as system:
        assert await entries(system, "a") == list(range(27))
        assert applied == [26]
        stats = await system.system_stats()
        assert (stats.snapshots_ignored, stats.snapshots_written) == (0, 0)


@pytest.mark.parametrize("changes", DAMAGES, ids=str)
async def test_a_damaged_snapshot_is_ignored_counted_and_replaced_by_the_next_commit(
    place: str, changes: dict[str, Change]
) -> None:
    async with opened(place) as store:
        await filled(store)
        await damage(store, place, "a", **changes)
        await assert_ignored_counted_and_replaced(store)


@pytest.mark.parametrize("changes", MISFITS, ids=str)
async def test_a_snapshot_that_does_not_fit_is_ignored_counted_and_replaced_by_the_next_commit(
    place: str, changes: dict[str, Change]
) -> None:
    async with opened(place) as store:
        await filled(store)
        await damage_signed(store, place, CODEC, "a", **changes)
        await assert_ignored_counted_and_replaced(store)


async def test_a_commit_without_events_replaces_it_too(place: str) -> None:
    async with opened(place) as store:
        await filled(store)
        await damage(store, place, "a", sequence=25)
        async with EventSourcing(ledger, store, snapshots=SELDOM) as system:
            await system.execute("a", add())
            await written(system, 1)
            snapshot = (await system.latest_snapshot("a")).unwrap()
            assert snapshot is not None
            assert (snapshot.sequence, snapshot.state) == (25, Ledger(list(range(25))))


async def test_a_store_keeps_no_snapshot_for_its_sequence_if_that_is_ahead_of_its_aggregate(place: str) -> None:
    async with opened(place) as store:
        await filled(store)
        await damage(store, place, "a", sequence=26)
        older, newer = (CODEC.encode("a", Ledger([]), sequence) for sequence in (10, 11))
        await store.save_snapshots([older])
        assert await store.load_snapshots("ledger", ["a"], CODEC.state_version) == {"a": older}
        await store.save_snapshots([newer])
        await store.save_snapshots([older])
        assert await store.load_snapshots("ledger", ["a"], CODEC.state_version) == {"a": newer}


async def test_a_snapshot_of_another_aggregate_is_not_believed() -> None:
    async with MemoryStore() as store:
        await filled(store)
        async with EventSourcing(ledger, store, snapshots=EVERY_TEN) as system:
            await system.execute("b", add(*range(100, 120)))
            await written(system, 1)
        [(a, _), (b, snapshot)] = store._snapshots.items()
        store._snapshots[a] = replace(snapshot, aggregate_id="a")
        del store._snapshots[b]
        async with EventSourcing(ledger, store, snapshots=EVERY_TEN) as system:
            assert await entries(system, "a") == list(range(25))
            assert await ignored(system) == 1


async def test_a_snapshot_of_an_aggregate_that_has_no_events_is_replaced_when_it_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with MemoryStore() as store:
        future = CODEC.encode("a", Ledger([1]), 1)
        store._snapshots["ledger", "a", CODEC.state_version] = future
        async with EventSourcing(ledger, store, snapshots=SELDOM) as system:
            await system.execute("a", add(), command_id="nothing")
            await system.execute("a", add(7))
            await written(system, 1)
            snapshot = (await system.latest_snapshot("a")).unwrap()
            assert snapshot is not None
            assert (snapshot.sequence, snapshot.state) == (1, Ledger([7]))
            stats = await system.system_stats()
            assert (stats.snapshots_ignored, stats.actor_restarts) == (1, 0)
    assert "ledger 'a': the snapshot at sequence 1 is not used: its aggregate is at sequence 0" in caplog.messages


async def test_one_that_could_not_be_replaced_is_replaced_after_the_next_load() -> None:
    inner = MemoryStore()
    async with FailingStore(inner) as store:
        await filled(store)
        await damage(inner, "", "a", payload='{"entries":[77]}')
        store.fail("save_snapshots", StoreUnavailable("away"))
        for attempt in range(2):
            async with EventSourcing(ledger, store, snapshots=SELDOM) as system:
                assert (await system.execute("a", add_length)).unwrap().events == (Added(25 + attempt),)
                await nothing_to_write(system)
                stats = await system.system_stats()
                assert (stats.snapshots_dropped, stats.snapshots_written) == ((1, 0), (0, 1))[attempt]


async def test_a_store_that_cannot_read_its_snapshots_any_more_has_its_events_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with SQLiteStore(path) as store:
        await filled(store)
    with closing(sqlite3.connect(path)) as db:
        [page] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'snapshots'").fetchone()
        [size] = db.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    async with SQLiteStore(path) as store, EventSourcing(ledger, store, snapshots=SELDOM) as system:
        assert (await system.execute("a", add_length)).unwrap().events == (Added(25),)
        assert await entries(system, "a") == list(range(26))
        assert await system.latest_snapshot("a") == Ok(None)
        await settled(system)
        stats = await system.system_stats()
        assert (stats.snapshots_ignored, stats.snapshots_dropped, stats.actor_restarts) == (3, 1, 0)


async def test_a_store_that_is_away_while_snapshots_are_looked_for_is_an_answer() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store, snapshots=SELDOM) as system:
        store.fail("load_snapshots", StoreUnavailable("away"))
        failed = await system.execute("a", add(1))
        assert isinstance(failed, Err)
        assert isinstance(failed.error, StoreUnavailable)
        assert await ignored(system) == 0
