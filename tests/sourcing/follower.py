"""A process that works on the query "q" of a store: argument 1 the store, 2 the lease in seconds.

It prints "running" once the query works here, and then the amounts of each commit that it is handed.
"""

import asyncio
import sys
from collections.abc import Sequence

from eventree import EventEnvelope, EventSourcing, Query
from eventree.sourcing import QueryStatus
from sourcing.ledger import Added, ledger
from sourcing.teller import open_store


def show(_: str, events: Sequence[EventEnvelope[Added]]) -> None:
    print(",".join(str(event.payload.amount) for event in events), flush=True)  # noqa: T201 - that is its answer


async def main(place: str, lease: float) -> None:
    query = Query("q", show, poll_interval=0.01, lease=lease)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.query("q").caught_up()
        while system.query("q").status is not QueryStatus.RUNNING:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        print("running", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
