from collections.abc import AsyncIterator, Callable

import pytest

from eventree.stores import EventStore
from eventree.testing import EventStoreSuite, SharedStoreSuite, TransactionalStoreSuite


class TestPostgresStore(EventStoreSuite, SharedStoreSuite, TransactionalStoreSuite):
    @pytest.fixture
    def new_store(self, postgres_dsn: str) -> Callable[[], EventStore]:
        from eventree.stores.postgres import PostgresStore  # noqa: PLC0415 - asyncpg may be missing

        return lambda: PostgresStore(postgres_dsn)

    @pytest.fixture
    async def store(self, new_store: Callable[[], EventStore]) -> AsyncIterator[EventStore]:
        async with new_store() as store:
            yield store
