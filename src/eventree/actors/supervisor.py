"""The supervisor: an actor that starts other actors, watches them, restarts them and stops them in order."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Never, Self, TypeAlias, TypeVar, cast

from eventree.actors.actor import Actor, ActorContext
from eventree.actors.child import Child, ChildInfo
from eventree.actors.mailbox import Request
from eventree.actors.policy import ExitKind, ExitReason, Restart, RestartWindow, Strategy, is_restarted, restart_group
from eventree.actors.ref import ActorRef
from eventree.actors.root import Root
from eventree.actors.spec import ChildSpec
from eventree.errors import (
    ActorStopped,
    ChildAlreadyExists,
    ChildNotFound,
    ChildStartError,
    RestartIntensityExceeded,
    SupervisorError,
)

logger = logging.getLogger("eventree")

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")

AnyChild: TypeAlias = Child[Any, Any]


@dataclass(frozen=True, slots=True)
class StartChild:
    """Add a child and start it."""

    spec: ChildSpec[Never, object]


@dataclass(frozen=True, slots=True)
class TerminateChild:
    """Stop a child and keep its spec."""

    id: Hashable


@dataclass(frozen=True, slots=True)
class RestartChild:
    """Start a stopped child again."""

    id: Hashable


@dataclass(frozen=True, slots=True)
class ChildExited:
    """A child ended by itself, or could not be started again."""

    child: AnyChild
    reason: ExitReason


SupervisorMessage: TypeAlias = StartChild | TerminateChild | RestartChild | ChildExited


class Supervisor(Actor[SupervisorMessage, object]):
    """Keep children running: start them in order, restart the ones that crash, stop them in reverse order.

    `async with Supervisor([...])` runs it as the root of a tree: the body begins when all children are up, and they
    are stopped when it ends. If the supervisor gives up, the body is cancelled and `RestartIntensityExceeded` raised.
    As a child of another supervisor it is made by a `ChildSpec` like any actor. The rules are those of Erlang/OTP's
    `supervisor`, with one exception: giving up counts as a crash for the parent, so that no subtree goes missing
    silently.
    """

    default_shutdown = math.inf

    def __init__(
        self,
        children: Iterable[ChildSpec[Never, object]] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        name: str = "supervisor",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe the tree; nothing is started yet.

        Args:
            children: The children in start order; their ids must differ.
            strategy: Which children are restarted when one ends; default only that one.
            max_restarts: How many restarts are allowed within `max_seconds`; default 3 (Elixir's default). One more
                and the supervisor stops its children and gives up.
            max_seconds: The length of that window, in seconds; default 5.
            name: Names the supervisor in errors and logs.
            clock: Returns the time in seconds; for tests.

        Raises:
            ChildAlreadyExists: Two children have the same id.
            InvalidArgument: A number is out of range.
        """
        self.name = name
        self._strategy = strategy
        self._window = RestartWindow(max_restarts, max_seconds, clock)
        self._children: dict[Hashable, AnyChild] = {}
        self._ref: ActorRef[SupervisorMessage, object] | None = None
        self._root: Root[SupervisorMessage, object] | None = None
        for spec in children:
            self._add(spec)

    # --- the public face: each call is a message, so that the tree changes one step at a time

    async def __aenter__(self) -> Self:
        """Start the tree; returns when every child's `init` has returned.

        Raises:
            ChildStartError: A child did not start; the others were stopped again.
        """
        self._root = Root(self.name, self)
        await self._root.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the children in reverse order, then raise the supervisor's own failure if it gave up."""
        if self._root is not None:
            await self._root.stop()

    async def start_child(self, spec: ChildSpec[MessageT, ReplyT]) -> ActorRef[MessageT, ReplyT]:
        """Add a child at the end and start it.

        Returns:
            Its reference, once its `init` has returned.

        Raises:
            ChildAlreadyExists: There is a child with this id.
            ChildStartError: It did not start; its spec is not kept.
        """
        return cast("ActorRef[MessageT, ReplyT]", await self._call(StartChild(spec)))

    async def terminate_child(self, id: Hashable) -> None:
        """Stop a child and do not restart it; its spec is kept unless it is temporary.

        Raises:
            ChildNotFound: There is none with this id.
        """
        await self._call(TerminateChild(id))

    async def restart_child(self, id: Hashable) -> ActorRef[Never, object]:
        """Start a child again that was terminated or ended; does nothing if it is running.

        Returns:
            Its reference.

        Raises:
            ChildNotFound: There is none with this id.
            ChildStartError: It did not start; its spec is kept.
        """
        return cast("ActorRef[Never, object]", await self._call(RestartChild(id)))

    def which_children(self) -> Sequence[ChildInfo]:
        """Return what there is to know about each child, in start order."""
        return [child.info for child in self._children.values()]

    async def _call(self, message: SupervisorMessage) -> object:
        if self._ref is None:
            raise ActorStopped(self.name)
        # How long this takes is bounded by the timeouts of the children.
        return await self._ref.ask(message, timeout=math.inf)

    # --- the actor: runs in the supervisor's own task

    async def init(self, ctx: ActorContext[SupervisorMessage, object]) -> None:
        """Start the children in order; if one does not start, stop the others in reverse order."""
        self._ref = ctx.ref
        try:
            for child in self._children.values():
                await self._start(child)
        except SupervisorError:
            await self._stop_children()
            raise

    async def receive_batch(
        self,
        requests: Sequence[Request[SupervisorMessage, object]],
        ctx: ActorContext[SupervisorMessage, object],
    ) -> None:
        """Handle one message; a refusal is an answer, only giving up is a crash."""
        for request in requests:
            if isinstance(request.message, ChildExited):
                await self._child_exited(request.message.child, request.message.reason)
                continue
            try:
                request.reply(await self._handle(request.message))
            except SupervisorError as error:
                request.fail(error)

    async def on_stop(self, reason: ExitReason) -> None:
        """Stop the children in reverse order."""
        await self._stop_children()

    async def on_kill(self) -> None:
        """Cancel the children, all at once."""
        await asyncio.gather(*(child.kill() for child in self._children.values()))

    async def _handle(self, message: StartChild | TerminateChild | RestartChild) -> object:
        match message:
            case StartChild(spec):
                return await self._start_new(spec)
            case TerminateChild(id):
                child = self._find(id)
                await child.stop()
                self._retire(child)
                return None
            case RestartChild(id):
                child = self._find(id)
                if not child.running:
                    await self._start_again(child)
                return cast("ActorRef[Never, object]", child.ref)

    async def _start_new(self, spec: ChildSpec[Never, object]) -> ActorRef[Never, object]:
        child = self._add(spec)
        try:
            await self._start(child)
        except ChildStartError:
            child.close()
            del self._children[spec.id]
            raise
        return cast("ActorRef[Never, object]", child.ref)

    async def _start_again(self, child: AnyChild) -> None:
        try:
            await self._start(child)
        except ChildStartError:
            self._retire(child)
            raise

    async def _child_exited(self, child: AnyChild, reason: ExitReason) -> None:
        """Decide about a restart. A message from a child that was stopped or replaced meanwhile means nothing."""
        if self._children.get(child.spec.id) is not child or child.running:
            return
        if isinstance(reason.error, SystemExit | KeyboardInterrupt):
            raise reason.error
        restarted = is_restarted(child.spec.restart, reason)
        self._report(child, reason, restarted=restarted)
        if not restarted:
            self._retire(child)
            return
        if not self._window.admit(reason.error):
            window = self._window
            raise RestartIntensityExceeded(self.name, window.max_restarts, window.max_seconds, window.crashes)
        await self._restart(child)

    async def _restart(self, failed: AnyChild) -> None:
        """Stop the failed child's group in reverse order and start it in order; temporary siblings are dropped."""
        group = [self._children[id] for id in restart_group(self._strategy, list(self._children), failed.spec.id)]
        for child in reversed(group):
            await child.stop()
            if child is not failed and child.spec.restart is Restart.TEMPORARY:
                self._retire(child)
        for child in group:
            if child.spec.id in self._children:
                child.restarts += 1
                try:
                    await self._start(child)
                except ChildStartError as error:
                    self._try_again(child, error)
                    return

    def _try_again(self, child: AnyChild, error: ChildStartError) -> None:
        """Put a restart that failed back into our own mailbox, so that a wish to stop comes between (OTP-9549)."""
        if isinstance(error.__cause__, SystemExit | KeyboardInterrupt):
            raise error.__cause__
        self._exited(child, ExitReason(ExitKind.CRASH, error))

    async def _start(self, child: AnyChild) -> None:
        if self._ref is not None:
            await child.start(self._exited, self._ref.mailbox.stop_wish)

    def _exited(self, child: AnyChild, reason: ExitReason) -> None:
        if self._ref is not None:
            self._ref.mailbox.put_control(Request(ChildExited(child, reason)))

    async def _stop_children(self) -> None:
        for child in reversed(self._children.values()):
            await child.stop()
            child.close()

    def _add(self, spec: ChildSpec[Never, object]) -> AnyChild:
        if spec.id in self._children:
            raise ChildAlreadyExists(spec.id)
        child: AnyChild = Child(spec)
        self._children[spec.id] = child
        return child

    def _find(self, id: Hashable) -> AnyChild:
        try:
            return self._children[id]
        except (KeyError, TypeError):  # what cannot be hashed is no child's id
            raise ChildNotFound(id) from None

    def _retire(self, child: AnyChild) -> None:
        """Leave a child stopped; a temporary one is forgotten."""
        child.close()
        if child.spec.restart is Restart.TEMPORARY:
            del self._children[child.spec.id]

    def _report(self, child: AnyChild, reason: ExitReason, *, restarted: bool) -> None:
        if reason.abnormal:
            logger.error(
                "supervisor %s: child %r (incarnation %d) %s, %s",
                self.name,
                child.spec.id,
                child.ref.incarnation,
                reason.kind.value,
                "restarting it" if restarted else "not restarting it",
                exc_info=reason.error,
            )
