"""A query split by aggregate over several workers: each commit goes to one of them, in order for each aggregate."""

import asyncio
from collections import Counter

import pytest

from eventree import EventSourcing, EventStore, InvalidArgument, Query, QueryStopped
from eventree.sourcing import QueryStatus
from sourcing.ledger import Added, Boom, LedgerSystem, add, ledger
from sourcing.reading import AT_ONCE, Events, Seen

IDS = [f"a{number}" for number in range(12)]


class Slow(Seen):
    """Take a while for each commit, and remember how many were in work at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._now = 0

    async def handle(self, id: str, events: Events) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0.001)
        self._now -= 1
        self(id, events)


def split(handler: Slow, partitions: int = 3) -> Query[Added]:
    return Query("q", handler.handle, partitions=partitions, poll_interval=0.01, lease=0.5, backoff=AT_ONCE)


async def fill(system: LedgerSystem) -> None:
    await system.execute_many([(id, add(number)) for number in range(10) for id in IDS])


def each_in_order(seen: Seen) -> bool:
    return all([n for id, amounts in seen.amounts if id == each for n in amounts] == list(range(10)) for each in IDS)


async def test_workers_share_a_query_and_keep_the_order_of_each_aggregate(store: EventStore) -> None:
    seen = Slow()
    async with EventSourcing(ledger, store, queries=[split(seen)]) as system:
        await fill(system)
        await system.query("q").caught_up()
        assert (system.query("q").position, len(system.query("q").parts)) == (120, 3)
        assert len(seen.commits) == 120
        assert each_in_order(seen)
        assert 1 < seen.most <= 3
        [stats] = (await system.system_stats()).queries
        assert (stats.name, stats.position, stats.lag_events) == ("q", 120, 0)
        await system.execute("a1", add(99), wait_for=["q"])
        assert seen.amounts[-1] == ("a1", [99])


@pytest.mark.durable
async def test_processes_share_the_workers_of_a_query(store: EventStore) -> None:
    one, two = Slow(), Slow()
    async with EventSourcing(ledger, store, queries=[split(one)]) as first:
        await first.query("q").caught_up()
        async with EventSourcing(ledger, store, queries=[split(two)]) as second:
            await fill(first)
            await first.query("q").caught_up()
            await second.query("q").caught_up()
            assert second.query("q").status is QueryStatus.WAITING
        assert (len(one.commits), len(two.commits)) == (120, 0)


async def test_a_partitioned_query_is_paused_reset_and_resumed_as_a_whole(store: EventStore) -> None:
    seen = Slow()
    async with EventSourcing(ledger, store, queries=[split(seen)]) as system:
        await fill(system)
        await system.query("q").caught_up()
        assert await system.query("q").pause() == 120
        await system.execute_many([(id, add(77)) for id in IDS])
        assert system.query("q").status is QueryStatus.PAUSED
        await system.query("q").resume()
        await system.query("q").caught_up()
        await system.query("q").reset()
        await system.query("q").caught_up()
        assert Counter(amount for _, [amount] in seen.amounts)[77] == 2 * len(IDS)
        assert len(seen.commits) == 2 * 132


async def test_what_fails_in_one_partition_stops_or_is_skipped_there(store: EventStore) -> None:
    broken = True

    def fails(id: str, _: Events) -> None:
        if broken and id == "a5":
            raise Boom

    failing: Query[Added] = Query("q", fails, partitions=3, max_attempts=1, poll_interval=0.01)
    async with EventSourcing(ledger, store, queries=[failing]) as system:
        await system.execute_many([(id, add(1)) for id in IDS])
        handle = system.query("q")
        with pytest.raises(QueryStopped):
            await handle.caught_up()
        assert handle.status is QueryStatus.STOPPED
        bad = (await system.load_events("a5")).unwrap()[0].position
        await handle.skip(bad)
        await handle.caught_up()
        assert (await handle.stats()).skipped == 1


async def test_what_is_parked_is_seen_over_all_partitions(store: EventStore) -> None:
    broken = True

    def fails(id: str, _: Events) -> None:
        if broken and id in {"a1", "a5", "a8"}:
            raise Boom

    failing: Query[Added] = Query("q", fails, partitions=3, max_attempts=1, on_failure="park", poll_interval=0.01)
    async with EventSourcing(ledger, store, queries=[failing]) as system:
        await system.execute_many([(id, add(1)) for id in IDS])
        handle = system.query("q")
        await handle.caught_up()
        parked = await handle.parked()
        assert [commit.aggregate_id for commit in parked] == ["a1", "a5", "a8"]
        assert await handle.parked(after=parked[0].position, limit=1) == [parked[1]]
        for wrong in (0, parked[0].position + 1):
            with pytest.raises(InvalidArgument):
                await handle.drop_parked(wrong)
        await handle.drop_parked(parked[2].position)
        broken = False
        assert await handle.retry_parked() == 2
        assert await handle.parked() == []


def test_partitions_are_a_positive_number() -> None:
    with pytest.raises(InvalidArgument, match="partitions"):
        Query("q", Seen(), partitions=0)
    with pytest.raises(InvalidArgument, match="name"):
        Query("q" * 250, Seen(), partitions=10)


async def test_every_part_is_steered_from_a_process_that_has_none_of_them(store: EventStore) -> None:
    async with (
        EventSourcing(ledger, store, queries=[split(Slow())]) as first,
        EventSourcing(ledger, store, queries=[split(Slow())]) as second,
    ):
        await first.query("q").caught_up()
        await second.query("q").pause(timeout=20)
        assert {part.state.is_paused for part in first.query("q").parts} == {True}
        await second.query("q").resume(timeout=20)
        assert {part.state.is_paused for part in first.query("q").parts} == {False}
