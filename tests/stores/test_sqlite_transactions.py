"""What a projection on SQLite can do to its transaction, and cannot."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiosqlite
import pytest

from eventree import SQLiteStore, StoreBusy, StoreFull, TransactionEnded, WouldDeadlock
from eventree.stores.contract import Checkpoint, Move
from eventree.stores.sqlite.connection import Connection
from eventree.testing.store_values import append, request

TABLE = "CREATE TABLE numbers (number INTEGER UNIQUE ON CONFLICT ROLLBACK)"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(tmp_path / "events.db", busy_timeout=0.2) as opened:
        async with opened.transaction() as transaction:
            await transaction.connection.execute(TABLE)
        yield opened


async def numbers(store: SQLiteStore) -> list[int]:
    async with store.transaction() as transaction:
        return [row[0] for row in await transaction.connection.execute_fetchall("SELECT number FROM numbers")]


ENDS: dict[str, Callable[[aiosqlite.Connection], object]] = {
    "COMMIT": lambda db: db.execute("COMMIT"),
    "our own COMMIT": lambda db: db.execute("COMMIT "),
    "END": lambda db: db.execute("END TRANSACTION"),
    "ROLLBACK": lambda db: db.execute("ROLLBACK"),
    "commit()": lambda db: db.commit(),
    "rollback()": lambda db: db.rollback(),
    "a script": lambda db: db.executescript("INSERT INTO numbers VALUES (2);"),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_projection_cannot_end_its_transaction(store: SQLiteStore, end: str) -> None:
    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            async with store.transaction() as transaction:
                await transaction.connection.execute("INSERT INTO numbers VALUES (1)")
                await ENDS[end](transaction.connection)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    assert await numbers(store) == []


async def test_savepoints_are_fine(store: SQLiteStore) -> None:
    async with store.transaction() as transaction:
        for statement in ("SAVEPOINT s", "INSERT INTO numbers VALUES (1)", "ROLLBACK TO s", "RELEASE s"):
            await transaction.connection.execute(statement)
        await transaction.connection.execute("INSERT INTO numbers VALUES (2)")
    assert await numbers(store) == [2]


async def test_a_statement_that_rolls_the_transaction_back_is_seen(store: SQLiteStore) -> None:
    held = await store.claim_checkpoint("query", 1)
    with pytest.raises(TransactionEnded):
        async with store.transaction() as transaction:
            await transaction.connection.execute("INSERT INTO numbers VALUES (1)")
            with pytest.raises(sqlite3.IntegrityError):
                await transaction.connection.execute("INSERT INTO numbers VALUES (1)")
    stored = await store.load_checkpoint("query", 1)
    assert stored is not None
    assert stored.checkpoint == held
    assert await numbers(store) == []


async def test_the_connection_is_of_no_use_after_its_transaction(store: SQLiteStore) -> None:
    go = asyncio.Event()

    async def late(connection: aiosqlite.Connection) -> None:
        await go.wait()
        await connection.execute("INSERT INTO numbers VALUES (1)")

    async with store.transaction() as transaction:
        leftover = asyncio.create_task(late(transaction.connection))
    with pytest.raises(TransactionEnded):
        await transaction.connection.execute("INSERT INTO numbers VALUES (1)")
    async with store.transaction():
        go.set()
        with pytest.raises(TransactionEnded):
            await leftover
    assert await numbers(store) == []


@pytest.mark.parametrize("how", ["append", "checkpoint"])
async def test_what_the_store_writes_elsewhere_is_refused_inside(store: SQLiteStore, how: str) -> None:
    held = await store.claim_checkpoint("query", 1)
    async with asyncio.timeout(10), store.transaction():
        with pytest.raises(WouldDeadlock):
            if how == "append":
                await append(store, request("a"))
            else:
                await store.save_checkpoint("query", 1, Move(Checkpoint(1, held.fence)))
        assert await store.head() == 0
    await append(store, request("a"))


async def test_a_connection_that_was_closed_is_opened_again(store: SQLiteStore) -> None:
    with pytest.raises(ValueError, match="no active connection"):
        async with store.transaction() as transaction:
            await transaction.connection.execute("INSERT INTO numbers VALUES (1)")
            await transaction.connection.close()
    async with store.transaction() as transaction:
        await transaction.connection.execute("INSERT INTO numbers VALUES (2)")
    assert await numbers(store) == [2]


async def test_a_row_factory_of_a_projection_does_not_reach_the_next_one(store: SQLiteStore) -> None:
    async with store.transaction() as transaction:
        transaction.connection.row_factory = frozenset
    async with store.transaction() as transaction:
        assert (await transaction.claim_checkpoint("query", 1)).fence == 1


def opened_by_us(connection: aiosqlite.Connection) -> Connection:
    assert isinstance(connection, Connection)
    return connection


async def test_a_full_disk_is_nobodys_fault(store: SQLiteStore) -> None:
    with pytest.raises(StoreFull):
        async with store.transaction() as transaction:
            await opened_by_us(transaction.connection).run(lambda db: db.execute("PRAGMA max_page_count = 1"))
            await transaction.connection.execute("INSERT INTO numbers VALUES (zeroblob(1000000))")


async def test_another_process_that_keeps_the_lock_is_waited_for_in_vain(store: SQLiteStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        async with store.transaction():
            pass
    other.execute("COMMIT")
    other.close()
    assert await numbers(store) == []


async def test_a_transaction_is_contended_while_others_append(store: SQLiteStore) -> None:
    async def is_contended() -> bool:
        async with store.transaction() as transaction:
            return transaction.is_contended

    assert not await is_contended()
    await append(store, request("a"))
    assert await is_contended()
    assert not await is_contended()
    await store.claim_checkpoint("query", 1)
    assert not await is_contended()


async def test_appends_get_at_least_as_much_time_as_transactions(store: SQLiteStore) -> None:
    appended = 0

    async def write() -> None:
        nonlocal appended
        while True:
            await append(store, request(f"{appended}"))
            appended += 1

    writer = asyncio.create_task(write())
    held = 0.0
    clock = asyncio.get_running_loop().time
    began = clock()
    while clock() < began + 0.5:
        async with store.transaction() as transaction:
            entered = clock()
            await transaction.connection.execute("SELECT 1")
            await asyncio.sleep(0.01)
            held += clock() - entered
    writer.cancel()
    await asyncio.wait([writer])
    assert held < 0.6 * (clock() - began)
    assert appended > 20
