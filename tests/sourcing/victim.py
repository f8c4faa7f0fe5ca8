"""Run as a process of its own, to be killed: execute commands and follow them with a query, on one SQLite file.

Arguments: the file of the events, the file of the read model, the number of commands. Each command has the id of its
number; numbers read from standard input were acknowledged before and are left out. Prints each acknowledged number.
"""

import asyncio
import sqlite3
import sys
from collections.abc import Sequence

from eventree import EventEnvelope, EventSourcing, Query, SQLiteStore
from sourcing.ledger import Added, add, ledger


async def main(events_file: str, model_file: str, count: int, done: set[int]) -> None:
    model = sqlite3.connect(model_file, isolation_level=None, timeout=10)
    model.execute("PRAGMA synchronous = OFF")  # a killed process loses nothing by it
    model.execute("CREATE TABLE IF NOT EXISTS seen (position INTEGER PRIMARY KEY, amount INTEGER)")

    def remember(_: str, events: Sequence[EventEnvelope[Added]]) -> None:
        model.executemany(
            "INSERT OR REPLACE INTO seen VALUES (?, ?)", [(event.position, event.payload.amount) for event in events]
        )

    async with SQLiteStore(events_file) as store:
        system = EventSourcing(ledger, store, queries=[Query("model", remember, lease=0.5)])
        async with system:

            async def one(number: int) -> None:
                (await system.execute(f"a{number % 5}", add(number, number), command_id=f"c{number}")).unwrap()
                sys.stdout.write(f"{number}\n")
                sys.stdout.flush()

            waiting = [number for number in range(count) if number not in done]
            for start in range(0, len(waiting), 8):
                await asyncio.gather(*(one(number) for number in waiting[start : start + 8]))
            await system.query("model").caught_up(timeout=60)
    model.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), {int(line) for line in sys.stdin}))
