"""A SQLite store that nobody closes: its process ends, with a warning, and what was acknowledged is kept."""

import asyncio
import gc
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from eventree import SQLiteStore
from eventree.testing.store_values import append, log, positions, request

START = """
import asyncio, os, sys
from eventree import EventSourcing, Projection, Query, SQLiteStore
from eventree.testing.store_values import append, request
from sourcing.ledger import add, ledger
from sourcing.totals import project, setup

path = sys.argv[1]

def handle(id, events): pass

async def opened():
    store = SQLiteStore(path)
    await store.__aenter__()
    await append(store, request("a", events=3))
    return store

async def started():
    store = SQLiteStore(path)
    await store.__aenter__()
    queries = [Query("q", handle), Projection("p", project, setup=setup)]
    system = EventSourcing(ledger, store, queries=queries)
    await system.__aenter__()
    (await system.execute("a", add(1), wait_for=["q", "p"])).unwrap()
    (await system.execute("a", add(1))).unwrap()
    (await system.execute("a", add(1))).unwrap()
    return store, system
"""

ENDS = {
    "a global": "kept = asyncio.run(opened())",
    "a local variable": "async def main():\n    store = await opened()\nasyncio.run(main())",
    "a system that runs": "kept = asyncio.run(started())",
    "a system in a local variable": "async def main():\n    kept = await started()\nasyncio.run(main())",
    "a loop that is not closed": "loop = asyncio.new_event_loop()\nkept = loop.run_until_complete(opened())",
    "a loop that was set and closed": (
        "loop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)\n"
        "kept = loop.run_until_complete(opened())\nloop.close()"
    ),
    "a loop that was stopped": (
        "loop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)\nkept = []\n"
        "async def main():\n    kept.append(await started())\n    loop.stop()\n"
        "task = loop.create_task(main())\nloop.run_forever()"
    ),
    "an exception": "async def main():\n    kept = await started()\n    sys.exit(7)\nasyncio.run(main())",
    "a transaction that is open": (
        "async def main():\n    store = await opened()\n    transaction = store.transaction()\n"
        "    inside = await transaction.__aenter__()\n"
        "    await inside.connection.execute('CREATE TABLE numbers (number INTEGER)')\n"
        "    return store, transaction\nkept = asyncio.run(main())"
    ),
    "an append that is under way": (
        "async def main():\n    store = await opened()\n    task = asyncio.create_task(append(store, request('b')))\n"
        "    await asyncio.sleep(0)\n    return store\nkept = asyncio.run(main())"
    ),
    "a store that only reads": (
        "async def main():\n    async with await opened() as store:\n        await store.__aexit__(None, None, None)\n"
        "    reader = SQLiteStore(path, read_only=True)\n    await reader.__aenter__()\n    return reader\n"
        "kept = asyncio.run(main())"
    ),
}


def run(path: Path, program: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", START + program, str(path)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": ":".join(sys.path)}
    )


@pytest.mark.parametrize("end", ENDS)
async def test_the_process_ends_and_warns_and_what_was_acknowledged_is_kept(tmp_path: Path, end: str) -> None:
    path = tmp_path / "events.db"
    ended = await asyncio.to_thread(run, path, ENDS[end])
    assert ended.returncode == (7 if end == "an exception" else 0), ended.stderr
    assert ended.stderr.count(f"ResourceWarning: SQLiteStore {str(path)!r} was not closed") == 1, ended.stderr
    assert "Exception" not in ended.stderr
    async with SQLiteStore(path) as store:
        assert positions(await log(store))[:3] == [1, 2, 3]


CLOSED = """
async def main():
    async with SQLiteStore(path) as store:
        await append(store, request("a"))
        async with store:
            pass
    async with store:
        await append(store, request("b"))
    try:
        await SQLiteStore(os.path.dirname(path)).__aenter__()
    except Exception as error:
        print(type(error).__name__)
kept = asyncio.run(main())
"""


async def test_a_store_that_was_closed_or_could_not_be_opened_warns_of_nothing(tmp_path: Path) -> None:
    ended = await asyncio.to_thread(run, tmp_path / "events.db", CLOSED)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "StoreUnusable\n")


async def test_a_store_that_is_collected_in_a_running_loop_ends_its_threads(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    store = SQLiteStore(tmp_path / "events.db")
    await store.__aenter__()
    await append(store, request("a"))
    async with store.transaction():
        pass
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del store
        gc.collect()
    assert [(each.category, "was not closed" in str(each.message)) for each in caught] == [(ResourceWarning, True)]
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
