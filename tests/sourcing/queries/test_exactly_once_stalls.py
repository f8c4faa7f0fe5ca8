"""A database that is slow, locked or away is waited out: it is never counted against an event."""

import sqlite3
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from eventree import EventSourcing, MemoryStore, Projection, StoreUnavailable
from eventree.errors import EventStoreError, StoreBusy
from eventree.sourcing import QueryStatus
from eventree.stores.postgres import PostgresStore
from eventree.testing import FailingStore
from sourcing.ledger import Added, add, ledger
from sourcing.reading import AT_ONCE, Events, Seen, patient
from sourcing.teller import open_store
from sourcing.totals import project, setup, totals
from sourcing.waiting import until

SHORT = 0.3
"""Seconds that statements may take here."""


def skipping(function: Callable[..., Any] = project, **functions: Any) -> Projection[Added]:
    """Return a projection that leaves out what fails once."""
    return Projection(
        "q", function, **functions, max_attempts=1, on_failure="skip", backoff=AT_ONCE, poll_interval=0.01, lease=5.0
    )


@pytest.mark.parametrize("locked", ["totals", "eventree.checkpoints", "eventree.parked"])
async def test_a_lock_held_by_somebody_else_leaves_no_event_out(postgres_dsn: str, locked: str) -> None:
    async with (
        PostgresStore(postgres_dsn, timeout=SHORT) as store,
        EventSourcing(ledger, store, queries=[skipping(setup=setup)]) as system,
    ):
        await system.execute("a", add(1), wait_for=["q"])
        handle = system.query("q")
        other = await asyncpg.connect(postgres_dsn)
        async with other.transaction():
            await other.execute(f"LOCK TABLE {locked} IN ACCESS EXCLUSIVE MODE")
            await system.execute("a", add(2))
            if locked != "eventree.parked":
                await until(lambda: handle.parts[0].state.store_failures >= 3)
                assert (handle.status, type(handle.last_error)) == (QueryStatus.RETRYING, StoreBusy)
        await other.close()
        await handle.caught_up(timeout=30)
        stats = await handle.stats()
    assert (stats.skipped, stats.failures, stats.last_error) == (0, 0, None)
    assert await totals(postgres_dsn) == {"a": (3, 2)}


async def test_a_lock_before_the_first_event_stops_nothing(postgres_dsn: str) -> None:
    async with PostgresStore(postgres_dsn, timeout=SHORT) as store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(1))
        other = await asyncpg.connect(postgres_dsn)
        async with other.transaction():
            await other.execute("LOCK TABLE eventree.checkpoints IN ACCESS EXCLUSIVE MODE")
            await system.register_queries([skipping(setup=setup)])
            handle = system.query("q")
            await until(lambda: handle.parts[0].state.store_failures >= 3)
        await other.close()
        await handle.caught_up(timeout=30)
    assert await totals(postgres_dsn) == {"a": (1, 1)}


def asleep(seconds: float) -> Callable[[Any, Any], Any]:
    async def project(connection: Any, _: Events) -> None:
        await connection.execute(f"SELECT pg_sleep({seconds})")

    return project


async def test_a_projection_that_always_takes_too_long_waits_visibly(
    postgres_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        PostgresStore(postgres_dsn, timeout=SHORT) as store,
        EventSourcing(ledger, store, queries=[skipping(asleep(60))]) as system,
    ):
        await system.execute("a", add(1))
        handle = system.query("q")
        await until(lambda: handle.parts[0].state.store_failures >= 3)
        stats = await handle.stats()
    assert (stats.status, stats.skipped, stats.position) == (QueryStatus.RETRYING, 0, 0)
    assert "statement timeout" in str(stats.last_error)
    assert "query q waits for its store" in caplog.text


SQLSTATES = ["57014", "55P03", "40001", "40P01", "57P01", "53300", "25P03", "08006"]


@pytest.mark.parametrize("wrapped", ["no", "from", "while handling"])
@pytest.mark.parametrize("sqlstate", SQLSTATES)
async def test_transient_errors_of_postgres_are_waited_out(postgres_dsn: str, sqlstate: str, wrapped: str) -> None:
    calls = 0

    async def fails(connection: Any, events: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            await project(connection, events)
            return
        try:
            await connection.execute(f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$")
        except asyncpg.PostgresError as error:
            if wrapped == "from":
                raise RuntimeError("our own") from error
            if wrapped == "while handling":
                raise RuntimeError("our own")  # noqa: B904 - as people do
            raise

    async with (
        PostgresStore(postgres_dsn) as store,
        EventSourcing(ledger, store, queries=[skipping(fails, setup=setup)]) as system,
    ):
        await system.execute("a", add(1))
        await system.query("q").caught_up(timeout=20)
        assert (await system.query("q").stats()).skipped == 0
    assert await totals(postgres_dsn) == {"a": (1, 1)}


@pytest.mark.parametrize("cause", [TimeoutError("of a request"), ValueError("55P03"), None])
async def test_other_errors_of_the_function_count(place: str, cause: Exception | None) -> None:
    async def fails(_: Any, __: Any) -> None:
        raise RuntimeError("no") from cause

    async with open_store(place) as store, EventSourcing(ledger, store, queries=[skipping(fails)]) as system:
        await system.execute("a", add(1))
        await system.query("q").caught_up(timeout=20)
        assert (await system.query("q").stats()).skipped == 1


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_busy_sqlite_is_waited_out(tmp_path: Any, *, wrapped: bool) -> None:
    """The file is locked by a connection that the function opens by itself."""
    place, calls = str(tmp_path / "events.db"), 0

    async def fails(connection: Any, events: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            await project(connection, events)
            return
        try:
            with sqlite3.connect(place, timeout=0.01, isolation_level=None) as own:
                own.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if wrapped:
                raise RuntimeError("our own") from error
            raise

    async with (
        open_store(place) as store,
        EventSourcing(ledger, store, queries=[skipping(fails, setup=setup)]) as system,
    ):
        await system.execute("a", add(1))
        await system.query("q").caught_up(timeout=20)
        assert (await system.query("q").stats()).skipped == 0
    assert await totals(place) == {"a": (1, 1)}


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreBusy("locked")])
async def test_a_query_whose_own_commands_find_the_store_away_waits(error: EventStoreError) -> None:
    seen, calls = Seen(), 0

    async def sends(id: str, events: Events) -> None:
        nonlocal calls
        calls += 1
        if 1 < calls < 5:
            raise error
        seen(id, events)

    async with MemoryStore() as store:
        query = patient(sends, on_failure="skip", max_attempts=1)
        async with EventSourcing(ledger, store, queries=[query]) as system:
            await system.execute_many([("a", add(number)) for number in range(3)])
            await system.query("q").caught_up(timeout=20)
            stats = await system.query("q").stats()
    assert (stats.skipped, stats.last_error) == (0, None)
    assert [amounts for _, amounts in seen.amounts] == [[0], [1], [2]]


@pytest.mark.parametrize("step", ["claim_checkpoint", "save_checkpoint", "load_checkpoint", "read"])
async def test_a_store_that_is_busy_at_any_step_is_waited_for(step: Any) -> None:
    seen = Seen()
    async with FailingStore() as store:
        store.fail(step, StoreBusy("locked"), times=3)
        query = patient(seen, on_failure="skip", max_attempts=1)
        async with EventSourcing(ledger, store, queries=[query]) as system:
            await system.execute("a", add(1))
            await system.query("q").caught_up(timeout=20)
            assert (await system.query("q").stats()).skipped == 0
    assert {id for id, _ in seen.amounts} == {"a"}
