"""A setup or swap that swallows a failure of the database stops its projection instead of going on."""

import asyncio
from typing import Any

import asyncpg
import pytest

from eventree import QueryStopped
from eventree.sourcing import QueryStatus
from sourcing.ledger import add
from sourcing.totals import Connection, Events, count, project, rows, setup, totals
from stores.postgres.projecting import opened, projection, stored_position


async def swallow(connection: Any) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await connection.execute("SELECT 1 / 0")


async def test_a_setup_that_swallows_a_failure_stops_after_its_attempts_and_leaves_nothing(postgres_dsn: str) -> None:
    is_broken, calls = True, 0

    async def swallows(connection: Connection) -> None:
        nonlocal calls
        calls += 1
        await setup(connection)
        if is_broken:
            await swallow(connection)

    async with opened(postgres_dsn, projection(project, setup=swallows, max_attempts=3)) as (system, store):
        await system.execute("a", add(1))
        with pytest.raises(QueryStopped) as stopped:
            await system.query("totals").caught_up()
        assert isinstance(stopped.value.__cause__, asyncpg.InFailedSQLTransactionError)
        assert (calls, await stored_position(store)) == (3, None)
        assert await rows(postgres_dsn, "SELECT to_regclass('totals') IS NULL") == [(True,)]
        is_broken = False
        await system.query("totals").resume()
        await system.query("totals").caught_up()
        assert await totals(postgres_dsn) == {"a": (1, 1)}


async def test_a_swap_that_swallows_a_failure_goes_live_only_when_it_does_no_more(postgres_dsn: str) -> None:
    is_broken, calls = True, 0

    async def setup_two(connection: Connection) -> None:
        await connection.execute("CREATE TABLE totals_two (id TEXT PRIMARY KEY, amount BIGINT, events BIGINT)")

    async def project_two(connection: Connection, events: Events) -> None:
        for event in events:
            await count(connection, event, "totals_two")

    async def swallows(connection: Connection) -> None:
        nonlocal calls
        calls += 1
        await connection.execute("DROP TABLE totals")
        if is_broken:
            await swallow(connection)

    two = projection(project_two, setup=setup_two, swap=swallows, version=2, max_attempts=3)
    async with opened(postgres_dsn, projection(project)) as (system, store):
        await system.execute("a", add(1), wait_for=["totals"])
        await system.register_queries([two])
        newer = system.query("totals", 2)
        async with asyncio.timeout(20):
            while newer.status is not QueryStatus.STOPPED:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        assert isinstance(newer.last_error, asyncpg.InFailedSQLTransactionError)
        stored = await store.load_checkpoint("totals", 2)
        assert stored is not None
        assert (calls, stored.live_version) == (3, 1)
        assert await totals(postgres_dsn) == {"a": (1, 1)}
        is_broken = False
        await newer.resume()
        await newer.caught_up()
        assert (calls, newer.is_live) == (4, True)
        assert await rows(postgres_dsn, "SELECT id, amount, events FROM totals_two") == [("a", 1, 1)]
