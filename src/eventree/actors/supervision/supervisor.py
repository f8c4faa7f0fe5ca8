"""The supervisor: an actor that starts, watches, restarts and stops other actors."""

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
from eventree.actors.supervision.diagram import ChildCounts, count, draw
from eventree.actors.supervision.messages import (
    AnySpec,
    ChildExited,
    OperationFailed,
    RestartChild,
    RestartFailed,
    StartChild,
    SupervisorCall,
    SupervisorMessage,
    TerminateChild,
)
from eventree.actors.supervision.operations import Operations
from eventree.actors.supervision.options import AutoShutdown, Strategy, SupervisorOptions
from eventree.actors.supervision.root import Root
from eventree.actors.supervision.spec import ChildSpec
from eventree.errors import (
    ActorStopped,
    AlreadyStarted,
    InvalidArgument,
    RestartIntensityExceeded,
    SupervisorError,
)
from eventree.errors.failures import is_failure
from eventree.errors.showing import loggable

logger = logging.getLogger("eventree")

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class Supervisor(Actor[SupervisorMessage, object]):
    """Keep children running: start them in order, restart those that crash, stop them in reverse order.

    `async with Supervisor([...])` runs it as the root of a tree: the body begins when all children are up, and they
    are stopped when it ends. If the supervisor gives up, the body is cancelled and `RestartIntensityExceeded` raised.
    As a child of another supervisor it is created by a `ChildSpec` like any actor. There, `start` may return the same
    supervisor each time, so that this object can be used to manage the branch; after a restart it has the children it
    was created with, not those added later. The rules are those of Erlang/OTP's `supervisor`, with one exception:
    giving up counts as a crash for the parent, so that no subtree disappears silently. Levels multiply: with 3
    restarts at each of two levels, a child may start 16 times before the top gives up.
    """

    default_shutdown = math.inf
    reusable: ClassVar[bool] = True
    is_supervisor: ClassVar[bool] = True
    stops_concurrently: ClassVar[bool] = False
    """Whether the children are stopped concurrently instead of in reverse order."""
    forgets_stopped: ClassVar[bool] = False
    """Whether a child that has exited or was terminated is removed even if it is not temporary."""

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
            strategy: Which children are restarted when one exits; default only that one.
            max_restarts: How many restarts are allowed within `max_seconds`; default 3 (Elixir's default). If one more
                is needed, the supervisor stops its children and gives up.
            max_seconds: The length of that window, in seconds; default 5.
            auto_shutdown: Whether it shuts down when its significant children have exited; default never.
            name: The supervisor's name in errors and logs.
            on_event: Called with every event of this supervisor and the tree below it; if it raises, that is logged.
                Default none.
            kill_grace: Seconds a cancelled child may take to end before it is abandoned; default 1.
            clock: For tests: returns a monotonic time in seconds; default `time.monotonic`.

        Raises:
            ChildAlreadyExists: Two children have the same id.
            InvalidArgument: A number is out of range, or a child does not fit the options.
        """
        self.name = name
        options = SupervisorOptions(
            strategy=strategy, max_restarts=max_restarts, max_seconds=max_seconds, auto_shutdown=auto_shutdown
        )
        self._children = Children(
            name,
            options,
            forget_stopped=self.forgets_stopped,
            clock=clock,
            kill_grace=kill_grace,
            emit=self._emit,
            specs=children,
        )
        self._operations = Operations(self._children)
        self._on_event = on_event
        self._report_up: Callable[[SupervisorEvent], None] | None = None
        self._root: Root[SupervisorMessage, object] | None = None

    # --- the public face: slow operations are messages, so that the tree changes one step at a time

    async def __aenter__(self) -> Self:
        """Start the tree; returns when every child's `init` has returned.

        Raises:
            AlreadyStarted: It is already running, here or under another supervisor.
            WrongEventLoop: It is already running, in another event loop.
            ChildStartError: A child did not start; those started before it were stopped again.
        """
        self._refuse_second_start()
        self._root = Root(self.name, self)
        await self._root.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:  # as a plain bool, type checkers would expect any exception of the body to be swallowed
        """Stop the children in reverse order, then raise the supervisor's own error if it gave up.

        Returns:
            Whether the body was only cancelled because the supervisor had shut down by `auto_shutdown`.
        """
        address = self._children.address
        home = None if address is None else address.mailbox.home
        if self._root is None or (home is not None and home.passes_on(error)):
            return None
        self._check_loop()
        return await self._root.exit(error)

    async def start_child(self, spec: ChildSpec[MessageT, ReplyT]) -> ActorRef[MessageT, ReplyT]:
        """Add a child at the end and start it.

        Returns:
            Its reference, once its `init` has returned; the reference of a stopped actor if that raised `Ignore`.

        Raises:
            ChildAlreadyExists: There is a child with this id.
            ChildStartError: It did not start; its spec is not kept.
            WouldDeadlock: The caller is a child that is being started itself while starts are sequential: during the
                start of the supervisor, and with every strategy except one_for_one.
            InvalidArgument: It is significant while `auto_shutdown` is NEVER.
        """
        return cast("ActorRef[MessageT, ReplyT]", await self._call(StartChild(spec)))

    async def terminate_child(self, id: Hashable) -> None:
        """Stop a child for good, even one that is being restarted; its spec is kept unless it is temporary.

        Raises:
            ChildNotFound: There is no child with this id.
            WouldDeadlock: The caller is that child, or below it.
        """
        await self._call(TerminateChild(id))

    async def restart_child(self, id: Hashable) -> ActorRef[Never, object]:
        """Start a child again that was terminated or has exited.

        Returns:
            Its reference.

        Raises:
            ChildNotFound: There is no child with this id.
            ChildRunning: It is running.
            ChildRestarting: It is already being started.
            ChildStartError: It did not start; its spec is kept.
        """
        return cast("ActorRef[Never, object]", await self._call(RestartChild(id)))

    def delete_child(self, id: Hashable) -> None:
        """Remove a stopped child.

        Raises:
            ChildNotFound: There is no child with this id.
            ChildRunning: It is running; terminate it first.
            ChildRestarting: It is being started.
            WrongEventLoop: The caller runs in another event loop than the supervisor.
        """
        self._check_loop()
        self._children.delete(id)

    @overload
    def ref(self, child: ChildSpec[MessageT, ReplyT]) -> ActorRef[MessageT, ReplyT]: ...

    @overload
    def ref(self, child: Hashable) -> ActorRef[Never, object]: ...

    def ref(self, child: Hashable) -> ActorRef[Never, object]:
        """Return the reference of a child.

        Args:
            child: Its id, or its spec, which tells the type checker what messages it takes.

        Raises:
            ChildNotFound: There is no child with this id.
        """
        id = child.id if isinstance(child, ChildSpec) else child
        return cast("ActorRef[Never, object]", self._children.find(id).ref)

    def get_childspec(self, id: Hashable) -> AnySpec:
        """Return the spec of a child.

        Raises:
            ChildNotFound: There is no child with this id.
        """
        return self._children.find(id).spec

    def which_children(self) -> Sequence[ChildInfo]:
        """Describe each child, in start order."""
        return [child.info for child in self._children]

    def count_children(self) -> ChildCounts:
        """Count the children: all, running, supervisors, workers."""
        return count(self._children)

    def tree(self) -> str:
        """Draw the running tree as text, one line per actor with its status."""
        return draw(self._children)

    @property
    def children(self) -> Children:
        """For the runtime: the children."""
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
        """Change the options and specs of a running supervisor, all at once or not at all.

        New options apply at once, also to the restarts counted so far. A new spec applies from the child's next start;
        the child keeps its reference, and with it its mailbox. A spec with a new id is added but not started; a child
        without a new spec stays as it is (OTP's `code_change`).

        Args:
            children: New specs.
            strategy: As for `Supervisor`; default unchanged, as for the other options.
            max_restarts: As for `Supervisor`.
            max_seconds: As for `Supervisor`.
            auto_shutdown: As for `Supervisor`.

        Raises:
            ChildAlreadyExists: Two of the specs have the same id; nothing was changed.
            InvalidArgument: A value is invalid; nothing was changed.
            TooManyChildren: There would be more than `max_children`; nothing was changed.
            WrongEventLoop: The caller runs in another event loop than the supervisor.
        """
        self._check_loop()
        given = {
            "strategy": strategy,
            "max_restarts": max_restarts,
            "max_seconds": max_seconds,
            "auto_shutdown": auto_shutdown,
        }
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._children.reconfigure(replace(self._children.options, **changed), children)

    async def stop(self, *, drain: bool = False, timeout: float | None = None) -> None:
        """Stop the tree before the body of its `async with` ends; returns when it has stopped.

        The body continues; to end the body with the tree, await `wait()` in it. To stop a branch of another tree, use
        `terminate_child` of its parent instead.

        Args:
            drain: Whether the actors process their queued messages before they stop, refusing new ones; default False.
            timeout: How long that may take, in seconds; default unlimited. Messages left over are answered with
                `ActorStopped`.

        Raises:
            WouldDeadlock: The caller is part of the tree.
            WrongEventLoop: The caller runs in another event loop than the supervisor.
        """
        self._check_loop()
        refuse_to_wait_for(self._children.address)
        if self._root is not None:
            await self._root.stop(drain=drain, timeout=timeout)

    def cancel_now(self) -> None:
        """Cancel every actor at once, in a stop that is in progress, as if its shutdown time had passed.

        Raises:
            WrongEventLoop: The caller runs in another event loop than the supervisor.
        """
        self._check_loop()
        if self._root is not None:
            self._root.cancel_now()

    async def wait(self) -> ExitReason:
        """Wait until the supervisor has exited and return the reason.

        While the body itself waits here, the exit does not cancel it; while another task waits, it does.

        Raises:
            ActorStopped: It was never started, or is not the root of a tree.
            WrongEventLoop: The caller runs in another event loop than the supervisor.
        """
        self._check_loop()
        if self._root is None:
            raise ActorStopped(self.name)
        return await self._root.wait()

    async def _call(self, call: SupervisorCall) -> object:
        address = self._children.address
        if address is None:
            raise ActorStopped(self.name)
        address.check_loop()
        if isinstance(call, TerminateChild):
            refuse_to_wait_for(self._children.find(call.id).ref)
        elif self._starts_sequentially:
            refuse_to_wait_in_start_below(self._children.address)
        # The timeouts of the children bound how long this takes.
        return await address.ask(call, timeout=math.inf)

    def _check_loop(self) -> None:
        if self._children.address is not None:
            self._children.address.check_loop()

    def _refuse_second_start(self) -> None:
        self._check_loop()
        address = self._children.address
        if address is not None and address.status is not Status.STOPPED:
            raise AlreadyStarted(self.name)

    @property
    def _starts_sequentially(self) -> bool:
        """Whether a start waits for all starts before it."""
        address = self._children.address
        is_starting = address is not None and address.status is Status.STARTING
        return is_starting or self._children.options.strategy.restarts_siblings

    # --- the actor: runs in the supervisor's own task

    async def init(self, ctx: ActorContext[SupervisorMessage, object]) -> None:
        """Start the children in order; if one does not start, stop those before it in reverse order."""
        if self._children.address is not ctx.ref:
            self._refuse_second_start()
        if self._children.address is not None:
            self._children = self._children.for_restart()
            self._operations = Operations(self._children)
        children, operations = self._children, self._operations
        children.address = ctx.ref
        self._report_up = ctx.emit
        ctx.ref.mailbox.stop_requested.add_done_callback(lambda _: operations.refuse_starts())
        try:
            for child in list(children):
                if children.has(child):
                    await children.start(child, operations.starts_refused)
        except asyncio.CancelledError:
            raise
        except BaseException:
            await children.stop_all(concurrently=self.stops_concurrently, drain_until=None)
            raise

    async def receive_batch(
        self,
        requests: Sequence[Request[SupervisorMessage, object]],
        ctx: ActorContext[SupervisorMessage, object],
    ) -> None:
        """Handle messages; a call that is not possible is answered with an error and does not crash the supervisor."""
        for request in requests:
            match request.message:
                case ChildExited(child, reason, is_reported):
                    delay = self._children.restarts.on_exit(child, reason, is_reported=is_reported)
                    self._operations.restart(child, delay)
                case RestartFailed(child, error):
                    delay = self._children.restarts.on_failed_restart(child, error)
                    self._operations.restart(child, delay)
                case OperationFailed(error):
                    raise error
                case call:
                    try:
                        self._operations.call(call, request)
                    except (SupervisorError, InvalidArgument) as error:
                        request.fail(error)

    async def on_stop(self, reason: ExitReason) -> None:
        """Stop the children in reverse order."""
        if isinstance(reason.error, RestartIntensityExceeded):
            self._emit(SupervisorGaveUp(self.name, reason.error))
        children = self._children
        self._operations.refuse_starts()
        await self._operations.finished()
        drain_until = None if children.address is None else children.address.mailbox.drain_until
        await children.stop_all(concurrently=self.stops_concurrently, drain_until=drain_until)

    async def on_kill(self) -> None:
        """Cancel the children concurrently."""
        children = self._children
        self._operations.refuse_starts()
        self._operations.cancel()
        await self._operations.finished()
        await children.kill_all()

    @property
    def kill_time(self) -> float:
        """The longest time, in seconds, that its children may take to end once they are cancelled."""
        return self._children.kill_time

    def _emit(self, event: SupervisorEvent) -> None:
        if self._on_event is not None:
            try:
                self._on_event(event)
            except BaseException as error:
                if not is_failure(error):
                    raise
                self._log_listener_failure(error)
        if self._report_up is not None:
            self._report_up(event)

    def _log_listener_failure(self, error: BaseException) -> None:
        logger.error("supervisor %s: on_event raised", self.name, exc_info=loggable(error))
