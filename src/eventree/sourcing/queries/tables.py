"""Hand events to a projection, many in one transaction with the checkpoint: exactly once."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from eventree.domain.events import EventEnvelope
from eventree.errors import CheckpointFenced, CheckpointHeld, EventNotDecodable, InvalidArgument
from eventree.sourcing.commands import WEATHER
from eventree.sourcing.queries.commits import HandlingFailed, StoredCommit, Triage
from eventree.sourcing.queries.context import InTransaction
from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.hold import Hold
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.pace import Pace
from eventree.sourcing.queries.tasks import is_being_cancelled
from eventree.stores.contract import Checkpoint, Claim, Move, ParkedCommit
from eventree.stores.transaction import StoreTransaction, TransactionalStore

EventT = TypeVar("EventT")
Step: TypeAlias = Callable[[Any], Awaitable[None]]
"""Something a projection does on a connection besides handling events."""

AnyTransaction: TypeAlias = StoreTransaction[Any]


@dataclass(frozen=True, slots=True)
class Steps(Generic[EventT]):
    """Hold what a projection does; the connection is the driver's own, of whatever store it runs on."""

    project: Callable[[Any, Sequence[EventEnvelope[EventT]]], Awaitable[None]]
    setup: Step | None
    swap: Step | None
    clear: Step | None


class TableTarget(Generic[EventT]):
    """Call a projection inside of transactions that move the checkpoint too; see `Target`."""

    def __init__(
        self,
        steps: Steps[EventT],
        store: TransactionalStore[Any],
        options: Options,
        decoding: Decoding[EventT],
    ) -> None:
        """Remember what to call.

        Args:
            steps: What to call.
            store: Has the tables and the checkpoint.
            options: Of the query.
            decoding: Decodes events.
        """
        self._steps = steps
        self._store = store
        self._key = (options.name, options.version)
        self._lease = options.lease
        self._decoding = decoding
        self._pace = Pace()
        self._decoded: dict[int, list[EventEnvelope[EventT]]] = {}

    async def claim(self, claim: Claim) -> Checkpoint:
        """See `Target`; tables are made in the transaction that makes the checkpoint."""
        async with self._transaction() as transaction:
            checkpoint = await transaction.claim_checkpoint(*self._key, claim)
            if checkpoint.fence == 1 and self._steps.setup is not None:
                await self._steps.setup(transaction.connection)
        return checkpoint

    async def hand_over(self, commits: Sequence[StoredCommit], end: int, hold: Hold) -> None:
        """See `Target`."""
        decoded = self._decode(commits, hold.triage())
        clock = asyncio.get_running_loop().time
        taken: list[StoredCommit] = []
        with hold.renewing():
            async with self._transaction(taken) as transaction:
                began = clock()
                batch = self._batch(commits[: len(decoded)], transaction, hold)
                triage = hold.triage()
                taken += batch if triage.takes_all else filter(triage.takes, batch)
                events = [event for commit in taken for event in decoded[commit.position]]
                if events:
                    await self._steps.project(transaction.connection, events)
                move = hold.move(end if len(batch) == len(commits) else batch[-1].last_position, triage)
                await transaction.save_checkpoint(*self._key, move)
        self._pace.took(len(events), clock() - began)
        hold.moved(move)

    async def hand_over_parked(self, commit: StoredCommit, parked: ParkedCommit, hold: Hold) -> None:
        """See `Target`."""
        events = self._decode([commit], Triage(frozenset(), {}, 0))[commit.position]
        move = Move(Checkpoint(hold.position, hold.fence), unpark=[parked.position])
        async with self._transaction([commit]) as transaction:
            await self._steps.project(transaction.connection, events)
            await transaction.save_checkpoint(*self._key, move)
        hold.moved(move)

    async def go_live(self, hold: Hold) -> bool:
        """See `Target`; what else has to be done for that is done in the same transaction."""
        async with self._transaction() as transaction:
            is_live = await transaction.make_live(*self._key, hold.fence)
            if is_live and self._steps.swap is not None:
                await self._steps.swap(transaction.connection)
        return is_live

    async def reset(self, hold: Hold, position: int, parked: Sequence[ParkedCommit]) -> None:
        """See `Target`; the tables are cleared in the same transaction."""
        if self._steps.clear is None:
            raise InvalidArgument("clear", "a projection without it cannot be reset: its rows would be counted twice")
        move = hold.back_to(position, parked)
        async with self._transaction() as transaction:
            await self._steps.clear(transaction.connection)
            await transaction.save_checkpoint(*self._key, move)
        hold.moved(move)

    def _decode(self, commits: Sequence[StoredCommit], triage: Triage) -> dict[int, list[EventEnvelope[EventT]]]:
        """Decode what is to be handed over, before the transaction, up to a commit that does not fit the code.

        Raises:
            HandlingFailed: It is the first one.
        """
        known, decoded = self._decoded, dict[int, list[EventEnvelope[EventT]]]()
        self._decoded = decoded  # what a smaller transaction left over is not decoded again
        for commit in commits:
            try:
                decoded[commit.position] = known.get(commit.position) or (
                    self._decoding.envelopes(commit) if triage.takes(commit) else []
                )
            except EventNotDecodable as error:
                if not decoded:
                    raise HandlingFailed(error, [commit]) from error
                break
        return decoded

    def _batch(
        self, commits: Sequence[StoredCommit], transaction: AnyTransaction, hold: Hold
    ) -> Sequence[StoredCommit]:
        """Return as many commits as should be handled at once, at least one."""
        if commits[0].position <= hold.narrow_until:
            return commits[:1]
        room = self._pace.room(is_contended=transaction.is_contended)
        return commits[: max(1, bisect_left(commits, commits[0].position + room, key=_last_position))]

    @asynccontextmanager
    async def _transaction(self, commits: Sequence[StoredCommit] = ()) -> AsyncGenerator[AnyTransaction, None]:
        """Begin a transaction; what user code raises in it, and what comes of it at its end, is a failure of these."""
        try:
            async with self._store.transaction(self._lease) as transaction:
                with InTransaction(self._key[0]):
                    yield transaction
        except (*WEATHER, CheckpointFenced, CheckpointHeld, HandlingFailed):
            raise
        except (Exception, asyncio.CancelledError) as error:
            if is_being_cancelled():
                raise
            raise HandlingFailed(error, commits) from error


def _last_position(commit: StoredCommit) -> int:
    return commit.last_position
