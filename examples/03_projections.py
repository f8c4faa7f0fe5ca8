"""Read models in the store's own database: exactly once, a poison event parked, a new version built beside the old one.

Run it: python examples/03_projections.py [database, default a new file that is removed at the end]
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import aiosqlite

from bank import (
    AccountOpened,
    BankEvent,
    CustomerDepositedCash,
    CustomerWithdrewCash,
    Deposit,
    OpenAccount,
    bank_account,
)
from eventree import EventEnvelope, EventSourcing, Projection, SQLiteStore, query_context

ACCOUNTS = 200
DEPOSITS = 5_000
POISON = Decimal("6.66")

BALANCES = "CREATE TABLE balances (account TEXT PRIMARY KEY, balance TEXT NOT NULL)"
COUNTS = "CREATE TABLE counts (account TEXT PRIMARY KEY, deposits INTEGER NOT NULL, cents INTEGER NOT NULL)"


async def setup_balances(connection: aiosqlite.Connection) -> None:
    """Make the table of version 1, once, in the transaction that makes its checkpoint."""
    await connection.execute(BALANCES)


async def project_balances(connection: aiosqlite.Connection, events: Sequence[EventEnvelope[BankEvent]]) -> None:
    """Store the newest balance of each account; one statement for the whole batch."""
    rows: dict[str, str] = {}
    for event in events:
        match event.payload:
            case AccountOpened():
                rows[event.aggregate_id] = "0"
            case CustomerDepositedCash(amount, balance) | CustomerWithdrewCash(amount, balance):
                if amount == POISON:
                    raise ValueError("this code cannot cope with such an amount")
                rows[event.aggregate_id] = str(balance)
    await connection.executemany("INSERT OR REPLACE INTO balances VALUES (?, ?)", rows.items())


async def setup_counts(connection: aiosqlite.Connection) -> None:
    """Make the table of version 2 beside the one of version 1."""
    await connection.execute(COUNTS)


async def project_counts(connection: aiosqlite.Connection, events: Sequence[EventEnvelope[BankEvent]]) -> None:
    """Count deposits: adding up is right here, as no event comes twice."""
    deposits = [
        (event.aggregate_id, int(event.payload.amount * 100))
        for event in events
        if isinstance(event.payload, CustomerDepositedCash)
    ]
    await connection.executemany(
        "INSERT INTO counts VALUES (?, 1, ?) "
        "ON CONFLICT (account) DO UPDATE SET deposits = deposits + 1, cents = cents + excluded.cents",
        deposits,
    )


async def swap(connection: aiosqlite.Connection) -> None:
    """Drop what version 1 needed, in the transaction in which version 2 goes live."""
    context = query_context()
    print(f"{context.name} version {context.version} goes live")
    await connection.execute("DROP TABLE balances")


async def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """Read as any other program would."""
    async with aiosqlite.connect(path) as connection:
        return [tuple(row) for row in await connection.execute_fetchall(query)]


async def main(path: Path) -> None:
    """Fill accounts, park a poison event, retry it, and replace the projection while it runs."""
    one: Projection[BankEvent] = Projection(
        "accounts", project_balances, setup=setup_balances, on_failure="park", max_attempts=1
    )
    async with SQLiteStore(path) as store, EventSourcing(bank_account, store, queries=[one]) as bank:
        ids = [f"account-{number}" for number in range(ACCOUNTS)]
        await bank.execute_many([(id, OpenAccount(id)) for id in ids])
        await bank.execute_many([(ids[n % ACCOUNTS], Deposit(Decimal(1))) for n in range(DEPOSITS)], timeout=60)
        for amount in (POISON, Decimal(1)):
            (await bank.execute("account-7", Deposit(amount), wait_for=["accounts"])).unwrap()
        parked = await bank.query("accounts").parked()
        print(f"parked: {[(commit.aggregate_id, commit.reason) for commit in parked]}")
        print(
            "balance of account-7 meanwhile:",
            await rows(path, "SELECT balance FROM balances WHERE account = 'account-7'"),
        )

        two: Projection[BankEvent] = Projection("accounts", project_counts, setup=setup_counts, swap=swap, version=2)
        await bank.register_queries([two])
        async for progress in bank.query("accounts", 2).progress(interval=0.5):
            print(f"building {'#' * round(20 * progress.fraction):<20} {progress.position} of {progress.target}")
        await bank.execute("account-7", Deposit(Decimal(1)), wait_for=["accounts"])
        print("account-7:", await rows(path, "SELECT deposits, cents FROM counts WHERE account = 'account-7'"))
        [(count,)] = await rows(path, "SELECT sum(deposits) FROM counts")
        print(f"deposits counted: {count}, stored: {DEPOSITS + 3}")
        stats = await bank.query("accounts").stats()
        print(f"version {stats.version} is {stats.status.value}, {stats.lag_events} events behind")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else f"{folder}/bank.db")))
