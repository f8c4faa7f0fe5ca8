"""The SQLite store with others on its file, with callers that give up, and with a process that is killed."""

import asyncio
import os
import sqlite3
import sys
import threading
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from pathlib import Path

import pytest

from eventree.errors import StoreBusy, StoreUnavailable, StoreUnusable, TransactionRolledBack
from eventree.stores import SQLiteStore
from eventree.stores.contract import Appended
from stores import appender
from stores.store_values import append, living, log, positions, request, run_sql, stream

HOLD_LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")
db.close()
print("free", flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture(autouse=True)
async def nothing_takes_longer_than_a_minute() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


@asynccontextmanager
async def python(*args: str | Path) -> AsyncIterator[Process]:
    """Run a Python process that is gone at the end."""
    path = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": path}
    process = await asyncio.create_subprocess_exec(sys.executable, *args, stdin=PIPE, stdout=PIPE, env=environment)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def running_appender(
    file: Path, name: str, appends: int, events: int = 1
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    return python(appender.__file__, file, name, str(appends), str(events))


async def read_line(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def rest(process: Process) -> list[str]:
    """Return all lines that are still to come, once the process has ended."""
    output, _ = await process.communicate()
    return output.decode().splitlines()


async def assert_no_open_transaction(store: SQLiteStore, file: Path) -> None:
    assert store._writer is not None
    assert not await store._writer.run(lambda db: db.in_transaction)
    with closing(sqlite3.connect(file, isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")


async def test_two_stores_on_one_file_append_side_by_side(file: Path) -> None:
    async def fill(store: SQLiteStore, name: str) -> list[int]:
        kept = [await append(store, request(f"{name}{number}")) for number in range(200)]
        return [outcome.position for [outcome] in kept if isinstance(outcome, Appended)]

    async with SQLiteStore(file) as one, SQLiteStore(file) as two:
        first, second = await asyncio.gather(fill(one, "one"), fill(two, "two"))
        assert sorted(first + second) == list(range(1, 401))
        assert positions(await log(one)) == list(range(1, 401))
        assert await log(two) == await log(one)


async def test_of_two_stores_on_one_file_one_wins_each_sequence(file: Path) -> None:
    async def push(store: SQLiteStore) -> int:
        won = after = 0
        while after < 100:
            [outcome] = await append(store, request("a", after))
            won += isinstance(outcome, Appended)
            after = outcome.sequence  # type: ignore[union-attr]
        return won

    async with SQLiteStore(file) as one, SQLiteStore(file) as two:
        assert sum(await asyncio.gather(push(one), push(two))) == 100
        assert (await stream(one, "a")).sequence == 100
        assert await two.head() == 100


async def test_three_processes_append_to_one_file_without_a_gap(file: Path) -> None:
    async with (
        SQLiteStore(file) as store,
        running_appender(file, "x", 300) as x,
        running_appender(file, "y", 300) as y,
        running_appender(file, "z", 300) as z,
    ):
        lines = [line for lines in await asyncio.gather(rest(x), rest(y), rest(z)) for line in lines]
        assert (x.returncode, y.returncode, z.returncode) == (0, 0, 0)
        stored = await log(store)
    assert positions(stored) == list(range(1, 901))
    assert sorted(lines) == sorted(f"{event.aggregate_id} {event.position}" for event in stored)


async def test_a_lock_held_too_long_by_another_process_is_store_busy_and_nothing_is_stored(file: Path) -> None:
    async with SQLiteStore(file, busy_timeout=0.2) as store, python("-c", HOLD_LOCK, file) as process:
        assert await read_line(process) == "locked"
        with pytest.raises(StoreBusy) as caught:
            await append(store, request("a", commands=["c"]))
        assert isinstance(caught.value, TransactionRolledBack)
        with pytest.raises(StoreBusy):
            await store.claim_checkpoint("query", 1)
        assert await store.head() == 0  # a reader needs no lock
        assert process.stdin is not None
        process.stdin.write(b"\n")
        assert await read_line(process) == "free"
        assert await store.find_commands(["c"]) == {}
        assert await append(store, request("a", commands=["c"])) == [Appended(1, 1)]


async def test_a_lock_of_another_process_that_is_released_in_time_is_waited_for(file: Path) -> None:
    async with SQLiteStore(file, busy_timeout=30) as store, python("-c", HOLD_LOCK, file) as process:
        assert await read_line(process) == "locked"
        waiting = asyncio.create_task(append(store, request("a")))
        assert await store.head() == 0
        assert not waiting.done()
        assert process.stdin is not None
        process.stdin.write(b"\n")
        assert await waiting == [Appended(1, 1)]


async def test_a_cancelled_append_is_stored_wholly_or_not_at_all(file: Path) -> None:
    cancelled = stored = 0
    async with SQLiteStore(file) as store:
        for number in range(80):
            task = asyncio.create_task(append(store, request(f"a{number}", events=3, commands=[f"c{number}"])))
            for _ in range(number * number // 4):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await assert_no_open_transaction(store, file)
            kept = (await stream(store, f"a{number}")).sequence
            assert kept in {0, 3}
            assert len(await store.find_commands([f"c{number}"])) == kept / 3
            assert kept == 3 or task.cancelled()
            cancelled += task.cancelled()
            stored += kept == 3
        assert positions(await log(store)) == list(range(1, stored * 3 + 1))
    assert cancelled > 5
    assert stored > 5


async def test_a_cancelled_caller_harms_no_other(file: Path) -> None:
    async with SQLiteStore(file) as store:
        tasks = [asyncio.create_task(append(store, request(f"a{number}"))) for number in range(40)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
        for number, outcome in list(enumerate(outcomes))[1::2]:
            assert outcome == [Appended(1, (await stream(store, f"a{number}")).position)]
        await assert_no_open_transaction(store, file)


@pytest.mark.slow
async def test_a_killed_process_loses_nothing_that_was_acknowledged(file: Path) -> None:
    acknowledged: set[tuple[str, int]] = set()
    for kill in range(8):
        async with running_appender(file, f"run{kill}", 1_000_000, events=3) as process:
            lines = [await read_line(process) for _ in range(3 + 11 * kill)]
            process.kill()
            lines += await rest(process)
        acknowledged |= {(line.split()[0], int(line.split()[1])) for line in lines if line}
        async with SQLiteStore(file) as store:
            stored = await log(store)
            assert positions(stored) == list(range(1, len(stored) + 1))
            assert acknowledged <= {(event.aggregate_id, event.position) for event in stored if event.sequence == 3}
            assert len(stored) % 3 == 0  # each append is there wholly
    assert len(acknowledged) > 300
    assert run_sql(file, "PRAGMA integrity_check") == [("ok",)]


async def test_a_closed_store_leaves_no_thread(file: Path) -> None:
    before = set(threading.enumerate())
    async with SQLiteStore(file) as store:
        await append(store, request("a"))
        assert len(set(threading.enumerate()) - before) == 2
    assert living(set(threading.enumerate()) - before) == []


async def test_a_store_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    for path in (tmp_path, tmp_path / "missing" / "events.db"):
        with pytest.raises((StoreUnusable, StoreUnavailable)):
            await SQLiteStore(path).__aenter__()
    assert living(set(threading.enumerate()) - before) == []


async def test_a_task_cancelled_while_it_opens_a_store_leaves_no_thread(file: Path) -> None:
    before = set(threading.enumerate())
    for loops in (*range(20), *range(20, 2_000, 50)):
        store = SQLiteStore(file)
        task = asyncio.create_task(store.__aenter__())
        for _ in range(loops):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
            await store.__aexit__(None, None, None)
        assert repr(store).endswith("closed>")
    assert living(set(threading.enumerate()) - before) == []


async def test_a_task_cancelled_while_it_closes_a_store_leaves_no_thread(file: Path) -> None:
    store = await SQLiteStore(file).__aenter__()
    writer = store._writer
    assert writer is not None
    task = asyncio.create_task(store.__aexit__(None, None, None))
    await asyncio.sleep(0)
    task.cancel()
    try:
        with suppress(asyncio.CancelledError):
            await task
        writer._thread.join(1)
        assert not writer._thread.is_alive()
    finally:
        await writer.close()


def test_a_loop_may_end_as_soon_as_a_store_could_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashes: list[object] = []
    monkeypatch.setattr(threading, "excepthook", crashes.append)
    before = set(threading.enumerate())

    async def refused() -> None:
        with pytest.raises(StoreUnusable):
            await SQLiteStore(tmp_path).__aenter__()

    for _ in range(50):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(refused())
        loop.close()
    assert living(set(threading.enumerate()) - before) == []
    assert crashes == []


def test_a_store_can_be_used_in_one_loop_after_the_other(file: Path) -> None:
    store = SQLiteStore(file)

    async def use() -> int:
        async with store:
            return await store.head()

    async def use_twice() -> list[int]:
        return list(await asyncio.gather(use(), use()))

    assert [asyncio.run(use_twice()), asyncio.run(use_twice())] == [[0, 0], [0, 0]]


async def test_several_stores_may_create_one_file_at_once(tmp_path: Path) -> None:
    async def use(store: SQLiteStore) -> int:
        async with store:
            return await store.head()

    for number in range(20):
        stores = [SQLiteStore(tmp_path / f"{number}.db") for _ in range(3)]
        assert await asyncio.gather(*map(use, stores)) == [0, 0, 0]


async def test_a_new_file_that_another_process_has_locked_is_waited_for(file: Path) -> None:
    run_sql(file, "CREATE TABLE balances (amount)")
    async with python("-c", HOLD_LOCK, file) as process:
        assert await read_line(process) == "locked"
        began = time.monotonic()
        with pytest.raises(StoreBusy):
            await SQLiteStore(file, busy_timeout=0.2).__aenter__()
        assert time.monotonic() - began >= 0.2
