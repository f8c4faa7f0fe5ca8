"""Append to a SQLite file from a process of its own and print each position as soon as it is acknowledged.

Arguments: the file, a name for the aggregates, how many appends, and how many events each has.
"""

import asyncio
import sys

from eventree.stores import SQLiteStore
from eventree.stores.contract import Appended
from stores.store_values import append, request


async def main(file: str, name: str, appends: int, events: int) -> None:
    async with SQLiteStore(file, busy_timeout=30) as store:
        for number in range(appends):
            id = f"{name}-{number}"
            [outcome] = await append(store, request(id, events=events))
            assert isinstance(outcome, Appended)
            print(id, outcome.position, flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
