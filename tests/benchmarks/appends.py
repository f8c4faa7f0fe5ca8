"""Events per second of `append` at 1, 32 and 512 events a call on each store, beside the raw driver in the same run.

A call has one request with one event for each of as many aggregates, which come round again every 1,024. The raw
driver writes as many rows with the same columns and keys in one durable commit, and checks nothing. Figures of a shared
machine: trust the ratios. Postgres is left out where no DSN is given.

Run: python tests/benchmarks/appends.py [seconds per cell, default 1] [rounds, default 3] [postgresql://...]
"""

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg

from eventree import EventStore, MemoryStore, PostgresStore, SQLiteStore
from eventree.stores.contract import Appended, AppendRequest, NewEvent

RAW_INSERT = """
INSERT INTO events (position, stream, sequence, event_type, event_version, payload, metadata, commit_id)
SELECT * FROM unnest(
  $1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::int[], $6::json[], $7::json[], $8::uuid[])
"""
Row: TypeAlias = tuple[int, int, int, str, int, str, str, UUID]
SIZES = (1, 32, 512)
AGGREGATES = 1_024
PAYLOAD, METADATA = '{"amount":"12.50","balance":"1000.00"}', '{"user":"456"}'


async def repeat(seconds: float, size: int, call: Callable[[], Awaitable[None]]) -> float:
    """Return events per second."""
    done, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        await call()
        done += size
    return done / (time.perf_counter() - began)


async def ours(store: EventStore, size: int, seconds: float) -> float:
    sequences = [0] * AGGREGATES
    turn = 0

    async def call() -> None:
        nonlocal turn
        numbers = [(turn + offset) % AGGREGATES for offset in range(size)]
        turn += size
        requests = [
            AppendRequest("a", f"a{n}", sequences[n], [NewEvent("Deposited", 1, PAYLOAD, METADATA, uuid4())])
            for n in numbers
        ]
        outcomes = await store.append(requests)
        assert all(isinstance(outcome, Appended) for outcome in outcomes)
        for n in numbers:
            sequences[n] += 1

    async with store:
        return await repeat(seconds, size, call)


def rows(position: int, size: int) -> list[Row]:
    return [
        (at, at % AGGREGATES, at // AGGREGATES + 1, "Deposited", 1, PAYLOAD, METADATA, uuid4())
        for at in range(position + 1, position + size + 1)
    ]


async def raw_memory(size: int, seconds: float) -> float:
    log: list[Row] = []

    async def call() -> None:
        log.extend(rows(len(log), size))

    return await repeat(seconds, size, call)


async def raw_sqlite(path: Path, size: int, seconds: float) -> float:
    async with SQLiteStore(path):
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA synchronous = FULL")
        position = 0

        def commit(values: Sequence[Row]) -> None:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)", [(*row[:7], row[7].bytes) for row in values]
            )
            db.execute("COMMIT")

        async def call() -> None:
            nonlocal position
            commit(rows(position, size))
            position += size

        rate = await repeat(seconds, size, call)
        db.close()
        return rate


async def raw_postgres(dsn: str, schema: str, size: int, seconds: float) -> float:
    async with PostgresStore(dsn, schema=schema):
        db = await asyncpg.connect(dsn)
        await db.execute(f"SET search_path = {schema}")
        position = 0

        async def call() -> None:
            nonlocal position
            await db.execute(RAW_INSERT, *zip(*rows(position, size), strict=True))
            position += size

        rate = await repeat(seconds, size, call)
        await db.close()
        return rate


async def measure(folder: Path, dsn: str | None, seconds: float) -> dict[tuple[str, int], tuple[float, float]]:
    """Return ours and the raw driver's rate for each cell, one round."""
    cells: dict[tuple[str, int], tuple[float, float]] = {}
    for size in SIZES:
        name = f"bench_{uuid4().hex[:16]}_{size}"
        cells["memory", size] = await ours(MemoryStore(), size, seconds), await raw_memory(size, seconds)
        cells["SQLite", size] = (
            await ours(SQLiteStore(folder / f"{name}.db"), size, seconds),
            await raw_sqlite(folder / f"{name}_raw.db", size, seconds),
        )
        if dsn is not None:
            cells["Postgres", size] = (
                await ours(PostgresStore(dsn, schema=name), size, seconds),
                await raw_postgres(dsn, f"{name}_raw", size, seconds),
            )
    return cells


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    dsn = sys.argv[3] if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory() as folder:
        results = [asyncio.run(measure(Path(folder), dsn, seconds)) for _ in range(rounds)]
    print(f"{'store':<10}{'events':>7}{'events/s':>12}{'raw/s':>12}{'ratio':>8}   medians of {rounds} rounds")
    for store, size in results[0]:
        cells = [result[store, size] for result in results]
        ours, raw = (statistics.median(cell[side] for cell in cells) for side in (0, 1))
        print(f"{store:<10}{size:>7}{ours:>12,.0f}{raw:>12,.0f}{statistics.median(a / b for a, b in cells):>8.2f}")


if __name__ == "__main__":
    main()
