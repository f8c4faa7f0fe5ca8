"""Commands per second at 1, 64 and 1024 callers, beside what the machine could do at best, in one run.

Closed loop: each caller owns one open account and waits for each answer before it sends the next deposit. The limits
stand beside it: on memory, a bare queue with a future per message; on SQLite, one `executemany` of as many rows as
there are callers per commit, into the same table, `synchronous=FULL`. Figures of a shared machine: trust the ratios.

Run: python tests/benchmarks/commands.py [seconds per cell, default 1] [rounds, default 3]
"""

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from bank import Deposit, OpenAccount, bank_account
from eventree import EventSourcing, EventStore, MemoryStore, SQLiteStore

CALLERS = (1, 64, 1024)


async def closed_loop(callers: int, seconds: float, call: Callable[[int], Awaitable[object]]) -> float:
    """Return calls per second."""
    end = time.perf_counter() + seconds
    done = 0

    async def caller(number: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call(number)
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return done / (time.perf_counter() - began)


async def commands(store: EventStore, callers: int, seconds: float) -> float:
    async with store, EventSourcing(bank_account, store) as accounts:
        await accounts.execute_many([(f"account-{n}", OpenAccount("x")) for n in range(callers)], timeout=60)
        deposit = Deposit(Decimal(1))

        async def execute(number: int) -> None:
            (await accounts.execute(f"account-{number}", deposit, timeout=60)).unwrap()

        return await closed_loop(callers, seconds, execute)


async def bare_queue(callers: int, seconds: float) -> float:
    queue: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def answer() -> None:
        while True:
            (await queue.get()).set_result(None)

    async def ask(_: int) -> None:
        reply = asyncio.get_running_loop().create_future()
        queue.put_nowait(reply)
        await reply

    server = asyncio.create_task(answer())
    rate = await closed_loop(callers, seconds, ask)
    server.cancel()
    return rate


async def raw_sqlite(path: Path, rows: int, seconds: float) -> float:
    async with SQLiteStore(path):
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA synchronous = FULL")
        insert = "INSERT INTO events VALUES (?, ?, ?, 'CustomerDepositedCash', 1, ?, '{}', ?, ?)"
        payload = '{"amount":"1","balance":"1"}'
        position, end, began = 0, time.perf_counter() + seconds, time.perf_counter()
        while time.perf_counter() < end:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                insert, [(position + n, n, position // rows + 1, payload, bytes(16), 0) for n in range(1, rows + 1)]
            )
            db.execute("COMMIT")
            position += rows
        rate = position / (time.perf_counter() - began)
        db.close()
        return rate


async def measure(folder: Path, seconds: float, number: int) -> dict[tuple[str, int], tuple[float, float]]:
    """Return ours and the limit for each cell, one round."""
    cells: dict[tuple[str, int], tuple[float, float]] = {}
    for callers in CALLERS:
        cells["memory", callers] = (
            await commands(MemoryStore(), callers, seconds),
            await bare_queue(callers, seconds),
        )
        ours, raw = (folder / f"{kind}-{callers}-{number}.db" for kind in ("ours", "raw"))
        cells["SQLite", callers] = (
            await commands(SQLiteStore(ours), callers, seconds),
            await raw_sqlite(raw, callers, seconds),
        )
    return cells


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as folder:
        results = [asyncio.run(measure(Path(folder), seconds, number)) for number in range(rounds)]
    print(f"{'store':<8}{'callers':>8}{'commands/s':>12}{'limit/s':>12}{'ratio':>8}   medians of {rounds} rounds")
    for store, callers in results[0]:
        ours = statistics.median(result[store, callers][0] for result in results)
        limit = statistics.median(result[store, callers][1] for result in results)
        ratio = statistics.median(result[store, callers][0] / result[store, callers][1] for result in results)
        print(f"{store:<8}{callers:>8}{ours:>12,.0f}{limit:>12,.0f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
