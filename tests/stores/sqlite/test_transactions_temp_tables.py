"""What a projection on SQLite cannot leave behind for the next transaction."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventree import SQLiteStore
from eventree.stores.contract import Checkpoint


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(tmp_path / "events.db", busy_timeout=0.2) as opened:
        yield opened


@pytest.mark.parametrize(
    "hidden",
    [
        ["CREATE TEMP TABLE Checkpoints (name)"],
        ["CREATE TABLE temp.checkpoints (name)"],
        ["CREATE TEMP TABLE mine (name)", "ALTER TABLE temp.mine RENAME TO checkpoints"],
    ],
)
async def test_a_temporary_table_that_would_hide_ours_is_refused(store: SQLiteStore, hidden: list[str]) -> None:
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        async with store.transaction() as transaction:
            for statement in hidden:
                await transaction.connection.execute(statement)
    async with store.transaction() as transaction:
        assert await transaction.claim_checkpoint("query", 1) == Checkpoint(0, 1)


async def test_a_database_is_not_attached_for_longer_than_a_transaction(store: SQLiteStore) -> None:
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        async with store.transaction() as transaction:
            await transaction.connection.execute("ATTACH ':memory:' AS other")
    async with store.transaction() as transaction:
        rows = await transaction.connection.execute_fetchall("PRAGMA database_list")
        assert [row[1] for row in rows] == ["main"]


async def test_harmless_pragmas_may_be_written_in_capitals(store: SQLiteStore) -> None:
    async with store.transaction() as transaction:
        assert await transaction.connection.execute_fetchall("PRAGMA TABLE_INFO(checkpoints)")
