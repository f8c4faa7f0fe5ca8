"""A database whose files are deleted, moved or replaced under an open store: nothing is acknowledged any more."""

import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventree import Err, EventSourcing, Projection, Query, QueryStopped, SQLiteStore
from eventree.errors import StoreUnusable
from eventree.sourcing import QueryStatus
from eventree.stores.contract import Checkpoint, CheckpointUpdate, StoredSnapshot, StreamRead
from eventree.testing.store_values import append, log, positions, request
from sourcing.ledger import add, ledger
from sourcing.reading import Seen
from sourcing.totals import project, setup


def delete(path: Path) -> None:
    path.unlink()


def delete_all(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replace(path: Path) -> None:
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    backup.replace(path)


def replace_by_nothing_of_ours(path: Path) -> None:
    path.unlink()
    path.write_text("")


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def move_the_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def make_the_folder_anew(path: Path) -> None:
    move_the_folder(path)
    shutil.copytree(path.parent.with_name("elsewhere"), path.parent)


def delete_the_wal(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def replace_the_wal(path: Path) -> None:
    delete_the_wal(path)
    path.with_name(f"{path.name}-wal").write_bytes(b"")


def delete_the_shared_memory(path: Path) -> None:
    path.with_name(f"{path.name}-shm").unlink()


Change = Callable[[Path], None]
CHANGES: list[Change] = [
    *(delete, delete_all, rename, replace, replace_by_nothing_of_ours, replace_by_a_folder, move_the_folder),
    *(make_the_folder_anew, delete_the_wal, replace_the_wal, delete_the_shared_memory),
]


async def in_a_transaction(store: SQLiteStore) -> None:
    async with store.transaction() as transaction:
        await transaction.connection.execute("CREATE TABLE numbers (number INTEGER)")


async def claim_in_a_transaction(store: SQLiteStore) -> None:
    async with store.transaction() as transaction:
        await transaction.claim_checkpoint("other", 1)


SNAPSHOT = StoredSnapshot("thing", "a", "v1", 1, "State", "{}", 7, datetime.now(UTC))
CALLS: dict[str, Callable[[SQLiteStore], Awaitable[object]]] = {
    "append": lambda store: append(store, request("b")),
    "an append of no events": lambda store: append(store, request("a", after=1, events=0)),
    "claim": lambda store: store.claim_checkpoint("q", 1),
    "save": lambda store: store.save_checkpoint("q", 1, CheckpointUpdate(Checkpoint(1, 1))),
    "renew": lambda store: store.renew_checkpoint("q", 1, 1, 5),
    "make live": lambda store: store.make_live("q", 1, 1),
    "snapshots": lambda store: store.save_snapshots([SNAPSHOT]),
    "transaction": in_a_transaction,
    "claim in a transaction": claim_in_a_transaction,
    "head": lambda store: store.head(),
    "read": lambda store: store.read(0, 10),
    "read_streams": lambda store: store.read_streams([StreamRead("thing", "a")]),
    "load_checkpoint": lambda store: store.load_checkpoint("q", 1),
    "list_queries": lambda store: store.list_queries(),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder / "events.db"


async def fill(store: SQLiteStore) -> None:
    await append(store, request("a"))
    await store.claim_checkpoint("q", 1)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("change", CHANGES)
async def test_every_answer_after_a_change_says_so(path: Path, change: Change, call: str) -> None:
    async with SQLiteStore(path) as store:
        await fill(store)
        change(path)
        for name in (call, *CALLS):
            with pytest.raises(StoreUnusable, match="while the store was open") as caught:
                await CALLS[name](store)
            assert caught.value.store == str(path)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_transaction_during_which_the_files_change_is_not_acknowledged(path: Path, change: Change) -> None:
    async with SQLiteStore(path) as store:
        await fill(store)
        with pytest.raises(StoreUnusable, match=str(path)):
            async with store.transaction() as transaction:
                await transaction.connection.execute("CREATE TABLE numbers (number INTEGER)")
                await transaction.save_checkpoint("q", 1, CheckpointUpdate(Checkpoint(1, 1)))
                change(path)


@pytest.mark.parametrize("change", CHANGES)
async def test_commands_are_answered_with_it_and_queries_stop(
    path: Path, change: Change, caplog: pytest.LogCaptureFixture
) -> None:
    queries = [
        Query("q", Seen(), poll_interval=0.01),
        Projection("p", project, setup=setup, poll_interval=0.01, on_failure="park"),
    ]
    async with SQLiteStore(path) as store, EventSourcing(ledger, store, queries=queries) as system:
        (await system.execute("a", add(1), wait_for=["q", "p"])).unwrap()
        change(path)
        for _ in range(8):
            answers = [
                await system.execute("a", add(1)),
                await system.load_aggregate("a"),
                await system.load_events("a"),
            ]
            assert [type(answer.error) for answer in answers if isinstance(answer, Err)] == [StoreUnusable] * 3
        for name in ("q", "p"):
            with pytest.raises(QueryStopped) as stopped:
                await system.query(name).caught_up(position=2)
            assert isinstance(stopped.value.__cause__, StoreUnusable)
            assert system.query(name).status is QueryStatus.STOPPED
    assert "crashed" not in caplog.text


def lead(path: Path, to: str) -> None:
    """Let a path be a link to another file, at one instant."""
    link = path.with_name("link")
    link.symlink_to(to)
    link.replace(path)


async def test_a_transaction_that_cannot_go_on_leaves_no_lock(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await fill(store)
        rename(path)
        with pytest.raises(StoreUnusable):
            await store.read_and_append([StreamRead("thing", "a")], lambda _: [request("b")])
        assert store._writer is not None
        assert not store._writer.in_transaction


async def test_a_link_that_leads_elsewhere_is_a_change(path: Path) -> None:
    for name in ("one", "two"):
        async with SQLiteStore(path.with_name(name)) as store:
            await fill(store)
    lead(path, "one")
    async with SQLiteStore(path) as store:
        await append(store, request("b"))
        lead(path, "two")
        with pytest.raises(StoreUnusable):
            await append(store, request("c"))
    async with SQLiteStore(path.with_name("two")) as store:
        assert positions(await log(store)) == [1]


async def test_what_is_moved_back_stays_unusable_until_it_is_opened_again(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await fill(store)
        rename(path)
        with pytest.raises(StoreUnusable):
            await append(store, request("b"))
        path.with_name("elsewhere").rename(path)
        with pytest.raises(StoreUnusable):
            await append(store, request("b"))
    async with store:
        assert await append(store, request("c")) != []


async def test_a_read_only_store_notices_it_too(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await fill(store)
        async with SQLiteStore(path, read_only=True) as reader:
            assert await reader.head() == 1
            replace(path)
            with pytest.raises(StoreUnusable):
                await reader.head()


async def test_another_working_directory_is_no_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    async with SQLiteStore(path.name) as store:
        await fill(store)
        monkeypatch.chdir(path.parent.parent)
        async with store.transaction() as transaction:
            await transaction.connection.execute("CREATE TABLE numbers (number INTEGER)")
        await append(store, request("b"))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM numbers").fetchone() == (0,)


async def test_other_processes_that_come_and_go_and_other_names_are_no_change(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await fill(store)
        os.link(path, path.with_name("another name"))
        for number in range(3):
            async with SQLiteStore(path) as other:
                await append(other, request(f"b{number}"))
            with closing(sqlite3.connect(path)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                db.execute("VACUUM")
            await append(store, request(f"c{number}"))
        assert positions(await log(store)) == list(range(1, 8))
