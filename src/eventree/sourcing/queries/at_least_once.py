"""Deliver commits to a function, one by one, and store the checkpoint afterwards: a crash repeats the last ones."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from typing import Final, Generic, TypeAlias, TypeVar

from eventree.domain.events import EventEnvelope
from eventree.instrumentation.context import CARRIED
from eventree.instrumentation.guard import GuardedInstrumentation
from eventree.sourcing.correlation import CORRELATION
from eventree.sourcing.queries import context
from eventree.sourcing.queries.actions import LEASE_RECHECK, SAVE_AFTER, Delivered
from eventree.sourcing.queries.calls import HandlerCalls
from eventree.sourcing.queries.commits import HandlingFailed, StoredCommit
from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.delivery import delivery_of, is_failure_of_handler
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.state import QueryState
from eventree.stores.contract import Checkpoint, CheckpointUpdate, EventStore, LeaseRequest, ParkedCommit

EventT = TypeVar("EventT")

QueryHandler: TypeAlias = Callable[[str, Sequence[EventEnvelope[EventT]]], Awaitable[None] | None]
"""`(aggregate_id, events)`: called once per commit, with all events of one command."""

MAX_TURN_SECONDS: Final = 0.1
"""Seconds of delivering after which the actor handles its messages."""

YIELD_EVERY: Final = 0.005
"""Seconds after which delivery yields to the event loop, as a handler may never wait for anything."""


class AtLeastOnce(Generic[EventT]):
    """Call a function for each commit; see `Delivery`."""

    recheck_after: float = LEASE_RECHECK  # the function's side effects cannot be undone

    def __init__(
        self,
        handler: QueryHandler[EventT],
        store: EventStore,
        options: Options,
        decoding: Decoding[EventT],
        instrumentation: GuardedInstrumentation | None,
    ) -> None:
        """Create a delivery.

        Args:
            handler: The user's function.
            store: Holds the checkpoint.
            options: The query's options.
            decoding: Decodes events.
            instrumentation: Observes the calls of the function; None for none.
        """
        self.calls = HandlerCalls(options, handler)
        self._handler = handler
        self._store = store
        self._key = options.key
        self._decoding = decoding
        self._instrumentation = instrumentation

    async def claim(self, lease: LeaseRequest) -> Checkpoint:
        """See `Delivery.claim`."""
        return await self._store.claim_checkpoint(*self._key, lease)

    async def deliver(self, state: QueryState) -> Delivered:
        """See `Delivery.deliver`; ends early after `MAX_TURN_SECONDS`, or when the checkpoint is due to be stored."""
        clock = asyncio.get_running_loop().time
        began = yielded = clock()
        accepted, position, failure = state.commit_filter(), state.position, None
        for number, commit in enumerate(state.commits):
            if number < 2:  # noqa: PLR2004 - only the first may have been tried before; all others share a context
                context.enter(state.context(commit.position))
            try:
                if accepted.accepts(commit):
                    await self._call(commit)
            except HandlingFailed as error:
                failure = error
                break
            position, now = commit.last_position, clock()
            if now >= began + MAX_TURN_SECONDS or position - state.checkpoint.position >= SAVE_AFTER:
                break
            if now >= yielded + YIELD_EVERY:
                await asyncio.sleep(0)
                yielded = clock()
        else:
            position = state.read_until
        handled_since = began if position > state.position else None
        return Delivered(position, handled_since, accepted.parked, accepted.skipped, failure=failure)

    async def deliver_parked(
        self, state: QueryState, commit: StoredCommit, parked: ParkedCommit
    ) -> CheckpointUpdate | None:
        """See `Delivery.deliver_parked`."""
        context.enter(state.context(commit.position))
        await self._call(commit)
        return None

    async def go_live(self, state: QueryState) -> None:
        """See `Delivery.go_live`."""
        await self._store.make_live(*self._key, state.fencing_token)

    async def reset(self, state: QueryState, update: CheckpointUpdate) -> None:
        """See `Delivery.reset`; side effects of the function cannot be undone."""
        await self._store.save_checkpoint(*self._key, update)

    async def _call(self, commit: StoredCommit) -> None:
        try:
            events = self._decoding.envelopes(commit.events)
            if not events:
                return
            if self._instrumentation is not None:
                await self._observed(self._instrumentation, commit, events)
                return
            token = CORRELATION.set(events[0])
            own = copy_context()  # it carries the ids of the event, and ends with the call
            CARRIED.reset(token)
            await self._call_in(own, commit, events)
        except BaseException as error:
            if isinstance(error, HandlingFailed) or not is_failure_of_handler(error):
                raise
            raise HandlingFailed(error, [commit]) from error

    async def _observed(
        self, instrumentation: GuardedInstrumentation, commit: StoredCommit, events: Sequence[EventEnvelope[EventT]]
    ) -> None:
        with instrumentation.delivery(delivery_of([commit])), CORRELATION.propagate(events[0]):
            await self._call_in(copy_context(), commit, events)

    async def _call_in(self, own: Context, commit: StoredCommit, events: Sequence[EventEnvelope[EventT]]) -> None:
        result = self.calls.call(own.run, [commit], self._handler, commit.key[1], events)
        if result is not None:
            await self.calls.finish(result, own)
