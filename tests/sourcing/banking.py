"""The bank of the examples, as tests use it."""

from decimal import Decimal
from typing import TypeAlias

from bank import BankAccount, BankCommand, BankError, BankEvent, Deposit, OpenAccount
from eventree import EventSourcing

Bank: TypeAlias = EventSourcing[BankAccount, BankCommand, BankEvent, BankError]

OPEN = OpenAccount("a")


def deposit(amount: int) -> Deposit:
    return Deposit(Decimal(amount))
