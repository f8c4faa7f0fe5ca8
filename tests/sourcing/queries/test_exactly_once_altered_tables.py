"""A table that is altered under a projection on Postgres: its prepared statements are renewed, nothing is to blame."""

from typing import Any

import pytest

from eventree import EventSourcing, Projection
from eventree.sourcing import QueryStatus
from sourcing.ledger import Added, add, ledger
from sourcing.reading import AT_ONCE
from sourcing.teller import open_store
from sourcing.totals import rows

TABLE = "CREATE TABLE levels (id TEXT PRIMARY KEY, amount INT)"
SELECT = "SELECT * FROM levels WHERE id = $1"
INSERT = "INSERT INTO levels (id, amount) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET amount = $2"


async def setup(connection: Any) -> None:
    await connection.execute(TABLE)


async def project(connection: Any, events: Any) -> None:
    for event in events:
        await connection.fetch(SELECT, event.aggregate_id)
        await connection.execute(INSERT, event.aggregate_id, event.payload.amount)


def projection(name: str = "q", **options: Any) -> Projection[Added]:
    return Projection(name, project, setup=setup, backoff=AT_ONCE, poll_interval=0.01, **options)


async def test_what_was_parked_for_a_column_is_retried_once_the_column_was_altered(postgres_dsn: str) -> None:
    query = projection(on_failure="park", max_attempts=2)
    async with open_store(postgres_dsn) as store, EventSourcing(ledger, store, queries=[query]) as system:
        handle = system.query("q")
        await system.execute("a", add(1), wait_for=["q"])
        await system.execute_many([("b", add(2**40)), ("b", add(2**41))])
        await handle.caught_up()
        assert [parked.position for parked in await handle.parked()] == [2, 3]
        await rows(postgres_dsn, "ALTER TABLE levels ALTER COLUMN amount TYPE BIGINT")
        assert await handle.retry_parked() == 2
        assert await handle.parked() == []
        assert handle.last_error is None
    assert await rows(postgres_dsn, "SELECT amount FROM levels WHERE id = 'b'") == [(2**41,)]


@pytest.mark.parametrize("alter", ["ALTER COLUMN amount TYPE BIGINT", "ADD COLUMN note TEXT", "DROP COLUMN amount"])
async def test_live_events_do_not_notice_and_count_no_failure(
    postgres_dsn: str, alter: str, caplog: pytest.LogCaptureFixture
) -> None:
    query = projection(on_failure="park", max_attempts=1)
    async with open_store(postgres_dsn) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        await rows(postgres_dsn, f"ALTER TABLE levels {alter}")
        if alter.startswith("DROP"):
            await rows(postgres_dsn, "ALTER TABLE levels ADD COLUMN amount BIGINT")
        caplog.clear()
        await system.execute("a", add(2), wait_for=["q"])
        stats = await system.query("q").stats()
        assert (stats.parked, stats.failures, stats.status) == (0, 0, QueryStatus.RUNNING)
    assert caplog.records == []
    assert await rows(postgres_dsn, "SELECT amount FROM levels") == [(2,)]


async def test_a_projection_that_wraps_the_error_is_helped_too(postgres_dsn: str) -> None:
    async def wrapping(connection: Any, events: Any) -> None:
        try:
            await project(connection, events)
        except Exception as error:
            raise ValueError("my own") from error

    query: Projection[Added] = Projection("q", wrapping, setup=setup, max_attempts=1, poll_interval=0.01)
    async with open_store(postgres_dsn) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        await rows(postgres_dsn, "ALTER TABLE levels ALTER COLUMN amount TYPE BIGINT")
        await system.execute("a", add(2), wait_for=["q"])
    assert await rows(postgres_dsn, "SELECT amount FROM levels") == [(2,)]


async def test_a_retry_that_fails_says_why(postgres_dsn: str) -> None:
    query = projection(on_failure="park", max_attempts=1)
    async with open_store(postgres_dsn) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(2**40), wait_for=["q"])
        retried = await system.query("q").retry_parked()
        assert retried == 0
        assert retried.reason.startswith("position 1: DataError: invalid input for query argument $2")
