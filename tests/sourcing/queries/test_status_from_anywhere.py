"""What a query is doing, as any process can see it: its own, a standby, and one that does not run it at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from eventree import AggregateType, Backoff, EventSourcing, EventStore, Projection, QueryStopped
from eventree.errors import ReportedFailure
from eventree.sourcing import QueryHandle, QueryStatus
from eventree.stores.contract import AppendRequest, LeaseRequest, NewEvent
from eventree.testing import FailingStore
from sourcing.ledger import Boom, Ledger, add, apply, handle, ledger
from sourcing.reading import Contexts, Seen, patient
from sourcing.teller import open_store
from sourcing.waiting import becomes, until

LEASE = 0.6


@pytest.fixture
async def ops(place: str) -> AsyncIterator[EventStore]:
    """Return another store on the same database, as another process has one."""
    async with open_store(place) as store:
        yield store


async def seen_as(watching: QueryHandle, status: QueryStatus) -> Any:
    async with asyncio.timeout(20):
        while (stats := await watching.stats()).status is not status:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    return stats


def script(store: EventStore, **options: Any) -> QueryHandle:
    """Return the handle of a process that does not run the query."""
    return patient(Seen(), **options).handle(store, follows=[ledger])


async def test_a_query_that_nobody_has_ever_run_is_not_running(ops: EventStore) -> None:
    stats = await script(ops).stats()
    assert (stats.status, stats.position, stats.lag_events, stats.holder) == (QueryStatus.NOT_RUNNING, 0, 0, None)
    async with EventSourcing(ledger, ops) as system:
        await system.execute_many([("a", add(1)), ("b", add(2))])
    assert (await script(ops).stats()).lag_events == 2
    assert (await script(ops, start="end").stats()).lag_events == 0


async def test_what_runs_elsewhere_is_seen_as_it_is(place: str, ops: EventStore) -> None:
    seen = Contexts()
    seen.poison.add(2)
    watching = script(ops)
    query = patient(seen, on_failure="park", lease=LEASE)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2)), ("b", add(3))])
        await system.query("q").caught_up()
        stats = await watching.stats()
        assert (stats.status, stats.is_live) == (QueryStatus.RUNNING, True)
        assert (stats.position, stats.lag_events, stats.parked, stats.skipped) == (3, 0, 2, 0)
        assert stats.holder == system.query("q").parts[0].state.owner
        assert 0 < stats.lease_seconds <= LEASE
    stats = await watching.stats()
    assert (stats.status, stats.holder, stats.lease_seconds) == (QueryStatus.NOT_RUNNING, None, 0)
    assert (stats.position, stats.parked) == (3, 2)
    assert watching.status is QueryStatus.NOT_RUNNING


async def test_a_holder_that_crashed_is_not_running(ops: EventStore) -> None:
    await ops.claim_checkpoint("q", 1, LeaseRequest("one that dies", 0.3))
    watching = script(ops)
    assert (await watching.stats()).status is QueryStatus.RUNNING
    await seen_as(watching, QueryStatus.NOT_RUNNING)


async def test_a_query_that_retries_is_seen_with_its_failure(place: str, ops: EventStore) -> None:
    seen = Contexts()
    seen.poison.add(1)
    query = patient(seen, backoff=Backoff(initial=60, maximum=60), max_attempts=8)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1))
        stats = await seen_as(script(ops), QueryStatus.RETRYING)
        assert (stats.failures, stats.failure.position, stats.failure.reason) == (1, 1, "Boom: ")
        assert isinstance(stats.last_error, ReportedFailure)
        mine = await system.query("q").stats()
        assert (mine.status, mine.failures, type(mine.last_error)) == (QueryStatus.RETRYING, 1, Boom)
    assert (await script(ops).stats()).status is QueryStatus.NOT_RUNNING


@pytest.mark.parametrize("kind", ["query", "projection"])
async def test_a_query_that_stopped_is_seen_with_the_reason(place: str, ops: EventStore, kind: str) -> None:
    async def project(_: Any, __: Any) -> None:
        raise Boom("why")

    def fails(_: str, __: Any) -> None:
        raise Boom("why")

    options: Any = {"max_attempts": 2, "backoff": Backoff(initial=0.001), "lease": LEASE}
    query: Any = patient(fails, **options) if kind == "query" else Projection("q", project, **options)
    watching = query.handle(ops, follows=[ledger])
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1))
        with pytest.raises(QueryStopped):
            await system.query("q").caught_up()
        stats = await seen_as(watching, QueryStatus.STOPPED)
        assert (stats.holder, stats.failures, str(stats.last_error).endswith("Boom: why")) == (None, 2, True)
    stats = await watching.stats()
    assert (stats.status, isinstance(stats.last_error, ReportedFailure)) == (QueryStatus.STOPPED, True)


async def test_a_pause_is_seen_everywhere_and_outlives_its_process(place: str, ops: EventStore) -> None:
    seen = Seen()
    watching = script(ops)
    async with open_store(place) as store:
        async with EventSourcing(ledger, store, queries=[patient(seen, lease=LEASE)]) as system:
            await system.query("q").pause()
            assert (await watching.stats()).status is QueryStatus.PAUSED
            await system.execute("a", add(1))
        assert (await watching.stats()).status is QueryStatus.PAUSED
        async with EventSourcing(ledger, store, queries=[patient(seen, lease=LEASE)]) as system:
            await becomes(system.query("q"), QueryStatus.PAUSED)
            await asyncio.sleep(0.05)
            assert seen.amounts == []
            await system.query("q").resume()
            await system.query("q").caught_up()
            assert (await watching.stats()).status is QueryStatus.RUNNING
        async with EventSourcing(ledger, store, queries=[patient(seen, lease=LEASE)]) as system:
            await becomes(system.query("q"), QueryStatus.RUNNING)
    assert seen.amounts == [("a", [1])]


async def test_a_pause_is_in_force_for_whoever_takes_over(place: str, ops: EventStore) -> None:
    seen = Seen()
    first = EventSourcing(ledger, ops, queries=[patient(Seen(), lease=LEASE)])
    async with AsyncExitStack() as stack, open_store(place) as store:
        await stack.enter_async_context(first)
        await first.query("q").pause()
        await first.execute("a", add(1))
        async with EventSourcing(ledger, store, queries=[patient(seen, lease=LEASE)]) as second:
            await becomes(second.query("q"), QueryStatus.WAITING)
            assert (await second.query("q").stats()).status is QueryStatus.WAITING
            await stack.aclose()
            await becomes(second.query("q"), QueryStatus.PAUSED)
            assert seen.amounts == []


async def test_what_is_older_than_an_event_is_seen_as_such(place: str, ops: EventStore) -> None:
    query = patient(Seen(), lease=LEASE)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.query("q").caught_up()
        await store.append([AppendRequest("ledger", "a", 0, [NewEvent("OfNewerCode", 1, "{}", "{}", uuid4())])])
        await becomes(system.query("q"), QueryStatus.OUTDATED)
        stats = await seen_as(script(ops), QueryStatus.OUTDATED)
        assert "OfNewerCode" in str(stats.last_error)


async def test_right_after_a_start_there_is_no_false_lag(place: str) -> None:
    async with open_store(place) as inner:
        async with EventSourcing(ledger, inner, queries=[patient(Seen())]) as system:
            await system.execute_many([("a", add(number)) for number in range(9)])
            await system.query("q").caught_up()
        async with FailingStore(inner) as store:
            gate = store.hold("claim_checkpoint")
            async with EventSourcing(ledger, store, queries=[patient(Seen())]) as system:
                await gate.reached()
                [stats] = (await system.system_stats()).queries
                assert (stats.status, stats.position, stats.lag_events) == (QueryStatus.STARTING, 9, 0)
                assert (stats.is_live, stats.lag_seconds) == (True, 0.0)
                assert system.query("q").status is QueryStatus.STARTING
                gate.open()
                await becomes(system.query("q"), QueryStatus.RUNNING)


async def test_a_standby_tells_how_far_the_holder_is(place: str, ops: EventStore) -> None:
    seen = Contexts()
    seen.poison.add(2)
    query = patient(seen, on_failure="skip", lease=LEASE)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as first:
        await first.execute_many([("a", add(1)), ("b", add(2)), ("b", add(3))])
        await first.query("q").caught_up()
        async with EventSourcing(ledger, ops, queries=[patient(Seen(), lease=LEASE)]) as second:
            await becomes(second.query("q"), QueryStatus.WAITING)
            stats = await second.query("q").stats()
            assert (stats.status, stats.position, stats.skipped) == (QueryStatus.WAITING, 3, 1)
            assert stats.holder == first.query("q").parts[0].state.owner


async def test_events_of_other_types_are_no_lag_for_long(place: str, ops: EventStore) -> None:
    other = AggregateType("other", handle=handle, apply=apply, empty_state=Ledger)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[patient(Seen(), lease=LEASE)]) as one:
        await one.query("q").caught_up()
        async with EventSourcing(other, store) as two:
            await two.execute_many([("a", add(1)), ("b", add(2))])
        watching = script(ops)
        async with asyncio.timeout(20):
            while (await watching.stats()).lag_events:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)


async def test_a_version_that_is_built_and_one_that_is_superseded_are_seen_as_such(place: str, ops: EventStore) -> None:
    async with open_store(place) as store:
        one, two = patient(Seen(), lease=LEASE), patient(Seen(), lease=LEASE, version=2)
        async with EventSourcing(ledger, store, queries=[one]) as system:
            await system.execute("a", add(1), wait_for=["q"])
            await ops.claim_checkpoint("q", 2, LeaseRequest("builder", 60))
            assert (await script(ops, version=2).stats()).status is QueryStatus.BUILDING
            [built] = [each for each in await ops.list_queries() if each.version == 2]
            await ops.renew_checkpoint("q", 2, built.checkpoint.fencing_token, 0)
            await system.register_queries([two])
            await until(lambda: system.query("q", 2).is_live)
            assert (await script(ops).stats()).status is QueryStatus.SUPERSEDED
            assert (await script(ops, version=2).stats()).status is QueryStatus.RUNNING
