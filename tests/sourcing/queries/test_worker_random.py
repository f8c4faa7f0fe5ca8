"""Queries and projections under chance: whatever fails, crashes or is done by hand, nothing is lost, and all in order.

Each seed is a world of its own; `EVENTREE_EXAMPLES` says how many there are.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventree import EventSourcing, EventStore, MemoryStore
from eventree.sourcing import QueryStatus
from eventree.sourcing.queries import state
from harness.effort import examples
from servers.postgres import PostgresServer
from sourcing.ledger import add, ledger
from sourcing.reading import AT_ONCE, Contexts, Events, before, patient
from sourcing.teller import open_store
from sourcing.waiting import becomes, until
from sourcing.worlds import ProjectionWorld, QueryWorld

EXAMPLES = examples()
AT_A_TIME = 12
"""Worlds that share an event loop."""

ON_A_SERVER = 4
"""The same on one server, which has not room for many connections."""

pytestmark = [pytest.mark.random, pytest.mark.usefixtures("quiet")]


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log nothing, and come back at once where a store was away."""
    monkeypatch.setattr(state, "STORE_BACKOFF", AT_ONCE)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def in_many_worlds(
    live: Callable[[int], Coroutine[Any, Any, None]], count: int, at_a_time: int = AT_A_TIME
) -> None:
    seeds = iter(range(count))

    async def some() -> None:
        for seed in seeds:
            try:
                await live(seed)
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise

    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(some())


async def test_a_query_loses_nothing_and_keeps_the_order_of_each_aggregate() -> None:
    async def live(seed: int) -> None:
        async with MemoryStore() as store, EventSourcing(ledger, store) as writer:
            await QueryWorld(seed, store, writer).live()

    await in_many_worlds(live, EXAMPLES + EXAMPLES // 2)


async def test_two_workers_of_a_query_lose_nothing_and_run_ahead_of_nothing() -> None:
    async def live(seed: int) -> None:
        async with MemoryStore() as store, EventSourcing(ledger, store) as writer:
            await QueryWorld(seed, store, writer, workers=2).live()

    await in_many_worlds(live, EXAMPLES // 2)


async def project(place: str, seed: int) -> None:
    """Let one or two workers of a projection work; others write through a store of their own."""
    async with open_store(place) as store, open_store(place) as there, EventSourcing(ledger, there) as writer:
        await ProjectionWorld(seed, store, writer, place, workers=1 + seed % 2).live()


async def test_a_projection_on_sqlite_counts_every_event_exactly_once(tmp_path: Path) -> None:
    await in_many_worlds(lambda seed: project(str(tmp_path / f"{seed}.db"), seed), EXAMPLES // 2)


async def test_a_projection_on_postgres_counts_every_event_exactly_once(postgres_server: PostgresServer) -> None:
    postgres_server.start()

    async def live(seed: int) -> None:
        place = postgres_server.new_database()
        try:
            await project(place, seed)
        finally:
            postgres_server.drop_database(place)

    await in_many_worlds(live, max(1, EXAMPLES // 15), ON_A_SERVER)


async def race(seed: int, store: EventStore) -> None:
    """Let three versions of a query go live one after the other, or one past another, while events are written."""
    chance = random.Random(seed)  # noqa: S311 - not a secret
    seen = {version: Contexts() for version in (1, 2, 3)}

    async def naps(_: str, __: Events) -> None:
        if chance.random() < 0.3:
            await asyncio.sleep(0.002)

    async with EventSourcing(ledger, store) as system:

        async def write() -> None:
            for number in range(40):
                await system.execute("b", add(number))
                await asyncio.sleep(0.002)

        for number in range(chance.choice([3, 40])):
            await system.execute("a", add(number))
        writing = asyncio.ensure_future(write())
        for version in [1, *chance.choice([(2, 3), (3, 2)])]:
            await system.register_queries([patient(before(seen[version], naps), version=version, lease=0.3)])
            await asyncio.sleep(chance.random() * 0.1)
        await writing
        await until(lambda: system.query("q", 3).is_live)
        await system.query("q", 3).caught_up()
        for version in (1, 2):
            await becomes(system.query("q", version), QueryStatus.SUPERSEDED)
        head = await store.head()
    told = {
        version: [
            (events[0].position, context.is_replay)
            for (_, events), context in zip(contexts.commits, contexts.contexts, strict=True)
        ]
        for version, contexts in seen.items()
    }
    assert [position for position, _ in told[3]] == list(range(1, head + 1))
    for version in (2, 3):
        replays = [is_replay for _, is_replay in told[version]]
        assert replays == sorted(replays, reverse=True)
    assert {position for each in told.values() for position, is_replay in each if not is_replay} == {
        position for position, _ in told[3]
    }


async def test_of_versions_that_race_the_newest_wins_and_no_event_is_only_a_replay() -> None:
    async def live(seed: int) -> None:
        async with MemoryStore() as store:
            await race(seed, store)

    await in_many_worlds(live, EXAMPLES // 3)
