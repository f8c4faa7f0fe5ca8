"""How fast queries catch up, what they cost the commands beside them, and how soon they see a commit, in one run.

Catch-up: events per second of a query that does nothing, of a projection with one statement for each page, and of one
with a statement for each event; beside them the raw driver, which reads the same rows in pages as large and decodes
their payloads and metadata. Commands: per second and p99 in milliseconds of 64 callers, alone and beside a projection
that catches up all the time, and beside queries that follow none of their events. Latency: from the answer of a command
to its query's handler, one command at a time. Figures of a shared machine: trust the ratios. Postgres is left out where
no DSN is given.

Run: python tests/benchmarks/queries.py [events, default 100000] [rounds, default 3] [postgresql://...]
"""

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from bank import (
    BankAccount,
    BankCommand,
    BankError,
    BankEvent,
    CustomerDepositedCash,
    Deposit,
    OpenAccount,
    Unopened,
    apply,
    bank_account,
    handle,
)
from eventree import (
    AggregateType,
    EventEnvelope,
    EventSourcing,
    EventStore,
    PostgresStore,
    Projection,
    Query,
    SQLiteStore,
)
from eventree.stores.contract import AppendRequest, NewEvent

Events = Sequence[EventEnvelope[BankEvent]]
Limit = Callable[[], Awaitable[float]]

PAGE = 1_000
ACCOUNTS = 1_000
RAW = """
SELECT e.position, s.aggregate_type, s.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, e.metadata,
       e.commit_id, e.recorded_at
FROM {}events e JOIN {}streams s ON s.stream = e.stream WHERE e.position > {} AND e.position <= {} ORDER BY e.position
"""
unused: AggregateType[BankAccount, BankCommand, BankEvent, BankError] = AggregateType(
    "unused", handle=handle, apply=apply, empty_state=Unopened
)
decode_event = msgspec.json.Decoder(CustomerDepositedCash).decode
decode_metadata = msgspec.json.Decoder(dict[str, str]).decode


async def fill(store: EventStore, events: int) -> None:
    payload = '{"amount":"12.50","balance":"1000.00"}'
    for start in range(0, events, ACCOUNTS):
        requests = [
            AppendRequest(
                "bank-account",
                f"account-{number}",
                start // ACCOUNTS,
                [NewEvent("CustomerDepositedCash", 1, payload, '{"user":"456"}', uuid4())],
            )
            for number in range(ACCOUNTS)
        ]
        await store.append(requests)


async def setup(connection: Any) -> None:
    await connection.execute("CREATE TABLE IF NOT EXISTS counted (one INTEGER PRIMARY KEY, events BIGINT)")
    await connection.execute("INSERT INTO counted VALUES (1, 0) ON CONFLICT DO NOTHING")


async def by_page(connection: Any, events: Events) -> None:
    await connection.execute(f"UPDATE counted SET events = events + {len(events)}")


async def by_event(connection: Any, events: Events) -> None:
    for _ in events:
        await connection.execute("UPDATE counted SET events = events + 1")


def nothing(_: str, __: Events) -> None: ...


async def catch_up(store: EventStore, query: Query[BankEvent] | Projection[BankEvent], events: int) -> float:
    began = time.perf_counter()
    async with EventSourcing(bank_account, store, queries=[query]) as system:
        await system.query(query.name).caught_up(timeout=600)
        return events / (time.perf_counter() - began)


async def raw_sqlite(path: Path, events: int) -> float:
    database, began = sqlite3.connect(path), time.perf_counter()
    for after in range(0, events, PAGE):
        for row in database.execute(RAW.format("", "", after, after + PAGE)).fetchall():
            decode_event(row[6])
            decode_metadata(row[7])
    rate = events / (time.perf_counter() - began)
    database.close()
    return rate


async def raw_postgres(dsn: str, schema: str, events: int) -> float:
    connection = await asyncpg.connect(dsn)
    statement = await connection.prepare(RAW.format(f"{schema}.", f"{schema}.", "$1", "$2"))
    began = time.perf_counter()
    for after in range(0, events, PAGE):
        for row in await statement.fetch(after, after + PAGE):
            decode_event(row[6])
            decode_metadata(row[7])
    rate = events / (time.perf_counter() - began)
    await connection.close()
    return rate


async def catch_ups(store: EventStore, limit: Limit, events: int, number: int) -> dict[str, float]:
    figures = {"raw read and decode": await limit()}
    figures["query"] = await catch_up(store, Query(f"query-{number}", nothing), events)
    for name, project in (("statement a page", by_page), ("statement an event", by_event)):
        projection: Projection[BankEvent] = Projection(f"{name}-{number}", project, setup=setup)
        figures[f"projection, {name}"] = await catch_up(store, projection, events)
    return figures


async def commands(store: EventStore, seconds: float, number: int) -> tuple[float, float]:
    """Return commands per second and the p99 in milliseconds."""
    times: list[float] = []
    async with EventSourcing(bank_account, store) as system:
        ids = [f"busy-{number}-{caller}" for caller in range(64)]
        await system.execute_many([(id, OpenAccount("x")) for id in ids], timeout=60)
        end = time.perf_counter() + seconds

        async def caller(id: str) -> None:
            while (began := time.perf_counter()) < end:
                (await system.execute(id, Deposit(Decimal(1)), timeout=60)).unwrap()
                times.append(time.perf_counter() - began)

        await asyncio.gather(*map(caller, ids))
    return len(times) / seconds, statistics.quantiles(times, n=100)[98] * 1000


async def beside_a_catch_up(store: EventStore, seconds: float, number: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    figures["alone"], figures["alone p99"] = await commands(store, seconds, 2 * number)
    projection: Projection[BankEvent] = Projection(f"beside-{number}", by_page, setup=setup)
    handle = projection.handle(store, follows=[bank_account])
    async with EventSourcing(bank_account, store) as system:
        await system.register_queries([projection])
        handle = system.query(projection.name)
        began = time.perf_counter()
        figures["beside"], figures["beside p99"] = await commands(store, seconds, 2 * number + 1)
        figures["projected/s"] = handle.position / (time.perf_counter() - began)
    return figures


async def beside_others(store: EventStore, seconds: float, number: int) -> dict[int, float]:
    """Return commands per second beside no, one and many queries of another aggregate type."""
    rates: dict[int, float] = {}
    for count in (0, 1, 200):
        queries = [Query(f"other-{number}-{count}-{each}", nothing, follows=[unused]) for each in range(count)]
        async with EventSourcing(unused, store, queries=queries) as system:
            for query in queries:
                await system.query(query.name).caught_up(timeout=60)
            rates[count], _ = await commands(store, seconds, 1_000 * (number + 1) + count)
    return rates


async def latency(store: EventStore, number: int, count: int = 300) -> tuple[float, float]:
    """Return p50 and p99 in milliseconds from the answer of a command to its handler."""
    seen: asyncio.Queue[float] = asyncio.Queue()

    def notice(_: str, __: Events) -> None:
        seen.put_nowait(time.perf_counter())

    times: list[float] = []
    query = Query[BankEvent](f"latency-{number}", notice, start="end")
    async with EventSourcing(bank_account, store, queries=[query]) as system:
        await system.query(query.name).caught_up()
        await system.execute(f"prompt-{number}", OpenAccount("x"))
        await seen.get()
        for _ in range(count):
            await system.execute(f"prompt-{number}", Deposit(Decimal(1)))
            answered = time.perf_counter()
            times.append(max(await seen.get() - answered, 0.0))
    cuts = statistics.quantiles(times, n=100)
    return cuts[49] * 1000, cuts[98] * 1000


async def measure(name: str, store: EventStore, limit: Limit, events: int, rounds: int) -> None:
    async with store:
        await fill(store, events)
        runs = [await catch_ups(store, limit, events, number) for number in range(rounds)]
        for figure in runs[0]:
            rate = statistics.median(run[figure] for run in runs)
            ratio = statistics.median(run[figure] / run["raw read and decode"] for run in runs)
            print(f"{name:<9}{figure:<32}{rate:>10,.0f} events/s{ratio:>7.2f}")
        sides = [await beside_a_catch_up(store, 2.0, number) for number in range(rounds)]
        middle = {figure: statistics.median(side[figure] for side in sides) for figure in sides[0]}
        ratio = statistics.median(side["beside"] / side["alone"] for side in sides)
        print(f"{name:<9}commands alone {middle['alone']:>10,.0f}/s, p99 {middle['alone p99']:.1f} ms")
        print(
            f"{name:<9}commands beside a catch-up {middle['beside']:,.0f}/s, p99 {middle['beside p99']:.1f} ms, "
            f"{ratio:.2f} of alone, while {middle['projected/s']:,.0f} events/s were projected"
        )
        others = [await beside_others(store, 2.0, number) for number in range(rounds)]
        for count in others[0]:
            rate = statistics.median(other[count] for other in others)
            ratio = statistics.median(other[count] / other[0] for other in others)
            print(f"{name:<9}commands beside {count} queries of another type {rate:,.0f}/s, {ratio:.2f} of none")
        waits = [await latency(store, number) for number in range(rounds)]
        p50, p99 = (statistics.median(wait[at] for wait in waits) for at in (0, 1))
        print(f"{name:<9}from answer to handler: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.db"
        asyncio.run(measure("SQLite", SQLiteStore(path), lambda: raw_sqlite(path, events), events, rounds))
    if len(sys.argv) > 3:
        dsn, schema = sys.argv[3], f"queries_{uuid4().hex[:8]}"
        postgres = PostgresStore(dsn, schema=schema)
        asyncio.run(measure("Postgres", postgres, lambda: raw_postgres(dsn, schema, events), events, rounds))


if __name__ == "__main__":
    main()
