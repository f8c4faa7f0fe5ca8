"""An account that cannot be overdrawn; each event says which balance the decision led to."""

from collections.abc import Sequence
from dataclasses import dataclass

from eventree import AggregateType, Err, EventSourcing, Ok, Result


@dataclass(frozen=True)
class Balance:
    amount: int = 0


@dataclass(frozen=True)
class Booked:
    change: int
    balance: int


def handle(balance: Balance, change: int) -> Result[Sequence[Booked], str]:
    after = balance.amount + change
    return Ok([Booked(change, after)]) if after >= 0 else Err("overdrawn")


def apply(balance: Balance, event: Booked) -> Balance:
    return Balance(balance.amount + event.change)


account = AggregateType("account", handle=handle, apply=apply, empty_state=Balance)


async def book(system: EventSourcing[Balance, int, Booked, str], id: str, *changes: int) -> list[int]:
    """Book changes one after the other; return the balance that each led to."""
    commits = [(await system.execute(id, change)).unwrap() for change in changes]
    return [event.balance for commit in commits for event in commit.events]
