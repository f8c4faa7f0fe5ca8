"""Run as a process of its own, to be killed: count the events of a store in a table, exactly once.

Arguments: the path or DSN of the store, the lease in seconds. Prints "open" when its store is, "." when it has begun,
and "done" when all events there are were counted; ends by itself when standard input does.
"""

import asyncio
import sys

from eventree import Projection, Supervisor
from eventree.sourcing import QueryStatus
from faults.caller import store_at
from sourcing.ledger import Added, ledger
from sourcing.totals import project, setup


async def main(address: str, lease: float) -> None:
    end = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, end.set)
    totals: Projection[Added] = Projection(
        "totals", project, setup=setup, follows=[ledger], lease=lease, poll_interval=0.02
    )
    async with store_at(address) as store:
        print("open", flush=True)  # noqa: T201
        handle = totals.handle(store)
        async with Supervisor([handle.child_spec()]):
            while handle.status is QueryStatus.WAITING or not handle.position:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0.005)
            print(".", flush=True)  # noqa: T201
            await handle.caught_up(timeout=600)
            print("done", flush=True)  # noqa: T201
            await end.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
