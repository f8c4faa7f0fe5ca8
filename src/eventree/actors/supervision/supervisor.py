"""The supervisor: an actor that starts other actors, watches them, restarts them and stops them in order."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Never, Self, TypeVar, cast, overload

from eventree.actors.actor.actor import Actor, ActorContext
from eventree.actors.actor.deadlocks import refuse_to_wait_for, refuse_to_wait_in_start_below
from eventree.actors.actor.ref import ActorRef
from eventree.actors.actor.request import Request
from eventree.actors.events import SupervisorEvent, SupervisorGaveUp
from eventree.actors.exits import ExitReason
from eventree.actors.status import ChildInfo, Status
from eventree.actors.supervision.children import Children
from eventree.actors.supervision.diagram import ChildCounts, count, picture
from eventree.actors.supervision.messages import (
    AnySpec,
    CallerOrder,
    ChildExited,
    JobFailed,
    RestartChild,
    RestartFailed,
    StartChild,
    SupervisorMessage,
    TerminateChild,
)
from eventree.actors.supervision.operations import Jobs
from eventree.actors.supervision.options import AutoShutdown, Flags, Strategy
from eventree.actors.supervision.root import Root
from eventree.actors.supervision.spec import ChildSpec
from eventree.errors import (
    ActorStopped,
    AlreadyStarted,
    InvalidArgument,
    RestartIntensityExceeded,
    SupervisorError,
)

logger = logging.getLogger("eventree")

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class Supervisor(Actor[SupervisorMessage, object]):
    """Keep children running: start them in order, restart the ones that crash, stop them in reverse order.

    `async with Supervisor([...])` runs it as the root of a tree: the body begins when all children are up, and they
    are stopped when it ends. If the supervisor gives up, the body is cancelled and `RestartIntensityExceeded` raised.
    As a child of another supervisor it is made by a `ChildSpec` like any actor; `start` may give the same supervisor
    each time, so that this object stays the handle of the branch, and its restart brings back what it was described
    with, not what was added later. The rules are those of Erlang/OTP's
    `supervisor`, with one exception: giving up counts as a crash for the parent, so that no subtree goes missing
    silently. Levels multiply: with 3 restarts at each of two levels, a child may start 16 times before the top
    gives up.
    """

    default_shutdown = math.inf
    starts_anew: ClassVar[bool] = True
    stops_at_once: ClassVar[bool] = False
    """Whether the children are stopped at the same time, not in reverse order."""
    forgets_ended: ClassVar[bool] = False
    """Whether a child that ended, or was terminated, is forgotten even if it is not temporary."""

    def __init__(  # noqa: PLR0913 - OTP's flags
        self,
        children: Iterable[AnySpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
        name: str = "supervisor",
        on_event: Callable[[SupervisorEvent], None] | None = None,
        kill_grace: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe the tree; nothing is started yet.

        Args:
            children: The children in start order; their ids must differ.
            strategy: Which children are restarted when one ends; default only that one.
            max_restarts: How many restarts are allowed within `max_seconds`; default 3 (Elixir's default). One more
                and the supervisor stops its children and gives up.
            max_seconds: The length of that window, in seconds; default 5.
            auto_shutdown: Whether it ends when its significant children have; default never.
            name: Names the supervisor in errors and logs.
            on_event: Called with all that happens in this supervisor and below; what it raises is logged.
            kill_grace: How long a cancelled child may take to end before it is left behind, in seconds; default 1.
            clock: Returns the time in seconds; for tests.

        Raises:
            ChildAlreadyExists: Two children have the same id.
            InvalidArgument: A number is out of range, or a child does not fit.
        """
        self.name = name
        self._children = Children(
            name,
            Flags(strategy=strategy, max_restarts=max_restarts, max_seconds=max_seconds, auto_shutdown=auto_shutdown),
            forget_ended=self.forgets_ended,
            clock=clock,
            kill_grace=kill_grace,
            emit=self._emit,
            specs=children,
        )
        self._jobs = Jobs(self._children)
        self._on_event = on_event
        self._report_up: Callable[[SupervisorEvent], None] | None = None
        self._root: Root[SupervisorMessage, object] | None = None

    # --- the public face: what takes time is a message, so that the tree changes one step at a time

    async def __aenter__(self) -> Self:
        """Start the tree; returns when every child's `init` has returned.

        Raises:
            AlreadyStarted: It runs already, here or under another supervisor.
            ChildStartError: A child did not start; the others were stopped again.
        """
        self._refuse_second_start()
        self._root = Root(self.name, self)
        await self._root.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:  # as a plain bool, type checkers would expect any exception of the body to be swallowed
        """Stop the children in reverse order, then raise the supervisor's own failure if it gave up.

        Returns:
            Whether the body was only cancelled because the supervisor had ended, as `auto_shutdown` wanted.
        """
        return None if self._root is None else await self._root.leave(error)

    async def start_child(self, spec: ChildSpec[MessageT, ReplyT]) -> ActorRef[MessageT, ReplyT]:
        """Add a child at the end and start it.

        Returns:
            Its reference, once its `init` has returned; of a stopped actor if that raised `Ignore`.

        Raises:
            ChildAlreadyExists: There is a child with this id.
            ChildStartError: It did not start; its spec is not kept.
            WouldDeadlock: The caller is a child that is just being started itself, and starts take turns: in the start
                of the supervisor, and with every strategy but one_for_one.
            InvalidArgument: It is significant, and this supervisor has no `auto_shutdown`.
        """
        return cast("ActorRef[MessageT, ReplyT]", await self._call(StartChild(spec)))

    async def terminate_child(self, id: Hashable) -> None:
        """Stop a child and do not restart it, even if it is just being restarted; its spec is kept unless temporary.

        Raises:
            ChildNotFound: There is none with this id.
            WouldDeadlock: The caller is part of that child.
        """
        await self._call(TerminateChild(id))

    async def restart_child(self, id: Hashable) -> ActorRef[Never, object]:
        """Start a child again that was terminated or ended.

        Returns:
            Its reference.

        Raises:
            ChildNotFound: There is none with this id.
            ChildRunning: It runs.
            ChildRestarting: It is being started already.
            ChildStartError: It did not start; its spec is kept.
        """
        return cast("ActorRef[Never, object]", await self._call(RestartChild(id)))

    def delete_child(self, id: Hashable) -> None:
        """Forget a child that is stopped.

        Raises:
            ChildNotFound: There is none with this id.
            ChildRunning: It runs; terminate it first.
            ChildRestarting: It is being started.
        """
        self._children.delete(id)

    @overload
    def ref(self, child: ChildSpec[MessageT, ReplyT]) -> ActorRef[MessageT, ReplyT]: ...

    @overload
    def ref(self, child: Hashable) -> ActorRef[Never, object]: ...

    def ref(self, child: Hashable) -> ActorRef[Never, object]:
        """Return the reference of a child.

        Args:
            child: Its id; or the spec that it was made by, so that the type checker knows what can be sent to it.

        Raises:
            ChildNotFound: There is none with this id.
        """
        id = child.id if isinstance(child, ChildSpec) else child
        return cast("ActorRef[Never, object]", self._children.find(id).ref)

    def get_childspec(self, id: Hashable) -> AnySpec:
        """Return the spec of a child.

        Raises:
            ChildNotFound: There is none with this id.
        """
        return self._children.find(id).spec

    def which_children(self) -> Sequence[ChildInfo]:
        """Return what there is to know about each child, in start order."""
        return [child.info for child in self._children]

    def count_children(self) -> ChildCounts:
        """Return how many children there are, how many run, and how many of them are supervisors."""
        return count(self._children)

    def tree(self) -> str:
        """Draw the running tree as text: a line for each actor, with what it is doing."""
        return picture(self._children)

    @property
    def children(self) -> Children:
        """For the runtime: who is below."""
        return self._children

    def reconfigure(
        self,
        children: Iterable[AnySpec] = (),
        *,
        strategy: Strategy | None = None,
        max_restarts: int | None = None,
        max_seconds: float | None = None,
        auto_shutdown: AutoShutdown | None = None,
    ) -> None:
        """Change the rules and the specs of a running supervisor, all at once or not at all.

        New rules count at once, for the restarts there were too. A new spec counts from the child's next start on; its
        reference, and with it its mailbox, stays. A spec with a new id is added but not started; a child for which
        there is no new spec stays (OTP's `code_change`).

        Args:
            children: New specs.
            strategy: As for `Supervisor`; default as it is, and so for all below.
            max_restarts: As for `Supervisor`.
            max_seconds: As for `Supervisor`.
            auto_shutdown: As for `Supervisor`.

        Raises:
            ChildAlreadyExists: Two of the specs have the same id; nothing was changed.
            InvalidArgument: A value cannot be accepted; nothing was changed.
            TooManyChildren: There would be more than a pool may have; nothing was changed.
        """
        given = {
            "strategy": strategy,
            "max_restarts": max_restarts,
            "max_seconds": max_seconds,
            "auto_shutdown": auto_shutdown,
        }
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._children.change(replace(self._children.flags, **changed), children)

    async def stop(self, *, drain: bool = False, timeout: float | None = None) -> None:
        """Stop the tree before the body of its `async with` ends; returns when all is stopped.

        The body goes on; one that is to end with the tree awaits `wait()`. A branch of another tree is not stopped by
        this, but by `terminate_child` of whoever owns it.

        Args:
            drain: Whether the actors handle what waits for them before they stop; nothing new is accepted meanwhile.
            timeout: How long that may take, in seconds; default without limit. What is left then is answered with
                `ActorStopped`.

        Raises:
            WouldDeadlock: The caller is part of the tree.
        """
        refuse_to_wait_for(self._children.address)
        if self._root is not None:
            await self._root.stop(drain=drain, timeout=timeout)

    def hurry(self) -> None:
        """Cut a stop that is under way short: every actor is cancelled now, as if its time were over."""
        if self._root is not None:
            self._root.hurry()

    async def wait(self) -> ExitReason:
        """Wait until the supervisor has ended, and return why.

        Awaited by the body itself, its end does not cancel the body meanwhile; in a task beside it does.

        Raises:
            ActorStopped: It was never started, or is not the root of its tree.
        """
        if self._root is None:
            raise ActorStopped(self.name)
        return await self._root.wait()

    async def _call(self, order: CallerOrder) -> object:
        address = self._children.address
        if address is None:
            raise ActorStopped(self.name)
        if isinstance(order, TerminateChild):
            refuse_to_wait_for(self._children.find(order.id).ref)
        elif self._starts_one_by_one:
            refuse_to_wait_in_start_below(self._children.address)
        # How long this takes is bounded by the timeouts of the children.
        return await address.ask(order, timeout=math.inf)

    def _refuse_second_start(self) -> None:
        address = self._children.address
        if address is not None and address.status is not Status.STOPPED:
            raise AlreadyStarted(self.name)

    @property
    def _starts_one_by_one(self) -> bool:
        """Whether a start waits for all starts before it."""
        address = self._children.address
        is_starting = address is not None and address.status is Status.STARTING
        return is_starting or self._children.flags.strategy is not Strategy.ONE_FOR_ONE

    # --- the actor: runs in the supervisor's own task

    async def init(self, ctx: ActorContext[SupervisorMessage, object]) -> None:
        """Start the children in order; if one does not start, stop the others in reverse order."""
        if self._children.address is not ctx.ref:
            self._refuse_second_start()
        if self._children.address is not None:
            self._children = self._children.anew()
            self._jobs = Jobs(self._children)
        children, jobs = self._children, self._jobs
        children.address = ctx.ref
        self._report_up = ctx.emit
        ctx.ref.mailbox.stop_wish.add_done_callback(lambda _: jobs.give_up())
        try:
            for child in list(children):
                if children.has(child):
                    await children.start(child, jobs.over)
        except asyncio.CancelledError:
            raise
        except BaseException:
            await children.stop_all(at_once=self.stops_at_once, drain_until=None)
            raise

    async def receive_batch(
        self,
        requests: Sequence[Request[SupervisorMessage, object]],
        ctx: ActorContext[SupervisorMessage, object],
    ) -> None:
        """Handle one message; a refusal is an answer, only giving up is a crash."""
        for request in requests:
            match request.message:
                case ChildExited(child, reason, is_known):
                    self._jobs.restart(child, self._children.restarts.exited(child, reason, is_known=is_known))
                case RestartFailed(child, error):
                    self._jobs.restart(child, self._children.restarts.restart_failed(child, error))
                case JobFailed(error):
                    raise error
                case order:
                    try:
                        self._jobs.carry_out(order, request)
                    except (SupervisorError, InvalidArgument) as error:
                        request.fail(error)

    async def on_stop(self, reason: ExitReason) -> None:
        """Stop the children in reverse order."""
        if isinstance(reason.error, RestartIntensityExceeded):
            self._emit(SupervisorGaveUp(self.name, reason.error))
        children = self._children
        self._jobs.give_up()
        await self._jobs.finished()
        drain_until = None if children.address is None else children.address.mailbox.drain_until
        await children.stop_all(at_once=self.stops_at_once, drain_until=drain_until)

    async def on_kill(self) -> None:
        """Cancel the children, all at once."""
        children = self._children
        self._jobs.give_up()
        self._jobs.cancel()
        await self._jobs.finished()
        await children.kill_all()

    @property
    def kill_time(self) -> float:
        """How long its children may take to end when they are cancelled, in seconds."""
        return self._children.kill_time

    def _emit(self, event: SupervisorEvent) -> None:
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                logger.exception("supervisor %s: on_event raised", self.name)
        if self._report_up is not None:
            self._report_up(event)
