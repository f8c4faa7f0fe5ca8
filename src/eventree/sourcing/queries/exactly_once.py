"""How a projection comes to count each event once.

Its rows and its checkpoint are in one database, and change in one transaction: whatever happens, either both show the
events or neither does. So a crash before the commit leaves nothing to undo, and a crash after it nothing to repeat.
Three cases need more than that:

- Another worker has taken over, and this one has not noticed. The transaction stores the checkpoint under this worker's
  fencing token, which the store refuses by then (`CheckpointFenced`): the rows are rolled back with it.
- The connection is lost during the commit, or the user's function ends the transaction behind the library's back. Then
  it is unknown whether it took place, so nothing is assumed: the worker claims the checkpoint again and continues where
  it is (`is_uncertain`).
- The handler fails. Nothing of the batch is stored; the state machine has the commits delivered one by one, until the
  one to blame is alone, and applies the failure policy to that one.
"""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from typing import Any, Final, Generic, TypeAlias, TypeVar

from eventree.domain.events import EventEnvelope
from eventree.errors import CheckpointFenced, CheckpointHeld, InvalidArgument, StoreReadOnly, StoreUnavailable
from eventree.errors.stores import TRANSIENT_ERRORS
from eventree.instrumentation.guard import GuardedInstrumentation
from eventree.sourcing.queries import context
from eventree.sourcing.queries.commits import CommitFilter, HandlingFailed, StoredCommit
from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.delivery import delivery_of, is_being_cancelled
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.requests import PAGE, Delivered
from eventree.sourcing.queries.state import QueryState
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
"""Something that a projection does on a connection besides handling events."""

AnyTransaction: TypeAlias = StoreTransaction[Any]

MAX_CONTENDED_EVENTS: Final = 200
"""Events in a transaction at most while others write."""

MAX_SECONDS: Final = 0.1
"""Seconds that a transaction should take at most: commands wait for it on SQLite."""

MAX_CONTENDED_SECONDS: Final = 0.01
"""The same while others write."""

_NOT_ITS_FAULT: Final = (*TRANSIENT_ERRORS, CheckpointFenced, CheckpointHeld, StoreReadOnly)
"""Errors of the store that say nothing about the projection, unless its transaction outlived its lease."""


@dataclass(frozen=True, slots=True)
class Steps(Generic[EventT]):
    """The functions of a projection; the connection is the driver's own, of whatever store it runs on."""

    project: Callable[[Any, Sequence[EventEnvelope[EventT]]], Awaitable[None]]
    setup: Step | None
    swap: Step | None
    clear: Step | None


class ExactlyOnce(Generic[EventT]):
    """Call a projection inside of transactions that move the checkpoint too; see `Delivery`."""

    recheck_after: float = inf  # the transaction checks the fencing token

    def __init__(
        self,
        steps: Steps[EventT],
        store: TransactionalStore[Any],
        options: Options,
        decoding: Decoding[EventT],
        instrumentation: GuardedInstrumentation | None,
    ) -> None:
        """Prepare the delivery.

        Args:
            steps: The functions.
            store: Has the tables and the checkpoint.
            options: The query's options.
            decoding: Decodes events.
            instrumentation: Observes the calls of `project`; None for none.
        """
        self._steps = steps
        self._store = store
        self._key = options.key
        self._lease = options.lease
        self._decoding = decoding
        self._instrumentation = instrumentation
        self._sizer = BatchSizer()

    async def claim(self, lease: LeaseRequest) -> Checkpoint:
        """See `Delivery.claim`; `setup` runs in the transaction that creates the checkpoint."""
        async with self._transaction() as transaction:
            checkpoint = await transaction.claim_checkpoint(*self._key, lease)
            if checkpoint.fencing_token == 1 and self._steps.setup is not None:
                await self._step(self._steps.setup, transaction)
                # On Postgres an error that `setup` swallowed fails the transaction; only the next statement says so.
                await transaction.save_checkpoint(*self._key, CheckpointUpdate(checkpoint, lease.seconds))
        return checkpoint

    async def deliver(self, state: QueryState) -> Delivered:
        """See `Delivery.deliver`."""
        taken: list[StoredCommit] = []
        async with self._transaction(taken) as transaction:
            accepted = state.filter()
            commits = self._batch(state, is_contended=transaction.is_contended)
            events, position = self._decode(commits, accepted, taken)
            if position == state.commits[-1].last_position:
                position = state.read_until
            update = state.update(position, park=accepted.parked, skipped=accepted.skipped)
            with self._sizer.timing(len(events)):
                await self._project(transaction, events, taken, state)
                await transaction.save_checkpoint(*self._key, update)
        return Delivered(position, update=update)

    async def deliver_parked(
        self, state: QueryState, commit: StoredCommit, parked: ParkedCommit
    ) -> CheckpointUpdate | None:
        """See `Delivery.deliver_parked`."""
        update = state.update(unpark=[parked.position])
        async with self._transaction([commit]) as transaction:
            await self._project(transaction, self._decoding.envelopes(commit.events), [commit], state)
            await transaction.save_checkpoint(*self._key, update)
        return update

    async def go_live(self, state: QueryState) -> None:
        """See `Delivery.go_live`; `swap` runs in the same transaction."""
        async with self._transaction() as transaction:
            is_live = await transaction.make_live(*self._key, state.fencing_token)
            if is_live and self._steps.swap is not None:
                await self._step(self._steps.swap, transaction)
                await transaction.make_live(*self._key, state.fencing_token)  # as in `claim`

    async def reset(self, state: QueryState, update: CheckpointUpdate) -> None:
        """See `Delivery.reset`; `clear` runs in the same transaction."""
        if self._steps.clear is None:
            raise InvalidArgument("clear", "a projection without it cannot be reset: its rows would be counted twice")
        async with self._transaction() as transaction:
            await self._step(self._steps.clear, transaction)
            await transaction.save_checkpoint(*self._key, update)

    # --- the transaction

    @asynccontextmanager
    async def _transaction(self, commits: Sequence[StoredCommit] = ()) -> AsyncGenerator[AnyTransaction, None]:
        """Begin a transaction; turn what user code raises in it, and what that does to its end, into a failure."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with self._store.transaction(self._lease) as transaction:
                began = clock()
                yield transaction
        except (Exception, asyncio.CancelledError) as error:
            is_too_slow = isinstance(error, StoreUnavailable) and clock() - began >= self._lease
            if is_being_cancelled() or (isinstance(error, _NOT_ITS_FAULT) and not is_too_slow):
                raise
            if isinstance(error, HandlingFailed):
                error.is_uncertain = True
                raise
            raise HandlingFailed(error, commits, is_uncertain=True) from error

    async def _step(self, step: Step, transaction: AnyTransaction) -> None:
        context.enter(context.QueryContext(*self._key, 1, is_replay=False))
        with context.in_transaction(self._key[0]):
            await step(transaction.connection)

    async def _project(
        self,
        transaction: AnyTransaction,
        events: Sequence[EventEnvelope[EventT]],
        commits: Sequence[StoredCommit],
        state: QueryState,
    ) -> None:
        if events:
            context.enter(state.context(events[0].position))
            with context.in_transaction(self._key[0]), self._observed(commits):
                await self._steps.project(transaction.connection, events)

    def _observed(self, commits: Sequence[StoredCommit]) -> AbstractContextManager[None]:
        return nullcontext() if self._instrumentation is None else self._instrumentation.delivery(delivery_of(commits))

    # --- its events

    def _batch(self, state: QueryState, *, is_contended: bool) -> Sequence[StoredCommit]:
        """Return as many commits as one transaction should handle, at least one."""
        commits = state.commits
        first = commits[0].position
        if first <= state.isolate_until:
            return commits[:1]
        room = self._sizer.room(is_contended=is_contended)
        return commits[: max(1, bisect_left(commits, first + room, key=attrgetter("last_position")))]

    def _decode(
        self, batch: Sequence[StoredCommit], accepted: CommitFilter, taken: list[StoredCommit]
    ) -> tuple[list[EventEnvelope[EventT]], int]:
        """Decode what the projection gets, up to a commit that cannot be decoded.

        Args:
            batch: The commits.
            accepted: Decides which of them the projection gets.
            taken: Is filled with these.

        Returns:
            The events, and the position up to which they go.

        Raises:
            HandlingFailed: The first commit cannot be decoded.
        """
        if accepted.accepts_all:  # the batch is a slice of its page then, as projections have no partitions
            with suppress(Exception):  # which commit it is comes out below
                decoded = self._decoding.envelopes(batch[0].page[batch[0].start : batch[-1].stop])
                taken += batch
                return decoded, batch[-1].last_position
        events: list[EventEnvelope[EventT]] = []
        position = 0
        for commit in batch:
            try:
                if accepted.accepts(commit):
                    events += self._decoding.envelopes(commit.events)
                    taken.append(commit)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is about this commit
                if not position:
                    cause = error.error if isinstance(error, HandlingFailed) else error
                    raise HandlingFailed(cause, [commit]) from None
                break
            position = commit.last_position
        return events, position


class BatchSizer:
    """Learn how long events take, and size batches: small while others wait for the write lock, large otherwise."""

    def __init__(self) -> None:
        """Begin with one event at a time."""
        self._seconds_per_event = MAX_SECONDS

    def room(self, *, is_contended: bool) -> int:
        """Return how many events the next transaction should handle, at least 1."""
        events, seconds = (MAX_CONTENDED_EVENTS, MAX_CONTENDED_SECONDS) if is_contended else (PAGE, MAX_SECONDS)
        return max(1, min(events, int(seconds / self._seconds_per_event)))

    @contextmanager
    def timing(self, events: int) -> Generator[None, None, None]:
        """Learn from the transaction inside, also if it fails."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            yield
        finally:
            self.took(events, clock() - began)

    def took(self, events: int, seconds: float) -> None:
        """Learn from a transaction; getting slower counts at once, getting faster little by little."""
        newest = max(seconds, 1e-6) / max(events, 1)
        average = (self._seconds_per_event + newest) / 2
        self._seconds_per_event = max(newest, average) if newest > self._seconds_per_event else average
