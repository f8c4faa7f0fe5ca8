"""How soon a projection catches up whose transactions have a fixed cost, such as round trips, on a file of SQLite.

For each fixed cost: how many of the waiting events were handled, in how many seconds and transactions.

Run: python tests/benchmarks/projections.py [events, default 1500] [seconds at most for each, default 12]
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from bank import BankEvent, Deposit, OpenAccount, bank_account
from eventree import ActorTimeout, EventEnvelope, EventSourcing, Projection, SQLiteStore

FIXED_COSTS = (0.02, 0.04, 0.06, 0.12)


async def catch_up(path: Path, fixed: float, events: int, seconds: float) -> tuple[float, list[int]]:
    """Return how long it took, and the size of each transaction."""
    sizes: list[int] = []

    async def project(_: Any, batch: Sequence[EventEnvelope[BankEvent]]) -> None:
        await asyncio.sleep(fixed)
        sizes.append(len(batch))

    projection: Projection[BankEvent] = Projection("fixed", project)
    async with SQLiteStore(path) as store, EventSourcing(bank_account, store) as system:
        await system.execute("a", OpenAccount("x"))
        await system.execute_many([("a", Deposit(Decimal(1))) for _ in range(events - 1)], timeout=60)
        began = time.perf_counter()
        await system.register_queries([projection])
        with suppress(ActorTimeout):
            await system.query("fixed").caught_up(timeout=seconds)
        return time.perf_counter() - began, sizes


async def main() -> None:
    """Measure each fixed cost."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_500
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 12.0
    for fixed in FIXED_COSTS:
        with tempfile.TemporaryDirectory() as folder:
            took, sizes = await catch_up(Path(folder) / "events.db", fixed, events, seconds)
        print(f"fixed {fixed * 1000:>4.0f} ms: {sum(sizes):>5} events in {took:>5.1f} s, {len(sizes)} transactions")


if __name__ == "__main__":
    asyncio.run(main())
