"""Commits that are parked: in order per aggregate, never more than allowed, retried without harm to anything else."""

import asyncio

import pytest

from eventree import EventSourcing, EventStore, Projection, QueryStopped, query_context
from eventree.errors import TooManyParked
from eventree.sourcing import QueryHandle, QueryStatus
from sourcing.ledger import Added, Boom, add, ledger
from sourcing.reading import AT_ONCE, Contexts, Events, Seen, patient
from sourcing.teller import open_store
from sourcing.totals import Connection, Events as Projected, project, setup, totals
from sourcing.waiting import becomes, until

STOPPED, WAITING = QueryStatus.STOPPED, QueryStatus.WAITING


async def is_full(handle: QueryHandle, caplog: pytest.LogCaptureFixture) -> None:
    """See that a query stopped because too much would be parked, and that it did not try that again."""
    with pytest.raises(QueryStopped) as stopped:
        await handle.caught_up()
    assert isinstance(stopped.value.__cause__, TooManyParked)
    assert handle.status is STOPPED
    told = [record for record in caplog.records if record.exc_info and isinstance(record.exc_info[1], TooManyParked)]
    assert [record.levelname for record in told] == ["ERROR"]


@pytest.mark.durable
async def test_fewer_may_be_parked_after_a_restart_and_order_is_kept_all_the_same(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Contexts()
    seen.poison |= {1, 2, 3}
    async with EventSourcing(ledger, store, queries=[patient(seen, on_failure="park")]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2)), ("c", add(3))])
        await system.query("q").caught_up()
    seen.poison.clear()
    limited = patient(seen, on_failure="park", max_parked=2)
    async with EventSourcing(ledger, store, queries=[limited]) as system:
        await system.execute("c", add(4))
        handle = system.query("q")
        await is_full(handle, caplog)
        assert seen.amounts == []  # "c" waits behind what is parked of it
        assert [commit.aggregate_id for commit in await handle.parked()] == ["a", "b", "c"]
        assert await handle.retry_parked() == 3
        await handle.resume()
        await handle.caught_up()
        await system.execute("d", add(5), wait_for=["q"])
    assert [amounts for id, amounts in seen.amounts if id == "c"] == [[3], [4]]
    assert sorted(seen.amounts) == [("a", [1]), ("b", [2]), ("c", [3]), ("c", [4]), ("d", [5])]


async def test_a_query_whose_page_would_park_too_much_stops_at_once_before_that(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Contexts()
    seen.poison.add(1)
    limited = patient(seen, on_failure="park", max_parked=2)
    async with EventSourcing(ledger, store) as system:
        for number, id in enumerate("caaba"):
            await system.execute(id, add(number))
        await system.register_queries([limited])
        handle = system.query("q")
        await is_full(handle, caplog)
        assert [commit.position for commit in await handle.parked()] == [2, 3]
        assert handle.position == 4
        tried = len(seen.contexts)
        await handle.skip(5)
        await system.execute("b", add(5), wait_for=["q"])
        assert (await handle.stats()).skipped == 1
        assert len(seen.contexts) == tried + 1
    assert seen.amounts == [("c", [0]), ("b", [3]), ("b", [5])]


def parking(fails: set[str], tries: list[list[str]], max_parked: int) -> Projection[Added]:
    async def project_but(connection: Connection, events: Projected) -> None:
        tries.append([event.aggregate_id for event in events])
        if fails & {event.aggregate_id for event in events}:
            raise Boom
        await project(connection, events)

    return Projection(
        "q", project_but, setup=setup, on_failure="park", max_parked=max_parked, max_attempts=2, backoff=AT_ONCE
    )


async def test_a_projection_whose_page_would_park_too_much_stops_at_once_before_that(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[list[str]] = []
    fails = {"a"}
    async with open_store(place) as store:
        async with EventSourcing(ledger, store) as system:
            for id in "caaaaab":
                await system.execute(id, add(1))
        async with EventSourcing(ledger, store, queries=[parking(fails, tries, 2)]) as system:
            handle = system.query("q")
            await is_full(handle, caplog)
            assert handle.position == 3
            assert [commit.position for commit in await handle.parked()] == [2, 3]
            assert await totals(place) == {"c": (1, 1)}
            tried = len(tries)
            await system.execute("d", add(1))
            assert len(tries) == tried
            fails.clear()
            assert await handle.retry_parked() == 2
            await handle.resume()
            await handle.caught_up()
    assert await totals(place) == {"a": (5, 5), "b": (1, 1), "c": (1, 1), "d": (1, 1)}


async def test_a_projection_with_parked_commits_handles_what_is_good_before_it_stops(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits behind a parked commit is found while a batch is put together."""
    tries: list[list[str]] = []
    fails = {"a"}
    async with open_store(place) as store:
        async with EventSourcing(ledger, store, queries=[parking(fails, tries, 3)]) as system:
            await system.execute("a", add(1), wait_for=["q"])
        async with EventSourcing(ledger, store) as system:
            for id in "cabaca":
                await system.execute(id, add(1))
        async with EventSourcing(ledger, store, queries=[parking(fails, tries, 3)]) as system:
            await is_full(system.query("q"), caplog)
            assert system.query("q").position == 6
            assert [commit.position for commit in await system.query("q").parked()] == [1, 3, 5]
    assert await totals(place) == {"b": (1, 1), "c": (2, 2)}


@pytest.mark.durable
async def test_parked_commits_are_retried_beside_the_lease_however_long_a_handler_takes(store: EventStore) -> None:
    is_broken = True
    entered, free = asyncio.Event(), asyncio.Event()

    async def slow(_: str, __: Events) -> None:
        if is_broken:
            raise Boom
        entered.set()
        await free.wait()

    other = Seen()
    slowly = patient(slow, on_failure="park", max_attempts=1, lease=0.3)
    async with EventSourcing(ledger, store, queries=[slowly]) as first:
        await first.execute("a", add(1), wait_for=["q"])
        is_broken = False
        async with EventSourcing(ledger, store, queries=[patient(other, lease=0.3)]) as second:
            await becomes(second.query("q"), WAITING)
            retrying = asyncio.ensure_future(first.query("q").retry_parked(timeout=20))
            await entered.wait()
            await asyncio.sleep(0.8)  # more than two leases
            assert second.query("q").status is WAITING
            free.set()
            assert await retrying == 1
            assert (await first.query("q").parked(), second.query("q").status) == ([], WAITING)
    assert other.amounts == []


async def test_a_long_retry_lets_others_have_their_turn(store: EventStore) -> None:
    is_broken = True
    retried: list[int] = []

    async def slow(id: str, events: Events) -> None:
        if id == "a" and is_broken:
            raise Boom
        await asyncio.sleep(0.02)
        retried.extend(event.payload.amount for event in events)

    slowly = patient(slow, on_failure="park", max_attempts=1)
    async with EventSourcing(ledger, store, queries=[slowly]) as system:
        await system.execute_many([("a", add(number)) for number in range(60)])
        handle = system.query("q")
        await handle.caught_up()
        is_broken = False
        retrying = asyncio.ensure_future(handle.retry_parked(timeout=60))
        await until(lambda: bool(retried))
        await system.execute("b", add(100), wait_for=["q"])
        await handle.pause()
        assert not retrying.done()
        assert 0 < len(retried) < 60
        assert await retrying == 60
        assert handle.status is QueryStatus.PAUSED
    assert [number for number in retried if number < 100] == list(range(60))
    assert 100 in retried


async def test_what_is_retried_is_a_replay_as_far_as_it_was_handled_before(store: EventStore) -> None:
    told: list[tuple[str, bool]] = []

    def tells(id: str, _: Events) -> None:
        told.append((id, query_context().is_replay))
        if id in fails:
            raise Boom

    def first(_: str, __: Events) -> None:
        assert not query_context().is_replay

    fails: set[str] = set()
    two = patient(tells, version=2, on_failure="park", max_parked=1, max_attempts=1)
    async with EventSourcing(ledger, store, queries=[patient(first)]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2))])
        await system.query("q").caught_up()
        assert system.query("q").position == 2
        fails |= {"a", "b"}
        await system.register_queries([two])
        handle = system.query("q", 2)
        await becomes(handle, STOPPED)  # full, so that it is not built further
        [parked] = await handle.parked()
        fails.clear()
        told.clear()
        assert await handle.retry_parked() == 1
        assert (handle.is_live, told) == (False, [(parked.aggregate_id, True)])
        fails.add("b")
        await handle.resume()
        await until(lambda: handle.is_live)
        await handle.retry_parked()
        assert {is_replay for _, is_replay in told} == {True}
        fails.clear()
        await handle.retry_parked()
        fails.add("c")
        await system.execute("c", add(3), wait_for=["q"])
        fails.clear()
        told.clear()
        assert await handle.retry_parked() == 1
        assert told == [("c", False)]
        fails.add("c")
        await handle.reset()
        await handle.caught_up()
        fails.clear()
        told.clear()
        assert await handle.retry_parked() == 1
        assert told == [("c", True)]


async def test_attempts_are_counted_for_each_commit(store: EventStore) -> None:
    told: list[tuple[int, int]] = []

    def fails_twice(_: str, events: Events) -> None:
        number = events[0].payload.amount
        told.append((number, query_context().attempt))
        if number == 0 and len(told) < 3:
            raise Boom

    async with EventSourcing(ledger, store) as system:
        await system.execute_many([("a", add(number)) for number in range(3)])
        await system.register_queries([patient(fails_twice, max_attempts=5, backoff=AT_ONCE)])
        await system.query("q").caught_up()
    assert told == [(0, 1), (0, 2), (0, 3), (1, 1), (2, 1)]
