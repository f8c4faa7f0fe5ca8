"""Run a bank's ledger through event-sourced accounts on a SQLite file.

Each row is a command; a query keeps the table of balances. Watch the query actor crash in the middle and the balances
be right all the same. Run it again on the same file: what is stored is skipped. Kill it at any time: nothing that was
acknowledged is lost.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from balances import Balances
from bank import AccountOpened, BankAccount, BankCommand, BankError, BankEvent, bank_account
from eventree import (
    Commit,
    DomainError,
    Err,
    EventreeError,
    EventSourcing,
    Ok,
    Query,
    Result,
    SnapshotConfig,
    SQLiteStore,
)
from ledger import LedgerError, Row, read_ledger

Accounts: TypeAlias = EventSourcing[BankAccount, BankCommand, BankEvent, BankError]
Executed: TypeAlias = Result[Commit[BankEvent], DomainError[BankError] | EventreeError]

CHUNK = 250
SHOWN = 12
PATIENCE = 60.0


@dataclass(slots=True)
class Tally:
    """What became of the rows.

    Attributes:
        skipped: How many rows an earlier run has dealt with.
        accepted: The ids of the rows whose command was stored.
        repeated: How many rows had the id of an earlier one, and so were answered with its commit.
        refused: Rows that were not accepted, with the reason.
        checked: How many balances were compared with the ledger's, row by row.
        wrong: How many of them differ.
    """

    skipped: int = 0
    accepted: set[str] = field(default_factory=set[str])
    repeated: int = 0
    refused: list[tuple[Row, str]] = field(default_factory=list[tuple[Row, str]])
    checked: int = 0
    wrong: int = 0


async def main(arguments: argparse.Namespace) -> int:
    """Run the ledger and print what came of it."""
    rows = read_ledger(arguments.ledger, open_accounts=arguments.open_accounts)
    database = Path(arguments.database)
    began = time.perf_counter()
    with Balances(database.with_name(f"{database.stem}-balances.db")) as balances:
        async with (
            SQLiteStore(database) as store,
            EventSourcing(
                bank_account, store, queries=[Query("balances", balances)], snapshots=SnapshotConfig(frequency=100)
            ) as accounts,
        ):
            tally = Tally()
            todo = await skip_stored(accounts, rows, tally)
            print(f"ledger {arguments.ledger}: {len(rows)} rows, {len(todo)} to execute on {database}")
            balances.crash_once_at(len(todo) // 2 + 1)
            await run(accounts, todo, tally)
            await accounts.query("balances").caught_up(timeout=PATIENCE)
            wrong = await report(accounts, rows, tally, balances.all())
            print(f"{time.perf_counter() - began:.1f} s")
    return 1 if wrong else 0


async def skip_stored(accounts: Accounts, rows: Sequence[Row], tally: Tally) -> list[Row]:
    """Return the rows to execute: per account, those after the last one that is stored."""
    todo: list[Row] = []
    for account_id, its_rows in by_account(rows).items():
        last = await last_stored(accounts, account_id)
        ids = [row.transaction_id for row in its_rows]
        done = len(ids) - ids[::-1].index(last) if last in ids else 0
        tally.skipped += done
        todo.extend(its_rows[done:])
    order = {id(row): number for number, row in enumerate(rows)}
    return sorted(todo, key=lambda row: order[id(row)])


async def last_stored(accounts: Accounts, account_id: str) -> str | None:
    """Return the id of the last row that is stored for an account."""
    match await accounts.aggregate_stats(account_id):
        case Ok(stats):
            [event] = (await accounts.load_events(account_id, start_from=stats.current_sequence)).unwrap()
            return event.metadata["transaction_id"]
        case Err():
            return None


async def run(accounts: Accounts, rows: Sequence[Row], tally: Tally) -> None:
    """Execute rows, many at a time; those of one account stay in order."""
    for number, chunk in enumerate(chunks(rows), 1):
        commands = [(row.account_id, row.command) for row in chunk if row.command is not None]
        asked = [row for row in chunk if row.command is not None]
        tally.refused.extend((row, row.problem) for row in chunk if row.command is None)
        results = await accounts.execute_many(
            commands,
            metadata=[{"transaction_id": row.transaction_id, "date": row.date} for row in asked],
            command_ids=[row.transaction_id for row in asked],
            timeout=PATIENCE,
        )
        for row, result in zip(asked, results, strict=True):
            count(row, result, tally)
        if len(rows) > 4 * CHUNK:
            show_progress(min(number * CHUNK, len(rows)), len(rows))


def count(row: Row, result: Executed, tally: Tally) -> None:
    """Note what became of a row."""
    match result:
        case Ok() if row.transaction_id in tally.accepted:
            tally.repeated += 1
        case Ok(commit):
            tally.accepted.add(row.transaction_id)
            check(row, commit.events, tally)
        case Err(DomainError(reason)):
            tally.refused.append((row, reason.value))
        case Err(EventreeError() as error):
            tally.refused.append((row, str(error)))


def check(row: Row, events: Sequence[BankEvent], tally: Tally) -> None:
    """Compare the balance that a row led to with the bank's own."""
    for event in events:
        if row.balance_after is not None and not isinstance(event, AccountOpened):
            tally.checked += 1
            tally.wrong += event.balance != row.balance_after


async def report(accounts: Accounts, rows: Sequence[Row], tally: Tally, balances: dict[str, Decimal]) -> int:
    """Print what a person wants to see; return how many balances are wrong."""
    print(
        f"\naccepted {len(tally.accepted)}, refused {len(tally.refused)}, repeated {tally.repeated}, "
        f"skipped {tally.skipped}"
    )
    show_refused(tally.refused)
    expected = await expected_balances(accounts, rows)
    show_balances(balances, expected)
    agree = sum(balances.get(id) == balance for id, balance in expected.items())
    print(f"balances that agree with the ledger: {agree} of {len(expected)} accounts, wrong: {len(expected) - agree}")
    print(f"rows whose balance was checked: {tally.checked}, wrong: {tally.wrong}")
    stats = await accounts.system_stats()
    query = accounts.query("balances")
    print(
        f"system: {stats.total_commands_processed} commands, {stats.commands_refused} refused, "
        f"{stats.query_actors_count} query at position {query.position}, {stats.actor_restarts} actor restarts, "
        f"{stats.snapshots_written} snapshots, up {stats.uptime_seconds:.1f} s"
    )
    return tally.wrong + len(expected) - agree


async def expected_balances(accounts: Accounts, rows: Sequence[Row]) -> dict[str, Decimal]:
    """Return what the ledger says each account has after the last row that is stored for it."""
    expected: dict[str, Decimal] = {}
    for account_id, its_rows in by_account(rows).items():
        last = await last_stored(accounts, account_id)
        for row in its_rows:
            if row.transaction_id == last and row.balance_after is not None:
                expected[account_id] = row.balance_after
    return expected


def show_refused(refused: Sequence[tuple[Row, str]]) -> None:
    """Print the refused rows, or the reasons alone where they are many."""
    if len(refused) <= SHOWN:
        for row, reason in refused:
            print(f"  refused {row.transaction_id or '(no id)'} of {row.date}, account {row.account_id}: {reason}")
    else:
        for reason, times in Counter(reason for _, reason in refused).most_common(SHOWN):
            print(f"  refused {times} x {reason}")


def show_balances(balances: dict[str, Decimal], expected: dict[str, Decimal]) -> None:
    """Print the read model beside the ledger."""
    print(f"\n{'account':<20}{'balance':>14}{'ledger':>14}")
    for account_id, balance in list(balances.items())[:SHOWN]:
        print(f"{account_id:<20}{balance:>14}{expected.get(account_id, ''):>14}")
    if len(balances) > SHOWN:
        print(f"... and {len(balances) - SHOWN} more")
    print()


def show_progress(done: int, total: int) -> None:
    """Print how far we are, on one line where a person is watching."""
    end = "\r" if sys.stdout.isatty() and done < total else "\n"
    if end == "\r" or done == total or done // CHUNK % 10 == 0:
        print(f"  {done} of {total} rows", end=end, flush=True)


def by_account(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each account, in order."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.account_id, []).append(row)
    return grouped


def chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut the rows into stretches to be executed together."""
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = str(Path(__file__).with_name("ledger.csv"))
    parser.add_argument("ledger", nargs="?", default=default, help="a CSV file, or - for standard input")
    parser.add_argument("--database", default="bank.db", help="the SQLite file to write to (default: bank.db)")
    parser.add_argument("--open-accounts", action="store_true", help="open each account at its first row")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(parse())))
    except (LedgerError, EventreeError) as problem:
        sys.exit(f"error: {problem}")
