"""A store that waits for a lock: who can wait once more does, and who cannot is told what it waited for."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from eventree import (
    ActorTimeout,
    Commit,
    DomainError,
    Err,
    EventreeError,
    EventSourcing,
    Ok,
    PostgresStore,
    SQLiteStore,
)
from eventree.errors import StoreBusy
from eventree.testing import FailingStore
from sourcing.commands.test_long_loads import LONG, LongStore, fill
from sourcing.ledger import Added, add, add_length, entries, ledger
from sourcing.waiting import until

Answer = Ok[Commit[Added]] | Err[DomainError[str] | EventreeError]


def started(call: Coroutine[Any, Any, Answer]) -> "asyncio.Task[Answer]":
    return asyncio.create_task(call)


def error_of(answer: Answer) -> DomainError[str] | EventreeError:
    assert isinstance(answer, Err)
    return answer.error


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[sqlite3.Connection]:
    """Hold the write lock of a file, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


async def test_a_locked_file_is_named_to_who_stopped_waiting_and_to_who_was_not_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with SQLiteStore(path) as store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(1))
        async with locked(path):
            first = started(system.execute("a", add(2), timeout=0.5))
            await until(lambda: bool(store.waiting_for))
            second = started(system.execute("b", add(3), timeout=0.2))
            errors = [error_of(await first), error_of(await second)]
    assert [type(error) for error in errors] == [ActorTimeout] * 2
    assert [error.outcome for error in errors if isinstance(error, ActorTimeout)] == ["unknown", "not_started"]
    for error in errors:
        assert isinstance(error, ActorTimeout)
        assert error.detail == f"the store waits for a lock of another process on {path}"
        assert error.detail in str(error)


async def test_a_store_that_waits_less_long_than_its_callers_is_asked_again_for_as_long_as_they_wait(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.db"
    async with SQLiteStore(path, busy_timeout=0.2) as store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(1))
        async with locked(path) as lock:
            hasty = started(system.execute("a", add(2), timeout=0.3))
            patient = [started(system.execute("a", add_length, timeout=60)) for _ in range(2)]
            assert isinstance(error_of(await hasty), StoreBusy)
            assert not any(each.done() for each in patient)
            later = started(system.execute("a", add_length, timeout=60))
            await until(lambda: bool(store.waiting_for))
            lock.execute("ROLLBACK")
            assert [(await each).unwrap().events for each in (*patient, later)] == [(Added(n),) for n in (1, 2, 3)]
        assert await entries(system, "a") == [1, 1, 2, 3]


async def wait_in_vain() -> None:
    await asyncio.sleep(0.1)
    raise StoreBusy("locked")


async def test_commands_without_a_caller_wait_as_long_as_others_do() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        gate = store.hold("append")
        store.intercept("append", wait_in_vain, times=3)
        system.execute_nowait("first", add(1))
        await gate.reached()
        system.execute_nowait("a", add(2))
        patient = started(system.execute("b", add(1), timeout=60))
        await until(lambda: len(system._tree.commands.mailbox) == 2)
        gate.open()
        assert isinstance(await patient, Ok)
        assert await entries(system, "a") == [2]
        assert store.calls["append"] == 1 + 3 + 1
        store.intercept("append", wait_in_vain)
        system.execute_nowait("a", add(3))
        await until(lambda: system._tree._counters.failed == 1)
        assert await entries(system, "a") == [2]


async def test_a_store_that_refuses_at_once_is_not_asked_again() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        store.fail("append", StoreBusy("busy"))
        assert isinstance(error_of(await system.execute("a", add(1))), StoreBusy)


@pytest.mark.parametrize(("method", "name"), [("append", "an append"), ("read_streams", "a read")])
async def test_a_call_of_the_store_that_lasts_is_named(method: Any, name: str) -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        gate = store.hold(method)
        error = error_of(await system.execute("a", add(1), timeout=0.05))
        gate.open()
    assert isinstance(error, ActorTimeout)
    assert error.detail.startswith(f"the store has not answered {name} for 0.")


async def test_a_long_load_is_named() -> None:
    async with LongStore() as store:
        await fill(store, "long", events=LONG)
        async with EventSourcing(ledger, store) as system:
            error = error_of(await system.execute("long", add(1), timeout=0.05))
    assert isinstance(error, ActorTimeout)
    assert error.detail == "its aggregate has many events, which are still being loaded"


async def test_postgres_says_that_it_waits_for_the_database(postgres_dsn: str) -> None:
    store = PostgresStore(postgres_dsn)
    asyncpg = pytest.importorskip("asyncpg")
    async with store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(1))
        other = await asyncpg.connect(postgres_dsn)
        try:
            async with other.transaction():
                await other.execute("SELECT * FROM eventree.head FOR UPDATE")
                error = error_of(await system.execute("a", add(2), timeout=0.3))
        finally:
            await other.close()
        assert isinstance(error, ActorTimeout)
        assert "another process may hold a lock" in error.detail
