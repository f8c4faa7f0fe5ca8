"""The WAL of a SQLite store under readers that never seem to end, beside other processes, and with a busy writer."""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from eventree import SQLiteStore
from eventree.stores.contract import Appended, AppendRequest, Checkpoint, CheckpointUpdate, NewEvent, StoredSnapshot
from eventree.stores.sqlite.wal import MAX_BYTES, _has_reset_bug, mention_reset_bug
from servers.processes import python

MIB = 2**20

READ_UNTIL_TOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN")
db.execute("SELECT count(*) FROM events").fetchone()
print("reading", flush=True)
sys.stdin.readline()
db.execute("COMMIT")
print("read", flush=True)
sys.stdin.readline()
db.close()
"""

READ_WITHOUT_A_PAUSE = """
import sqlite3, sys, threading, time
def read(number):
    db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
    time.sleep(number * 0.005)
    while not done.is_set():
        db.execute("BEGIN")
        db.execute("SELECT max(position) FROM events").fetchone()
        time.sleep(0.015)
        db.execute("COMMIT")
    db.close()
done = threading.Event()
threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
print("reading", flush=True)
sys.stdin.readline()
done.set()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def wal_size(file: Path) -> int:
    return Path(f"{file}-wal").stat().st_size


def one_event(id: str, after: int = 0, payload: str = "{}") -> AppendRequest:
    return AppendRequest("thing", id, after, [NewEvent("happened", 1, payload, "{}", uuid4())])


async def write(store: SQLiteStore, mebibytes: int) -> int:
    """Append so much in commits of one MiB and return how large the WAL was at most."""
    payload = f'"{"x" * (MIB - 2)}"'
    largest = 0
    for _ in range(mebibytes):
        [outcome] = await store.append([one_event(str(uuid4()), payload=payload)])
        assert isinstance(outcome, Appended)
        largest = max(largest, wal_size(Path(store._path)))
    return largest


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert all(record.levelno == logging.WARNING for record in caplog.records if record.name == "eventree")
    return [record.getMessage() for record in caplog.records if record.name == "eventree"]


async def test_a_wal_that_one_long_reader_kept_is_cut_once_he_has_ended(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with SQLiteStore(file) as store:
        await write(store, 1)
        caplog.clear()
        async with python("-c", READ_UNTIL_TOLD, file) as reader:
            assert await reader.line() == "reading"
            await write(store, 150)
            assert wal_size(file) > 2 * MAX_BYTES  # nothing can be done meanwhile, and it is said once
            [warning] = warnings(caplog)
            assert f"{file}-wal has grown to " in warning
            reader.say("end")
            assert await reader.line() == "read"
            await write(store, 2)
            assert wal_size(file) <= MAX_BYTES
            await write(store, 100)
            assert wal_size(file) <= MAX_BYTES
        assert len(warnings(caplog)) == 1
        assert await store.head() == 253


async def test_readers_who_overlap_do_not_keep_the_wal_growing(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await write(store, 1)
        async with python("-c", READ_WITHOUT_A_PAUSE, file) as readers:
            assert await readers.line() == "reading"
            longest = 0
            for _ in range(1_000):  # until it is cut; a busy machine may miss a moment or two
                longest, before = await write(store, 1), longest
                if longest < before:
                    break
            assert wal_size(file) < MAX_BYTES


async def test_without_other_readers_the_wal_stays_short(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with SQLiteStore(file) as store:
        assert await write(store, 100) < 32 * MIB
        assert warnings(caplog) == []


async def test_only_the_writer_moves_the_wal_into_the_database(file: Path) -> None:
    async with SQLiteStore(file) as store:
        assert store._writer is not None
        assert store._reader is not None
        pages = [
            await connection.run(lambda db: db.execute("PRAGMA wal_autocheckpoint").fetchone()[0])
            for connection in (store._writer, store._reader)
        ]
        assert pages == [1_000, 0]


@pytest.mark.parametrize(("version", "count"), [((3, 51, 2), 1), ((3, 51, 3), 0)])
async def test_an_old_sqlite_says_once_that_several_processes_can_corrupt_a_file(
    file: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, int, int],
    count: int,
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    mention_reset_bug.cache_clear()
    caplog.set_level(logging.INFO, "eventree")
    for _ in range(2):
        async with SQLiteStore(file), SQLiteStore(file):
            pass
    said = [record.getMessage() for record in caplog.records if record.name == "eventree"]
    assert ["SQLite 3.51.2 can corrupt" in message for message in said] == [True] * count


@pytest.mark.parametrize("version", [(3, 7, 0), (3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 2)])
def test_versions_before_the_fix_have_the_wal_reset_bug(version: tuple[int, int, int]) -> None:
    assert _has_reset_bug(version)


def test_the_readme_says_what_the_log_says() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert "Several processes on one file need SQLite 3.51.3 or newer" in readme
    assert "several processes of one machine may share it, with SQLite 3.51.3 or newer" in readme


@pytest.mark.parametrize("version", [(3, 44, 6), (3, 50, 7), (3, 51, 3), (3, 53, 0), (4, 0, 0)])
def test_versions_with_the_fix_have_no_wal_reset_bug(version: tuple[int, int, int]) -> None:
    assert not _has_reset_bug(version)


async def test_all_who_write_are_served_in_the_order_in_which_they_came(file: Path) -> None:
    def snapshot(sequence: int) -> StoredSnapshot:
        return StoredSnapshot("thing", "a", "v1", sequence, "State", "{}", 7, datetime.now(UTC))

    async with SQLiteStore(file, busy_timeout=30) as store:
        await store.append([one_event("a")])
        checkpoint = await store.claim_checkpoint("q", 1)
        served: list[int] = []

        async def come(number: int) -> None:
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: store.append([one_event(f"a{number}")]),
                lambda: store.save_checkpoint("q", 1, CheckpointUpdate(Checkpoint(number, checkpoint.fencing_token))),
                lambda: store.save_snapshots([snapshot(number + 1)]),
                lambda: store.append([one_event("a", after=number)]),  # a conflict
                lambda: store.claim_checkpoint(f"q{number}", 1),
            ]
            await calls[number % len(calls)]()
            served.append(number)

        with closing(sqlite3.connect(file, isolation_level=None)) as rival:
            rival.execute("BEGIN IMMEDIATE")
            tasks = [asyncio.create_task(come(number)) for number in range(100)]
            await store.head()  # goes its own way, beside the writers who wait
            assert served == []
            rival.execute("ROLLBACK")
        async with asyncio.timeout(30):
            await asyncio.gather(*tasks)
        assert served == list(range(100))
