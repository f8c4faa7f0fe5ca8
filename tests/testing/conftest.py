"""The stores under the tests of the testing kit."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventree import EventStore, MemoryStore
from sourcing.teller import open_store


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    place = str(tmp_path / "events.db")
    if request.param == "postgres":
        place = request.getfixturevalue("postgres_dsn")
    async with MemoryStore() if request.param == "memory" else open_store(place) as opened:
        yield opened
