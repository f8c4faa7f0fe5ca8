"""What is refused changes nothing: no actor crashes, what stopped stays stopped, an old version touches nothing."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from eventree import (
    AggregateType,
    EventSourcing,
    EventStore,
    InvalidArgument,
    Ok,
    Projection,
    QueryStopped,
    StoreUnavailable,
)
from eventree.errors import QuerySuperseded
from eventree.sourcing import QueryHandle, QueryStatus
from eventree.testing import FailingStore
from sourcing.ledger import Added, Boom, Ledger, add, apply, handle, ledger
from sourcing.reading import Contexts, Seen, patient
from sourcing.teller import open_store
from sourcing.totals import Connection, Events, clear, count, project, rows, setup, totals
from sourcing.waiting import becomes, until

other = AggregateType("other", handle=handle, apply=apply, empty_state=Ledger)

Steer = Callable[[QueryHandle], Coroutine[Any, Any, object]]

RUNNING, STOPPED, SUPERSEDED = QueryStatus.RUNNING, QueryStatus.STOPPED, QueryStatus.SUPERSEDED

WRONG: list[Steer] = [
    lambda handle: handle.skip(77),
    lambda handle: handle.skip(0),
    lambda handle: handle.drop_parked(1),
    lambda handle: handle.drop_parked(0),
    lambda handle: handle.skip("1"),  # type: ignore[arg-type]
    lambda handle: handle.skip(True),
    lambda handle: handle.drop_parked(None),  # type: ignore[arg-type]
    lambda handle: handle.drop_parked(2**63),
    lambda handle: handle.caught_up("x"),  # type: ignore[arg-type]
    lambda handle: handle.caught_up(-1),
]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
async def test_a_control_that_is_refused_leaves_a_query_as_it_is(store: EventStore, wrong: Steer) -> None:
    seen = Contexts()
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        handle = system.query("q")
        for _ in range(8):  # more often than a supervisor would restart an actor
            with pytest.raises(InvalidArgument):
                await wrong(handle)
        await system.execute("a", add(2), wait_for=["q"])
        assert (handle.incarnation, handle.status, handle.position) == (1, RUNNING, 2)
        seen.poison.add(3)
        await system.execute("a", add(3))
        await becomes(handle, STOPPED)
        tried = len(seen.contexts)
        with pytest.raises(InvalidArgument):
            await wrong(handle)
        with pytest.raises(QueryStopped):
            await handle.caught_up()
        assert (handle.incarnation, handle.status, len(seen.contexts)) == (1, STOPPED, tried)
        assert isinstance(handle.last_error, Boom)
        assert isinstance(await system.execute("a", add(4)), Ok)
    assert seen.amounts == [("a", [1]), ("a", [2])]


async def test_a_projection_that_cannot_be_reset_stays_stopped(place: str) -> None:
    async def fails(_: Connection, __: Events) -> None:
        raise Boom

    stuck: Projection[Added] = Projection("q", fails, setup=setup, max_attempts=1, poll_interval=0.01)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[stuck]) as system:
        await system.execute("a", add(1))
        handle = system.query("q")
        await becomes(handle, STOPPED)
        with pytest.raises(InvalidArgument, match="clear"):
            await handle.reset()
        with pytest.raises(QueryStopped):
            await handle.caught_up()
        assert (handle.incarnation, handle.status, handle.position) == (1, STOPPED, 0)


@pytest.mark.parametrize(
    "steer",
    [
        lambda handle: handle.reset(),
        lambda handle: handle.retry_parked(),
        lambda handle: handle.drop_parked(1),
        lambda handle: handle.skip(2),
    ],
    ids=["reset", "retry_parked", "drop_parked", "skip"],
)
async def test_a_control_while_the_store_is_away_is_told_so_and_crashes_nobody(steer: Steer) -> None:
    seen = Contexts()
    seen.poison |= {1, 2}
    limited = patient(seen, on_failure="park", max_parked=1)
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[limited]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2))])
        handle = system.query("q")
        await becomes(handle, STOPPED)
        tried = len(seen.contexts)
        with store.unavailable():
            for _ in range(8):
                with pytest.raises(StoreUnavailable):
                    await steer(handle)
        assert (handle.incarnation, handle.status, len(seen.contexts)) == (1, STOPPED, tried)
        seen.poison.clear()
        assert await handle.retry_parked() == 1
        await handle.resume()
        await handle.caught_up()
        await handle.retry_parked()
    assert seen.amounts == [("a", [1]), ("b", [2])]


async def test_pausing_a_standby_pauses_the_holder(store: EventStore) -> None:
    works, waits = Seen(), Seen()
    async with EventSourcing(ledger, store, queries=[patient(works, lease=0.6)]) as first:
        await first.query("q").caught_up()
        async with EventSourcing(ledger, store, queries=[patient(waits, lease=0.6)]) as second:
            standby = second.query("q")
            await becomes(standby, QueryStatus.WAITING)
            await standby.pause()
            await second.execute("a", add(1))
            assert (standby.status, standby.incarnation) == (QueryStatus.WAITING, 1)
            assert first.query("q").status is QueryStatus.PAUSED
    assert (works.amounts, waits.amounts) == ([], [])


SUPERSEDING: list[Steer] = [
    lambda handle: handle.reset(),
    lambda handle: handle.retry_parked(),
    lambda handle: handle.resume(),
    lambda handle: handle.skip(1),
    lambda handle: handle.drop_parked(1),
]


async def test_a_superseded_version_is_not_steered_any_more(store: EventStore) -> None:
    old = Contexts()
    old.poison.add(1)
    async with EventSourcing(ledger, store, queries=[patient(old, on_failure="park", lease=0.3)]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        await system.register_queries([patient(Seen(), version=2)])
        handle = system.query("q", 1)
        await becomes(handle, SUPERSEDED)
        old.poison.clear()
        tried = len(old.contexts)
        for steer in SUPERSEDING:
            with pytest.raises(QuerySuperseded):
                await steer(handle)
        assert [commit.position for commit in await handle.parked()] == [1]
        with pytest.raises(QueryStopped) as stopped:
            await handle.caught_up(99)
        assert isinstance(stopped.value.__cause__, QuerySuperseded)
        await handle.caught_up(1)  # that far it was
        assert (handle.status, handle.incarnation, len(old.contexts)) == (SUPERSEDED, 1, tried)
    assert old.amounts == []


async def test_a_superseded_projection_does_not_clear_the_tables_of_the_live_one(place: str) -> None:
    cleared: list[int] = []

    async def clear_and_tell(connection: Connection) -> None:
        cleared.append(1)
        await clear(connection)

    async def setup_new(connection: Connection) -> None:
        await connection.execute("CREATE TABLE new (id TEXT PRIMARY KEY, amount BIGINT, events BIGINT)")

    async def swap(connection: Connection) -> None:
        await connection.execute("DROP TABLE totals")
        await connection.execute("ALTER TABLE new RENAME TO totals")

    async def project_new(connection: Connection, events: Events) -> None:
        for event in events:
            await count(connection, event, "new")

    old: Projection[Added] = Projection("q", project, setup=setup, clear=clear_and_tell, poll_interval=0.01, lease=0.3)
    new: Projection[Added] = Projection("q", project_new, setup=setup_new, swap=swap, version=2, poll_interval=0.01)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[old]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        await system.register_queries([new])
        handle = system.query("q", 1)
        await becomes(handle, SUPERSEDED)
        for steer in SUPERSEDING:
            with pytest.raises(QuerySuperseded):
                await steer(handle)
        await until(lambda: system.query("q", 2).is_live)
    assert cleared == []
    assert await totals(place) == {"a": (1, 1)}
    assert await rows(place, "SELECT amount FROM totals") == [(1,)]


async def test_what_is_parked_of_a_type_that_is_not_followed_any_more_stays_parked(place: str) -> None:
    async def fails(_: Connection, __: Events) -> None:
        raise Boom

    def parking() -> Projection[Added]:
        return Projection("q", fails, on_failure="park", max_attempts=1, poll_interval=0.01)

    async with open_store(place) as store:
        async with EventSourcing(other, store, queries=[parking()]) as system:
            await system.execute("a", add(1), wait_for=["q"])
        async with EventSourcing(ledger, store, queries=[parking()]) as system:
            handle = system.query("q")
            assert await handle.retry_parked() == 0
            [parked] = await handle.parked()
            assert parked.reason.startswith("EventNotDecodable: ")
            assert "does not follow 'other' (position" in parked.reason
            assert "stored event Added version 1" in parked.reason
            assert (handle.incarnation, handle.status) == (1, RUNNING)
