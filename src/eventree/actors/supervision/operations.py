"""What a supervisor does beside listening: starts, stops and restarts, each in a task of its own."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from eventree.actors.actor.request import Request
from eventree.actors.exits import wish_to_exit
from eventree.actors.supervision.children import Children
from eventree.actors.supervision.messages import (
    AnyChild,
    AnySpec,
    CallerOrder,
    GetOrStart,
    JobFailed,
    RestartChild,
    StartChild,
    SupervisorMessage,
    TerminateChild,
)
from eventree.actors.supervision.options import Strategy
from eventree.errors import ActorStopped, ChildStartError, EventreeError, UnexpectedCancellation


class Lanes:
    """Let jobs on the same child, or on all, take turns in the order they came."""

    def __init__(self) -> None:
        """Begin with all lanes free."""
        self._entrance = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def of(self, child: AnyChild) -> AsyncGenerator[None, None]:
        """Wait for the lane of one child, and hold it."""
        async with self._entrance:
            self._inside += 1
            self._empty.clear()
        try:
            async with child.lane:
                yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @asynccontextmanager
    async def of_all(self) -> AsyncGenerator[None, None]:
        """Wait for the lanes of all children, and hold them."""
        async with self._entrance:
            await self._empty.wait()
            yield


class Jobs:
    """Carry out what takes time, so that the supervisor hears of other children meanwhile.

    Jobs on the same child take turns, in the order they came; where children depend on each other, all jobs do.
    """

    def __init__(self, children: Children) -> None:
        """Begin without any.

        Args:
            children: Whom they concern.
        """
        self._children = children
        self._lanes = Lanes()
        self._tasks: set[asyncio.Task[BaseException | None]] = set()
        self._over: asyncio.Future[None] | None = None
        self._turns: AbstractAsyncContextManager[object] | None = None
        self._is_cancelled = False

    @property
    def over(self) -> "asyncio.Future[None]":
        """Done once no child is to start any more."""
        if self._over is None:
            self._over = asyncio.get_running_loop().create_future()
        return self._over

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._tasks

    def carry_out(self, order: CallerOrder, request: Request[SupervisorMessage, object]) -> None:
        """Begin with what a caller wants; the request gets the answer when it is done.

        Raises:
            SupervisorError: It cannot be done.
        """
        if request.abandoned:
            return
        children = self._children
        match order:
            case StartChild(spec):
                self._start_first(children.add(spec), request)
            case GetOrStart(spec):
                self._get_or_start(spec, request)
            case RestartChild(id):
                child = children.find_ended(id)
                child.wanted = True
                self._begin(child, self._start_again(child), request)
            case TerminateChild(id):
                self._terminate(children.find(id), request)

    def restart(self, child: AnyChild, delay: float | None) -> None:
        """Restart a child and its group after so many seconds; None for not at all."""
        if delay is None:
            return
        child.cancel_timer()
        if delay:
            loop = asyncio.get_running_loop()
            child.timer = loop.call_later(delay, self.restart, child, 0.0)
        else:
            self._begin(child, self._restart(child), turns=self._restart_turns())

    def give_up(self) -> None:
        """Let no child start any more; a start that is under way is given up."""
        if not self.over.done():
            self.over.set_result(None)
        for child in self._children:
            child.cancel_timer()

    async def finished(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self) -> None:
        """Cancel what is under way."""
        self._is_cancelled = True
        for task in self._tasks:
            task.cancel()

    # --- the jobs

    def _start_first(self, child: AnyChild, request: Request[SupervisorMessage, object]) -> None:
        child.is_new = True
        self._begin(child, self._start_new(child), request)

    def _terminate(self, child: AnyChild, request: Request[SupervisorMessage, object]) -> None:
        waited = child.timer is not None
        child.dismiss()
        if waited:
            self.restart(child, 0.0)  # those of its group that wait for it go on without it
        self._begin(child, self._children.stop(child), request)

    def _get_or_start(self, spec: AnySpec, request: Request[SupervisorMessage, object]) -> None:
        children = self._children
        if spec.id not in children:
            self._start_first(children.add(spec), request)
            return
        child = children.find(spec.id)
        runs = (child.running and not child.starting) or children.restarts.is_restarting(child)
        if child.wanted and runs:
            request.reply(child.ref)
        elif child.wanted or child.running or child.stopping:
            self._begin(child, self._look_again(child, request))
        else:
            child.wanted = True
            self._begin(child, self._start_again(child), request)

    async def _look_again(self, child: AnyChild, request: Request[SupervisorMessage, object]) -> None:
        """Answer once a start or a stop that was under way is over; a start that failed has failed for all."""
        if not self._children.has(child) and child.start_failure is not None:
            request.fail(ChildStartError(child.spec.id, child.start_failure))
        elif child.wanted and child.running:
            request.reply(child.ref)
        else:
            self._tell_supervisor(request)

    async def _start_new(self, child: AnyChild) -> object:
        try:
            return await self._start(child)
        except EventreeError:
            self._children.remove(child)
            raise

    async def _start_again(self, child: AnyChild) -> object:
        try:
            return await self._start(child)
        except ChildStartError:
            if self._children.has(child) and not child.running:
                self._children.retire(child)
            raise

    async def _start(self, child: AnyChild) -> object:
        if self.over.done():
            raise ActorStopped(self._children.name)
        if not (child.wanted and self._children.has(child)):
            raise ChildStartError(child.spec.id, child.start_failure or ActorStopped(child.spec.id))
        if not child.running:
            await self._children.start(child, self.over)
        return child.ref

    async def _restart(self, child: AnyChild) -> None:
        failed = await self._children.restarts.restart(child, self.over)
        if failed is not None:
            self._tell_supervisor(Request(failed))

    def _restart_turns(self) -> AbstractAsyncContextManager[object]:
        """Return what lets as many restarts go on at a time as may."""
        if self._turns is None:
            limit = self._children.flags.max_concurrent_restarts
            self._turns = nullcontext() if limit is None else asyncio.Semaphore(limit)
        return self._turns

    # --- their tasks

    def _begin(
        self,
        child: AnyChild,
        work: Coroutine[Any, Any, object],
        request: Request[SupervisorMessage, object] | None = None,
        *,
        turns: AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        together = self._children.flags.strategy is not Strategy.ONE_FOR_ONE
        lane = self._lanes.of_all() if together else self._lanes.of(child)
        # First its turn, then the lane: whoever waits for a turn leaves the lane to whoever stops the child.
        running = _carry_out(work, request, turns or nullcontext(), lane)
        task = asyncio.get_running_loop().create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[BaseException | None]") -> None:
        self._tasks.discard(task)
        error = UnexpectedCancellation(self._children.name) if task.cancelled() else task.result()
        if error is not None and not (task.cancelled() and self._is_cancelled):
            self._tell_supervisor(Request(JobFailed(error)))

    def _tell_supervisor(self, request: Request[SupervisorMessage, object]) -> None:
        if self._children.address is not None:
            self._children.address.mailbox.put_control(request)


async def _carry_out(
    work: Coroutine[Any, Any, object],
    request: Request[SupervisorMessage, object] | None,
    turns: AbstractAsyncContextManager[object],
    lane: AbstractAsyncContextManager[object],
) -> BaseException | None:
    """Do the work and answer whoever wanted it.

    Returns:
        What the supervisor is to crash with: an error that nobody waits for, or a wish to leave the program, which
        would tear the event loop down if it left this task.
    """
    try:
        async with turns, lane:
            answer = await work
    except EventreeError as error:
        if request is None:
            return error
        request.fail(error)
        return wish_to_exit(error)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - it crashes the supervisor instead
        return error
    finally:
        work.close()
    if request is not None:
        request.reply(answer)
    return None
