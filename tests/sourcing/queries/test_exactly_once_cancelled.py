"""A projection whose actor is cancelled at every single point where its transaction waits counts every event once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventree import ActorCrashed, EventSourcing, EventStore, Ok, Projection, Supervisor
from eventree.sourcing import QueryHandle
from eventree.sourcing.queries.exactly_once import ExactlyOnce
from sourcing.cancelling import CancelledAt
from sourcing.ledger import Added, LedgerSystem, add, ledger
from sourcing.teller import open_store
from sourcing.totals import Connection, Events, count, project, rows, setup, totals

PLANS: dict[str, Callable[[int], list[set[int]]]] = {
    "once": lambda point: [{point}],
    "twice": lambda point: [{point, point + 1}],
    "again the next time": lambda point: [{point}, {point}],
}
"""Where the first calls of a step are cancelled."""


class Strikes:
    """Cancel whoever calls a step of projections, as planned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str, *, late: bool) -> None:
        self.plan: list[set[int]] = []
        self.struck = 0
        self._late = late
        original: Callable[..., Coroutine[Any, Any, Any]] = getattr(ExactlyOnce, step)

        async def cancelled(target: object, *args: object) -> object:
            if not self.plan:
                return await original(target, *args)
            call = CancelledAt(original(target, *args), frozenset(self.plan.pop(0)), late=self._late)
            try:
                return await call
            finally:
                self.struck += call.struck

        monkeypatch.setattr(ExactlyOnce, step, cancelled)

    def begin(self, plan: Sequence[set[int]]) -> None:
        self.plan, self.struck = list(plan), 0


async def caught_up(handle: QueryHandle) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await handle.caught_up(timeout=20)
            except ActorCrashed:
                await asyncio.sleep(0)
            else:
                return


async def project_and_wait(connection: Connection, events: Events) -> None:
    await project(connection, events)
    await asyncio.sleep(0)


def projection() -> Projection[Added]:
    return Projection("totals", project_and_wait, setup=setup, follows=[ledger], max_attempts=1, poll_interval=0.01)


@asynccontextmanager
async def opened(place: str) -> AsyncIterator[tuple[LedgerSystem, EventStore]]:
    async with open_store(place) as store, EventSourcing(ledger, store) as system:
        yield system, store
    await nothing_is_left(place)


async def nothing_is_left(place: str) -> None:
    """Hold that no task is left, no transaction, and nothing that keeps others from writing."""
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    if place.startswith("postgresql:"):
        busy = "SELECT state, query FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        async with asyncio.timeout(10):
            while await rows(place, busy):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.02)  # a server process ends a moment after its client left


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("plan", PLANS)
async def test_wherever_a_projection_is_cancelled_it_counts_every_event_once(
    place: str, monkeypatch: pytest.MonkeyPatch, plan: str, *, late: bool
) -> None:
    strikes = Strikes(monkeypatch, "deliver", late=late)
    async with opened(place) as (system, store):
        handle = projection().handle(store)
        async with Supervisor([handle.child_spec()], max_restarts=10_000):
            await caught_up(handle)
            point = amount = 0
            while not point or strikes.struck:
                strikes.begin(PLANS[plan](point))
                amount += 1
                assert isinstance(await system.execute("a", add(amount, amount)), Ok)
                await caught_up(handle)
                assert await totals(place) == {"a": (amount * (amount + 1), 2 * amount)}
                point += 1
            assert point > 6
            assert handle.incarnation >= point


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("plan", PLANS)
async def test_wherever_a_projection_is_cancelled_that_begins_its_tables_are_made_once(
    place: str, monkeypatch: pytest.MonkeyPatch, plan: str, *, late: bool
) -> None:
    strikes = Strikes(monkeypatch, "claim", late=late)
    async with opened(place) as (system, store):
        assert isinstance(await system.execute("a", add(1)), Ok)
        point = 0
        while not point or strikes.struck:
            strikes.begin(PLANS[plan](point))
            handle = numbered(point).handle(store)
            async with Supervisor([handle.child_spec()], max_restarts=10_000):
                await caught_up(handle)
            assert await rows(place, f"SELECT amount, events FROM totals_{point}") == [(1, 1)]
            point += 1
        assert point > 6


def numbered(number: int) -> Projection[Added]:
    """Return a projection with a table of its own, that is new."""

    async def make(connection: Connection) -> None:
        await connection.execute(f"CREATE TABLE totals_{number} (id TEXT PRIMARY KEY, amount BIGINT, events BIGINT)")
        await asyncio.sleep(0)
        await connection.execute(f"CREATE INDEX by_amount_{number} ON totals_{number} (amount)")

    async def insert(connection: Connection, events: Events) -> None:
        for event in events:
            await count(connection, event, f"totals_{number}")

    return Projection(f"totals_{number}", insert, setup=make, follows=[ledger], max_attempts=1, poll_interval=0.01)
