"""The actor that follows the log for one query: read on, hand over, move the checkpoint, again."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeAlias, TypeVar

from eventree.actors.actor import Actor, ActorContext
from eventree.actors.exits import ExitReason
from eventree.actors.policy import Backoff
from eventree.actors.ref import ActorRef
from eventree.actors.request import Request
from eventree.domain.events import EventEnvelope
from eventree.errors import ActorError, CheckpointFenced, CheckpointHeld, EventStoreError, LogRolledBack, QueryStopped
from eventree.sourcing.commands import WEATHER
from eventree.sourcing.queries.subscription import Progress, QueryStatus, Subscription
from eventree.sourcing.queries.worker import is_dead
from eventree.stores.contract import Checkpoint, Claim, EventStore, Move, RecordedEvent

logger = logging.getLogger("eventree")

EventT = TypeVar("EventT")

PAGE = 500
"""Positions to read at once."""

TURN = 0.1
"""Seconds of handing over after which the checkpoint is saved, so that a crash repeats little."""

STORE_BACKOFF = Backoff(initial=0.1, maximum=5.0)


@dataclass(frozen=True, slots=True)
class ReadOn:
    """There may be new events."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Ask for an answer once the checkpoint has reached a position."""

    position: int


QueryMessage: TypeAlias = ReadOn | CaughtUp
READ_ON = ReadOn()


class QueryActor(Actor[QueryMessage, None], Generic[EventT]):
    """Pull events for one query.

    Messages are only hints: what is handed over always comes from the log, from the checkpoint on, so nothing is lost
    when a hint, the actor or the process is.
    """

    max_batch = 1_000

    def __init__(
        self,
        subscription: Subscription[EventT],
        store: EventStore,
        aggregate_types: Sequence[str],
        decode: Callable[[RecordedEvent], EventEnvelope[EventT]],
        progress: Progress,
        worker: str,
    ) -> None:
        """Remember what to follow where.

        Args:
            subscription: Gets the events.
            store: Has the log.
            aggregate_types: Whose events it follows.
            decode: Turns a stored event into an envelope.
            progress: Where to show how far it is.
            worker: Who claims the checkpoint; the same for all incarnations.
        """
        self._subscription = subscription
        self._store = store
        self._types = aggregate_types
        self._decode = decode
        self._progress = progress
        self._worker = worker
        self._checkpoint: Checkpoint | None = None
        self._claim_at = 0.0
        self._renew_at = 0.0
        self._cursor = 0
        self._waiting: list[tuple[int, Request[QueryMessage, None]]] = []
        self._hinted = False
        self._pause_until = 0.0
        self._store_failures = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unwatch: Callable[[], None] = lambda: None

    async def init(self, ctx: ActorContext[QueryMessage, None]) -> None:
        """Listen for commits and begin to read."""
        self._progress.status = QueryStatus.RUNNING
        self._progress.failures = 0
        self._unwatch = self._store.watch(lambda _: self._hint(ctx.ref))
        self._hint(ctx.ref)

    async def receive_batch(
        self, requests: Sequence[Request[QueryMessage, None]], ctx: ActorContext[QueryMessage, None]
    ) -> None:
        """Read one page, whatever the hints were, and answer whoever waits for what it reached."""
        self._hinted = False
        for request in requests:
            if isinstance(request.message, CaughtUp):
                self._waiting.append((request.message.position, request))
        delay = await self._turn()
        self._answer_waiting()
        if self._progress.status is not QueryStatus.STOPPED:
            self._come_back(ctx.ref, delay)

    async def on_stop(self, reason: ExitReason) -> None:
        """Stop listening, and let others take over; the checkpoint was saved at the end of the last page."""
        await self.on_kill()
        if self._checkpoint is not None:
            with suppress(EventStoreError):
                await self._store.release_checkpoint(*self._key, self._checkpoint.fence)

    async def on_kill(self) -> None:
        """Stop listening."""
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()

    async def _turn(self) -> float:
        """Read and hand over one page; return after how many seconds to come back."""
        if self._progress.status is QueryStatus.STOPPED:
            return 0.0
        try:
            delay = await self._work()
        except WEATHER as error:
            self._store_failures += 1
            if self._store_failures == 1:
                logger.warning("query %s waits for its store: %s", self._subscription.name, error)
            return STORE_BACKOFF.delay(self._store_failures)
        except CheckpointFenced as error:
            logger.warning("%s", error)
            self._checkpoint = None
            return 0.0
        except LogRolledBack as error:
            self._rolled_back(error)
            return 0.0
        self._store_failures = 0
        return delay

    async def _work(self) -> float:
        """Read a page if the checkpoint is ours, or try to get it; return after how many seconds to go on."""
        clock = asyncio.get_running_loop().time
        if clock() < self._pause_until:
            await self._renew()
            return min(self._pause_until - clock(), self._subscription.lease / 3)
        if self._checkpoint is None:
            await self._claim()
        if self._checkpoint is None:
            return self._subscription.poll_interval
        more = await self._read_page(self._checkpoint)
        if self._progress.status is QueryStatus.RETRYING:
            return min(self._pause_until - clock(), self._subscription.lease / 3)
        return 0.0 if more else self._subscription.poll_interval

    async def _claim(self) -> None:
        """Take the checkpoint over if nobody else works on it; else look how far that one is."""
        now, lease = asyncio.get_running_loop().time(), self._subscription.lease
        claim = Claim(self._worker, lease, self._subscription.start)
        try:
            if now < self._claim_at:
                await self._look_on()
                return
            self._checkpoint = await self._store.claim_checkpoint(*self._key, claim)
        except CheckpointHeld as held:
            self._claim_at = now + min(held.seconds, lease / 3)
            if is_dead(held.owner):  # its process cannot speak up any more
                await self._store.claim_checkpoint(*self._key, Claim(held.owner))
                self._claim_at = now
            await self._look_on()
            return
        self._progress.status = QueryStatus.RUNNING
        self._cursor = self._progress.position = self._checkpoint.position
        self._renew_at = now + lease / 3

    async def _look_on(self) -> None:
        self._progress.status = QueryStatus.WAITING
        stored = await self._store.load_checkpoint(*self._key)
        if stored is not None:
            self._progress.position = stored.checkpoint.position

    async def _read_page(self, checkpoint: Checkpoint) -> bool:
        """Hand over what one read gives and save the checkpoint; return whether there may be more at once."""
        page = await self._store.read(self._cursor, PAGE, self._types)
        finished = await self._hand_over(page.events)
        if finished:
            self._cursor = page.position
        if self._cursor != checkpoint.position:
            await self._save(Checkpoint(self._cursor, checkpoint.fence))
        else:
            await self._renew()
        return page.more or not finished

    async def _hand_over(self, events: Sequence[RecordedEvent]) -> bool:
        """Hand commits over until all are, one fails, or the turn is over; return whether all are."""
        clock = asyncio.get_running_loop().time
        end_of_turn = clock() + TURN
        for commit in _commits(events):
            try:
                envelopes = [self._decode(event) for event in commit]
                await self._subscription.project(commit[0].aggregate_id, envelopes)
            except (Exception, asyncio.CancelledError) as error:  # a failing handler is tried again
                if _is_being_cancelled():
                    raise
                self._failed(error, commit[0].position)
                return False
            self._cursor = commit[-1].position
            if self._progress.failures:
                self._recovered()
            if clock() >= end_of_turn:
                return commit[-1].position == events[-1].position
        return True

    async def _save(self, checkpoint: Checkpoint) -> None:
        await self._store.save_checkpoint(*self._key, Move(checkpoint, self._subscription.lease))
        self._checkpoint = checkpoint
        self._progress.position = checkpoint.position
        self._renew_at = asyncio.get_running_loop().time() + self._subscription.lease / 3

    async def _renew(self) -> None:
        """Let others know that this one is at work, when it is time to."""
        if self._checkpoint is not None and asyncio.get_running_loop().time() >= self._renew_at:
            await self._save(self._checkpoint)

    @property
    def _key(self) -> tuple[str, int]:
        return self._subscription.name, self._subscription.version

    def _failed(self, error: BaseException, position: int) -> None:
        """Count a failure of the handler: try again later, or stop visibly."""
        progress = self._progress
        progress.failures += 1
        progress.last_error = error
        limit = self._subscription.max_attempts
        if progress.failures >= limit:
            self._stop(error)
            return
        delay = self._subscription.backoff.delay(progress.failures)
        progress.status = QueryStatus.RETRYING
        self._pause_until = asyncio.get_running_loop().time() + delay
        logger.warning(
            "query %s failed at position %d, attempt %d of %d, next in %.2f s",
            self._subscription.name,
            position,
            progress.failures,
            limit,
            delay,
            exc_info=error,
        )

    def _recovered(self) -> None:
        self._progress.failures = 0
        self._progress.last_error = None
        self._progress.status = QueryStatus.RUNNING

    def _stop(self, error: BaseException) -> None:
        self._progress.status = QueryStatus.STOPPED
        self._progress.last_error = error
        logger.error("query %s stopped after position %d", self._subscription.name, self._cursor, exc_info=error)

    def _rolled_back(self, error: LogRolledBack) -> None:
        """Stop for good: what was handled is not what the log holds, so no position counts as reached any more."""
        self._checkpoint = None
        named = LogRolledBack(f"query {self._subscription.name!r}", error.known, error.found)
        named.__cause__ = error
        self._stop(named)

    def _answer_waiting(self) -> None:
        """Answer those whose position the checkpoint has reached, or all with an error when we gave up."""
        stopped = self._progress.status is QueryStatus.STOPPED
        is_known = self._checkpoint is not None or self._progress.status is QueryStatus.WAITING
        waiting, self._waiting = self._waiting, []
        for position, request in waiting:
            if is_known and position <= self._progress.position:
                request.reply(None)
            elif stopped:
                progress = self._progress
                request.fail(QueryStopped(self._subscription.name, progress.position, progress.last_error))
            elif not request.abandoned:
                self._waiting.append((position, request))

    def _come_back(self, ref: ActorRef[QueryMessage, None], delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay > 0:
            self._timer = asyncio.get_running_loop().call_later(delay, self._hint, ref)
        else:
            self._hint(ref)

    def _hint(self, ref: ActorRef[QueryMessage, None]) -> None:
        """Put one hint into the mailbox, unless one is there already."""
        if not self._hinted:
            with suppress(ActorError):
                ref.tell(READ_ON)
                self._hinted = True


def _is_being_cancelled() -> bool:
    """Tell our own cancellation from that of something a handler awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _commits(events: Sequence[RecordedEvent]) -> Iterator[list[RecordedEvent]]:
    for _, commit in groupby(events, key=lambda event: event.commit_id):
        yield list(commit)
