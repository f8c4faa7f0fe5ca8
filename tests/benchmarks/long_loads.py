"""How long commands on other aggregates take while one of 100,000 events is loaded, beside how long they take alone.

A caller sends one command after the other to small aggregates that are in memory; meanwhile the large one gets a
command: first when it is cold, then ones whose `handle` raises. Figures of a shared machine: trust the ratios.

Run: python tests/benchmarks/long_loads.py [events, default 100000]
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from eventree import AggregateType, EventSourcing, Ok, Result, SQLiteStore


@dataclass(frozen=True)
class Added:
    amount: int


@dataclass(frozen=True)
class Total:
    amount: int = 0


def handle(_: Total, amount: int) -> Result[Sequence[Added], str]:
    if not amount:
        raise ZeroDivisionError
    return Ok([Added(amount)])


def apply(total: Total, event: Added) -> Total:
    return Total(total.amount + event.amount)


totals = AggregateType("total", handle=handle, apply=apply, empty_state=Total)
System: TypeAlias = EventSourcing[Total, int, Added, str]


async def fill(store: SQLiteStore, events: int) -> None:
    async with EventSourcing(totals, store) as system:
        for start in range(0, events, 5_000):
            count = min(5_000, events - start)
            await system.execute_many([("large", 1)] * count, timeout=120)


async def others_during(system: System, work: Callable[[], Awaitable[object]]) -> tuple[float, list[float]]:
    """Return the seconds that some work takes, and those of each command on other aggregates meanwhile."""
    began = time.perf_counter()
    task = asyncio.ensure_future(work())
    taken: list[float] = []
    while not task.done():
        sent = time.perf_counter()
        await system.execute(f"small-{len(taken) % 10}", 1, timeout=120)
        taken.append(time.perf_counter() - sent)
        await asyncio.sleep(0.001)
    await task
    return time.perf_counter() - began, taken


def show(name: str, seconds: float, taken: Sequence[float]) -> None:
    ordered = sorted(taken)
    median, worst = ordered[len(ordered) // 2], ordered[-1]
    late = ordered[int(len(ordered) * 0.99)]
    print(f"{name:<16}{seconds:>8.2f}{len(taken):>10,}{median * 1000:>12.1f}{late * 1000:>10.1f}{worst * 1000:>10.1f}")


async def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        async with SQLiteStore(Path(folder) / "events.db") as store:
            await fill(store, events)
            async with EventSourcing(totals, store) as system:

                async def bugs() -> None:
                    for _ in range(3):
                        await system.execute("large", 0, timeout=120)

                print(f"{'meanwhile':<16}{'s':>8}{'others':>10}{'median ms':>12}{'p99 ms':>10}{'worst ms':>10}")
                show("nothing", *await others_during(system, lambda: asyncio.sleep(2)))
                show("a cold load", *await others_during(system, lambda: system.execute("large", 1, timeout=120)))
                show("three bugs", *await others_during(system, bugs))


if __name__ == "__main__":
    asyncio.run(main())
