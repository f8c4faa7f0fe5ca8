"""A store on a new database, and what every test here leaves behind on the server and in the loop: nothing."""

import asyncio
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from servers.postgres import PostgresServer
from servers.proxy import Proxy

if TYPE_CHECKING:
    from eventree.stores.postgres import PostgresStore

collect_ignore_glob = ["test_*.py"] if find_spec("asyncpg") is None else []

_LEFT = """
SELECT application_name, state, query FROM pg_stat_activity
WHERE datname = '{}' AND (application_name = 'eventree' OR state LIKE 'idle in transaction%')
"""


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator["PostgresStore"]:
    from eventree.stores.postgres import PostgresStore  # noqa: PLC0415 - asyncpg may be missing

    async with PostgresStore(postgres_dsn, lock_timeout=30) as store:
        yield store


@pytest.fixture
async def proxy(postgres_server: PostgresServer) -> AsyncIterator[Proxy]:
    async with Proxy(postgres_server.port).running() as running:
        yield running


@pytest.fixture(autouse=True)
async def nothing_is_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Hold that no connection, open transaction or task outlives a test."""
    dsn = str(request.getfixturevalue("postgres_dsn")) if "postgres_dsn" in request.fixturenames else ""
    yield
    await asyncio.sleep(0)  # tasks that were cancelled end
    assert asyncio.all_tasks() == {asyncio.current_task()}
    if dsn:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        server.start()
        async with asyncio.timeout(10):
            while left := server.execute(_LEFT.format(dsn.rpartition("/")[2])):
                assert not any(str(state).startswith("idle in transaction") for _, state, _ in left), left
                await asyncio.sleep(0.02)  # a server process ends a moment after its client left
