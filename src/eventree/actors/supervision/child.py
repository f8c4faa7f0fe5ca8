"""One child of a supervisor: its spec, its reference, and the task of its current incarnation."""

import asyncio
import logging
import math
import weakref
from collections.abc import Callable, Coroutine, Hashable, Sequence
from traceback import TracebackException
from typing import Any, Generic, Never, Protocol, TypeVar

from eventree.actors.actor.actor import Actor, ActorContext
from eventree.actors.actor.loop import StopTimeouts, run_actor
from eventree.actors.actor.ref import ActorRef
from eventree.actors.actor.request import Request
from eventree.actors.events import SupervisorEvent
from eventree.actors.exits import ExitKind, ExitReason
from eventree.actors.status import ChildInfo, Status
from eventree.actors.supervision.spec import ChildSpec
from eventree.errors import (
    ActorCrashed,
    ActorError,
    ActorStopped,
    ActorTimeout,
    AlreadyStarted,
    ChildStartError,
    InvalidArgument,
)
from eventree.errors.showing import loggable, traceback_of

logger = logging.getLogger("eventree")

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class Owner(Protocol):
    """The owner of children: a supervisor, or the root of a tree."""

    kill_grace: float
    """Seconds a cancelled task may take to end before it is abandoned."""

    @property
    def address(self) -> ActorRef[Never, object] | None:
        """The owner's own reference."""
        ...

    @property
    def emit(self) -> Callable[[SupervisorEvent], None]:
        """Receives every event of the tree."""
        ...

    def child_exited(self, child: "Child[Any, Any]", reason: ExitReason) -> None:
        """Handle the exit of an incarnation that was not asked to stop."""
        ...

    def child_abandoned(self, child: "Child[Any, Any]") -> None:
        """Handle a task that ignored its cancellation."""
        ...

    def dropped(self, actor: Hashable, requests: Sequence[Request[Any, Any]], why: ActorError | None) -> None:
        """Handle messages that will not be processed; `why` is None if their senders gave up waiting."""
        ...


class Child(Generic[MessageT, ReplyT]):
    """Start, watch and stop the incarnations of one actor on behalf of its owner.

    Other objects only read the attributes; the methods change them.

    Attributes:
        spec: Describes it.
        ref: Its reference.
        restarts: How often its supervisor restarted it, failed attempts included.
        last_crash: Its last crash.
        actor: The running instance.
        should_run: Whether it is meant to run: it was started, and has neither been terminated nor exited since.
        stopped_with_group: Whether it was stopped for a restart of its group, which will start it again.
        start_failure: Why the last start failed; None if it succeeded.
        lock: Held while it is started, stopped or restarted.
        is_supervisor: Whether the last incarnation is or was a supervisor.
    """

    def __init__(
        self, spec: ChildSpec[MessageT, ReplyT], owner: Owner, ref: ActorRef[MessageT, ReplyT] | None = None
    ) -> None:
        """Create a child that is not started yet.

        Args:
            spec: Describes it.
            owner: Is notified of its exits.
            ref: Its reference; default the one in the spec, or a new one.
        """
        self.spec = spec
        self.ref: ActorRef[MessageT, ReplyT] = ref or spec.ref or ActorRef(spec.id, mailbox=spec.mailbox)
        self.restarts = 0
        self.last_crash: TracebackException | None = None
        self.actor: Actor[MessageT, ReplyT] | None = None
        self.should_run = True
        self.stopped_with_group = False
        self.start_failure: BaseException | None = None
        self.lock = asyncio.Lock()
        self.is_supervisor = False
        self._owner = owner
        self._awaits_first_start = False
        self._deferred_exit: ExitReason | None = None
        self._restart_timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[ExitReason] | None = None
        self._stopping_task: asyncio.Task[ExitReason] | None = None
        self._cancelled_task: asyncio.Task[ExitReason] | None = None
        self._start_aborted: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._owns_ref = False
        self._must_cancel = False
        self._shutdown = 0.0
        self._previous_actor: Callable[[], Actor[MessageT, ReplyT] | None] = lambda: None

    @property
    def info(self) -> ChildInfo:
        """A description of its current state."""
        return ChildInfo(self.spec.id, self.ref.status, self.ref.incarnation, self.restarts, self.last_crash)

    @property
    def running(self) -> bool:
        """Whether an incarnation is alive and was not asked to stop."""
        return self._task is not None

    @property
    def starting(self) -> bool:
        """Whether an incarnation is in its `init`."""
        return self._task is not None and self.ref.status is Status.STARTING

    @property
    def stopping(self) -> bool:
        """Whether an incarnation is being stopped."""
        return self._stopping_task is not None

    @property
    def ending(self) -> "asyncio.Future[None] | None":
        """Done once an incarnation has exited that is ending by itself; None if there is none."""
        return self._ended if self.running and self.ref.is_ending else None

    # --- decisions of its supervisor

    def replace_spec(self, spec: ChildSpec[MessageT, ReplyT]) -> None:
        """Use another spec from the next start on."""
        self.spec = spec

    def mark_for_start(self, *, first: bool = False) -> None:
        """Record that it is about to be started; a first start keeps it out of group restarts until then."""
        self.should_run = True
        self._awaits_first_start = self._awaits_first_start or first

    def mark_not_started(self) -> None:
        """Record that it was added without being started."""
        self.should_run = False

    def mark_retired(self) -> None:
        """Record that it exited or was stopped, and that no restart follows."""
        self.should_run = self.stopped_with_group = False
        self._deferred_exit = None

    def mark_terminated(self) -> None:
        """Record that it will stop for good, and abort any pending start or restart."""
        self.should_run = self.stopped_with_group = False
        self.cancel_restart()
        self.abort_start()

    def mark_stopped_with_group(self, *, starts_again: bool) -> None:
        """Record that a group restart stops it; it only starts again with the group if it was started before."""
        self.stopped_with_group = starts_again and not self._awaits_first_start

    def count_restart(self) -> None:
        """Count one more attempt to restart it."""
        self.restarts += 1

    def defer_exit(self, reason: ExitReason) -> None:
        """Remember an exit that a pending restart of its group is expected to handle."""
        self._deferred_exit = reason

    def take_deferred_exit(self) -> ExitReason | None:
        """Return the deferred exit, if no start has handled it since, and forget it."""
        reason, self._deferred_exit = self._deferred_exit, None
        return reason

    @property
    def has_deferred_exit(self) -> bool:
        """Whether an exit was deferred and not handled by a start since."""
        return self._deferred_exit is not None

    def schedule_restart(self, delay: float, restart: Callable[[], None]) -> None:
        """Call a function after a backoff delay in seconds, unless the restart is cancelled first."""
        self.cancel_restart()
        self._restart_timer = asyncio.get_running_loop().call_later(delay, restart)

    def cancel_restart(self) -> bool:
        """Cancel the scheduled restart and return whether there was one."""
        timer, self._restart_timer = self._restart_timer, None
        if timer is not None:
            timer.cancel()
        return timer is not None

    # --- start

    async def start(self, stop_requested: "asyncio.Future[None]") -> None:
        """Start a new incarnation and wait until its `init` has returned.

        Args:
            stop_requested: Aborts the start when done, because the owner itself was asked to stop.

        Raises:
            ChildStartError: Its factory or `init` raised or timed out, the start was aborted, or another child runs
                under the same reference.
        """
        self.should_run = True
        self.stopped_with_group = self._awaits_first_start = False
        self._deferred_exit = self.start_failure = None
        try:
            await self._start(stop_requested)
        except ChildStartError as error:
            self.start_failure = error.__cause__
            raise

    async def _start(self, stop_requested: "asyncio.Future[None]") -> None:
        if self.ref.status in {Status.STARTING, Status.RUNNING, Status.STOPPING}:
            raise ChildStartError(self.spec.id, AlreadyStarted(self.ref.id))
        if stop_requested.done():
            raise ChildStartError(self.spec.id, ActorStopped(self.spec.id))
        self._start_aborted = asyncio.get_running_loop().create_future()
        try:
            actor = self._create_actor()
        except BaseException as error:
            raise ChildStartError(self.spec.id, error) from error
        started, task = self._launch(actor)
        try:
            awaited: set[asyncio.Future[Any]] = {started, task, stop_requested, self._start_aborted}
            await asyncio.wait(awaited, timeout=self.spec.start_timeout, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            started.cancel()  # the caller that cancels a start follows up with `kill`
            raise
        if started.done():
            self.is_supervisor = actor.is_supervisor
            self.ref.monitors.started(self.ref.incarnation)
            task.add_done_callback(self._on_exit)
            return
        started.cancel()
        await self._fail_start(task, aborted=stop_requested.done() or self._start_aborted.done())

    def abort_start(self) -> None:
        """Abort a start that is in progress."""
        if self._start_aborted is not None and not self._start_aborted.done():
            self._start_aborted.set_result(None)

    def _create_actor(self) -> Actor[MessageT, ReplyT]:
        actor: object = self.spec.start()
        if not isinstance(actor, Actor):
            if isinstance(actor, Coroutine):
                actor.close()
            raise InvalidArgument("start", f"must return a new Actor, returned {type(actor).__name__}")
        if self._previous_actor() is actor and not actor.reusable:
            raise InvalidArgument("start", f"must return a new {type(actor).__name__}, returned the previous one")
        self._previous_actor = weakref.ref(actor)
        return actor

    def _launch(self, actor: Actor[MessageT, ReplyT]) -> "tuple[asyncio.Future[None], asyncio.Task[ExitReason]]":
        loop = asyncio.get_running_loop()
        self._shutdown = actor.default_shutdown if self.spec.shutdown is None else self.spec.shutdown
        ref = self.ref
        self.actor = actor
        self._owns_ref = True
        ref.incarnation += 1
        ref.status = Status.STARTING
        ref.is_ending = False
        ref.parent = self._owner.address
        ref.mailbox.on_dropped = self._dropped
        ref.mailbox.open()
        ref.monitors.starting()
        started: asyncio.Future[None] = loop.create_future()
        timeouts = StopTimeouts(max(self._shutdown, self._owner.kill_grace), self._owner.kill_grace)
        ctx = ActorContext(ref, ref.incarnation, self.spec.handler_timeout, self._owner.emit)
        running = run_actor(actor, ctx, started, timeouts)
        self._ended = loop.create_future()
        self._task = task = loop.create_task(running, name=f"eventree {self.spec.id}")
        return started, task

    async def _fail_start(self, task: "asyncio.Task[ExitReason]", *, aborted: bool) -> None:
        """Clean up after a start that did not succeed and raise why, unless `init` raised `Ignore`."""
        if task.done():
            reason = _reason_of(task)
        else:
            error = ActorStopped(self.spec.id) if aborted else ActorTimeout("start", self.spec.start_timeout)
            reason = ExitReason(ExitKind.CRASH, error)
            await self._cancel_and_wait(task, self.actor)
        self._forget_incarnation(reason)
        if reason.kind is not ExitKind.NORMAL:
            raise ChildStartError(self.spec.id, reason.error)

    # --- exits

    def _on_exit(self, task: "asyncio.Task[ExitReason]") -> None:
        """Notify the owner, unless the owner itself stopped this incarnation."""
        if task is self._task:
            reason = _reason_of(task)
            self._forget_incarnation(reason)
            self._owner.child_exited(self, reason)

    def _forget_incarnation(self, reason: ExitReason) -> None:
        self._task = self._cancelled_task = None
        self.actor = None
        self.ref.task = None
        self._tell_ended()
        if reason.error is not None:
            self.last_crash = traceback_of(reason.error)
        self.ref.status = Status.RESTARTING if self._owns_ref else Status.STOPPED
        self.ref.mailbox.go_down()
        self.ref.monitors.ended(reason)

    def _tell_ended(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def stop(self, *, drain_until: float | None = None) -> ExitReason | None:
        """Stop the incarnation: request it first, cancel the task after its `shutdown` time.

        A caller that is cancelled in here must follow up with another `stop` or with `kill`.

        Args:
            drain_until: Deadline, in loop time, for processing the messages that are queued now; None for not at all.

        Returns:
            Why it exited, None if there was no incarnation.
        """
        task = self._task or self._stopping_task
        self._task, self._stopping_task = None, task
        if task is None:
            return None
        self.ref.status = Status.STOPPING
        if drain_until is not None and not self._must_cancel:
            self._request_stop(drain_until)
            await asyncio.wait({task}, timeout=max(0.0, drain_until - asyncio.get_running_loop().time()))
        self._request_stop(None)
        if self._shutdown and not (task.done() or self._must_cancel):
            await asyncio.wait({task}, timeout=None if self._shutdown == math.inf else self._shutdown)
        if is_late := not task.done():
            await self._cancel_and_wait(task, self.actor)
        reason = _reason_of(task)
        if self._stopping_task is task:
            self._stopping_task = None
            self._forget_incarnation(reason)
        self._log_unclean_stop(reason, is_late=is_late and task.done() and self._shutdown > 0)
        return reason

    def _request_stop(self, drain_until: float | None) -> None:
        self.ref.mailbox.request_stop(drain_until=drain_until)
        if self.ref.waits_for is not None:
            self.ref.waits_for.mailbox.fail_stopping_senders()

    def cancel_now(self) -> None:
        """Cancel the incarnation at once, in a stop that is in progress or about to begin."""
        self._must_cancel = True
        if self._stopping_task is not None:
            self._cancelled_task = self._stopping_task
            self._stopping_task.cancel()

    async def kill(self) -> None:
        """Cancel the incarnation and close the child; waits for the exit for a bounded time only."""
        task, actor = self._task or self._stopping_task, self.actor
        if task is not None:
            self.ref.monitors.ended(ExitReason(ExitKind.KILLED))
        self.close()
        if task is not None:
            await self._cancel_and_wait(task, actor)

    def close(self) -> None:
        """Answer every pending request and accept no more.

        A child that could not start because another one runs under its reference leaves that reference alone.
        """
        self._task = self._stopping_task = self._cancelled_task = None
        self.actor = None
        self._tell_ended()
        if not self._owns_ref:
            return
        self._owns_ref = False
        self.ref.status = Status.STOPPED
        self.ref.task = None
        self.ref.mailbox.close()
        self.ref.monitors.down()

    async def _cancel_and_wait(self, task: "asyncio.Task[ExitReason]", actor: Actor[MessageT, ReplyT] | None) -> None:
        """Cancel a task; if it ignores that, abandon it, because it cannot be ended safely.

        Closing its coroutine would end more such tasks, but interrupt the clean-up at its next `await`. An abandoned
        task is isolated instead: it gets no more messages, and `ActorContext.check_current` raises for it.
        """
        if self._cancelled_task is not task:  # cancelling twice would interrupt its clean-up
            self._cancelled_task = task
            task.cancel()
        await asyncio.wait({task}, timeout=self._owner.kill_grace + (0.0 if actor is None else actor.kill_time))
        if not task.done():
            logger.error("actor %r ignored its cancellation and was abandoned", self.spec.id)
            self.ref.mailbox.fail_in_progress(ActorCrashed(self.ref.id, None))
            self._owner.child_abandoned(self)

    def _log_unclean_stop(self, reason: ExitReason, *, is_late: bool) -> None:
        if reason.error is not None:
            logger.error("actor %r crashed while stopping", self.spec.id, exc_info=loggable(reason.error))
        elif is_late:
            logger.error("actor %r did not stop within %g s and was cancelled", self.spec.id, self._shutdown)

    def _dropped(self, requests: Sequence[Request[Any, Any]], why: ActorError | None) -> None:
        self._owner.dropped(self.spec.id, requests, why)


def _reason_of(task: "asyncio.Task[ExitReason]") -> ExitReason:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return ExitReason(ExitKind.KILLED)
    return task.result()
