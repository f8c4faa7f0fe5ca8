"""The stores for the tests of `eventree.testing`: in memory, and on disk where a test is marked `durable`.

The store suite proves that all stores give equal answers; with `--slow` these tests run on all of them.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventree import EventStore, MemoryStore
from harness import effort
from sourcing.teller import open_store


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    effort.prefer_memory(items, Path(__file__).parent)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    place = str(tmp_path / "events.db")
    if request.param == "postgres":
        place = request.getfixturevalue("postgres_dsn")
    async with MemoryStore() if request.param == "memory" else open_store(place) as opened:
        yield opened
