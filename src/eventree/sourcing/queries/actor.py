"""The actor of a query: it handles messages, answers callers that wait for a position, and wakes itself up."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from eventree.actors import Actor, ActorContext, ActorRef, ExitReason, Request
from eventree.errors import ActorError, EventreeError, QueryStopped
from eventree.errors.failures import is_failure
from eventree.sourcing.queries.commits import HandlingFailed
from eventree.sourcing.queries.controls import (
    Control,
    DropParked,
    Pause,
    Reset,
    Resume,
    RetriedParked,
    RetryParked,
    SkipCommit,
    control_of,
)
from eventree.sourcing.queries.delivery import Delivery
from eventree.sourcing.queries.worker import PublishedState, QueryWorker, Retry
from eventree.stores.contract import EventStore, QueryRequest


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


QueryMessage: TypeAlias = ReadOn | CaughtUp | Control
READ_ON = ReadOn()

Ask: TypeAlias = Request[QueryMessage, int]

Asker: TypeAlias = Ask | QueryRequest | None
"""Who asked for something: a caller in this process, another process, or the schedule."""


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
        self._retries: list[tuple[Retry, Asker]] = []
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
        for waiting in worker.take_waiting():
            await self._carry_out_request(waiting)
        if (due := worker.take_retry()) is not None:
            self._retries.append((due, None))
        delay = worker.until_retry(delay)
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

    async def _carry_out_request(self, request: QueryRequest) -> None:
        """Carry out what another process has asked, unless that was done meanwhile."""
        worker = self._worker
        async with self._answering(request):
            if await worker.still_waits(request):
                await self._carry_out(control_of(request), request)
        if all(asker is not request for _, asker in self._retries):
            worker.taken.discard(request.id)

    async def _control(self, message: Control, asker: Ask) -> None:
        async with self._answering(asker):
            await self._carry_out(message, asker)

    @asynccontextmanager
    async def _answering(self, asker: Asker) -> AsyncGenerator[None, None]:
        """Answer with an error what fails inside; an unexpected one crashes the actor, but is not asked for again."""
        worker = self._worker
        worker.request = asker if isinstance(asker, QueryRequest) else None
        try:
            yield
        except EventreeError as error:
            await self._fail(asker, error)
        except HandlingFailed as failure:
            await self._fail(asker, failure.error)
        except BaseException as bug:
            if is_failure(bug) and isinstance(asker, QueryRequest):
                await worker.refuse(asker, bug)
            raise
        finally:
            worker.request = None

    async def _reply(self, asker: Asker, result: int) -> None:
        if isinstance(asker, QueryRequest):
            detail = result.reason if isinstance(result, RetriedParked) else ""
            await self._worker.answer(asker, int(result), detail)
        elif asker is not None:
            asker.reply(result)

    async def _fail(self, asker: Asker, error: BaseException) -> None:
        if isinstance(asker, QueryRequest):
            await self._worker.refuse(asker, error)
        elif asker is not None:
            asker.fail(error)
        if isinstance(error, EventreeError):
            self._worker.forget_lease(error)

    async def _carry_out(self, message: Control, asker: Asker) -> None:
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
            case RetryParked(aggregate_id):
                await worker.acquire_live()
                self._retries.append((Retry(aggregate_id), asker))
                return
            case DropParked(position):
                await worker.drop_parked(position)
            case _ as never:
                assert_never(never)
        worker.publish()
        await self._reply(asker, worker.state.settled_position)

    async def _retry(self, retry: Retry, asker: Asker) -> None:
        """Deliver parked commits again for one turn."""
        is_done = True
        async with self._answering(asker):
            is_done = (isinstance(asker, Request) and asker.abandoned) or await self._worker.retry(retry)
            if is_done:
                await self._reply(asker, RetriedParked(retry.handled, retry.reason))
        if is_done:
            self._retries.pop(0)
            if isinstance(asker, QueryRequest):
                self._worker.taken.discard(asker.id)

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
