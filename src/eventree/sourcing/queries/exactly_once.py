"""Deliver commits to a projection in transactions that also move its checkpoint, so that each event counts once.

The projection's rows and its checkpoint are in one database and change in one transaction: whatever happens, either
both include the events or neither does. So a crash before the commit leaves nothing to undo, and a crash after it
nothing to repeat. Three cases need more than that:

- Another worker has taken over, and this one has not noticed. The transaction stores the checkpoint under this worker's
  fencing token, which the store now refuses (`CheckpointFenced`), so the rows are rolled back too.
- The connection is lost during the commit, or the user's function ends the transaction itself. It is unknown whether
  the transaction was committed, so nothing is assumed: the worker claims the checkpoint again and continues from there
  (`is_uncertain`).
- The handler fails. Nothing of the batch is stored; the state machine delivers the commits again one by one, until the
  failing one is found, and applies the failure policy to that one.
"""

from bisect import bisect_right
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from functools import wraps
from math import inf
from operator import attrgetter
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from eventree.domain.events import EventEnvelope
from eventree.errors import CheckpointFenced, CheckpointHeld, InvalidArgument, LogRolledBack, StatementOutdated
from eventree.errors.failures import is_failure
from eventree.errors.stores import LASTING_ERRORS, TRANSIENT_ERRORS
from eventree.instrumentation.guard import GuardedInstrumentation
from eventree.sourcing.queries import context
from eventree.sourcing.queries.actions import Delivered
from eventree.sourcing.queries.batches import BatchSizer
from eventree.sourcing.queries.calls import HandlerCalls
from eventree.sourcing.queries.commits import CommitFilter, HandlingFailed, StoredCommit
from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.delivery import delivery_of, is_failure_of_handler
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.state import QueryState
from eventree.stores.contract import (
    Checkpoint,
    CheckpointUpdate,
    LeaseRequest,
    ParkedCommit,
    RecordedEvent,
    StoreTransaction,
    TransactionalStore,
)

EventT = TypeVar("EventT")

ConnectionFunction: TypeAlias = Callable[[Any], Awaitable[None]]
"""A function of a projection that gets only the connection: `setup`, `swap` or `clear`."""

AnyTransaction: TypeAlias = StoreTransaction[Any]

_STORE_FAULTS: Final = (*TRANSIENT_ERRORS, *LASTING_ERRORS, CheckpointFenced, CheckpointHeld, LogRolledBack)
"""Errors of the store for which no event is to blame."""


MethodT = TypeVar("MethodT", bound=Callable[..., Coroutine[Any, Any, object]])


def _again_where_outdated(method: MethodT) -> MethodT:
    """Call a method once more, on a new connection, if the first one knew a table as it was before it was altered."""

    @wraps(method)
    async def called(*args: object, **kwargs: object) -> object:
        try:
            return await method(*args, **kwargs)
        except StatementOutdated:
            return await method(*args, **kwargs)

    return cast("MethodT", called)


@dataclass(frozen=True, slots=True)
class ProjectionFunctions(Generic[EventT]):
    """Hold the functions of a projection; the connection they get is that of the store's driver."""

    project: Callable[[Any, Sequence[EventEnvelope[EventT]]], Awaitable[None]]
    setup: ConnectionFunction | None
    swap: ConnectionFunction | None
    clear: ConnectionFunction | None


class ExactlyOnce(Generic[EventT]):
    """Call a projection inside transactions that also move the checkpoint; see `Delivery`."""

    recheck_after: float = inf  # the transaction checks the fencing token

    def __init__(
        self,
        functions: ProjectionFunctions[EventT],
        store: TransactionalStore[Any],
        options: Options,
        decoding: Decoding[EventT],
        instrumentation: GuardedInstrumentation | None,
    ) -> None:
        """Create a delivery.

        Args:
            functions: The user's functions.
            store: Holds the tables and the checkpoint.
            options: The query's options.
            decoding: Decodes events.
            instrumentation: Observes the calls of `project`; None for none.
        """
        self.calls = HandlerCalls(options, functions.project)
        self._functions = functions
        self._store = store
        self._key = options.key
        self._decoding = decoding
        self._instrumentation = instrumentation
        self._sizer = BatchSizer(options.lease)

    @_again_where_outdated
    async def claim(self, lease: LeaseRequest) -> Checkpoint:
        """See `Delivery.claim`; `setup` runs in the transaction that creates the checkpoint."""
        async with self._transaction(lease.seconds) as transaction:
            checkpoint = await transaction.claim_checkpoint(*self._key, lease)
            if checkpoint.fencing_token == 1 and self._functions.setup is not None:
                await self._call(self._functions.setup, transaction)
                # On Postgres a failed statement aborts the transaction even if `setup` caught the error, and only the
                # next statement shows it.
                await transaction.save_checkpoint(*self._key, CheckpointUpdate(checkpoint, lease.seconds))
        return checkpoint

    @_again_where_outdated
    async def deliver(self, state: QueryState) -> Delivered:
        """See `Delivery.deliver`."""
        taken: list[StoredCommit] = []
        async with self._transaction(state.lease, taken) as transaction:
            accepted = state.commit_filter()
            commits = self._batch(state, is_contended=transaction.is_contended)
            events, position = self._decode(commits, accepted, taken)
            if position == state.commits[-1].last_position:
                position = state.read_until
            update = state.update(position, park=accepted.parked, skipped=accepted.skipped)
            with self._sizer.timed(len(events)):
                await self._project(transaction, events, taken, state)
                await transaction.save_checkpoint(*self._key, update)
        return Delivered(position, update=update)

    @_again_where_outdated
    async def deliver_parked(
        self, state: QueryState, commit: StoredCommit, parked: ParkedCommit
    ) -> CheckpointUpdate | None:
        """See `Delivery.deliver_parked`."""
        update = state.update(unpark=[parked.position])
        async with self._transaction(state.lease, [commit]) as transaction:
            await self._project(transaction, self._decoding.envelopes(commit.events), [commit], state)
            await transaction.save_checkpoint(*self._key, update)
        return update

    @_again_where_outdated
    async def go_live(self, state: QueryState) -> None:
        """See `Delivery.go_live`; `swap` runs in the same transaction."""
        async with self._transaction(state.lease) as transaction:
            is_live = await transaction.make_live(*self._key, state.fencing_token)
            if is_live and self._functions.swap is not None:
                await self._call(self._functions.swap, transaction)
                await transaction.make_live(*self._key, state.fencing_token)  # as in `claim`

    @_again_where_outdated
    async def reset(self, state: QueryState, update: CheckpointUpdate) -> None:
        """See `Delivery.reset`; `clear` runs in the same transaction."""
        if self._functions.clear is None:
            raise InvalidArgument("clear", "a projection without it cannot be reset: its rows would be counted twice")
        async with self._transaction(state.lease) as transaction:
            await self._call(self._functions.clear, transaction)
            await transaction.save_checkpoint(*self._key, update)

    # --- the transaction

    @asynccontextmanager
    async def _transaction(
        self, lease: float, commits: Sequence[StoredCommit] = ()
    ) -> AsyncGenerator[AnyTransaction, None]:
        """Begin a transaction; wrap exceptions of user code, and of a commit that it spoiled, in `HandlingFailed`."""
        try:
            async with self._store.transaction(lease) as transaction:
                yield transaction
        except BaseException as error:
            if not is_failure_of_handler(error) or isinstance(error, _STORE_FAULTS):
                raise
            if isinstance(error, HandlingFailed):
                error.is_uncertain = True
                raise
            raise HandlingFailed(error, commits, is_uncertain=True) from error

    async def _call(self, function: ConnectionFunction, transaction: AnyTransaction) -> None:
        context.enter(context.QueryContext(*self._key, 1, is_replay=False))
        with context.in_transaction(self._key[0]):
            own = copy_context()
            await self.calls.finish(self.calls.call(own.run, (), function, transaction.connection), own)

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
                own, project = copy_context(), self._functions.project
                called = self.calls.call(own.run, commits, project, transaction.connection, events)
                await self.calls.finish(called, own)

    def _observed(self, commits: Sequence[StoredCommit]) -> AbstractContextManager[None]:
        return nullcontext() if self._instrumentation is None else self._instrumentation.delivery(delivery_of(commits))

    # --- its events

    def _batch(self, state: QueryState, *, is_contended: bool) -> Sequence[StoredCommit]:
        """Return as many commits as one transaction should handle, at least one."""
        commits = state.commits
        if commits[0].position <= state.isolate_until:
            return commits[:1]
        room = self._sizer.batch_size(is_contended=is_contended)
        return commits[: max(1, bisect_right(commits, commits[0].start + room, key=attrgetter("stop")))]

    def _decode(
        self, batch: Sequence[StoredCommit], accepted: CommitFilter, taken: list[StoredCommit]
    ) -> tuple[list[EventEnvelope[EventT]], int]:
        """Decode the commits to be delivered, up to one that cannot be decoded.

        Args:
            batch: The commits.
            accepted: Decides which of them are delivered.
            taken: A list to which those are added.

        Returns:
            The events, and the position of the last event of the commits that were decoded or left out.

        Raises:
            HandlingFailed: The first commit cannot be decoded.
        """
        if accepted.accepts_all:  # then the batch is one slice of its page, as projections have no partitions
            decoded = self._decode_all(batch[0].page[batch[0].start : batch[-1].stop])
            if decoded is not None:  # else decoding one by one below shows which commit fails
                taken += batch
                return decoded, batch[-1].last_position
        events: list[EventEnvelope[EventT]] = []
        position = 0
        for commit in batch:
            try:
                if accepted.accepts(commit):
                    events += self._decoding.envelopes(commit.events)
                    taken.append(commit)
            except BaseException as error:  # whatever the error is, this commit causes it
                if not is_failure(error):
                    raise
                if not position:
                    cause = error.error if isinstance(error, HandlingFailed) else error
                    raise HandlingFailed(cause, [commit]) from None
                break
            position = commit.last_position
        return events, position

    def _decode_all(self, events: Sequence[RecordedEvent]) -> list[EventEnvelope[EventT]] | None:
        try:
            return self._decoding.envelopes(events)
        except BaseException as error:
            if not is_failure(error):
                raise
            return None
