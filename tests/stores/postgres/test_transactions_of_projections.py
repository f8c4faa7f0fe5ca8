"""What a projection on Postgres does to its transaction: it stops or goes on, and counts every event once."""

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from eventree import Projection, QueryStopped
from eventree.errors import TransactionEnded
from eventree.sourcing import QueryStatus
from sourcing.ledger import Added, add
from sourcing.totals import Connection, Events, count, project, rows, setup, totals
from stores.postgres.backends import backends, psql
from stores.postgres.projecting import opened, projection, stored_position


@pytest.mark.parametrize(("end", "stands"), [("COMMIT", True), ("ROLLBACK", False)])
async def test_a_projection_that_ends_its_transaction_in_a_batch_stops_at_once(
    postgres_dsn: str, end: str, *, stands: bool
) -> None:
    is_broken = True
    calls: list[int] = []

    async def ends(connection: Connection, events: Events) -> None:
        await project(connection, events)
        if is_broken and len(events) > 1:
            calls.append(len(events))
            await connection.execute(end)

    async with opened(postgres_dsn, projection(ends)) as (system, store):
        handle = system.query("totals")
        await system.execute("a", add(1), wait_for=["totals"])  # so that more than one is handled at once
        await system.execute("a", add(2), wait_for=["totals"])
        await handle.pause()
        await system.execute_many([(f"b{number}", add(number)) for number in range(5)])
        await handle.resume()
        with pytest.raises(QueryStopped) as stopped:
            await handle.caught_up()
        assert isinstance(stopped.value.__cause__, TransactionEnded)
        assert (handle.status, handle.position) == (QueryStatus.STOPPED, await stored_position(store))
        assert len(calls) == 1
        alone = handle.position - 2  # a slow machine may make it begin with one event
        counted = await totals(postgres_dsn)
        before, after = {"a": (3, 2)}, {f"b{number}": (number, 1) for number in range(5)}
        assert counted == before | dict(list(after.items())[: alone + (calls[0] if stands else 0)])
        if not stands:
            is_broken = False
            await handle.resume()
            await handle.caught_up()
            assert await totals(postgres_dsn) == before | after


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
async def test_a_setup_that_ends_its_transaction_stops_at_once(postgres_dsn: str, end: str) -> None:
    calls = 0

    async def ends(connection: Connection) -> None:
        nonlocal calls
        calls += 1
        await setup(connection)
        await connection.execute(end)

    async with opened(postgres_dsn, projection(project, setup=ends, max_attempts=8)) as (system, _):
        await system.execute("a", add(1))
        with pytest.raises(QueryStopped) as stopped:
            await system.query("totals").caught_up()
        assert isinstance(stopped.value.__cause__, TransactionEnded)
        assert calls == 1


async def swallow(connection: Any) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await connection.execute("SELECT 1 / 0")


async def test_a_projection_that_swallows_a_failure_stops_after_its_attempts_and_counts_right_later(
    postgres_dsn: str,
) -> None:
    is_broken, calls = True, 0

    async def swallows(connection: Connection, events: Events) -> None:
        nonlocal calls
        await project(connection, events)
        if is_broken:
            calls += 1
            await swallow(connection)

    async with opened(postgres_dsn, projection(swallows, max_attempts=3)) as (system, store):
        await system.execute("a", add(1, 2))
        with pytest.raises(QueryStopped) as stopped:
            await system.query("totals").caught_up()
        assert isinstance(stopped.value.__cause__, asyncpg.InFailedSQLTransactionError)
        assert (calls, await stored_position(store), await totals(postgres_dsn)) == (3, 0, {})
        is_broken = False
        await system.query("totals").resume()
        await system.query("totals").caught_up()
        assert await totals(postgres_dsn) == {"a": (3, 2)}


async def test_a_constraint_that_is_judged_at_the_commit_stops_a_projection_after_its_attempts(
    postgres_dsn: str,
) -> None:
    is_broken = True

    async def make(connection: Connection) -> None:
        await setup(connection)
        await connection.execute("CREATE TABLE parent (id INT PRIMARY KEY)")
        await connection.execute("CREATE TABLE child (id INT REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")

    async def orphans(connection: Connection, events: Events) -> None:
        await project(connection, events)
        if is_broken:
            await connection.execute("INSERT INTO child VALUES (1)")

    async with opened(postgres_dsn, projection(orphans, setup=make)) as (system, store):
        await system.execute("a", add(1))
        with pytest.raises(QueryStopped) as stopped:
            await system.query("totals").caught_up()
        assert isinstance(stopped.value.__cause__, asyncpg.ForeignKeyViolationError)
        assert (await stored_position(store), await totals(postgres_dsn)) == (0, {})
        is_broken = False
        await system.query("totals").resume()
        await system.query("totals").caught_up()
        assert await totals(postgres_dsn) == {"a": (1, 1)}


async def test_a_commit_that_cannot_be_put_in_an_order_with_others_is_tried_again_and_counts_as_no_failure(
    postgres_dsn: str,
) -> None:
    calls = 0

    async def serializable(connection: Any, events: Events) -> None:
        nonlocal calls
        calls += 1
        await connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        await connection.fetch("SELECT sum(amount) FROM totals")
        if calls <= 3:
            async with psql(postgres_dsn) as other, other.transaction(isolation="serializable"):
                await other.fetch("SELECT sum(amount) FROM totals")
                await other.execute(f"INSERT INTO totals VALUES ('other {calls}', 1, 1)")
                await project(connection, events)
        else:
            await project(connection, events)

    async with opened(postgres_dsn, projection(serializable, max_attempts=1)) as (system, _):
        await system.execute("a", add(1))
        await system.query("totals").caught_up(timeout=20)
        assert calls == 4
        assert await totals(postgres_dsn) == {"a": (1, 1)} | {f"other {number}": (1, 1) for number in (1, 2, 3)}
        assert (await system.query("totals").stats()).failures == 0


@pytest.mark.parametrize("is_frozen", [False, True])
async def test_a_projection_that_leaves_its_transaction_alone_for_longer_than_its_lease_gets_a_longer_one(
    postgres_dsn: str, *, is_frozen: bool
) -> None:
    calls, lease = 0, 0.4

    async def idles(connection: Connection, events: Events) -> None:
        nonlocal calls
        await project(connection, events)
        calls += 1
        if is_frozen:
            time.sleep(2 * lease)  # noqa: ASYNC251 - as a process that is frozen
        else:
            await asyncio.sleep(2 * lease)

    async with opened(postgres_dsn, projection(idles, lease=lease, max_attempts=1)) as (system, store):
        await system.execute("a", add(1))
        await system.query("totals").caught_up(timeout=20)
        assert (calls, await stored_position(store)) == (2, 1)
        assert await totals(postgres_dsn) == {"a": (1, 1)}


async def test_ten_projections_share_four_connections(postgres_dsn: str) -> None:
    def numbered(number: int) -> Projection[Added]:
        async def make(connection: Connection) -> None:
            await connection.execute(f"CREATE TABLE t{number} (id TEXT PRIMARY KEY, amount BIGINT, events BIGINT)")

        async def insert(connection: Connection, events: Events) -> None:
            for event in events:
                await count(connection, event, f"t{number}")

        return projection(insert, name=f"t{number}", setup=make)

    async with opened(postgres_dsn, *map(numbered, range(10))) as (system, _):
        for start in range(0, 100, 20):
            await system.execute_many([(f"a{number % 7}", add(number)) for number in range(start, start + 20)])
        for number in range(10):
            await system.query(f"t{number}").caught_up(timeout=30)
            assert await rows(postgres_dsn, f"SELECT sum(amount), sum(events) FROM t{number}") == [(4950, 100)]
            assert system.query(f"t{number}").status is QueryStatus.RUNNING
        async with psql(postgres_dsn) as db:
            assert len(await backends(db)) <= 1 + 4 + 4 + 1  # for appends, reads, projections, hints
