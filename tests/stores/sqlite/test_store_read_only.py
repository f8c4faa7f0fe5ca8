"""A SQLite store that is opened only for reading: it shows everything, and changes nothing."""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from eventree.errors import SchemaTooNew, StoreReadOnly, StoreUnavailable, StoreUnusable
from eventree.stores import SQLiteStore
from eventree.stores.contract import Checkpoint, CheckpointUpdate
from eventree.stores.sqlite import schema
from eventree.testing.store_values import append, log, parked, positions, request, snapshot, stream

WRITES: dict[str, Callable[[SQLiteStore], Awaitable[object]]] = {
    "append": lambda store: store.append([request("a", after=2)]),
    "a check": lambda store: store.append([request("a", after=2, events=0)]),
    "claim_checkpoint": lambda store: store.claim_checkpoint("query", 1),
    "save_checkpoint": lambda store: store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(1, 1))),
    "make_live": lambda store: store.make_live("query", 1, 1),
    "renew_checkpoint": lambda store: store.renew_checkpoint("query", 1, 1, 5),
    "save_snapshots": lambda store: store.save_snapshots([snapshot("a", 1)]),
}


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """Return a database with two events, a command, a checkpoint and a snapshot."""
    file = tmp_path / "events & 100%?#.db"
    async with SQLiteStore(file) as store:
        await append(store, request("a", events=2, commands=["c"]))
        held = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint(
            "query", 1, CheckpointUpdate(Checkpoint(1, held.fencing_token), park=[parked("a", 1)])
        )
        await store.save_snapshots([snapshot("a", 2)])
    return file


async def test_it_shows_everything(file: Path) -> None:
    async with SQLiteStore(file, read_only=True) as store:
        assert positions(await log(store)) == [1, 2]
        assert (await stream(store, "a")).sequence == await store.head() == 2
        assert positions((await store.read_backwards(None, 10)).events) == [2, 1]
        assert [one.key for one in await store.list_aggregates()] == [("thing", "a")]
        assert [query.parked for query in await store.list_queries()] == [1]
        assert set(await store.find_commands(["c"])) == {"c"}
        assert set(await store.load_snapshots("thing", ["a"], "v1")) == {"a"}
        assert len(await store.load_parked("query", 1)) == 1


async def test_it_sees_what_others_store_meanwhile(file: Path) -> None:
    async with SQLiteStore(file, read_only=True) as reader:
        async with SQLiteStore(file) as writer:
            await append(writer, request("b"))
            assert await reader.head() == 3
        assert await reader.head() == 3


@pytest.mark.parametrize("write", WRITES)
async def test_what_would_write_is_refused(file: Path, write: str) -> None:
    before = await asyncio.to_thread(file.read_bytes)
    async with SQLiteStore(file, read_only=True) as store:
        with pytest.raises(StoreReadOnly):
            await WRITES[write](store)
    assert await asyncio.to_thread(file.read_bytes) == before


async def test_it_has_no_transactions(file: Path) -> None:
    async with SQLiteStore(file, read_only=True) as store:
        with pytest.raises(StoreReadOnly):
            store.transaction()


async def test_sqlite_would_refuse_too(file: Path) -> None:
    def write(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA query_only = OFF")
        db.execute("DELETE FROM parked")

    async with SQLiteStore(file, read_only=True) as store:
        with pytest.raises(StoreUnusable, match="readonly"):
            await store._on_reader(write)


async def test_a_file_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="no such file"):
        await SQLiteStore(tmp_path / "events.db", read_only=True).__aenter__()
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


async def test_tables_that_do_not_exist_are_not_created(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE mine (id)")
    before = file.read_bytes()
    with pytest.raises(StoreUnusable, match="no tables of eventree"):
        await SQLiteStore(file, read_only=True).__aenter__()
    assert file.read_bytes() == before


async def test_an_older_schema_is_not_migrated(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 2)
    with pytest.raises(StoreUnusable, match="version is 1, this eventree needs 2"):
        await SQLiteStore(file, read_only=True).__aenter__()


async def test_a_newer_schema_is_too_new(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 0)
    with pytest.raises(SchemaTooNew):
        await SQLiteStore(file, read_only=True).__aenter__()


async def test_a_closed_one_is_unavailable(file: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await SQLiteStore(file, read_only=True).head()
