"""The stores under the tests of the sourcing layer.

The suite of promises proves that all stores answer alike, so that these tests need one only: the one in memory. Those
that are about restarts, transactions, several stores on one log or several processes run on SQLite too (`durable`, or
the fixture `place`); with `--slow` all do, since its awaits take time and let other tasks come in between.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bank import bank_account
from eventree import EventSourcing, EventStore, MemoryStore, SQLiteStore
from harness import effort
from sourcing.banking import Bank
from sourcing.observers import Recorder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    effort.prefer_memory(items, Path(__file__).parent)


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


@pytest.fixture
async def bank(store: EventStore) -> AsyncIterator[Bank]:
    async with EventSourcing(bank_account, store) as system:
        yield system


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
