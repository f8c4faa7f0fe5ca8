"""Commands of several processes on the same few aggregates: how many each gets through, and how many are refused.

Closed loop: each process has 16 callers, each of which sends deposits to ten shared accounts in turn. Fair is a ratio
near 1 between the process that got through most and the one that got through least. The counts of a shared machine vary
from run to run: trust the ratios.

Run: python tests/benchmarks/hot_aggregates.py [seconds per cell, default 5] [a Postgres DSN of an empty database]
"""

import asyncio
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from bank import Deposit, OpenAccount, bank_account
from eventree import Err, EventSourcing, EventStore, PostgresStore, SQLiteStore
from eventree.errors import CommandIdReused

ACCOUNTS = 10
CALLERS = 16


def store_of(where: str) -> EventStore:
    return PostgresStore(where) if where.startswith("postgres") else SQLiteStore(where)


async def work(where: str, starts_at: float, seconds: float) -> None:
    """Send commands from one process, and print how many were stored and refused, and the slowest answer."""
    async with store_of(where) as store, EventSourcing(bank_account, store) as accounts:
        opened = [(f"account-{number}", OpenAccount("x")) for number in range(ACCOUNTS)]
        ids = [f"open {number}" for number in range(ACCOUNTS)]
        for answer in await accounts.execute_many(opened, command_ids=ids, timeout=60):
            assert not isinstance(answer, Err) or isinstance(answer.error, CommandIdReused), answer
        await asyncio.sleep(max(0.0, starts_at - time.time()))
        end, stored, refused, slowest = time.perf_counter() + seconds, 0, 0, 0.0

        async def caller(number: int) -> None:
            nonlocal stored, refused, slowest
            while (began := time.perf_counter()) < end:
                answer = await accounts.execute(f"account-{number % ACCOUNTS}", Deposit(Decimal(1)), timeout=60)
                stored, refused = stored + (not isinstance(answer, Err)), refused + isinstance(answer, Err)
                slowest = max(slowest, time.perf_counter() - began)
                number += 1

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))
        print(stored, refused, f"{slowest:.2f}")


async def compete(where: str, processes: int, seconds: float) -> None:
    starts_at = str(time.time() + 1 + processes / 2)
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, __file__, "work", where, starts_at, str(seconds), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(processes)
    ]
    lines = [(await process.communicate())[0].decode().split() for process in running]
    stored = sorted(int(line[0]) for line in lines)
    refused, slowest = sum(int(line[1]) for line in lines), max(float(line[2]) for line in lines)
    print(
        f"{processes} processes: {sum(stored) / seconds:6.0f} commands/s, by process {stored}, "
        f"ratio {stored[-1] / max(stored[0], 1):5.1f}, refused {refused}, slowest {slowest:.2f} s"
    )


async def main(seconds: float, dsn: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for where in filter(None, (str(Path(folder) / "events.db"), dsn)):
            print("Postgres" if where == dsn else "SQLite")
            for processes in (1, 2, 4):
                await compete(where, processes, seconds)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["work"]:
        asyncio.run(work(arguments[1], float(arguments[2]), float(arguments[3])))
    else:
        asyncio.run(main(float(arguments[0]) if arguments else 5.0, arguments[1] if len(arguments) > 1 else None))
