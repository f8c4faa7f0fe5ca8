"""What a test does to the connections of a store, seen from the server: look, hold locks, cut."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from eventree.stores.postgres import PostgresStore

_OURS = """
SELECT pid, state, query, wait_event_type = 'Lock' FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'eventree' ORDER BY backend_start
"""


@asynccontextmanager
async def psql(dsn: str, **settings: str) -> AsyncIterator[Any]:
    """Connect as somebody with a prompt would, who looks unqualified names up in our schema."""
    options = {"search_path": "eventree", **settings}
    connection = await asyncpg.connect(dsn, ssl=False, timeout=30, command_timeout=30, server_settings=options)
    try:
        yield connection
    finally:
        await connection.close(timeout=30)


@asynccontextmanager
async def held_head(dsn: str) -> AsyncIterator[Any]:
    """Hold the lock that every append needs, until the end or until the connection given is told to commit."""
    async with psql(dsn) as holder:
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM head FOR UPDATE")
        yield holder


async def backends(db: Any) -> list[tuple[int, str, str, bool]]:
    """Return process, state, last statement and whether it waits for a lock of each of the stores' connections."""
    return [tuple(row) for row in await db.fetch(_OURS)]


async def terminate(db: Any, processes: Sequence[int]) -> None:
    """End server processes, and wait until they are gone."""
    assert all([await db.fetchval("SELECT pg_terminate_backend($1, 30000)", process) for process in processes])


async def wait_for_locks(db: Any, count: int = 1) -> list[int]:
    """Return the server processes of stores that wait for a lock, as soon as there are so many."""
    async with asyncio.timeout(30):
        while True:
            waiting = [process for process, _, _, waits in await backends(db) if waits]
            if len(waiting) >= count:
                return waiting
            await asyncio.sleep(0.01)  # the server tells nobody


async def within(seconds: float, event: asyncio.Event) -> None:
    async with asyncio.timeout(seconds):
        await event.wait()


async def writer_process(store: PostgresStore) -> int:
    """Return the server process behind the connection for appends."""
    assert store._writer is not None

    async def process(db: Any) -> int:
        return int(db.get_server_pid())

    return await store._writer.run(process)
