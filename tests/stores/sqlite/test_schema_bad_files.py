"""What the SQLite store does with files that it cannot use: broken, newer, read-only, or somebody else's."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from eventree.errors import EventStoreError, SchemaTooNew, StoreUnavailable, StoreUnusable
from eventree.stores import SQLiteStore
from eventree.stores.contract import Appended
from stores.store_values import append, living, request, run_sql

# It becomes nobody only after the imports: the interpreter itself may be in a folder that only root may read.
OPEN_AS_NOBODY = """
import asyncio, os, sys
from eventree.stores import SQLiteStore
async def main():
    try:
        async with SQLiteStore(sys.argv[1]):
            print("opened")
    except Exception as error:
        print(type(error).__name__, error)
os.setuid(65534)
asyncio.run(main())
"""


@pytest.fixture
def readable_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:  # every parent of `tmp_path` is closed to others
        yield Path(name)


def read(file: Path) -> bytes:
    return file.read_bytes()


def write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture(autouse=True)
async def no_thread_is_left() -> AsyncIterator[None]:
    before = set(threading.enumerate())
    yield
    assert living(set(threading.enumerate()) - before) == []


async def filled(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await append(store, request("a", events=2, commands=["c"]), request("b"))


async def refusal(file: Path) -> EventStoreError:
    with pytest.raises(EventStoreError) as caught:
        async with SQLiteStore(file):
            pass
    return caught.value


async def test_a_directory_cannot_be_opened(tmp_path: Path) -> None:
    error = await refusal(tmp_path)
    assert isinstance(error, StoreUnusable)
    assert str(tmp_path) in str(error)


async def test_a_missing_folder_is_not_created(tmp_path: Path) -> None:
    error = await refusal(tmp_path / "missing" / "events.db")
    assert isinstance(error, StoreUnavailable)
    assert "its folder does not exist; create it first" in str(error)
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_a_store_that_could_not_be_opened_can_be_opened_later(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "later" / "events.db")
    with pytest.raises(StoreUnavailable):
        await store.__aenter__()
    os.mkdir(tmp_path / "later")  # noqa: PTH102
    async with store:
        assert await append(store, request("a")) == [Appended(1, 1)]


@pytest.mark.parametrize("content", [b"hello", b"a text file, quite a long one\n" * 1_000])
async def test_a_text_file_is_refused_untouched(file: Path, content: bytes) -> None:
    write(file, content)
    assert isinstance(await refusal(file), StoreUnusable)
    assert read(file) == content


@pytest.mark.parametrize("part", [0.01, 0.3, 0.5, 0.9])
async def test_a_truncated_database_is_refused(file: Path, part: float) -> None:
    await filled(file)
    content = read(file)
    write(file, content[: int(len(content) * part)])
    assert isinstance(await refusal(file), StoreUnusable)


async def test_a_database_of_a_newer_version_is_refused(file: Path) -> None:
    await filled(file)
    run_sql(file, "UPDATE eventree SET schema_version = 1000")
    error = await refusal(file)
    assert isinstance(error, SchemaTooNew)
    assert (error.found, error.supported, error.store) == (1_000, 1, str(file))


async def test_tables_of_somebody_else_are_refused_and_stay(file: Path) -> None:
    run_sql(file, "CREATE TABLE events (name)", "INSERT INTO events VALUES ('party')")
    error = await refusal(file)
    assert isinstance(error, StoreUnusable)
    assert "events" in error.reason
    assert run_sql(file, "SELECT name FROM sqlite_schema") == [("events",)]
    assert run_sql(file, "SELECT * FROM events") == [("party",)]


async def test_the_journal_mode_of_a_refused_file_stays(file: Path) -> None:
    run_sql(file, "CREATE TABLE events (name)")
    await refusal(file)
    assert run_sql(file, "PRAGMA journal_mode") == [("delete",)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE eventree (something)",
        "CREATE TABLE eventree (schema_version)",
        "CREATE TABLE Events (name)",
        "CREATE VIEW events AS SELECT 1",
        "CREATE VIEW event_log AS SELECT 1",
    ],
)
async def test_names_of_somebody_else_are_unusable_whatever_they_name(file: Path, statement: str) -> None:
    run_sql(file, statement)
    with pytest.raises(StoreUnusable):
        async with SQLiteStore(file):
            pass


async def test_tables_with_other_names_may_share_the_file(file: Path) -> None:
    run_sql(file, "CREATE TABLE balances (amount)", "INSERT INTO balances VALUES (1)")
    await filled(file)
    assert run_sql(file, "SELECT * FROM balances") == [(1,)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
@pytest.mark.parametrize("folder_mode", [0o755, 0o777])
def test_a_file_that_may_not_be_written_is_unusable(readable_folder: Path, folder_mode: int) -> None:
    file = readable_folder / "events.db"
    asyncio.run(filled(file))
    file.chmod(0o444)
    readable_folder.chmod(folder_mode)
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AS_NOBODY, file], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.startswith("StoreUnusable "), done
