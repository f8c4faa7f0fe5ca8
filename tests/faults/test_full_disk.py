"""The disk becomes full: nothing is half stored, reads go on, and appends do when there is room again."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventree.errors import StoreFull
from eventree.stores import EventStore, SQLiteStore
from eventree.stores.contract import Appended, AppendRequest
from servers.postgres import running_server
from stores.store_values import TYPE, append, event, log, positions

MEBIBYTE = 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    yield from mounted(folder, size=16)


def mounted(folder: Path, *, size: int) -> Iterator[Path]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk, on Linux")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        unmount = ["umount", "-l", str(folder)]
        subprocess.run(unmount, timeout=10, check=True)


async def fill(store: EventStore) -> int:
    """Append large events until there is no room; return how many were kept."""
    payload = '"' + "x" * (MEBIBYTE - 2) + '"'
    for number in range(1_000):
        try:
            outcomes = await append(store, AppendRequest(TYPE, "a", number, [event(payload)]))
        except StoreFull:
            return number
        assert outcomes == [Appended(number + 1, number + 1)]
    raise AssertionError("the disk is never full")


async def test_a_full_disk_under_sqlite(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    await asyncio.to_thread(ballast.write_bytes, bytes(4 * MEBIBYTE))
    async with asyncio.timeout(60), SQLiteStore(small_disk / "events.db") as store:
        kept = await fill(store)
        assert kept > 0
        assert positions(await log(store)) == list(range(1, kept + 1))
        await asyncio.to_thread(ballast.unlink)
        assert await append(store, AppendRequest(TYPE, "a", kept, [event()])) == [Appended(kept + 1, kept + 1)]
    async with SQLiteStore(small_disk / "events.db") as store:
        assert positions(await log(store)) == list(range(1, kept + 2))


async def test_a_full_disk_under_postgres(postgres_binaries: Path) -> None:
    from eventree.stores.postgres import PostgresStore  # noqa: PLC0415 - its driver is an extra

    with running_server(postgres_binaries) as server:
        space = server._folder / "space"
        space.mkdir()
        for _ in mounted(space, size=16):
            os.chown(space, server._folder.stat().st_uid, server._folder.stat().st_gid)
            server.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
            dsn = server.new_database()
            ballast = space / "ballast"
            async with asyncio.timeout(90), PostgresStore(dsn) as store:
                server.execute("ALTER TABLE eventree.events SET TABLESPACE small", dsn)
                server.execute("ALTER TABLE eventree.events ALTER COLUMN payload SET STORAGE EXTERNAL", dsn)
                ballast.write_bytes(bytes(4 * MEBIBYTE))
                kept = await fill(store)
                assert kept > 0
                assert positions(await log(store)) == list(range(1, kept + 1))
                ballast.unlink()
                assert await append(store, AppendRequest(TYPE, "a", kept, [event()])) == [Appended(kept + 1, kept + 1)]
                assert positions(await log(store)) == list(range(1, kept + 2))
            server.stop()
