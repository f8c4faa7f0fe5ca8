"""A snapshot falls due where the last load had to replay for too long."""

import pytest

from eventree import EventSourcing, EventStore, MemoryStore, Ok, SnapshotConfig
from eventree.sourcing.commands import load
from eventree.testing import FailingStore
from sourcing.clock import Clock
from sourcing.ledger import Added, Ledger, LedgerSystem, add, add_length, entries, ledger
from sourcing.waiting import nothing_to_write, written

TWO_SECONDS = SnapshotConfig(max_replay_seconds=2.0)


def system_on(store: EventStore, config: SnapshotConfig = TWO_SECONDS, *, cache_size: int = 100) -> LedgerSystem:
    """Return a system that takes a quarter of a second for each event."""
    clock = Clock(seconds=0.25)
    system = EventSourcing(clock.slow(ledger), store, snapshots=config, cache_size=cache_size)
    system._tree.loader.clock = clock
    return system


async def grown(store: EventStore, **counts: int) -> None:
    """Store events of several aggregates, without snapshots."""
    async with EventSourcing(ledger, store) as system:
        for id, count in counts.items():
            await system.execute(id, add(*range(count)))


async def snapshot_at(system: LedgerSystem, id: str) -> int:
    """Return the sequence of the newest snapshot of an aggregate, 0 if it has none."""
    snapshot = (await system.latest_snapshot(id)).unwrap()
    if snapshot is None:
        return 0
    assert snapshot.state == Ledger((await entries(system, id))[: snapshot.sequence])
    return snapshot.sequence


async def snapshots_of(system: LedgerSystem, *ids: str) -> list[int]:
    """Return where the snapshots of aggregates are, once all that fell due are written."""
    await nothing_to_write(system)
    return [await snapshot_at(system, id) for id in ids]


@pytest.mark.parametrize(("count", "due"), [(1, False), (7, False), (8, True), (25, True)])
async def test_a_load_that_takes_as_long_as_the_limit_makes_the_next_commit_take_a_snapshot(
    store: EventStore,
    count: int,
    due: bool,  # noqa: FBT001
) -> None:
    await grown(store, a=count)
    async with system_on(store) as system:
        assert (await system.execute("a", add_length)).unwrap().events == (Added(count),)
        assert await snapshots_of(system, "a") == [count + 1 if due else 0]


async def test_each_aggregate_of_a_load_is_measured_by_itself(store: EventStore) -> None:
    await grown(store, a=7, b=8, c=7)
    async with system_on(store) as system:
        await system.execute_many([(id, add_length) for id in "abc"])
        assert await snapshots_of(system, "a", "b", "c") == [0, 9, 0]


async def test_the_pages_of_a_long_load_are_summed(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PAGE_SIZE", 3)
    await grown(store, a=7, b=8)
    async with system_on(store) as system:
        await system.execute_many([("a", add_length), ("b", add_length)])
        assert await snapshots_of(system, "a", "b") == [0, 9]


async def test_only_the_events_after_the_newest_snapshot_are_measured(store: EventStore) -> None:
    await grown(store, a=8)
    async with system_on(store) as system:
        await system.execute("a", add_length)
        await written(system, 1)
    for sequence in range(10, 16):
        async with system_on(store) as system:
            await system.execute("a", add_length)
            assert await snapshot_at(system, "a") == 9
            assert (await system.aggregate_stats("a")).unwrap().event_count == sequence
    async with system_on(store) as system:
        await system.execute("a", add(16, 17))
    async with system_on(store) as system:
        await system.execute("a", add(18))
        await written(system, 1)
        assert await snapshot_at(system, "a") == 18


async def test_after_a_snapshot_was_taken_no_other_is_due_until_the_next_slow_load(store: EventStore) -> None:
    await grown(store, a=8)
    async with system_on(store) as system:
        for number in range(20):
            await system.execute("a", add(number))
        assert await snapshots_of(system, "a") == [9]
        assert (await system.system_stats()).snapshots_written == 1


async def test_a_state_that_was_evicted_is_measured_when_it_comes_back(store: EventStore) -> None:
    async with system_on(store, cache_size=1) as system:
        await system.execute("a", add(*range(8)))
        await system.execute("a", add(8))
        await system.execute("b", add(0))
        assert await snapshot_at(system, "a") == 0
        await system.execute("a", add(9))
        await written(system, 1)
        assert await snapshot_at(system, "a") == 10


async def test_to_read_an_aggregate_takes_no_snapshot_and_makes_none_due(store: EventStore) -> None:
    async with system_on(store) as system:
        await system.execute("a", add(*range(20)))
        assert await entries(system, "a") == list(range(20))
        await system.execute("a", add(20))
        assert await snapshots_of(system, "a") == [0]


async def test_a_snapshot_stays_due_where_somebody_else_wrote_first() -> None:
    async with FailingStore() as store:
        await grown(store, a=8)

        async def intervene() -> None:
            async with EventSourcing(ledger, store) as other:
                await other.execute("a", add(8))

        store.intercept("append", intervene)
        async with system_on(store) as system:
            assert (await system.execute("a", add_length)).unwrap().sequence == 10
            await written(system, 1)
            stats = await system.system_stats()
            assert (stats.conflicts, await snapshot_at(system, "a")) == (1, 10)


async def test_a_frequency_goes_on_beside_it(store: EventStore) -> None:
    await grown(store, a=8)
    async with system_on(store, SnapshotConfig(frequency=10, max_replay_seconds=2.0)) as system:
        await system.execute("a", add(8))
        await written(system, 1)
        assert await snapshot_at(system, "a") == 9
        await system.execute("a", add(9))
        await written(system, 2)
        assert await snapshot_at(system, "a") == 10
        await system.execute("a", add(10))
        assert await snapshots_of(system, "a") == [10]


async def test_without_a_limit_no_load_is_too_slow() -> None:
    async with MemoryStore() as store:
        await grown(store, a=8)
        async with system_on(store, SnapshotConfig(frequency=10)) as system:
            await system.execute("a", add(8))
            assert await system.latest_snapshot("a") == Ok(None)
            await system.execute("a", add(9))
            await written(system, 1)
            assert await snapshot_at(system, "a") == 10


async def test_the_time_is_measured_by_a_real_clock_unless_another_is_given() -> None:
    async with MemoryStore() as store:
        await grown(store, a=100)
        async with EventSourcing(ledger, store, snapshots=SnapshotConfig(max_replay_seconds=1e-9)) as system:
            await system.execute("a", add(1))
            await written(system, 1)
            assert await snapshot_at(system, "a") == 101
