"""A process whose query "q" blocks the event loop at each commit.

Arguments: the store, the lease in seconds, how long the handler blocks in seconds, "query" or "projection".

It prints "running" when it has the query, and then the position of each commit when its handler begins.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from eventree import EventEnvelope, EventSourcing, Projection, Query
from sourcing.ledger import Added, ledger
from sourcing.teller import open_store


async def main(place: str, lease: float, seconds: float, kind: str) -> None:
    def block(_: object, events: Sequence[EventEnvelope[Added]]) -> None:
        print(events[0].position, flush=True)  # noqa: T201 - that is its answer
        time.sleep(seconds)

    async def project(connection: Any, events: Sequence[EventEnvelope[Added]]) -> None:
        block(connection, events)

    query = Query("q", block, lease=lease, poll_interval=0.01)
    projection: Projection[Added] = Projection("q", project, lease=lease, poll_interval=0.01)
    queries = [query if kind == "query" else projection]
    async with open_store(place) as store, EventSourcing(ledger, store, queries=queries):
        print("running", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr)
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
