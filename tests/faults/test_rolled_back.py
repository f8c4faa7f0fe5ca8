"""A SQLite file that goes back in time under a running process: nothing is decided or counted on what is gone."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import aiosqlite
import pytest

from eventree import DomainError, Err, EventEnvelope, EventSourcing, Ok, Projection, Query, SnapshotConfig, SQLiteStore
from eventree.errors import LogRolledBack, QueryStopped
from eventree.sourcing import QueryStatus
from eventree.stores import live
from faults.accounts import Booked, account, book

Restore: TypeAlias = Callable[[Path, Path], None]


def by_backup_api(backup: Path, file: Path) -> None:
    with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(file)) as target:
        source.backup(target)


def by_copying(backup: Path, file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    shutil.copyfile(backup, file)


restores = pytest.mark.parametrize("restore", [by_backup_api, by_copying])


def positions_in(file: Path, table: str) -> list[int]:
    with closing(sqlite3.connect(file)) as db:
        return [row[0] for row in db.execute(f"SELECT position FROM {table} ORDER BY rowid")]


async def create(connection: aiosqlite.Connection) -> None:
    await connection.execute("CREATE TABLE seen (position INTEGER)")


async def insert(connection: aiosqlite.Connection, events: Sequence[EventEnvelope[Booked]]) -> None:
    await connection.executemany("INSERT INTO seen VALUES (?)", [(event.position,) for event in events])


@restores
async def test_a_command_is_not_decided_on_a_cached_state_that_is_gone(tmp_path: Path, restore: Restore) -> None:
    file, backup = tmp_path / "events.db", tmp_path / "backup.db"
    async with SQLiteStore(file) as store, EventSourcing(account, store) as system:
        assert await book(system, "a", 100) == [100]
        by_backup_api(file, backup)
        assert await book(system, "a", -99) == [1]
        restore(backup, file)
        async with SQLiteStore(file) as other, EventSourcing(account, other) as another:
            assert await book(another, "a", 5) == [105]  # now the sequence is what the first process remembers
        assert await book(system, "a", -50, 5) == [55, 60]


@restores
async def test_a_refusal_is_not_decided_on_a_cached_state_that_is_gone(tmp_path: Path, restore: Restore) -> None:
    file, backup = tmp_path / "events.db", tmp_path / "backup.db"
    async with SQLiteStore(file) as store, EventSourcing(account, store) as system:
        await book(system, "a", 1)
        by_backup_api(file, backup)
        await book(system, "a", 99)
        restore(backup, file)
        async with SQLiteStore(file) as other, EventSourcing(account, other) as another:
            await book(another, "a", 4)
        assert await system.execute("a", -50) == Err(DomainError("overdrawn"))
        assert await book(system, "a", -5) == [0]


@restores
async def test_a_snapshot_of_a_state_that_is_gone_is_not_used(tmp_path: Path, restore: Restore) -> None:
    file, backup = tmp_path / "events.db", tmp_path / "backup.db"
    every_event = SnapshotConfig(frequency=1)
    async with SQLiteStore(file) as store:
        async with EventSourcing(account, store) as system:
            await book(system, "a", 100)
        by_backup_api(file, backup)
        async with EventSourcing(account, store, snapshots=every_event) as system:
            await book(system, "a", -99)
        [gone] = (await store.load_snapshots("account", ["a"], system_version(file))).values()
        restore(backup, file)
        async with EventSourcing(account, store) as system:
            await book(system, "a", 5)
        await store.save_snapshots([gone])  # as a writer that was slow
        async with EventSourcing(account, store, snapshots=every_event) as system:
            assert await book(system, "a", 1) == [106]


def system_version(file: Path) -> str:
    with closing(sqlite3.connect(file)) as db:
        return str(db.execute("SELECT state_version FROM snapshots").fetchone()[0])


@restores
async def test_a_projection_counts_what_is_there_and_a_query_that_saw_more_says_so(
    tmp_path: Path, restore: Restore
) -> None:
    file, backup, handled = tmp_path / "events.db", tmp_path / "backup.db", list[int]()

    async def see(_: str, events: Sequence[EventEnvelope[Booked]]) -> None:
        handled.extend(event.position for event in events)

    queries = [Projection("seen", insert, setup=create), Query("mail", see)]
    async with SQLiteStore(file) as store, EventSourcing(account, store, queries=queries) as system:
        await book(system, "a", *[1] * 5)
        await asyncio.gather(*(system.query(name).caught_up() for name in ("seen", "mail")))
        by_backup_api(file, backup)
        await book(system, "a", *[1] * 5)
        await asyncio.gather(*(system.query(name).caught_up() for name in ("seen", "mail")))
        restore(backup, file)
        await system.execute("a", 0)  # may be told that its aggregate went back
        for number in range(8):
            assert isinstance(await system.execute("b", number), Ok)
        await system.query("seen").caught_up()
        with pytest.raises(QueryStopped) as caught:
            await system.query("mail").caught_up()
        assert isinstance(system.query("mail").last_error, LogRolledBack)
        assert (system.query("seen").status, caught.value.name) == (QueryStatus.RUNNING, "mail")
    assert positions_in(file, "seen") == positions_in(file, "events")
    assert handled == [*range(1, 11)]


@restores
async def test_who_comes_later_is_not_handed_from_memory_what_is_gone(
    tmp_path: Path, restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CONFIRMED_FOR", 0.0, raising=False)
    file, backup, handled = tmp_path / "events.db", tmp_path / "backup.db", list[str]()

    def see(id: str, _: Sequence[EventEnvelope[Booked]]) -> None:
        handled.append(id)

    queries = [Projection("seen", insert, setup=create), Query("mail", see)]
    async with SQLiteStore(file) as store, EventSourcing(account, store, queries=queries) as system:
        both = [system.query(name) for name in ("seen", "mail")]
        await book(system, "a", 1)
        await asyncio.gather(*(query.caught_up() for query in both))
        await asyncio.gather(*(query.pause() for query in both))
        by_backup_api(file, backup)
        await book(system, "gone", *[1] * 5)
        restore(backup, file)
        async with SQLiteStore(file) as other, EventSourcing(account, other) as another:
            await book(another, "new", *[1] * 6)
        await asyncio.gather(*(query.resume() for query in both))
        await asyncio.gather(*(query.caught_up() for query in both))
    assert positions_in(file, "seen") == positions_in(file, "events")
    assert handled == ["a", *["new"] * 6]


@restores
async def test_a_query_that_another_process_had_taken_over_says_that_what_it_handled_is_gone(
    tmp_path: Path, restore: Restore
) -> None:
    file, backup = tmp_path / "events.db", tmp_path / "backup.db"

    def query() -> Query[Booked]:
        return Query("mail", lambda _, __: None, lease=0.5, poll_interval=0.01)

    async with SQLiteStore(file) as store, EventSourcing(account, store, queries=[query()]) as system:
        await book(system, "a", 1)
        await system.query("mail").caught_up()
        by_backup_api(file, backup)
        await book(system, "a", 1, 1, 1)
        await system.query("mail").caught_up()
        restore(backup, file)
        async with SQLiteStore(file) as other:
            for number in range(5):
                checkpoint = await other.load_checkpoint("mail", 1)
                assert checkpoint is not None
                with closing(sqlite3.connect(file)) as db, db:  # as if others had claimed it since
                    db.execute("UPDATE checkpoints SET fencing_token = fencing_token + 9")
                async with EventSourcing(account, other) as another:
                    await book(another, "b", number)
        with pytest.raises(QueryStopped):
            await system.query("mail").caught_up()
        assert isinstance(system.query("mail").last_error, LogRolledBack)
