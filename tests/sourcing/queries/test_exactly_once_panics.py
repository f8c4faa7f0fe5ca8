"""A projection that raises what is no `Exception` is rolled back and treated as any other that fails."""

from collections.abc import Awaitable, Callable
from functools import wraps

import pytest

from eventree import EventSourcing, Projection
from eventree.sourcing import QueryStatus
from sourcing.ledger import Added, add, ledger
from sourcing.panics import panics, plain_panics, throw
from sourcing.reading import AT_ONCE
from sourcing.teller import open_store
from sourcing.totals import Connection, Events, clear, project, setup, totals
from sourcing.waiting import becomes, until

Make = Callable[[], BaseException]


class Projecting:
    """Count, then panic for one aggregate; or in another of its functions."""

    def __init__(self, panic: Make, where: str = "project") -> None:
        self.panic = panic
        self.where = where
        self.calls = 0

    def fail(self, where: str) -> None:
        if self.where == where:
            self.calls += 1
            raise self.panic()

    async def project(self, connection: Connection, events: Events) -> None:
        await project(connection, events)
        if any(event.aggregate_id == "bad" for event in events):
            self.fail("project")

    async def setup(self, connection: Connection) -> None:
        await setup(connection)
        self.fail("setup")

    async def swap(self, connection: Connection) -> None:
        await connection.execute("DELETE FROM totals")
        self.fail("swap")

    async def clear(self, connection: Connection) -> None:
        await clear(connection)
        self.fail("clear")

    async def count_nothing(self, connection: Connection, events: Events) -> None:
        """Be the version before."""

    def projection(self, on_failure: str, version: int = 1) -> Projection[Added]:
        return Projection(
            "totals",
            self.project,
            setup=self.setup,
            swap=self.swap,
            clear=self.clear,
            version=version,
            on_failure=on_failure,  # type: ignore[arg-type]
            max_attempts=2,
            backoff=AT_ONCE,
            poll_interval=0.01,
        )


@panics
async def test_a_projection_that_panics_is_rolled_back_and_parked(place: str, panic: Make) -> None:
    functions = Projecting(panic)
    async with (
        open_store(place) as store,
        EventSourcing(ledger, store, queries=[functions.projection("park")]) as system,
    ):
        for number, id in enumerate(["good", "bad", "good", "bad"], 1):
            await system.execute(id, add(number))
        query = system.query("totals")
        await query.caught_up()
        assert await totals(place) == {"good": (4, 2)}
        assert [commit.position for commit in await query.parked()] == [2, 4]
        assert await query.retry_parked() == 0
        functions.where = "nowhere"
        assert await query.retry_parked() == 2
        assert await totals(place) == {"good": (4, 2), "bad": (6, 2)}
        assert (query.incarnation, (await system.system_stats()).actor_restarts) == (1, 0)


@panics
@pytest.mark.parametrize("where", ["setup", "swap"])
async def test_a_function_of_a_projection_that_panics_stops_it_alone_until_it_is_mended(
    place: str, panic: Make, where: str
) -> None:
    functions = Projecting(panic, where)
    old = Projection("totals", functions.count_nothing, poll_interval=0.01)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[old]) as system:
        await system.execute("good", add(1), wait_for=["totals"])
        await until(lambda: system.query("totals").is_live)
        await system.register_queries([functions.projection("park", version=2)])
        query = system.query("totals", 2)
        await becomes(query, QueryStatus.STOPPED)
        assert (functions.calls >= 2, query.incarnation, query.is_live) == (True, 1, False)
        functions.where = "nowhere"
        await query.resume()
        await until(lambda: query.is_live)
        await system.execute("good", add(2))
        await query.caught_up()
        assert await totals(place) == {"good": (2, 1)}
        assert (await system.system_stats()).actor_restarts == 0


@panics
async def test_a_clear_that_panics_leaves_rows_and_checkpoint_as_they_were(place: str, panic: Make) -> None:
    functions = Projecting(panic, "clear")
    async with (
        open_store(place) as store,
        EventSourcing(ledger, store, queries=[functions.projection("park")]) as system,
    ):
        await system.execute("good", add(1))
        query = system.query("totals")
        await query.caught_up()
        before = await totals(place)
        with pytest.raises(type(panic())):
            await query.reset()
        assert await totals(place) == before
        await query.caught_up()
        functions.where = "nowhere"
        await query.reset()
        await query.caught_up()
        assert await totals(place) == {"good": (1, 1)}
        assert query.incarnation == 1


@plain_panics
async def test_a_function_that_panics_before_it_awaits_anything_is_rolled_back_too(place: str, panic: Make) -> None:
    """A wrapper around an async function may be plain, so that its GeneratorExit is a bug."""
    functions = Projecting(panic, "nowhere")

    counted = functions.project

    @wraps(counted)
    def first(connection: Connection, events: Events) -> Awaitable[None]:
        return throw(panic()) if events[0].aggregate_id == "bad" else counted(connection, events)

    wrapped = Projection(
        "totals", first, setup=setup, on_failure="park", max_attempts=2, backoff=AT_ONCE, poll_interval=0.01
    )
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[wrapped]) as system:
        for id in ("good", "bad"):
            await system.execute(id, add(1), wait_for=["totals"])
        assert await totals(place) == {"good": (1, 1)}
        assert system.query("totals").incarnation == 1
