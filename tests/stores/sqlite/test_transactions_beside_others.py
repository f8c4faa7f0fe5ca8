"""Transactions on SQLite beside appends, helpers, other stores and a store that closes: all get their turn, or told."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import aiosqlite
import pytest

from eventree import SQLiteStore, StoreUnavailable
from eventree.errors import TransactionEnded, WouldDeadlock
from eventree.stores.contract import Appended
from eventree.testing.store_values import append, request
from sourcing.ledger import Boom


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
async def store(place: Path) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(place, busy_timeout=0.5) as opened:
        async with opened.transaction() as transaction:
            await make(transaction.connection)
        yield opened


async def make(connection: aiosqlite.Connection) -> None:
    await connection.execute("CREATE TABLE numbers (number INTEGER)")
    await connection.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in range(5)])


async def insert(connection: aiosqlite.Connection, number: int) -> None:
    await connection.execute("INSERT INTO numbers VALUES (?)", (number,))


async def numbers(store: SQLiteStore) -> list[int]:
    async with store.transaction() as transaction:
        return [row[0] for row in await transaction.connection.execute_fetchall("SELECT number FROM numbers")]


def lets_go(place: Path) -> None:
    """Hold that nobody has anything to do with a database any more."""
    with closing(sqlite3.connect(place, timeout=0.0, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")  # works for who is alone
        other.execute("BEGIN EXCLUSIVE")
    assert [file.name for file in place.parent.iterdir()] == [place.name]


@pytest.fixture
def nothing_stays_open(place: Path) -> Iterator[None]:
    """Hold that no thread is left that was not there before, and no connection."""
    threads = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(1.0)  # one that was told to end does so a moment later
        assert not thread.is_alive()
    lets_go(place)


async def half_read(connection: aiosqlite.Connection) -> aiosqlite.Cursor:
    cursor = await connection.execute("SELECT number FROM numbers")
    await cursor.fetchone()
    return cursor


async def test_a_cursor_that_is_kept_half_read_is_in_nobodys_way(store: SQLiteStore) -> None:
    kept: list[aiosqlite.Cursor] = []
    clock = asyncio.get_running_loop().time
    began = clock()
    for round in range(3):
        async with store.transaction() as transaction:
            await insert(transaction.connection, 10 + round)
            kept.append(await half_read(transaction.connection))
        for number in range(3):
            assert await append(store, request(f"{round}-{number}")) == [Appended(1, 3 * round + number + 1)]
    assert await numbers(store) == [0, 1, 2, 3, 4, 10, 11, 12]
    assert clock() - began < 0.5  # nobody waited for the busy timeout
    for cursor in kept:
        with pytest.raises(TransactionEnded):
            await cursor.fetchone()
    async with store.transaction():
        with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
            await kept[-1].fetchone()


async def test_a_cursor_that_is_kept_by_a_traceback_is_in_nobodys_way(store: SQLiteStore) -> None:
    kept: list[Boom] = []
    clock = asyncio.get_running_loop().time
    began = clock()
    for number in range(3):
        with pytest.raises(Boom) as caught:
            async with store.transaction() as transaction:
                await insert(transaction.connection, 10)
                cursor = await half_read(transaction.connection)
                rows = cursor.fetchall()
                try:
                    raise Boom
                finally:
                    rows.close()
        kept.append(caught.value)
        assert await append(store, request("a", after=number)) == [Appended(number + 1, number + 1)]
        async with store.transaction() as transaction:
            await insert(transaction.connection, 20 + number)
    assert await numbers(store) == [0, 1, 2, 3, 4, 20, 21, 22]
    assert clock() - began < 0.5
    assert all(error.__traceback__ is not None for error in kept)


async def keep_inserting(connection: aiosqlite.Connection, begun: asyncio.Event) -> int:
    """Insert without end, as a task of a projection that nobody awaits; return how many were accepted."""
    done = 0
    with pytest.raises(TransactionEnded):
        while True:
            await insert(connection, 99)
            begun.set()
            done += 1
    return done


@pytest.mark.parametrize("ends_with", [None, Boom])
async def test_helpers_whose_statements_come_around_the_end_write_within_the_transaction_or_not_at_all(
    store: SQLiteStore, ends_with: type[Exception] | None
) -> None:
    trace: list[str] = []
    accepted = rounds = 0
    async with store.transaction() as transaction:
        await transaction.connection.set_trace_callback(trace.append)
    trace.clear()
    for _ in range(30):
        begun = asyncio.Event()
        helpers: list[asyncio.Task[int]] = []
        try:
            async with store.transaction() as transaction:
                helpers = [asyncio.create_task(keep_inserting(transaction.connection, begun)) for _ in range(5)]
                await begun.wait()
                if ends_with is not None:
                    raise ends_with
        except Boom:
            pass
        accepted += sum(await asyncio.gather(*helpers))
    is_open = False
    for statement in trace:
        if statement.startswith("BEGIN"):
            is_open = True
        elif statement.startswith(("COMMIT", "ROLLBACK")):
            is_open = False
            rounds += 1
        elif statement.startswith("INSERT"):
            assert is_open
    assert rounds == 30
    stored = len(await numbers(store)) - 5
    assert stored == 0 if ends_with is not None else stored >= accepted >= 30


async def test_a_connection_is_of_no_use_to_helpers_while_the_transaction_of_somebody_else_is_open(
    store: SQLiteStore,
) -> None:
    go = asyncio.Event()

    async def late(connection: aiosqlite.Connection) -> None:
        await go.wait()
        for _ in range(10):
            with pytest.raises(TransactionEnded):
                await insert(connection, 99)

    async with store.transaction() as transaction:
        helper = asyncio.create_task(late(transaction.connection))
    async with store.transaction() as transaction:
        go.set()
        await helper
        await insert(transaction.connection, 10)
    assert await numbers(store) == [0, 1, 2, 3, 4, 10]


async def stay(store: SQLiteStore, inside: asyncio.Event) -> None:
    """Stay in a transaction until this is cancelled."""
    async with store.transaction() as transaction:
        await insert(transaction.connection, 99)
        inside.set()
        await asyncio.Event().wait()


async def somebody_in_a_transaction(store: SQLiteStore) -> "asyncio.Task[None]":
    """Return a task that stays in a transaction of a store whose table has been made."""
    async with store.transaction() as transaction:
        await make(transaction.connection)
    inside = asyncio.Event()
    holder = asyncio.create_task(stay(store, inside))
    await inside.wait()
    return holder


async def use(store: SQLiteStore) -> None:
    async with store.transaction() as transaction:
        await insert(transaction.connection, 88)


@pytest.mark.usefixtures("nothing_stays_open")
async def test_who_waits_for_a_transaction_while_the_store_closes_gets_none(place: Path) -> None:
    store = SQLiteStore(place)
    async with store:
        holder = await somebody_in_a_transaction(store)
        waiters = [asyncio.create_task(use(store)) for _ in range(3)]
        await asyncio.sleep(0.02)
    holder.cancel()
    assert isinstance((await asyncio.gather(holder, return_exceptions=True))[0], asyncio.CancelledError)
    for waiter in waiters:
        with pytest.raises(StoreUnavailable, match="was closed; nothing was stored"):
            await waiter
    async with store:
        assert await numbers(store) == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("nothing_stays_open")
async def test_who_waits_behind_an_append_while_the_store_closes_gets_no_transaction(place: Path) -> None:
    store = SQLiteStore(place)
    async with store:
        async with store._write_lock:  # somebody appends
            waiter = asyncio.create_task(use(store))
            await asyncio.sleep(0.02)
            await store.__aexit__(None, None, None)
        with pytest.raises(StoreUnavailable, match="was closed; nothing was stored"):
            await waiter
        await store.__aenter__()


@pytest.mark.usefixtures("nothing_stays_open")
async def test_who_waited_for_a_store_that_is_open_again_gets_no_transaction_of_before(place: Path) -> None:
    store = SQLiteStore(place)
    async with store:
        holder = await somebody_in_a_transaction(store)
        waiter = asyncio.create_task(use(store))
        await asyncio.sleep(0.02)
    async with store:
        holder.cancel()
        await asyncio.wait([holder])
        with pytest.raises(StoreUnavailable, match="was closed; nothing was stored"):
            await waiter
        assert await numbers(store) == [0, 1, 2, 3, 4]
        assert await append(store, request("a")) == [Appended(1, 1)]


@pytest.mark.usefixtures("nothing_stays_open")
async def test_a_store_that_is_left_by_who_was_cancelled_is_closed_all_the_same(place: Path) -> None:
    store, inside = SQLiteStore(place), asyncio.Event()

    async def work() -> None:
        async with store:
            async with store.transaction() as transaction:
                await make(transaction.connection)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_transactions_of_two_stores_work_inside_of_each_other(store: SQLiteStore, tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "other.db") as inner:
        async with store.transaction() as outside:
            await insert(outside.connection, 10)
            async with inner.transaction() as inside:
                await make(inside.connection)
                await insert(outside.connection, 11)
                await insert(inside.connection, 5)
                assert (await outside.claim_checkpoint("query", 1)).fencing_token == 1
                assert (await inside.claim_checkpoint("query", 1)).fencing_token == 1
            await insert(outside.connection, 12)
        assert await numbers(store) == [0, 1, 2, 3, 4, 10, 11, 12]
        assert await numbers(inner) == [0, 1, 2, 3, 4, 5]


async def test_inside_of_two_transactions_both_stores_refuse_at_once_what_would_wait_for_their_ends(
    store: SQLiteStore, tmp_path: Path
) -> None:
    async with SQLiteStore(tmp_path / "other.db") as inner, asyncio.timeout(10):
        async with store.transaction():
            async with inner.transaction():
                for refuses in (store, inner):
                    with pytest.raises(WouldDeadlock):
                        await append(refuses, request("a"))
                    with pytest.raises(WouldDeadlock):
                        async with refuses.transaction():
                            pass
            with pytest.raises(WouldDeadlock):
                await append(store, request("a"))
            assert await append(inner, request("a")) == [Appended(1, 1)]
        assert await append(store, request("a")) == [Appended(1, 1)]


async def test_what_a_projections_own_cursor_locks_is_its_own_failure(store: SQLiteStore) -> None:
    kept: list[aiosqlite.Cursor] = []
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="locked") as caught:
            async with store.transaction() as transaction:
                kept.append(await half_read(transaction.connection))
                await transaction.connection.execute("DROP TABLE numbers")
        assert caught.value.sqlite_errorcode == sqlite3.SQLITE_LOCKED
    assert await numbers(store) == [0, 1, 2, 3, 4]


async def test_a_task_that_a_transaction_started_uses_the_store_when_that_is_over(store: SQLiteStore) -> None:
    is_over = asyncio.Event()

    async def later() -> list[int]:
        await is_over.wait()
        async with store.transaction() as transaction:
            await insert(transaction.connection, 10)
        await append(store, request("a"))
        return await numbers(store)

    async with store.transaction():
        task = asyncio.create_task(later())
    is_over.set()
    assert await task == [0, 1, 2, 3, 4, 10]
