import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from eventree.stores import EventStore, SQLiteStore
from eventree.testing import EventStoreSuite, SharedStoreSuite, TransactionalStoreSuite


class TestSQLiteStore(EventStoreSuite, SharedStoreSuite, TransactionalStoreSuite):
    @pytest.fixture
    def new_store(self, tmp_path: Path) -> Callable[[], EventStore]:
        return lambda: SQLiteStore(tmp_path / "events.db", busy_timeout=30)

    @pytest.fixture
    async def store(self, new_store: Callable[[], EventStore]) -> AsyncIterator[EventStore]:
        async with new_store() as store:
            yield store


async def test_a_store_that_was_never_entered_creates_no_file(tmp_path: Path) -> None:
    SQLiteStore(tmp_path / "events.db")
    assert await asyncio.to_thread(os.listdir, tmp_path) == []
