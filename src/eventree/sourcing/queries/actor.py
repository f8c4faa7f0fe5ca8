"""The actor of a query: what it is told, who waits for it, and when it wakes up."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from eventree.actors import Actor, ActorContext, ActorRef, ExitReason, Request
from eventree.errors import (
    ActorError,
    CheckpointFenced,
    EventreeError,
    EventStoreError,
    QueryLeasedElsewhere,
    QueryStopped,
)
from eventree.errors.stores import TRANSIENT_ERRORS
from eventree.sourcing.queries.commits import HandlingFailed
from eventree.sourcing.queries.controls import Controls, Retry
from eventree.sourcing.queries.follower import Follower
from eventree.sourcing.queries.messages import (
    READ_ON,
    CaughtUp,
    Control,
    DropParked,
    Pause,
    QueryMessage,
    ReadOn,
    Reset,
    Resume,
    RetryParked,
    SkipCommit,
)
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.progress import Progress, QueryStatus
from eventree.sourcing.queries.target import Target
from eventree.stores.contract import EventStore

Ask = Request[QueryMessage, int]


class QueryActor(Actor[QueryMessage, int]):
    """Pull events for one query.

    Messages are only hints: what is handed over always comes from the log, from the checkpoint on, so nothing is lost
    when a hint, the actor or the process is.
    """

    max_batch = 1_000

    def __init__(
        self,
        options: Options,
        store: EventStore,
        types: Sequence[str],
        target: Target,
        progress: Progress,
        worker: str,
    ) -> None:
        """Remember what to follow where; see `Follower` for the arguments."""
        self._name = options.name
        self._store = store
        self._target = target
        self._progress = progress
        self._follower = Follower(options, store, types, target, progress, worker)
        self._hold = self._follower.hold
        self._controls = Controls(options, store, target, self._hold)
        self._waiting: list[tuple[int, Ask]] = []
        self._retries: list[tuple[Retry, Ask]] = []
        self._is_hinted = False
        self._timer: asyncio.TimerHandle | None = None
        self._unwatch: Callable[[], None] = lambda: None

    async def init(self, ctx: ActorContext[QueryMessage, int]) -> None:
        """Listen for commits and begin to read."""
        self._progress.failures = 0
        self._progress.status = QueryStatus.PAUSED if self._progress.is_paused else QueryStatus.RUNNING
        self._unwatch = self._store.watch(lambda head: self._heard(head, ctx.ref))
        self._hint(ctx.ref)

    async def receive_batch(self, requests: Sequence[Ask], ctx: ActorContext[QueryMessage, int]) -> None:
        """Do what is asked for, then read and hand over for one turn, and answer whoever waits for what it reached."""
        self._is_hinted = False
        for request in requests:
            message = request.message
            if isinstance(message, CaughtUp):
                self._waiting.append((message.position, request))
                if message.look:
                    self._follower.look()
            elif not isinstance(message, ReadOn):
                await self._control(message, request)
        delay = await self._follower.turn(save=bool(self._waiting))
        if self._retries:
            await self._retry(*self._retries[0])
            delay = 0.0
        self._answer_waiting()
        self._come_back(ctx.ref, delay)
        if delay == 0.0:
            await asyncio.sleep(0)  # a store may answer, and a handler return, without giving others a turn

    async def on_stop(self, reason: ExitReason) -> None:
        """Stop listening, store the checkpoint, and let others take over, unless it comes back and is paused."""
        await self.on_kill()
        await self._hold.release(keep=self._progress.is_paused and reason.abnormal)

    async def on_kill(self) -> None:
        """Stop listening."""
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()

    # --- what a person wants

    async def _control(self, message: Control, request: Ask) -> None:
        try:
            position = await self._carry_out(message)
            if isinstance(message, RetryParked):
                self._retries.append((Retry(message.aggregate_id), request))
            else:
                request.reply(position)
        except EventreeError as error:
            self._refuse(request, error)
        except HandlingFailed as failure:
            request.fail(failure.error)

    async def _carry_out(self, message: Control) -> int:
        """Do it; return the position where the query stands."""
        match message:
            case Pause():
                await self._pause()
            case Resume():
                self._refuse_superseded()
                await self._resume()
            case SkipCommit(position):
                await self._take()
                self._controls.skip(position, self._follower.failures.commit)
                await self._resume()
            case Reset():
                await self._take()
                await self._controls.reset()
                await self._resume()
            case RetryParked():
                await self._take()
            case DropParked(position):
                await self._take()
                await self._controls.drop(position)
                await self._hold.refresh()
        return self._progress.position

    async def _pause(self) -> None:
        self._progress.is_paused = True
        with suppress(*TRANSIENT_ERRORS):  # nothing is handed over all the same
            if not await self._hold.take(self._target.claim):
                self._progress.is_paused = False
                raise QueryLeasedElsewhere(self._name)
            await self._follower.save()

    async def _resume(self) -> None:
        with suppress(EventStoreError):  # what is not stored is handled again
            await self._follower.save()
        self._progress.is_paused = False
        self._follower.failures.forget()
        self._follower.let_go()  # much may have happened meanwhile, so ask again whose it is

    async def _take(self) -> None:
        """Make sure that the query is worked on here, and that its results count or are going to."""
        if not await self._hold.take(self._target.claim):
            raise QueryLeasedElsewhere(self._name)
        await self._hold.refresh()
        self._refuse_superseded()

    def _refuse_superseded(self) -> None:
        superseded = self._hold.superseded
        if superseded is not None:
            raise superseded

    async def _retry(self, retry: Retry, request: Ask) -> None:
        """Try parked commits again for one turn."""
        try:
            await self._take()
            is_done = request.abandoned or await self._controls.retry(retry)
            if is_done:
                await self._hold.refresh()
                request.reply(retry.worked)
        except EventreeError as error:
            self._refuse(request, error)
            is_done = True
        if is_done:
            self._retries.pop(0)

    def _refuse(self, request: Ask, error: EventreeError) -> None:
        request.fail(error)
        if isinstance(error, (CheckpointFenced, *TRANSIENT_ERRORS)):
            self._follower.let_go()

    # --- answering and waking up

    def _answer_waiting(self) -> None:
        """Answer those whose position is reached, or all with an error when nothing will be handled any more."""
        progress = self._progress
        is_known = self._hold.is_known
        waiting, self._waiting = self._waiting, []
        for position, request in waiting:
            if is_known and position <= progress.position:
                request.reply(progress.position)
            elif self._follower.is_over:
                request.fail(QueryStopped(self._name, progress.position, progress.last_error))
            elif not request.abandoned:
                self._waiting.append((position, request))

    def _come_back(self, ref: ActorRef[QueryMessage, int], delay: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay is not None and delay > 0:
            self._timer = asyncio.get_running_loop().call_later(delay, self._hint, ref)
        elif delay is not None:
            self._hint(ref)

    def _heard(self, head: int, ref: ActorRef[QueryMessage, int]) -> None:
        self._follower.heard_of(head)
        self._hint(ref)

    def _hint(self, ref: ActorRef[QueryMessage, int]) -> None:
        """Put one hint into the mailbox, unless one is there already."""
        if not self._is_hinted:
            with suppress(ActorError):
                ref.tell(READ_ON)
                self._is_hinted = True
