"""Hand commits to a function, one by one: at least once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

from eventree.actors.actor.request import CARRIED
from eventree.domain.events import EventEnvelope
from eventree.sourcing.queries import context
from eventree.sourcing.queries.commits import HandlingFailed, StoredCommit
from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.hold import SAVE_AFTER, Hold
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.tasks import is_being_cancelled
from eventree.stores.contract import Checkpoint, CheckpointUpdate, EventStore, LeaseRequest, ParkedCommit

EventT = TypeVar("EventT")

QueryHandler: TypeAlias = Callable[[str, Sequence[EventEnvelope[EventT]]], Awaitable[None] | None]
"""`(aggregate_id, events)`: called once per commit, with all events of one command."""

TURN = 0.1
"""Seconds of handing over after which others get a turn."""

BREATH = 0.005
"""Seconds after which a function that never waits lets the event loop do something else."""


class FunctionTarget(Generic[EventT]):
    """Call a function for each commit; see `Target`. The checkpoint is stored afterwards, so a crash repeats some."""

    def __init__(
        self, handler: QueryHandler[EventT], store: EventStore, options: Options, decoding: Decoding[EventT]
    ) -> None:
        """Remember what to call.

        Args:
            handler: What to call.
            store: Keeps the checkpoint.
            options: Of the query.
            decoding: Decodes events.
        """
        self._handler = handler
        self._store = store
        self._key = options.key
        self._decoding = decoding

    async def claim(self, claim: LeaseRequest) -> Checkpoint:
        """See `Target`."""
        return await self._store.claim_checkpoint(*self._key, claim)

    async def hand_over(self, commits: Sequence[StoredCommit], end: int, hold: Hold) -> None:
        """See `Target`; what was handled is noted in the hold, and stored when it is time to."""
        await hold.confirm()
        clock = asyncio.get_running_loop().time
        began = breath = clock()
        triage, position, failure = hold.triage(), hold.position, None
        with hold.renewing():
            for number, commit in enumerate(commits):
                if number < 2:  # noqa: PLR2004 - only the first may have been tried before, the rest is told the same
                    context.enter(hold.context(commit.position))
                try:
                    if triage.takes(commit):
                        await self._call(commit)
                except HandlingFailed as error:
                    failure = error
                    break
                position, now = commit.last_position, clock()
                if now >= began + TURN or position - hold.stored_position >= SAVE_AFTER:
                    break
                if now >= breath + BREATH:
                    await asyncio.sleep(0)
                    breath = clock()
            else:
                position = end
        if triage.has_any:  # what is left out counts only once that is stored
            await hold.store(hold.move(position, triage))
        else:
            hold.pass_to(position, handled_since=began if commits and position > hold.position else None)
        if failure is not None:
            raise failure

    async def hand_over_parked(self, commit: StoredCommit, parked: ParkedCommit, hold: Hold) -> None:
        """See `Target`."""
        await hold.confirm()
        context.enter(hold.context(commit.position))
        with hold.renewing():
            await self._call(commit)
        await hold.store(hold.still(unpark=[parked.position]))

    async def go_live(self, hold: Hold) -> bool:
        """See `Target`."""
        return await self._store.make_live(*self._key, hold.fence)

    async def reset(self, hold: Hold, move: CheckpointUpdate) -> None:
        """See `Target`."""
        await hold.store(move)

    async def _call(self, commit: StoredCommit) -> None:
        try:
            events = self._decoding.envelopes(commit.events)
            if not events:
                return
            token = CARRIED.set(events[0])  # commands have its ids; they are made of it only when there is one
            try:
                result = self._handler(commit.key[1], events)
                if result is not None:
                    await result
            finally:
                CARRIED.reset(token)
        except (Exception, asyncio.CancelledError) as error:
            if is_being_cancelled():
                raise
            raise HandlingFailed(error, [commit]) from error
