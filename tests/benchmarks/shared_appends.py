"""Commands per second of 100 callers: on one aggregate type, and on 100 types, whose systems share a store.

Closed loop: each caller owns one open account and waits for each answer before it sends the next deposit. The two
take turns in one run. Figures of a shared machine: trust the ratios. Postgres is left out where no DSN is given.

Run: python tests/benchmarks/shared_appends.py [seconds per cell, default 2] [rounds, default 3] [postgresql://...]
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from bank import BankAccount, BankCommand, BankError, BankEvent, Deposit, OpenAccount, Unopened, apply, handle
from eventree import AggregateType, EventSourcing, EventStore, PostgresStore, SQLiteStore

CALLERS = 100
TYPES = (1, 10, 100)

Bank: TypeAlias = EventSourcing[BankAccount, BankCommand, BankEvent, BankError]


def bank(number: int, store: EventStore) -> Bank:
    kind: AggregateType[BankAccount, BankCommand, BankEvent, BankError] = AggregateType(
        f"bank-account-{number}", handle=handle, apply=apply, empty_state=Unopened
    )
    return EventSourcing(kind, store)


async def measure(new_store: Callable[[], EventStore], types: int, seconds: float) -> float:
    """Return commands per second."""
    async with new_store() as store, AsyncExitStack() as stack:
        banks = [await stack.enter_async_context(bank(number, store)) for number in range(types)]
        prefix = uuid4().hex
        opened = [
            accounts.execute_many(
                [(f"{prefix}-{n}", OpenAccount("x")) for n in range(number, CALLERS, types)], timeout=60
            )
            for number, accounts in enumerate(banks)
        ]
        await asyncio.gather(*opened)
        end, done = time.perf_counter() + seconds, 0

        async def caller(number: int) -> None:
            nonlocal done
            while time.perf_counter() < end:
                reply = await banks[number % types].execute(f"{prefix}-{number}", Deposit(Decimal(1)), timeout=60)
                reply.unwrap()
                done += 1

        began = time.perf_counter()
        await asyncio.gather(*(caller(number) for number in range(CALLERS)))
        return done / (time.perf_counter() - began)


def report(name: str, results: Sequence[dict[int, float]]) -> None:
    for types in TYPES:
        rate = statistics.median(result[types] for result in results)
        ratio = statistics.median(result[types] / result[1] for result in results)
        print(f"{name:<10}{types:>6}{rate:>12,.0f}{ratio:>8.2f}")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print(f"{'store':<10}{'types':>6}{'commands/s':>12}{'ratio':>8}   medians of {rounds} rounds, {CALLERS} callers")
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[str, Callable[[], EventStore]] = {"SQLite": lambda: SQLiteStore(Path(folder) / f"{uuid4()}.db")}
        if len(sys.argv) > 3:
            stores["Postgres"] = lambda: PostgresStore(sys.argv[3], notify=False)
        for name, new_store in stores.items():
            report(
                name,
                [{n: asyncio.run(measure(new_store, n, seconds)) for n in TYPES} for _ in range(rounds)],
            )


if __name__ == "__main__":
    main()
