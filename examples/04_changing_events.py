"""Three releases of one program on the same file: an event is renamed, gets a required field, and the state changes.

Watch that what the first release stored is never rewritten, and means to the third what it meant. The golden files,
which belong into version control beside your tests, hold every form that was ever stored: the last lines show how they
find a mistake.
"""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from eventree import (
    AggregateType,
    EventSourcing,
    Ok,
    Result,
    SnapshotConfig,
    SQLiteStore,
    event_type,
)
from eventree.testing import GoldenFiles

# --- the first release -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deposited:
    """An amount was paid in."""

    amount: Decimal


@dataclass(frozen=True)
class Balance:
    """The state."""

    amount: Decimal = Decimal(0)


def deposit(_: Balance, amount: Decimal) -> Result[Sequence[Deposited], str]:
    """Accept every deposit."""
    return Ok([Deposited(amount)])


def add(balance: Balance, event: Deposited) -> Balance:
    """Add it up."""
    return Balance(balance.amount + event.amount)


first = AggregateType("account", handle=deposit, apply=add, empty_state=Balance)


# --- the second release: a better name, and the old one as its alias -------------------------------------------------


@event_type(aliases=["Deposited"])
@dataclass(frozen=True)
class CashDeposited:
    """An amount was paid in; it was called Deposited before."""

    amount: Decimal


def deposit_cash(_: Balance, amount: Decimal) -> Result[Sequence[CashDeposited], str]:
    """Accept every deposit."""
    return Ok([CashDeposited(amount)])


def add_cash(balance: Balance, event: CashDeposited) -> Balance:
    """Add it up."""
    return Balance(balance.amount + event.amount)


second = AggregateType("account", handle=deposit_cash, apply=add_cash, empty_state=Balance)


# --- the third release: a required field, with an upcaster for what has none; and a state of another shape -----------


def with_currency(payload: dict[str, Any]) -> dict[str, Any]:
    """Make version 1 into version 2: all deposits were in euro."""
    return payload | {"currency": "EUR"}


@event_type(name="CashDeposited", aliases=["Deposited"], upcasters={1: with_currency})
@dataclass(frozen=True)
class MoneyDeposited:
    """An amount of some currency was paid in; the class has another name again, what is stored keeps its own."""

    amount: Decimal
    currency: str


@dataclass(frozen=True)
class Balances:
    """The state, now one balance for each currency; snapshots of the old one do not fit and are left alone."""

    amounts: dict[str, Decimal]


def deposit_money(_: Balances, money: tuple[Decimal, str]) -> Result[Sequence[MoneyDeposited], str]:
    """Accept every deposit."""
    return Ok([MoneyDeposited(*money)])


def add_money(balances: Balances, event: MoneyDeposited) -> Balances:
    """Add it up."""
    before = balances.amounts.get(event.currency, Decimal(0))
    return Balances(balances.amounts | {event.currency: before + event.amount})


third = AggregateType("account", handle=deposit_money, apply=add_money, empty_state=lambda: Balances({}))


# --- a fourth release that must not go out: another required field, and no upcaster ----------------------------------


@event_type(name="CashDeposited", aliases=["Deposited"], upcasters={1: with_currency})
@dataclass(frozen=True)
class PaidIn:
    """An amount was paid in by somebody."""

    amount: Decimal
    currency: str
    payer: str


def pay_in(_: Balances, paid: PaidIn) -> Result[Sequence[PaidIn], str]:
    """Accept every deposit."""
    return Ok([paid])


def add_paid_in(balances: Balances, event: PaidIn) -> Balances:
    """Add it up."""
    return add_money(balances, MoneyDeposited(event.amount, event.currency))


fourth = AggregateType("account", handle=pay_in, apply=add_paid_in, empty_state=lambda: Balances({}))


# --- what comes of it ------------------------------------------------------------------------------------------------


async def main(database: Path) -> None:
    """Run the releases one after the other, and look at what is stored."""
    often = SnapshotConfig(frequency=1)
    async with SQLiteStore(database) as store:
        async with EventSourcing(first, store, snapshots=often) as accounts:
            (await accounts.execute("anna", Decimal(5))).unwrap()
            print("first release: ", (await accounts.load_aggregate("anna")).unwrap().state)
        async with EventSourcing(second, store, snapshots=often) as accounts:
            (await accounts.execute("anna", Decimal(7))).unwrap()
            print("second release:", (await accounts.load_aggregate("anna")).unwrap().state)
        async with EventSourcing(third, store, snapshots=often) as accounts:
            (await accounts.execute("anna", (Decimal(9), "USD"))).unwrap()
            print("third release: ", (await accounts.load_aggregate("anna")).unwrap().state)
            events = (await accounts.load_events("anna")).unwrap()
        for event, stored in zip(events, (await store.read(0, 10)).events, strict=True):
            print(f"  stored as {stored.event_type} {stored.event_version} {stored.payload}, read as {event.payload}")


def keep_golden_files(folder: Path) -> None:
    """Write down the stored forms of each release, as its tests would; then forget an upcaster."""
    show(lambda: GoldenFiles(first, folder).check(five=Deposited(Decimal(5))))
    show(lambda: GoldenFiles(second, folder).check(five=CashDeposited(Decimal(5))))
    show(lambda: GoldenFiles(third, folder).check(five=MoneyDeposited(Decimal(5), "EUR")))
    show(lambda: GoldenFiles(fourth, folder).check(five=PaidIn(Decimal(5), "EUR", "Anna")))


def show(check: Callable[[], None]) -> None:
    """Print what a check complains about."""
    try:
        check()
    except AssertionError as complaint:
        print(complaint)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(main(Path(scratch) / "accounts.db"))
        keep_golden_files(Path(scratch) / "golden")
