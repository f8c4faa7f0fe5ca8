"""The operations of a supervisor: starts, stops and restarts, each in its own task."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from eventree.actors.actor.request import Request
from eventree.actors.exits import exit_request
from eventree.actors.supervision.children import Children
from eventree.actors.supervision.messages import (
    AnyChild,
    AnySpec,
    GetOrStart,
    OperationFailed,
    RestartChild,
    StartChild,
    SupervisorCall,
    SupervisorMessage,
    TerminateChild,
)
from eventree.errors import ActorStopped, ChildStartError, EventreeError, UnexpectedCancellation


class ChildLocks:
    """Lock one child or all children of a supervisor; waiters get the lock in order of arrival."""

    def __init__(self) -> None:
        """Begin with all locks free."""
        self._entrance = asyncio.Lock()
        self._holders = 0
        self._none_held = asyncio.Event()
        self._none_held.set()

    @asynccontextmanager
    async def one(self, child: AnyChild) -> AsyncGenerator[None, None]:
        """Hold the lock of one child."""
        async with self._entrance:
            self._holders += 1
            self._none_held.clear()
        try:
            async with child.lock:
                yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._none_held.set()

    @asynccontextmanager
    async def all(self) -> AsyncGenerator[None, None]:
        """Hold the locks of all children."""
        async with self._entrance:
            await self._none_held.wait()
            yield


class Operations:
    """Run slow operations in tasks, so that the supervisor stays responsive to its other children.

    Operations on the same child run one at a time, in order of arrival; if a restart may affect siblings, this
    holds for all operations.
    """

    def __init__(self, children: Children) -> None:
        """Begin without any operation.

        Args:
            children: The children to operate on.
        """
        self._children = children
        self._locks = ChildLocks()
        self._tasks: set[asyncio.Task[BaseException | None]] = set()
        self._starts_refused: asyncio.Future[None] | None = None
        self._restart_slots: AbstractAsyncContextManager[object] | None = None
        self._is_cancelled = False

    @property
    def starts_refused(self) -> "asyncio.Future[None]":
        """Done once children are no longer started."""
        if self._starts_refused is None:
            self._starts_refused = asyncio.get_running_loop().create_future()
        return self._starts_refused

    @property
    def idle(self) -> bool:
        """Whether no operation is in progress."""
        return not self._tasks

    def call(self, call: SupervisorCall, request: Request[SupervisorMessage, object]) -> None:
        """Begin the operation that a caller asked for, and answer the request with its result.

        Raises:
            SupervisorError: The operation is not possible in the current state.
        """
        if request.abandoned:
            return
        children = self._children
        match call:
            case StartChild(spec):
                self._add_and_start(spec, request)
            case GetOrStart(spec):
                self._get_or_start(spec, request)
            case RestartChild(id):
                child = children.find_stopped(id)
                child.mark_for_start()
                self._begin(child, self._start_stopped(child), request)
            case TerminateChild(id):
                self._terminate(children.find(id), request)

    def restart(self, child: AnyChild, delay: float | None) -> None:
        """Restart a child and its group after a delay in seconds; do nothing for None."""
        if delay is None:
            return
        if delay:
            child.schedule_restart(delay, lambda: self.restart(child, 0.0))
        else:
            child.cancel_restart()
            self._begin(child, self._restart(child), slots=self._slots_for_restarts())

    def refuse_starts(self) -> None:
        """Start no child any more, and abort the starts in progress."""
        if not self.starts_refused.done():
            self.starts_refused.set_result(None)
        for child in self._children:
            child.cancel_restart()

    async def finished(self) -> None:
        """Wait until no operation is in progress."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self) -> None:
        """Cancel the operations in progress."""
        self._is_cancelled = True
        for task in self._tasks:
            task.cancel()

    # --- the operations

    def _add_and_start(self, spec: AnySpec, request: Request[SupervisorMessage, object]) -> None:
        child = self._children.add(spec)
        child.mark_for_start(first=True)
        self._begin(child, self._start_new(child), request)

    def _terminate(self, child: AnyChild, request: Request[SupervisorMessage, object]) -> None:
        had_scheduled_restart = child.cancel_restart()
        child.mark_terminated()
        if had_scheduled_restart:
            self.restart(child, 0.0)  # siblings that were stopped for its restart are started without it
        self._begin(child, self._children.stop(child), request)

    def _get_or_start(self, spec: AnySpec, request: Request[SupervisorMessage, object]) -> None:
        children = self._children
        if spec.id not in children:
            self._add_and_start(spec, request)
            return
        child = children.find(spec.id)
        is_available = (child.running and not child.starting) or children.restarts.is_restarting(child)
        if child.should_run and child.ending is not None:
            self._track(self._get_after_end(child.ending, request))
        elif child.should_run and is_available:
            request.reply(child.ref)
        elif child.should_run or child.running or child.stopping:
            self._begin(child, self._get_after_change(child, request))
        else:
            child.mark_for_start()
            self._begin(child, self._start_stopped(child), request)

    async def _get_after_end(self, ended: "asyncio.Future[None]", request: Request[SupervisorMessage, object]) -> None:
        """Answer once an incarnation that is ending by itself has exited; hold no lock, so that it can be killed."""
        await asyncio.wait({ended, self.starts_refused}, return_when=asyncio.FIRST_COMPLETED)
        if self.starts_refused.done():
            request.fail(ActorStopped(self._children.name))
        else:
            self._tell_supervisor(request)

    async def _get_after_change(self, child: AnyChild, request: Request[SupervisorMessage, object]) -> None:
        """Answer once the start or stop in progress has finished; all waiting callers get the error of a start."""
        if not self._children.has(child) and child.start_failure is not None:
            request.fail(ChildStartError(child.spec.id, child.start_failure))
        elif child.should_run and child.running and child.ending is None:
            request.reply(child.ref)
        else:
            self._tell_supervisor(request)

    async def _start_new(self, child: AnyChild) -> object:
        try:
            return await self._start(child)
        except EventreeError:
            self._children.remove(child)
            raise

    async def _start_stopped(self, child: AnyChild) -> object:
        try:
            return await self._start(child)
        except ChildStartError:
            if self._children.has(child) and not child.running:
                self._children.retire(child)
            raise

    async def _start(self, child: AnyChild) -> object:
        if self.starts_refused.done():
            raise ActorStopped(self._children.name)
        if not (child.should_run and self._children.has(child)):
            failure = child.start_failure
            raise ChildStartError(child.spec.id, ActorStopped(child.spec.id) if failure is None else failure)
        if not child.running:
            await self._children.start(child, self.starts_refused)
        return child.ref

    async def _restart(self, child: AnyChild) -> None:
        failed = await self._children.restarts.restart(child, self.starts_refused)
        if failed is not None:
            self._tell_supervisor(Request(failed))

    def _slots_for_restarts(self) -> AbstractAsyncContextManager[object]:
        """Return the semaphore that limits how many restarts run at the same time."""
        if self._restart_slots is None:
            limit = self._children.options.max_concurrent_restarts
            self._restart_slots = nullcontext() if limit is None else asyncio.Semaphore(limit)
        return self._restart_slots

    # --- their tasks

    def _begin(
        self,
        child: AnyChild,
        work: Coroutine[Any, Any, object],
        request: Request[SupervisorMessage, object] | None = None,
        *,
        slots: AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        takes_all = self._children.options.strategy.restarts_siblings
        lock = self._locks.all() if takes_all else self._locks.one(child)
        # The slot comes before the lock: a restart that waits for a slot must not keep the child from being stopped.
        self._track(_run(work, request, slots or nullcontext(), lock))

    def _track(self, running: Coroutine[Any, Any, BaseException | None]) -> None:
        task = asyncio.get_running_loop().create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[BaseException | None]") -> None:
        self._tasks.discard(task)
        error = UnexpectedCancellation(self._children.name) if task.cancelled() else task.result()
        if error is not None and not (task.cancelled() and self._is_cancelled):
            self._tell_supervisor(Request(OperationFailed(error)))

    def _tell_supervisor(self, request: Request[SupervisorMessage, object]) -> None:
        if self._children.address is not None:
            self._children.address.mailbox.put_control(request)


async def _run(
    work: Coroutine[Any, Any, object],
    request: Request[SupervisorMessage, object] | None,
    slots: AbstractAsyncContextManager[object],
    lock: AbstractAsyncContextManager[object],
) -> BaseException | None:
    """Run an operation and answer its request.

    Returns:
        The error with which the supervisor is to crash: one that answers no request, or a SystemExit or
        KeyboardInterrupt, which would stop the event loop if this task raised it.
    """
    try:
        async with slots, lock:
            answer = await work
    except EventreeError as error:
        if request is None:
            return error
        request.fail(error)
        return exit_request(error)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - it crashes the supervisor instead
        return error
    finally:
        work.close()
    if request is not None:
        request.reply(answer)
    return None
