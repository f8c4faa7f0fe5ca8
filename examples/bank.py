"""A bank account: what can be asked of it, what can happen to it, and its rules, as two pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import TypeAlias

from eventree import AggregateType, Err, Ok, Result

# --- commands: what can be asked -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """Open the account."""

    account_id: str


@dataclass(frozen=True, slots=True)
class Deposit:
    """Pay an amount in."""

    amount: Decimal


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take an amount out."""

    amount: Decimal


BankCommand: TypeAlias = OpenAccount | Deposit | Withdraw

# --- events: what has happened ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccountOpened:
    """The account was opened."""

    account_id: str


@dataclass(frozen=True, slots=True)
class CustomerDepositedCash:
    """An amount was paid in, which led to this balance."""

    amount: Decimal
    balance: Decimal


@dataclass(frozen=True, slots=True)
class CustomerWithdrewCash:
    """An amount was taken out, which led to this balance."""

    amount: Decimal
    balance: Decimal


BankEvent: TypeAlias = AccountOpened | CustomerDepositedCash | CustomerWithdrewCash

# --- states ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unopened:
    """Nothing has happened yet."""


@dataclass(frozen=True, slots=True)
class Account:
    """An open account with its balance."""

    balance: Decimal


BankAccount: TypeAlias = Unopened | Account


class BankError(Enum):
    """Why the bank refuses a command."""

    UNOPENED = "CANT_OPERATE_ON_UNOPENED_ACCOUNT"
    NEGATIVE_DEPOSIT = "CANT_DEPOSIT_NEGATIVE_AMOUNT"
    OVERDRAFT = "CANT_WITHDRAW_MORE_THAN_CURRENT_BALANCE"


def handle(account: BankAccount, command: BankCommand) -> Result[Sequence[BankEvent], BankError]:
    """Decide a command: what happens, or why nothing does."""
    match account, command:
        case Unopened(), OpenAccount(account_id):
            return Ok([AccountOpened(account_id)])
        case Account(balance), Deposit(amount):
            if amount <= 0:
                return Err(BankError.NEGATIVE_DEPOSIT)
            return Ok([CustomerDepositedCash(amount, balance + amount)])
        case Account(balance), Withdraw(amount):
            if not 0 < amount <= balance:
                return Err(BankError.OVERDRAFT)
            return Ok([CustomerWithdrewCash(amount, balance - amount)])
        case _:
            return Err(BankError.UNOPENED)


def apply(account: BankAccount, event: BankEvent) -> BankAccount:
    """Return the account after something has happened."""
    match event:
        case AccountOpened():
            return Account(Decimal(0))
        case CustomerDepositedCash(balance=balance) | CustomerWithdrewCash(balance=balance):
            return Account(balance)


bank_account = AggregateType("bank-account", handle=handle, apply=apply, empty_state=Unopened)
