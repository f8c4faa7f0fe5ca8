"""A SQLite store that closes at any moment of its first transaction."""

import asyncio
import threading
from pathlib import Path

from eventree import EventStoreError, SQLiteStore


async def test_a_store_that_closes_at_any_moment_of_a_first_transaction_leaves_nothing_open(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    for ticks in range(30):
        place = tmp_path / f"{ticks}.db"
        store = SQLiteStore(place)

        async def begin(store: SQLiteStore) -> str:
            try:
                async with store.transaction() as transaction:
                    await transaction.connection.execute("CREATE TABLE numbers (number INTEGER)")
            except EventStoreError:
                return "refused"
            return "committed"

        async with store:
            task = asyncio.create_task(begin(store))
            for _ in range(ticks):
                await asyncio.sleep(0.00005)
        assert await task in {"committed", "refused"}
        for thread in set(threading.enumerate()) - threads:
            thread.join(1.0)
            assert not thread.is_alive(), f"left open by a store that closed after {ticks} ticks"
