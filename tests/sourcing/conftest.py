"""The stores under the tests of the sourcing layer."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventree import EventStore, MemoryStore, SQLiteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    made: MemoryStore | SQLiteStore = (
        MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "events.db")
    )
    async with made as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "events.db")
    pytest.importorskip("eventree.stores.postgres.store")
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn
