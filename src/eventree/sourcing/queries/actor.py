"""The actor of a query: it handles messages, answers callers that wait for a position, and wakes itself up."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from eventree.actors import Actor, ActorContext, ActorRef, ExitReason, Request
from eventree.errors import ActorError, EventreeError, QueryStopped
from eventree.sourcing.queries.commits import HandlingFailed
from eventree.sourcing.queries.delivery import Delivery
from eventree.sourcing.queries.worker import PublishedState, QueryWorker, Retry
from eventree.stores.contract import EventStore


@dataclass(frozen=True, slots=True)
class ReadOn:
    """Read the log on, as it may have new events."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Answer once the query has reached a position.

    Attributes:
        position: The position.
        is_head: Whether it is the head of the log.
    """

    position: int
    is_head: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Deliver nothing until `Resume`."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Continue after a pause or a failure."""


@dataclass(frozen=True, slots=True)
class SkipCommit:
    """Skip the failing commit.

    Attributes:
        position: The position of its first event, as a check that this is the commit to skip.
    """

    position: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Start over and deliver everything again."""


@dataclass(frozen=True, slots=True)
class RetryParked:
    """Deliver parked commits again.

    Attributes:
        aggregate_id: Deliver only those of this aggregate; None for all.
    """

    aggregate_id: str | None


@dataclass(frozen=True, slots=True)
class DropParked:
    """Discard a parked commit for good.

    Attributes:
        position: The position of its first event.
    """

    position: int


Control: TypeAlias = Pause | Resume | SkipCommit | Reset | RetryParked | DropParked
QueryMessage: TypeAlias = ReadOn | CaughtUp | Control
READ_ON = ReadOn()

Ask: TypeAlias = Request[QueryMessage, int]


class QueryActor(Actor[QueryMessage, int]):
    """Pull events for one query.

    Notifications of commits are only hints: events are always read from the log, starting at the checkpoint, so losing
    a hint, the actor or the process loses no event.
    """

    max_batch = 1_000

    def __init__(self, store: EventStore, types: Sequence[str], delivery: Delivery, published: PublishedState) -> None:
        """Create a new incarnation; see `QueryWorker` for the arguments."""
        self._store = store
        self._types = types
        self._worker = QueryWorker(store, types, delivery, published)
        self._waiting: list[tuple[int, Ask]] = []
        self._retries: list[tuple[Retry, Ask]] = []
        self._is_hinted = False
        self._timer: asyncio.TimerHandle | None = None
        self._unwatch: Callable[[], None] = lambda: None

    async def init(self, ctx: ActorContext[QueryMessage, int]) -> None:
        """Listen for commits and start reading."""
        self._unwatch = self._store.watch(lambda head: self._on_commit(head, ctx.ref), self._types)
        self._hint(ctx.ref)

    async def receive_batch(self, requests: Sequence[Ask], ctx: ActorContext[QueryMessage, int]) -> None:
        """Carry out control messages, read and deliver for one turn, and answer callers whose position is reached."""
        self._is_hinted = False
        worker = self._worker
        for request in requests:
            message = request.message
            if isinstance(message, CaughtUp):
                self._waiting.append((message.position, request))
                state = worker.state
                worker.state = (state.head_is if message.is_head else state.notified)(message.position)
            elif not isinstance(message, ReadOn):
                await self._control(message, request)
        delay = await worker.turn(save=bool(self._waiting))
        worker.publish()
        if self._retries:
            await self._retry(*self._retries[0])
            worker.publish()
            delay = 0.0
        if self._waiting:
            self._answer_waiting()
        self._wake_up_in(delay, ctx.ref)
        if delay == 0.0:
            await asyncio.sleep(0)  # a store may answer, and a handler return, without yielding to other tasks

    async def on_stop(self, reason: ExitReason) -> None:
        """Stop listening, store the checkpoint, and release the lease."""
        await self.on_kill()
        await self._worker.release()

    async def on_kill(self) -> None:
        """Stop listening."""
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()

    # --- control

    async def _control(self, message: Control, request: Ask) -> None:
        try:
            await self._carry_out(message)
        except EventreeError as error:
            self._fail(request, error)
        except HandlingFailed as failure:
            request.fail(failure.error)
        else:
            self._worker.publish()
            if isinstance(message, RetryParked):
                self._retries.append((Retry(message.aggregate_id), request))
            else:
                request.reply(self._worker.state.settled_position)

    async def _carry_out(self, message: Control) -> None:
        worker = self._worker
        match message:
            case Pause():
                await worker.pause()
            case Resume():
                await worker.resume()
            case SkipCommit(position):
                await worker.skip(position)
            case Reset():
                await worker.reset()
            case RetryParked():
                await worker.acquire_live()
            case DropParked(position):
                await worker.drop_parked(position)

    async def _retry(self, retry: Retry, request: Ask) -> None:
        """Deliver parked commits again for one turn."""
        try:
            is_done = request.abandoned or await self._worker.retry(retry)
            if is_done:
                request.reply(retry.handled)
        except EventreeError as error:
            self._fail(request, error)
            is_done = True
        except HandlingFailed as failure:  # of `setup`, while the checkpoint was claimed again
            request.fail(failure.error)
            is_done = True
        if is_done:
            self._retries.pop(0)

    def _fail(self, request: Ask, error: EventreeError) -> None:
        request.fail(error)
        self._worker.forget_lease(error)

    # --- answering and waking up

    def _answer_waiting(self) -> None:
        """Answer callers whose position is reached; once the query delivers nothing any more, fail the others."""
        state = self._worker.state
        waiting, self._waiting = self._waiting, []
        for position, request in waiting:
            if state.is_loaded and position <= state.settled_position:
                request.reply(state.settled_position)
            elif state.is_over:
                request.fail(QueryStopped(state.options.name, state.settled_position, state.last_error))
            elif not request.abandoned:
                self._waiting.append((position, request))

    def _wake_up_in(self, delay: float | None, ref: ActorRef[QueryMessage, int]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay is not None and delay > 0:
            self._timer = asyncio.get_running_loop().call_later(delay, self._hint, ref)
        elif delay is not None:
            self._hint(ref)

    def _on_commit(self, head: int, ref: ActorRef[QueryMessage, int]) -> None:
        self._worker.notified_head = max(self._worker.notified_head, head)
        self._hint(ref)

    def _hint(self, ref: ActorRef[QueryMessage, int]) -> None:
        """Put a hint into the mailbox, unless one is there already."""
        if not self._is_hinted:
            with suppress(ActorError):
                ref.tell(READ_ON)
                self._is_hinted = True
