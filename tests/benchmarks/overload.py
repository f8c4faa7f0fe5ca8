"""Commands answered Ok per second when more are offered than can be executed, beside the capacity, in one run.

Open loop: callers arrive at 1.2 and at 2 times the capacity, which was measured just before with twice as many callers
as a batch holds, and each waits for at most `TIMEOUT` seconds. In one part the store is slow: each command of a batch
takes it half a millisecond, and the event loop is idle meanwhile. In the other part `handle` takes as long, so that the
loop itself is overloaded. Ok/s and the worst second are those of the time after the first timeouts are due. Figures of
a shared machine: trust the ratios.

Run: python tests/benchmarks/overload.py [seconds per cell, default 15]
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from eventree import ActorTimeout, AggregateType, Err, EventSourcing, EventStore, Ok, Result, SQLiteStore
from eventree.stores import ForwardingStore
from eventree.stores.contract import AppendRequest, Outcome

FACTORS = (1.2, 2.0)
TIMEOUT = 5.0
ACCOUNTS = 500
SECONDS_EACH = 0.0005


@dataclass(frozen=True)
class Added:
    amount: int


@dataclass(frozen=True)
class Total:
    amount: int = 0


def handle(_: Total, amount: int) -> Result[Sequence[Added], str]:
    return Ok([Added(amount)])


def handle_slowly(total: Total, amount: int) -> Result[Sequence[Added], str]:
    end = time.perf_counter() + SECONDS_EACH
    while time.perf_counter() < end:
        pass
    return handle(total, amount)


def apply(total: Total, event: Added) -> Total:
    return Total(total.amount + event.amount)


totals = AggregateType("total", handle=handle, apply=apply, empty_state=Total)
slow_totals = AggregateType("total", handle=handle_slowly, apply=apply, empty_state=Total)


class SlowStore(ForwardingStore):
    """A store that takes its time for each event."""

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        await asyncio.sleep(SECONDS_EACH * sum(len(request.events) for request in requests))
        return await super().append(requests)


TotalType: TypeAlias = AggregateType[Total, int, Added, str]


class Load:
    """Callers who each send one command, and what became of it."""

    def __init__(self, system: EventSourcing[Total, int, Added, str]) -> None:
        self._system = system
        self._callers: set[asyncio.Task[None]] = set()
        self._sent = 0
        self.outcomes: Counter[str] = Counter()
        self.ok_at: list[float] = []
        self.longest = 0.0

    async def call(self) -> None:
        self._sent += 1
        began = time.perf_counter()
        answer = await self._system.execute(f"a{self._sent % ACCOUNTS}", 1, timeout=TIMEOUT)
        now = time.perf_counter()
        self.longest = max(self.longest, now - began)
        self.outcomes[_name(answer)] += 1
        if isinstance(answer, Ok):
            self.ok_at.append(now)

    async def offer(self, rate: float, seconds: float) -> None:
        """Let callers arrive at a rate, whether or not those before them have their answers."""
        began, sent = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - began) < seconds:
            for _ in range(int(elapsed * rate) - sent):
                caller = asyncio.create_task(self.call())
                self._callers.add(caller)
                caller.add_done_callback(self._callers.discard)
                sent += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*self._callers)


def _name(answer: Ok[object] | Err[Exception]) -> str:
    if isinstance(answer, Ok):
        return "ok"
    return str(answer.error.outcome) if isinstance(answer.error, ActorTimeout) else type(answer.error).__name__


async def capacity(load: Load, seconds: float) -> float:
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while time.perf_counter() < end:
            await load.call()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(2_048)))
    return load.outcomes["ok"] / (time.perf_counter() - began)


async def cell(system: EventSourcing[Total, int, Added, str], factor: float, full: float, seconds: float) -> str:
    load = Load(system)
    began = time.perf_counter()
    await load.offer(factor * full, seconds)
    steady, end = began + TIMEOUT, began + seconds
    per_second = Counter(int(at - steady) for at in load.ok_at if steady <= at < end)
    goodput = sum(per_second.values()) / (end - steady)
    worst = min(per_second[second] for second in range(int(end - steady)))
    counts = load.outcomes
    return (
        f"{factor:>9}{goodput:>9,.0f}{goodput / full:>7.2f}{worst:>14,}{counts['ok']:>9,}{counts['not_started']:>13,}"
        f"{counts['unknown']:>9,}{counts['MailboxFull']:>13,}{load.longest:>11.1f}"
    )


async def part(name: str, kind: TotalType, store: EventStore, seconds: float) -> None:
    async with store, EventSourcing(kind, store) as system:
        for factor in FACTORS:
            full = await capacity(Load(system), 3.0)
            print(f"{name:<8}{full:>10,.0f}{await cell(system, factor, full, seconds)}", flush=True)


async def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    print(
        f"{'slow':<8}{'capacity':>10}{'offered':>9}{'Ok/s':>9}{'ratio':>7}{'worst second':>14}{'Ok':>9}"
        f"{'not_started':>13}{'unknown':>9}{'MailboxFull':>13}{'longest/s':>11}"
    )
    with tempfile.TemporaryDirectory() as folder:
        await part("store", totals, SlowStore(SQLiteStore(Path(folder) / "store.db")), seconds)
        await part("handle", slow_totals, SQLiteStore(Path(folder) / "handle.db"), seconds)


if __name__ == "__main__":
    asyncio.run(main())
