"""Read a ledger: CSV rows, each to be executed as one command."""

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TextIO

from bank import BankCommand, Deposit, OpenAccount, Withdraw

COLUMNS = {"transaction_id", "date", "account_id", "kind", "amount"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a ledger.

    Attributes:
        transaction_id: Unique in the ledger.
        date: As it is written there.
        account_id: The account.
        command: What it asks for; None if it makes no sense.
        problem: Why it makes no sense; empty if it does.
        balance_after: The balance that the bank says it led to, if it says so.
    """

    transaction_id: str
    date: str
    account_id: str
    command: BankCommand | None
    problem: str
    balance_after: Decimal | None


class LedgerError(Exception):
    """The file is not a ledger."""


def read_ledger(path: str, *, open_accounts: bool) -> list[Row]:
    """Return the rows of a ledger in order.

    Args:
        path: A file, or "-" for standard input.
        open_accounts: Put a row that opens the account before the first row of each.

    Raises:
        LedgerError: The file cannot be read or has other columns.
    """
    try:
        with _opened(path) as file:
            table = csv.DictReader(file)
            missing = COLUMNS - set(table.fieldnames or ())
            if missing:
                raise LedgerError(f"{path} is no ledger: it has no column {', '.join(sorted(missing))}")
            rows = [_row(fields) for fields in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LedgerError(f"{path} cannot be read: {error}") from error
    return list(_with_openings(rows)) if open_accounts else rows


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    if path == "-":
        yield sys.stdin
    else:
        with Path(path).open(encoding="utf-8", newline="") as file:
            yield file


def _row(fields: dict[str, str | None]) -> Row:
    text = {name: (value or "").strip() for name, value in fields.items() if isinstance(value, str)}
    command, problem = _command(text.get("kind", ""), text.get("amount", ""), text.get("account_id", ""))
    return Row(
        text.get("transaction_id", ""),
        text.get("date", ""),
        text.get("account_id", ""),
        command,
        problem,
        _amount(text.get("balance_after", "")),
    )


def _command(kind: str, amount: str, account_id: str) -> tuple[BankCommand | None, str]:
    if kind == "open":
        return OpenAccount(account_id), ""
    value = _amount(amount)
    if value is None:
        return None, f"{amount!r} is not an amount"
    match kind:
        case "deposit":
            return Deposit(value), ""
        case "withdraw":
            return Withdraw(value), ""
        case _:
            return None, f"{kind!r} is not one of open, deposit, withdraw"


def _amount(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _with_openings(rows: Iterable[Row]) -> Iterator[Row]:
    """Open each account at its first row, by a row with an id of its own."""
    opened: set[str] = set()
    for row in rows:
        if row.account_id not in opened:
            opened.add(row.account_id)
            opening = OpenAccount(row.account_id)
            yield Row(f"{row.transaction_id}/open", row.date, row.account_id, opening, "", None)
        yield row
