"""What a projection on SQLite can do to its transaction, and cannot."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from eventree import SQLiteStore
from eventree.errors import StoreBusy, StoreFull, TransactionEnded, WouldDeadlock
from eventree.stores.contract import Checkpoint, CheckpointUpdate, StoreTransaction
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
    "BEGIN": lambda db: db.execute("BEGIN"),
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
        with pytest.raises(TransactionEnded, match="it runs in one of the library"):
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


ROLLS_BACK = ("INSERT INTO numbers VALUES (1)", "INSERT INTO roll VALUES (1)", "UPDATE roll SET back = 2")
"""Statements that roll back all of a transaction: by ON CONFLICT ROLLBACK, and by triggers with RAISE(ROLLBACK)."""

TRIGGERS = (
    "CREATE TABLE roll (back INTEGER)",
    "INSERT INTO roll VALUES (0)",
    "CREATE TRIGGER inserted BEFORE INSERT ON roll BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    "CREATE TRIGGER updated BEFORE UPDATE ON roll BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
)


@pytest.fixture
async def held(store: SQLiteStore) -> Checkpoint:
    async with store.transaction() as transaction:
        for statement in TRIGGERS:
            await transaction.connection.execute(statement)
    return await store.claim_checkpoint("query", 1)


async def checkpoint(store: SQLiteStore) -> Checkpoint:
    stored = await store.load_checkpoint("query", 1)
    assert stored is not None
    return stored.checkpoint


async def roll_back(connection: aiosqlite.Connection, statement: str) -> None:
    """Write something, and swallow the error of a statement that undoes it."""
    await connection.execute("INSERT INTO numbers VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError):
        await connection.execute(statement)


LATER: dict[str, Callable[[aiosqlite.Connection], Awaitable[object]]] = {
    "execute": lambda db: db.execute("INSERT INTO numbers VALUES (99)"),
    "execute_insert": lambda db: db.execute_insert("INSERT INTO numbers VALUES (99)"),
    "executemany": lambda db: db.executemany("INSERT INTO numbers VALUES (?)", [(98,), (99,)]),
    "executescript": lambda db: db.executescript("INSERT INTO numbers VALUES (99);"),
    "a savepoint": lambda db: db.execute("SAVEPOINT anew"),
    "a query": lambda db: db.execute_fetchall("SELECT number FROM numbers"),
}


@pytest.mark.parametrize("statement", ROLLS_BACK)
async def test_a_statement_that_rolls_the_transaction_back_is_seen_at_its_end(
    store: SQLiteStore, held: Checkpoint, statement: str
) -> None:
    with pytest.raises(TransactionEnded):
        async with store.transaction() as transaction:
            await roll_back(transaction.connection, statement)
    assert await checkpoint(store) == held
    assert await numbers(store) == []


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("statement", ROLLS_BACK)
async def test_what_comes_after_a_statement_that_rolled_the_transaction_back_does_not_take_place(
    store: SQLiteStore, statement: str, later: str
) -> None:
    with pytest.raises(TransactionEnded):
        async with store.transaction() as transaction:
            await roll_back(transaction.connection, statement)
            with pytest.raises(TransactionEnded):
                await LATER[later](transaction.connection)
    assert await numbers(store) == []


Act = Callable[[StoreTransaction[aiosqlite.Connection], Checkpoint], Awaitable[object]]
MOVES: dict[str, Act] = {
    "save": lambda transaction, held: transaction.save_checkpoint(
        "query", 1, CheckpointUpdate(Checkpoint(9, held.fencing_token))
    ),
    "claim": lambda transaction, _: transaction.claim_checkpoint("query", 1),
    "claim another one": lambda transaction, _: transaction.claim_checkpoint("query", 2),
    "make live": lambda transaction, held: transaction.make_live("query", 1, held.fencing_token),
}


@pytest.mark.parametrize("move", MOVES)
async def test_no_checkpoint_moves_after_a_statement_that_rolled_the_transaction_back(
    store: SQLiteStore, held: Checkpoint, move: str
) -> None:
    for _ in range(2):
        with pytest.raises(TransactionEnded):
            async with store.transaction() as transaction:
                await roll_back(transaction.connection, "INSERT INTO numbers VALUES (1)")
                with pytest.raises(TransactionEnded):
                    await MOVES[move](transaction, held)
    assert await checkpoint(store) == held
    assert await store.load_checkpoint("query", 2) is None
    assert await numbers(store) == []
    async with store.transaction() as transaction:
        await transaction.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(9, held.fencing_token)))
    assert await checkpoint(store) == Checkpoint(9, held.fencing_token)


@pytest.mark.parametrize(
    "pragma",
    [
        "query_only = ON",
        "QUERY_ONLY(1)",
        "locking_mode = EXCLUSIVE",
        "synchronous = OFF",
        "main.synchronous = OFF",
        "journal_mode = DELETE",
        "journal_size_limit = 0",
        "wal_autocheckpoint = 0",
        "busy_timeout = 60000",
        "foreign_keys = ON",
        "writable_schema = ON",
        "user_version = 7",
        "max_page_count = 1",
        "case_sensitive_like = ON",
    ],
)
async def test_a_pragma_that_would_outlive_the_transaction_is_refused(store: SQLiteStore, pragma: str) -> None:
    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            async with store.transaction() as transaction:
                await transaction.connection.execute("INSERT INTO numbers VALUES (1)")
                await transaction.connection.execute(f"PRAGMA {pragma}")
    async with store.transaction() as transaction:
        await transaction.connection.execute("INSERT INTO numbers VALUES (2)")
    assert await numbers(store) == [2]
    await append(store, request("a"))


@pytest.mark.parametrize(
    ("pragma", "answer"),
    [
        ("synchronous", [(2,)]),
        ("journal_mode", [("wal",)]),
        ("query_only", [(0,)]),
        ("table_info(numbers)", [(0, "number", "INTEGER", 0, None, 0)]),
        ("index_list(numbers)", [(0, "sqlite_autoindex_numbers_1", 1, "u", 0)]),
        ("foreign_key_list(numbers)", []),
        ("foreign_key_check", []),
        ("foreign_key_check(numbers)", []),
        ("defer_foreign_keys = ON", []),
        ("quick_check", [("ok",)]),
        ("integrity_check(1)", [("ok",)]),
    ],
)
async def test_a_pragma_that_only_tells_something_is_fine(store: SQLiteStore, pragma: str, answer: list[Any]) -> None:
    async with store.transaction() as transaction:
        await transaction.connection.execute("INSERT INTO numbers VALUES (1)")
        assert list(await transaction.connection.execute_fetchall(f"PRAGMA {pragma}")) == answer
    assert await numbers(store) == [1]


@pytest.mark.parametrize(
    "hidden",
    [
        "CREATE TEMP TABLE checkpoints (name)",
        "CREATE TEMPORARY TABLE IF NOT EXISTS events (position)",
        "CREATE TEMP TABLE eventree AS SELECT 1 AS id",
        "CREATE TEMP VIEW parked AS SELECT 1 AS name",
    ],
)
async def test_a_temporary_table_that_would_hide_ours_is_refused(store: SQLiteStore, hidden: str) -> None:
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        async with store.transaction() as transaction:
            await transaction.connection.execute(hidden)
    async with store.transaction() as transaction:
        assert await transaction.claim_checkpoint("query", 1) == Checkpoint(0, 1)


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
                await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(1, held.fencing_token)))
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
        assert (await transaction.claim_checkpoint("query", 1)).fencing_token == 1


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
