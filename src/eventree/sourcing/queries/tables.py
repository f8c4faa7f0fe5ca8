"""Hand events to a projection, many in one transaction with the checkpoint: exactly once."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from eventree.domain.events import EventEnvelope
from eventree.errors import CheckpointFenced, CheckpointHeld, InvalidArgument, StoreUnavailable
from eventree.errors.stores import TRANSIENT_ERRORS
from eventree.sourcing.queries import context
from eventree.sourcing.queries.commits import HandlingFailed, StoredCommit, Triage
from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.hold import Hold
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.pace import Pace
from eventree.sourcing.queries.tasks import is_being_cancelled
from eventree.stores.contract import (
    Checkpoint,
    CheckpointUpdate,
    LeaseRequest,
    ParkedCommit,
    StoreTransaction,
    TransactionalStore,
)

EventT = TypeVar("EventT")
Step: TypeAlias = Callable[[Any], Awaitable[None]]
"""Something a projection does on a connection besides handling events."""

_NOBODYS_FAULT = (*TRANSIENT_ERRORS, CheckpointFenced, CheckpointHeld)
"""What passes by itself, unless it comes of a transaction that was left alone for too long."""

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
        self._key = options.key
        self._lease = options.lease
        self._decoding = decoding
        self._pace = Pace()

    async def claim(self, claim: LeaseRequest) -> Checkpoint:
        """See `Target`; tables are made in the transaction that makes the checkpoint."""
        async with self._transaction() as transaction:
            checkpoint = await transaction.claim_checkpoint(*self._key, claim)
            if checkpoint.fencing_token == 1 and self._steps.setup is not None:
                await self._step(self._steps.setup, transaction)
                # What is swallowed on Postgres fails the transaction without a word, but for its next statement.
                await transaction.save_checkpoint(*self._key, CheckpointUpdate(checkpoint, claim.seconds))
        return checkpoint

    async def hand_over(self, commits: Sequence[StoredCommit], end: int, hold: Hold) -> None:
        """See `Target`."""
        taken: list[StoredCommit] = []
        with hold.renewing():
            async with self._transaction(hold, taken) as transaction:
                triage = hold.triage()
                batch = self._batch(commits, transaction, hold)
                events, position = self._decode(batch, triage, taken)
                if position == commits[-1].last_position:
                    position = end
                move = hold.move(position, triage)
                with self._pace.timing(len(events)):
                    await self._project(transaction, events, hold)
                    await transaction.save_checkpoint(*self._key, move)
        hold.moved(move)

    async def hand_over_parked(self, commit: StoredCommit, parked: ParkedCommit, hold: Hold) -> None:
        """See `Target`."""
        move = hold.still(unpark=[parked.position])
        with hold.renewing():
            async with self._transaction(hold, [commit]) as transaction:
                await self._project(transaction, self._decoding.envelopes(commit.events), hold)
                await transaction.save_checkpoint(*self._key, move)
        hold.moved(move)

    async def go_live(self, hold: Hold) -> bool:
        """See `Target`; what else has to be done for that is done in the same transaction."""
        with hold.renewing():
            async with self._transaction(hold) as transaction:
                is_live = await transaction.make_live(*self._key, hold.fence)
                if is_live and self._steps.swap is not None:
                    await self._step(self._steps.swap, transaction)
                    await transaction.make_live(*self._key, hold.fence)
        return is_live

    async def reset(self, hold: Hold, move: CheckpointUpdate) -> None:
        """See `Target`; the tables are cleared in the same transaction."""
        if self._steps.clear is None:
            raise InvalidArgument("clear", "a projection without it cannot be reset: its rows would be counted twice")
        with hold.renewing():
            async with self._transaction(hold) as transaction:
                await self._step(self._steps.clear, transaction)
                await transaction.save_checkpoint(*self._key, move)
        hold.moved(move)

    async def _step(self, step: Step, transaction: AnyTransaction) -> None:
        context.enter(context.QueryContext(*self._key, 1, is_replay=False))
        with context.in_transaction(self._key[0]):
            await step(transaction.connection)

    async def _project(self, transaction: AnyTransaction, events: Sequence[EventEnvelope[EventT]], hold: Hold) -> None:
        if events:
            context.enter(hold.context(events[0].position))
            with context.in_transaction(self._key[0]):
                await self._steps.project(transaction.connection, events)

    def _decode(
        self, batch: Sequence[StoredCommit], triage: Triage, taken: list[StoredCommit]
    ) -> tuple[list[EventEnvelope[EventT]], int]:
        """Decode what is to be handed over, up to a commit that cannot be; return events, and up to where they go.

        Raises:
            HandlingFailed: It is the first one.
        """
        if triage.takes_all:  # a batch is a stretch of its page then, as projections have no partitions
            with suppress(Exception):  # which one it is, the way below tells
                decoded = self._decoding.envelopes(batch[0].page[batch[0].start : batch[-1].stop])
                taken += batch
                return decoded, batch[-1].last_position
        events: list[EventEnvelope[EventT]] = []
        position = 0
        for commit in batch:
            try:
                if triage.takes(commit):
                    events += self._decoding.envelopes(commit.events)
                    taken.append(commit)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is about this commit
                if not position:
                    raise HandlingFailed(
                        error.error if isinstance(error, HandlingFailed) else error, [commit]
                    ) from None
                break
            position = commit.last_position
        return events, position

    def _batch(
        self, commits: Sequence[StoredCommit], transaction: AnyTransaction, hold: Hold
    ) -> Sequence[StoredCommit]:
        """Return as many commits as should be handled at once, at least one."""
        if commits[0].position <= hold.narrow_until:
            return commits[:1]
        room = self._pace.room(is_contended=transaction.is_contended)
        return commits[: max(1, bisect_left(commits, commits[0].position + room, key=_last_position))]

    @asynccontextmanager
    async def _transaction(
        self, hold: Hold | None = None, commits: Sequence[StoredCommit] = ()
    ) -> AsyncGenerator[AnyTransaction, None]:
        """Begin a transaction; what user code raises in it, and what comes of it at its end, is a failure of these."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with self._store.transaction(self._lease) as transaction:
                began = clock()
                yield transaction
        except (Exception, asyncio.CancelledError) as error:
            is_too_slow = isinstance(error, StoreUnavailable) and clock() - began >= self._lease
            if is_being_cancelled() or (isinstance(error, _NOBODYS_FAULT) and not is_too_slow):
                raise
            if hold is not None:
                hold.drop()  # the checkpoint tells whether it took place after all
            raise error if isinstance(error, HandlingFailed) else HandlingFailed(error, commits) from error


def _last_position(commit: StoredCommit) -> int:
    return commit.last_position
