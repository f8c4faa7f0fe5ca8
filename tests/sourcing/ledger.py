"""A domain whose commands are functions, so that each test decides what its command does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from eventree import AggregateType, Err, EventSourcing, Ok, Result


class Boom(Exception):
    """What the functions of the domain crash with."""


@dataclass
class Ledger:
    entries: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class Added:
    amount: int


Command: TypeAlias = Callable[[Ledger], Result[Sequence[Added], str]]
LedgerSystem: TypeAlias = EventSourcing[Ledger, Command, Added, str]
LedgerType: TypeAlias = AggregateType[Ledger, Command, Added, str]

POISON = -13
"""The amount at which `apply` raises."""


def handle(ledger: Ledger, command: Command) -> Result[Sequence[Added], str]:
    return command(ledger)


def apply(ledger: Ledger, event: Added) -> Ledger:
    if event.amount == POISON:
        raise Boom
    return Ledger([*ledger.entries, event.amount])


def apply_in_place(ledger: Ledger, event: Added) -> Ledger:
    ledger.entries.append(event.amount)
    if event.amount == POISON:
        raise Boom
    return ledger


ledger = AggregateType("ledger", handle=handle, apply=apply, empty_state=Ledger)
ledger_in_place = AggregateType("ledger", handle=handle, apply=apply_in_place, empty_state=Ledger)


def add(*amounts: int) -> Command:
    return lambda _: Ok([Added(amount) for amount in amounts])


def add_length(ledger: Ledger) -> Result[Sequence[Added], str]:
    """Add the number of entries: the event shows the state that it was decided on."""
    return Ok([Added(len(ledger.entries))])


def refuse(_: Ledger) -> Result[Sequence[Added], str]:
    return Err("no")


def crash(_: Ledger) -> Result[Sequence[Added], str]:
    raise Boom


async def entries(system: LedgerSystem, id: str) -> list[int]:
    """Return the entries as the store has them."""
    return (await system.load_aggregate(id)).unwrap().state.entries
