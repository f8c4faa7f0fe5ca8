"""A caller that writes down what it sends and what it is told, and repeats what nobody could tell it."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from uuid import uuid4

from eventree import (
    ActorCrashed,
    ActorTimeout,
    CommitOutcomeUnknown,
    DomainError,
    Err,
    EventreeError,
    EventStore,
    Ok,
    Result,
    SQLiteStore,
)
from faults.history import Acknowledged, Invoked, Refused, Step, Unknown
from faults.journal import Journal
from sourcing.ledger import Added, Command, Ledger, LedgerSystem

AGGREGATES = ("a", "b", "c")


def store_at(address: str) -> AbstractAsyncContextManager[EventStore]:
    """Return the store of a Postgres DSN or a path, not open yet."""
    if address.startswith("postgresql://"):
        from eventree.stores.postgres import PostgresStore  # noqa: PLC0415 - SQLite works without its driver

        return PostgresStore(address)
    return SQLiteStore(address)


def count(events: int) -> Command:
    """Add the number of entries, several times over: the events show the state they were decided on."""

    def command(ledger: Ledger) -> Result[Sequence[Added], str]:
        return Ok([Added(len(ledger.entries))] * events)

    return command


def refuse(_: Ledger) -> Result[Sequence[Added], str]:
    return Err("a business refusal")


class Caller:
    """Sends commands to a few aggregates that it shares with others."""

    def __init__(self, name: str, system: LedgerSystem, journal: Journal) -> None:
        self.acknowledged = 0
        self._name = name
        self._system = system
        self._journal = journal

    async def send_another(self) -> bool:
        """Send a new command until it is known whether it was stored; return whether it was."""
        aggregate_id, events = random.choice(AGGREGATES), random.randint(0, 3)  # noqa: S311
        return await self.send(Invoked(f"{self._name}-{uuid4().hex}", aggregate_id, events))

    async def send(self, invoked: Invoked) -> bool:
        """Send a command, new or not, until it is known whether it was stored; return whether it was."""
        answer = await self._attempt(invoked)
        if isinstance(answer, Unknown) and invoked.events:
            while not isinstance(answer, Acknowledged):  # a refusal tells of its own attempt only, not of the first
                answer = await self._attempt(invoked)
        return isinstance(answer, Acknowledged)

    async def _attempt(self, invoked: Invoked) -> Step:
        self._journal.write(invoked)
        answer = await self._answer(invoked)
        self._journal.write(answer)
        self.acknowledged += isinstance(answer, Acknowledged)
        if not isinstance(answer, Acknowledged):
            await asyncio.sleep(0.01)  # whoever is away needs no flood of attempts
        return answer

    async def _answer(self, invoked: Invoked) -> Step:
        id = invoked.command_id
        command = count(invoked.events) if invoked.events else refuse
        match await self._system.execute(
            invoked.aggregate_id, command, command_id=id, metadata={"command": id}, timeout=10
        ):
            case Ok(commit):
                return Acknowledged(id, commit.sequence, commit.position)
            case Err(ActorTimeout(outcome="unknown") | ActorCrashed() | CommitOutcomeUnknown() as error):
                return Unknown(id, repr(error))
            case Err(DomainError() | EventreeError() as error):
                return Refused(id, repr(error))
