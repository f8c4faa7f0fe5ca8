"""What a query tells of itself while something fails, and how it shares the event loop."""

import asyncio
import time

import pytest

from eventree import (
    EventSourcing,
    MemoryStore,
    Projection,
    QueryStopped,
    StoreUnavailable,
    query_context,
)
from eventree.sourcing import QueryStatus
from eventree.testing import FailingStore
from sourcing.ledger import Added, Boom, add, ledger
from sourcing.reading import AT_ONCE, Events, Seen, patient
from sourcing.teller import open_store
from sourcing.totals import Connection, Events as Projected, project, rows, setup, totals
from sourcing.waiting import becomes, until

RETRYING, RUNNING = QueryStatus.RETRYING, QueryStatus.RUNNING


class Steps:
    """The functions of a projection, which fail the first few times."""

    def __init__(self, setups: int, projects: int) -> None:
        self.setups = setups
        self.projects = projects
        self.attempts: list[int] = []

    async def setup(self, connection: Connection) -> None:
        self.setups -= 1
        if self.setups >= 0:
            raise Boom
        await setup(connection)

    async def project(self, connection: Connection, events: Projected) -> None:
        self.attempts.append(query_context().attempt)
        self.projects -= 1
        if self.projects >= 0:
            raise Boom
        await project(connection, events)

    def projection(self) -> Projection[Added]:
        return Projection(
            "q",
            self.project,
            setup=self.setup,
            on_failure="skip",
            max_attempts=3,
            backoff=AT_ONCE,
            poll_interval=0.01,
        )


async def test_failures_of_a_setup_are_not_counted_against_the_first_commit(place: str) -> None:
    steps = Steps(setups=2, projects=2)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[steps.projection()]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        assert (await system.query("q").stats()).skipped == 0
    assert steps.attempts == [1, 2, 3]
    assert await totals(place) == {"a": (1, 1)}


async def test_a_query_is_well_again_after_its_setup_worked_at_last(place: str) -> None:
    steps = Steps(setups=2, projects=0)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[steps.projection()]) as system:
        handle = system.query("q")
        await handle.caught_up()  # there is no event that could show that it works
        await becomes(handle, RUNNING)
        assert (handle.last_error, (await handle.stats()).failures) == (None, 0)


async def test_a_setup_that_never_works_stops_its_projection_and_works_after_a_resume(place: str) -> None:
    steps = Steps(setups=3, projects=0)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[steps.projection()]) as system:
        await system.execute("a", add(1))
        with pytest.raises(QueryStopped) as stopped:
            await system.query("q").caught_up()
        assert isinstance(stopped.value.__cause__, Boom)
        assert (system.query("q").incarnation, steps.attempts) == (1, [])
        await system.query("q").resume()
        await system.query("q").caught_up()
        assert (system.query("q").status, system.query("q").last_error) == (RUNNING, None)
    assert await rows(place, "SELECT id, amount FROM totals") == [("a", 1)]


async def test_a_query_shows_why_its_store_is_away_and_forgets_that_when_it_is_back() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[patient(Seen())]) as system:
        handle = system.query("q")
        await handle.caught_up()
        with store.unavailable(away := StoreUnavailable("away")):
            await until(lambda: handle.last_error is away)
            assert handle.status is RETRYING
        await becomes(handle, RUNNING)
        assert (handle.last_error, handle.incarnation) == (None, 1)


async def test_a_standby_whose_store_was_away_goes_on_waiting() -> None:
    async with (
        FailingStore() as store,
        EventSourcing(ledger, store, queries=[patient(Seen(), lease=60)]) as first,
        EventSourcing(ledger, store, queries=[patient(Seen(), lease=60)]) as second,
    ):
        one, two = first.query("q"), second.query("q")
        await until(lambda: {one.status, two.status} == {RUNNING, QueryStatus.WAITING})
        were = (one.status, two.status)
        with store.unavailable():
            await until(lambda: one.status is two.status is RETRYING)
        await until(lambda: (one.status, two.status) == were)
        assert (one.last_error, two.last_error) == (None, None)


async def test_a_handler_that_never_waits_leaves_the_event_loop_to_others_in_between() -> None:
    handed_over = 0
    between: list[int] = []

    def works(_: str, __: Events) -> None:
        nonlocal handed_over
        handed_over += 1
        time.sleep(0.001)

    async def another_task() -> None:
        while handed_over < 400:
            before = handed_over
            await asyncio.sleep(0)
            between.append(handed_over - before)

    async with MemoryStore() as store:
        async with EventSourcing(ledger, store) as system:
            await system.execute_many([(f"a{number % 7}", add(1)) for number in range(400)])
        other = asyncio.ensure_future(another_task())
        async with EventSourcing(ledger, store, queries=[patient(works)]) as system:
            await other
            await system.query("q").caught_up()
    assert sum(between) == 400
    assert max(between) <= 20  # some 5 ms


async def test_a_catch_up_of_a_handler_that_never_waits_can_be_paused() -> None:
    seen = Seen()

    def works(id: str, events: Events) -> None:
        time.sleep(0.001)
        seen(id, events)

    async with MemoryStore() as store:
        async with EventSourcing(ledger, store) as system:
            await system.execute_many([("a", add(number)) for number in range(700)])
        async with EventSourcing(ledger, store, queries=[patient(works)]) as system:
            await seen.reaches(1)
            paused_at = await system.query("q").pause()
            assert 0 < paused_at == len(seen.commits) < 700
            await system.query("q").resume()
            await system.query("q").caught_up()
    assert seen.amounts == [("a", [number]) for number in range(700)]


async def test_what_slow_handlers_handled_is_saved_after_each() -> None:
    saved: list[int] = []

    async def slow(_: str, __: Events) -> None:
        stored = await store.load_checkpoint("q", 1)
        assert stored is not None
        saved.append(stored.checkpoint.position)
        await asyncio.sleep(0.12)

    async with MemoryStore() as store:
        async with EventSourcing(ledger, store) as system:
            await system.execute_many([("a", add(number)) for number in range(4)])
        async with EventSourcing(ledger, store, queries=[patient(slow)]) as system:
            await system.query("q").caught_up()
    assert saved == [0, 1, 2, 3]
