"""A Postgres database that goes back in time under a running process: by a restore, or by a failover."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eventree import EventEnvelope, EventSourcing, Ok, PostgresStore, Projection, Query
from eventree.errors import LogRolledBack, QueryStopped
from eventree.sourcing import QueryStatus
from faults.accounts import Balance, Booked, account, book
from servers.postgres import PostgresServer, running_server
from servers.standby import promote, running_standby

pytestmark = pytest.mark.slow

System = EventSourcing[Balance, int, Booked, str]


async def create(connection: Any) -> None:
    await connection.execute("CREATE TABLE seen (position bigint)")


async def insert(connection: Any, events: Sequence[EventEnvelope[Booked]]) -> None:
    await connection.executemany("INSERT INTO seen VALUES ($1)", [(event.position,) for event in events])


@asynccontextmanager
async def running(dsn: str, handled: list[int]) -> AsyncIterator[System]:
    """Run a system with a projection and a query that notes the positions it has handled."""

    def see(_: str, events: Sequence[EventEnvelope[Booked]]) -> None:
        handled.extend(event.position for event in events)

    queries = [Projection("seen", insert, setup=create), Query("mail", see)]
    async with PostgresStore(dsn) as store, EventSourcing(account, store, queries=queries) as system:
        yield system


async def run(*command: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0


async def caught_up(system: System) -> None:
    await asyncio.gather(*(system.query(name).caught_up(timeout=20) for name in ("seen", "mail")))


async def until_stored(system: System, id: str, change: int) -> int:
    """Send a command until the store is back and takes it; return the balance it led to."""
    async with asyncio.timeout(60):
        while not isinstance(answer := await system.execute(id, change, command_id=f"{id} {change}"), Ok):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return answer.value.events[0].balance


async def shows_what_is_there(system: System, server: PostgresServer, dsn: str) -> None:
    """Check that the projection has counted each event of the log, and that the query says what it had handled."""
    async with asyncio.timeout(60):
        await system.query("seen").caught_up(timeout=60)
    assert system.query("seen").status is QueryStatus.RUNNING
    seen, events = (f"SELECT position FROM {table} ORDER BY position" for table in ("seen", "eventree.events"))
    assert server.execute(seen, dsn) == server.execute(events, dsn)
    with pytest.raises(QueryStopped):
        await system.query("mail").caught_up(timeout=60)
    assert isinstance(system.query("mail").last_error, LogRolledBack)


async def test_a_dump_restored_under_a_running_process(
    postgres_server: PostgresServer, postgres_binaries: Path, postgres_dsn: str, tmp_path: Path
) -> None:
    dump, handled = tmp_path / "dump", list[int]()
    async with running(postgres_dsn, handled) as system:
        await book(system, "a", 100)
        await caught_up(system)
        await run(postgres_binaries / "pg_dump", "-Fc", "-f", dump, postgres_dsn)
        await book(system, "a", -90, -9)
        await caught_up(system)
        options = ["--clean", "--if-exists", "--single-transaction"]
        await run(postgres_binaries / "pg_restore", *options, "-d", postgres_dsn, dump)
        async with PostgresStore(postgres_dsn) as other, EventSourcing(account, other) as another:
            assert await book(another, "a", 3, 2) == [103, 105]  # the sequences that the first process remembers
        assert await until_stored(system, "a", -50) == 55
        assert await until_stored(system, "b", 7) == 7
        await shows_what_is_there(system, postgres_server, postgres_dsn)
    assert handled == [1, 2, 3]


@pytest.fixture
def servers(postgres_binaries: Path) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    with running_server(postgres_binaries) as primary, running_standby(primary) as standby:
        yield primary, standby


async def test_a_failover_to_a_standby_that_is_behind(servers: tuple[PostgresServer, PostgresServer]) -> None:
    primary, standby = servers
    handled = list[int]()
    dsn = f"postgresql://eventree@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
    async with running(dsn, handled) as system:
        await book(system, "a", 100)
        await caught_up(system)
        async with asyncio.timeout(60):
            while "seen" not in str(standby.execute("SELECT name FROM eventree.checkpoints WHERE position = 1")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.to_thread(standby.stop)
        await book(system, "a", -90, -9)
        await caught_up(system)
        await asyncio.to_thread(primary.kill)
        await asyncio.to_thread(standby.start)
        await asyncio.to_thread(promote, standby)
        async with PostgresStore(standby.dsn()) as other, EventSourcing(account, other) as another:
            assert await book(another, "a", 3, 2) == [103, 105]  # the sequences that the first process remembers
        assert await until_stored(system, "a", -50) == 55
        assert await until_stored(system, "b", 7) == 7
        await shows_what_is_there(system, standby, standby.dsn())
    assert handled == [1, 2, 3]
