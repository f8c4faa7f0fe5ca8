import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventree.stores import EventStore, SQLiteStore
from stores.store_suite import EventStoreSuite, assert_closed


class TestSQLiteStore(EventStoreSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[EventStore]:
        async with SQLiteStore(tmp_path / "events.db") as store:
            yield store


async def test_a_sqlite_store_is_unavailable_before_it_is_entered(tmp_path: Path) -> None:
    await assert_closed(SQLiteStore(tmp_path / "events.db"))
    assert await asyncio.to_thread(os.listdir, tmp_path) == []
