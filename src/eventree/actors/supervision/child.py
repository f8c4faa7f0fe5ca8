"""One place in a tree: a spec, its address, and the task of the present incarnation."""

import asyncio
import logging
import math
import weakref
from collections.abc import Callable, Coroutine, Hashable, Sequence
from traceback import TracebackException
from typing import Any, Generic, Never, Protocol, TypeVar

from eventree.actors.actor.actor import Actor, ActorContext
from eventree.actors.actor.loop import Patience, run_actor
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

logger = logging.getLogger("eventree")

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class Owner(Protocol):
    """Who owns children: a supervisor, or the root of a tree."""

    kill_grace: float
    """How many seconds a cancelled task may take to end before it is left behind."""

    @property
    def address(self) -> ActorRef[Never, object] | None:
        """Where it can be reached."""
        ...

    @property
    def emit(self) -> Callable[[SupervisorEvent], None]:
        """Called with what happens, for whoever listens to the tree."""
        ...

    def child_exited(self, child: "Child[Any, Any]", reason: ExitReason) -> None:
        """Take notice of an incarnation that ended by itself."""
        ...

    def child_abandoned(self, child: "Child[Any, Any]") -> None:
        """Take notice of a task that does not end."""
        ...

    def dropped(self, actor: Hashable, requests: Sequence[Request[Any, Any]], why: ActorError | None) -> None:
        """Take notice of messages that nobody will handle: why nobody can, or None if whoever asked gave up."""
        ...


class Child(Generic[MessageT, ReplyT]):
    """Start, watch and stop the incarnations of one actor, for its owner.

    Attributes:
        spec: What it was described as.
        ref: The address it answers to.
        restarts: How often its supervisor started it again, tries that failed included.
        last_crash: What it crashed with the last time.
        actor: The instance that runs.
        wanted: Whether it is to run: it was started, and not terminated or ended since.
        is_new: Whether its first start waits for its turn.
        halted: Whether it was stopped with its group, and is to be started with it.
        left: How it ended while a restart of its group was due anyway; None if it did not.
        start_failure: Why it did not start the last time; None if it did.
        streak: Its crashes since it last ran well for a while; only counted with a backoff.
        started_at: When it was last started, by its supervisor's clock.
        timer: What starts it again after a backoff.
        lane: Where starts and stops of it take turns.
        is_supervisor: Whether what ran last under it is a supervisor.
    """

    def __init__(
        self, spec: ChildSpec[MessageT, ReplyT], owner: Owner, ref: ActorRef[MessageT, ReplyT] | None = None
    ) -> None:
        """Make a child that is not started yet.

        Args:
            spec: What it is described as.
            owner: Who is told of its ends.
            ref: The address it answers to; default the one in its spec, or a new one.
        """
        self.spec = spec
        self.ref: ActorRef[MessageT, ReplyT] = ref or spec.ref or ActorRef(spec.id, mailbox=spec.mailbox)
        self.restarts = 0
        self.last_crash: TracebackException | None = None
        self.actor: Actor[MessageT, ReplyT] | None = None
        self.wanted = True
        self.is_new = False
        self.halted = False
        self.left: ExitReason | None = None
        self.start_failure: BaseException | None = None
        self.streak: list[BaseException | None] = []
        self.started_at: float | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.lane = asyncio.Lock()
        self.is_supervisor = False
        self._owner = owner
        self._task: asyncio.Task[ExitReason] | None = None
        self._ending: asyncio.Task[ExitReason] | None = None
        self._cancelled: asyncio.Task[ExitReason] | None = None
        self._given_up: asyncio.Future[None] | None = None
        self._holds_ref = False
        self._in_hurry = False
        self._shutdown = 0.0
        self._before: Callable[[], Actor[MessageT, ReplyT] | None] = lambda: None

    @property
    def info(self) -> ChildInfo:
        """What there is to know about it."""
        return ChildInfo(self.spec.id, self.ref.status, self.ref.incarnation, self.restarts, self.last_crash)

    @property
    def running(self) -> bool:
        """Whether an incarnation is alive."""
        return self._task is not None

    @property
    def starting(self) -> bool:
        """Whether an incarnation is in its `init`."""
        return self._task is not None and self.ref.status is Status.STARTING

    @property
    def stopping(self) -> bool:
        """Whether an incarnation is being stopped."""
        return self._ending is not None

    # --- start

    async def start(self, give_up: "asyncio.Future[None]") -> None:
        """Start a new incarnation and wait until its `init` has returned.

        Args:
            give_up: Ends the wait, and the incarnation, when done: the owner itself is to stop.

        Raises:
            ChildStartError: Its factory or `init` raised, took too long, or we gave up; or another child runs under
                the same reference.
        """
        if self.ref.status in {Status.STARTING, Status.RUNNING, Status.STOPPING}:
            raise ChildStartError(self.spec.id, AlreadyStarted(self.ref.id))
        if give_up.done():
            raise ChildStartError(self.spec.id, ActorStopped(self.spec.id))
        self._given_up = asyncio.get_running_loop().create_future()
        try:
            actor = self._make_actor()
        except BaseException as error:
            raise ChildStartError(self.spec.id, error) from error
        started, task = self._launch(actor)
        try:
            awaited: set[asyncio.Future[Any]] = {started, task, give_up, self._given_up}
            await asyncio.wait(awaited, timeout=self.spec.start_timeout, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            started.cancel()  # whoever cuts a start short sees to what was started, with `kill`
            raise
        if started.done():
            self.ref.monitors.started(self.ref.incarnation)
            task.add_done_callback(self._exited)
            return
        started.cancel()
        await self._not_started(task, given_up=give_up.done() or self._given_up.done())

    def interrupt(self) -> None:
        """Give up a start that is under way."""
        if self._given_up is not None and not self._given_up.done():
            self._given_up.set_result(None)

    def dismiss(self) -> None:
        """Take note that it is to stop for good: no start and no restart of it goes on."""
        self.wanted = self.halted = False
        self.cancel_timer()
        self.interrupt()

    def cancel_timer(self) -> None:
        """Do not start it again after its backoff."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _make_actor(self) -> Actor[MessageT, ReplyT]:
        actor: object = self.spec.start()
        if not isinstance(actor, Actor):
            if isinstance(actor, Coroutine):
                actor.close()
            raise InvalidArgument("start", f"must make a new Actor, made {type(actor).__name__}")
        if self._before() is actor and not actor.starts_anew:
            raise InvalidArgument("start", f"must make a new {type(actor).__name__}, made the one that ran before")
        self._before = weakref.ref(actor)
        return actor

    def _launch(self, actor: Actor[MessageT, ReplyT]) -> "tuple[asyncio.Future[None], asyncio.Task[ExitReason]]":
        loop = asyncio.get_running_loop()
        self._shutdown = actor.default_shutdown if self.spec.shutdown is None else self.spec.shutdown
        ref = self.ref
        self.actor = actor
        self._holds_ref = True
        ref.incarnation += 1
        ref.status = Status.STARTING
        ref.parent = self._owner.address
        ref.mailbox.on_dropped = self._dropped
        ref.mailbox.open()
        ref.monitors.starting()
        started: asyncio.Future[None] = loop.create_future()
        patience = Patience(max(self._shutdown, self._owner.kill_grace), self._owner.kill_grace)
        ctx = ActorContext(ref, ref.incarnation, self.spec.handler_timeout, self._owner.emit)
        running = run_actor(actor, ctx, started, patience)
        self._task = task = loop.create_task(running, name=f"eventree {self.spec.id}")
        return started, task

    async def _not_started(self, task: "asyncio.Task[ExitReason]", *, given_up: bool) -> None:
        """Clean up after a start that did not succeed, and raise why, unless the actor wanted it so."""
        if task.done():
            reason = _reason_of(task)
        else:
            error = ActorStopped(self.spec.id) if given_up else ActorTimeout("start", self.spec.start_timeout)
            reason = ExitReason(ExitKind.CRASH, error)
            await self._kill(task, self.actor)
        self._forget_incarnation(reason)
        if reason.kind is not ExitKind.NORMAL:
            raise ChildStartError(self.spec.id, reason.error)

    # --- ends

    def _exited(self, task: "asyncio.Task[ExitReason]") -> None:
        """Tell the owner, unless it was the one who stopped this incarnation."""
        if task is self._task:
            reason = _reason_of(task)
            self._forget_incarnation(reason)
            self._owner.child_exited(self, reason)

    def _forget_incarnation(self, reason: ExitReason) -> None:
        self._task = self._cancelled = None
        self.actor = None
        self.ref.task = None
        if reason.error is not None:
            self.last_crash = TracebackException.from_exception(reason.error)
        self.ref.status = Status.RESTARTING if self._holds_ref else Status.STOPPED
        self.ref.mailbox.go_down()
        self.ref.monitors.ended(reason)

    async def stop(self, *, drain_until: float | None = None) -> ExitReason | None:
        """End the incarnation: ask it first, cancel it after its `shutdown` time; returns when it is over.

        Whoever cuts that short, by a cancellation, sees to the incarnation with another `stop`, or `kill`.

        Args:
            drain_until: Until when, in the loop's time, it may handle what waits before that.

        Returns:
            How it ended, None if none was there.
        """
        task = self._task or self._ending
        self._task, self._ending = None, task
        if task is None:
            return None
        self.ref.status = Status.STOPPING
        if drain_until is not None and not self._in_hurry:
            self._ask_to_stop(drain_until)
            await asyncio.wait({task}, timeout=max(0.0, drain_until - asyncio.get_running_loop().time()))
        self._ask_to_stop(None)
        if self._shutdown and not (task.done() or self._in_hurry):
            await asyncio.wait({task}, timeout=None if self._shutdown == math.inf else self._shutdown)
        if is_late := not task.done():
            await self._kill(task, self.actor)
        reason = _reason_of(task)
        if self._ending is task:
            self._ending = None
            self._forget_incarnation(reason)
        self._report_odd_end(reason, is_late=is_late and task.done() and self._shutdown > 0)
        return reason

    def _ask_to_stop(self, drain_until: float | None) -> None:
        self.ref.mailbox.ask_to_stop(drain_until=drain_until)
        if self.ref.waits_for is not None:
            self.ref.waits_for.mailbox.release()

    def hurry(self) -> None:
        """Cut a stop short that is under way, or about to be: the incarnation is cancelled now."""
        self._in_hurry = True
        if self._ending is not None:
            self._cancelled = self._ending
            self._ending.cancel()

    async def kill(self) -> None:
        """Cancel the incarnation and give the place up; waits for its end for a moment only."""
        task, actor = self._task or self._ending, self.actor
        if task is not None:
            self.ref.monitors.ended(ExitReason(ExitKind.KILLED))
        self.close()
        if task is not None:
            await self._kill(task, actor)

    def close(self) -> None:
        """Give the place up: whoever waits for an answer gets one, and nobody can send any more.

        A child that was refused because another runs under its reference leaves that one alone.
        """
        self._task = self._ending = self._cancelled = None
        self.actor = None
        if not self._holds_ref:
            return
        self._holds_ref = False
        self.ref.status = Status.STOPPED
        self.ref.task = None
        self.ref.mailbox.close()
        self.ref.monitors.down()

    async def _kill(self, task: "asyncio.Task[ExitReason]", actor: Actor[MessageT, ReplyT] | None) -> None:
        """Cancel a task; if that does not end it, leave it behind: nothing can end it safely.

        Closing its coroutine, which ends more of them, would cut its clean-up short at its next `await`. It is shut out
        instead: of its mailbox, and of all that asks `ActorContext.check_current`.
        """
        if self._cancelled is not task:  # a second time would cut its clean-up short
            self._cancelled = task
            task.cancel()
        await asyncio.wait({task}, timeout=self._owner.kill_grace + (0.0 if actor is None else actor.kill_time))
        if not task.done():
            logger.error("actor %r does not end although it was cancelled; it is left behind", self.spec.id)
            self.ref.mailbox.fail_in_work(ActorCrashed(self.ref.id, None))
            self._owner.child_abandoned(self)

    def _report_odd_end(self, reason: ExitReason, *, is_late: bool) -> None:
        if reason.error is not None:
            logger.error("actor %r crashed while it stopped", self.spec.id, exc_info=reason.error)
        elif is_late:
            logger.error("actor %r did not stop within %g s and was cancelled", self.spec.id, self._shutdown)

    def _dropped(self, requests: Sequence[Request[Any, Any]], why: ActorError | None) -> None:
        self._owner.dropped(self.spec.id, requests, why)


def _reason_of(task: "asyncio.Task[ExitReason]") -> ExitReason:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return ExitReason(ExitKind.KILLED)
    return task.result()
