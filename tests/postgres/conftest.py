"""A store on a new database, and what every test here leaves behind on the server and in the loop: nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventree.stores.postgres import PostgresStore
from postgres.backends import psql
from servers.postgres import PostgresServer

_LEFT = "SELECT application_name, state, query FROM pg_stat_activity WHERE datname = $1 AND application_name <> ''"


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(postgres_dsn) as store:
        yield store
