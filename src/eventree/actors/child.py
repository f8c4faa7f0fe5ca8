"""One place in a tree: a spec, its address, and the task of the present incarnation."""

import asyncio
import logging
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from eventree.actors.actor import Actor, ActorContext, run_actor
from eventree.actors.policy import ExitKind, ExitReason
from eventree.actors.ref import ActorRef, Status
from eventree.actors.spec import ChildSpec
from eventree.errors import (
    ActorCrashed,
    ActorStopped,
    ActorTimeout,
    ChildAlreadyExists,
    ChildStartError,
    InvalidArgument,
)

logger = logging.getLogger("eventree")

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")

KILL_GRACE = 1.0
"""Seconds to wait for a cancelled task to end before it is given up."""


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """Describe a child of a running supervisor.

    Attributes:
        id: Its name among its siblings.
        status: What it is doing.
        incarnation: The number of its present start.
        restarts: How often its supervisor started it again, tries that failed included.
        last_crash: What it crashed with the last time, None if it never did.
    """

    id: Hashable
    status: Status
    incarnation: int
    restarts: int
    last_crash: BaseException | None


class Child(Generic[MessageT, ReplyT]):
    """Start, watch and stop the incarnations of one actor, for its supervisor.

    Attributes:
        spec: What it was described as.
        ref: The address it answers to.
        restarts: How often its supervisor started it again, tries that failed included.
        last_crash: What it crashed with the last time.
    """

    def __init__(self, spec: ChildSpec[MessageT, ReplyT]) -> None:
        """Make a child that is not started yet."""
        self.spec = spec
        self.ref: ActorRef[MessageT, ReplyT] = spec.ref if spec.ref is not None else ActorRef(spec.id)
        self.restarts = 0
        self.last_crash: BaseException | None = None
        self._task: asyncio.Task[ExitReason] | None = None
        self._holds_ref = False
        self._shutdown = spec.shutdown

    @property
    def info(self) -> ChildInfo:
        """What there is to know about it."""
        return ChildInfo(self.spec.id, self.ref.status, self.ref.incarnation, self.restarts, self.last_crash)

    @property
    def running(self) -> bool:
        """Whether an incarnation is alive."""
        return self._task is not None

    async def start(
        self, on_exit: "Callable[[Child[MessageT, ReplyT], ExitReason], None]", give_up: "asyncio.Future[None]"
    ) -> None:
        """Start a new incarnation and wait until its `init` has returned.

        Args:
            on_exit: Called when the incarnation ends by itself; not when `stop` ends it.
            give_up: Ends the wait, and the incarnation, when done: the supervisor itself is to stop.

        Raises:
            ChildStartError: Its factory or `init` raised, took too long, or we gave up; or another child runs under
                the same reference.
        """
        if self.ref.status in {Status.STARTING, Status.RUNNING, Status.STOPPING}:
            raise ChildStartError(self.spec.id, ChildAlreadyExists(self.ref.id))
        try:
            actor = self._make_actor()
        except Exception as error:
            raise ChildStartError(self.spec.id, error) from error
        started = self._launch(actor)
        task = self._task
        assert task is not None  # noqa: S101 - just launched
        try:
            awaited: set[asyncio.Future[Any]] = {started, task, give_up}
            await asyncio.wait(awaited, timeout=self.spec.start_timeout, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            started.cancel()
            await self._kill(task)
            raise
        if started.done():
            task.add_done_callback(lambda ended: self._exited(ended, on_exit))
            return
        started.cancel()
        await self._failed_start(task, given_up=give_up.done())

    def _make_actor(self) -> Actor[MessageT, ReplyT]:
        actor: object = self.spec.start()
        if not isinstance(actor, Actor):
            raise InvalidArgument("start", f"must make a new Actor, made {type(actor).__name__}")
        return actor

    def _launch(self, actor: Actor[MessageT, ReplyT]) -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        if self.spec.shutdown is None:
            self._shutdown = actor.default_shutdown
        self._holds_ref = True
        self.ref.incarnation += 1
        self.ref.status = Status.STARTING
        self.ref.mailbox.open()
        started: asyncio.Future[None] = loop.create_future()
        ctx = ActorContext(self.ref, self.ref.incarnation)
        patience = max(self._shutdown or 0, KILL_GRACE)
        self._task = loop.create_task(run_actor(actor, ctx, started, patience), name=f"eventree {self.spec.id}")
        return started

    async def _failed_start(self, task: "asyncio.Task[ExitReason]", *, given_up: bool) -> None:
        """Clean up after a start that did not succeed, and raise why."""
        if task.done():
            error = None if task.cancelled() else task.result().error
        else:
            error = ActorStopped(self.spec.id) if given_up else ActorTimeout("start", self.spec.start_timeout)
            await self._kill(task)
        self._task = None
        self.last_crash = error
        self.ref.status = Status.RESTARTING
        raise ChildStartError(self.spec.id, error)

    def _exited(
        self,
        task: "asyncio.Task[ExitReason]",
        on_exit: "Callable[[Child[MessageT, ReplyT], ExitReason], None]",
    ) -> None:
        """Tell the supervisor, unless it was the one who stopped this incarnation."""
        if task is self._task:
            self._task = None
            reason = ExitReason(ExitKind.KILLED) if task.cancelled() else task.result()
            self.last_crash = reason.error if reason.abnormal else self.last_crash
            self.ref.status = Status.RESTARTING
            on_exit(self, reason)

    async def stop(self) -> None:
        """End the incarnation: ask it first, cancel it after its `shutdown` time; returns when it is over."""
        task, self._task = self._task, None
        if task is None:
            return
        self.ref.status = Status.STOPPING
        self.ref.mailbox.ask_to_stop()
        try:
            if self._shutdown:
                timeout = None if self._shutdown == math.inf else self._shutdown
                await asyncio.wait({task}, timeout=timeout)
            if not task.done():
                await self._kill(task)
        except asyncio.CancelledError:
            task.cancel()
            raise
        self._report_odd_end(task)
        self.ref.status = Status.RESTARTING

    async def kill(self) -> None:
        """Cancel the incarnation and give the place up; waits for its end for a moment only."""
        task = self._task
        self.close()
        if task is not None:
            await self._kill(task)

    def close(self) -> None:
        """Give the place up: whoever waits for an answer gets one, and nobody can send any more.

        A child that was refused because another runs under its reference leaves that one alone.
        """
        self._task = None
        if not self._holds_ref:
            return
        self._holds_ref = False
        self.ref.status = Status.STOPPED
        self.ref.mailbox.close()

    async def _kill(self, task: "asyncio.Task[ExitReason]") -> None:
        task.cancel()
        await asyncio.wait({task}, timeout=KILL_GRACE)
        if not task.done():
            logger.error("actor %r does not end although it was cancelled; it is left behind", self.spec.id)
            self.ref.mailbox.fail_in_work(ActorCrashed(self.ref.id, None))

    def _report_odd_end(self, task: "asyncio.Task[ExitReason]") -> None:
        if task.done() and not task.cancelled() and (error := task.result().error) is not None:
            self.last_crash = error
            logger.error("actor %r crashed while it stopped", self.spec.id, exc_info=error)
