"""The root of a tree: an actor linked to the body of an `async with`, as Erlang links a process to its parent."""

import asyncio
from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

from eventree.actors.actor.actor import Actor
from eventree.actors.actor.request import Request
from eventree.actors.events import SupervisorEvent
from eventree.actors.exits import ExitKind, ExitReason, wish_to_exit
from eventree.actors.supervision.child import Child
from eventree.actors.supervision.spec import ChildSpec
from eventree.errors import ActorError, ActorStopped, ChildStartError

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class Root(Generic[MessageT, ReplyT]):
    """Run an actor from entry to exit of a body; if it ends before, cancel the body and raise why."""

    address = None
    kill_grace = 1.0

    def __init__(self, name: str, actor: Actor[MessageT, ReplyT]) -> None:
        """Make the root; nothing runs yet."""
        self._child = Child(ChildSpec(id=name, start=lambda: actor, start_timeout=float("inf")), self)
        self._host: asyncio.Task[object] | None = None
        self._is_entered = False
        self._host_waits = False
        self._host_cancelled = False
        self._ended: asyncio.Future[ExitReason] | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the actor in a task of its own and link it to the current task.

        Raises:
            BaseException: What its `init` raised.
        """
        self._host = asyncio.current_task()
        self._ended = asyncio.get_running_loop().create_future()
        starting = asyncio.ensure_future(self._child.start(asyncio.get_running_loop().create_future()))
        cancelled = await self._wait_for_start(starting)
        error = starting.exception() if not starting.cancelled() else None
        if error is None and cancelled is None and not starting.cancelled():
            self._is_entered = True
            if self._ended.done():  # it has ended already, before anybody could be told
                self._tell_host()
            return
        if error is None:
            await self._child.kill()
        self._child.close()
        if cancelled is not None:
            raise cancelled
        if isinstance(error, ChildStartError) and error.__cause__ is not None:
            raise error.__cause__
        raise error or ActorStopped(self._child.spec.id)

    async def _wait_for_start(self, starting: "asyncio.Task[None]") -> asyncio.CancelledError | None:
        """Wait for a start to end; a cancellation gives it up in order, a second one at once.

        Returns:
            The cancellation, if there was one.
        """
        cancelled: asyncio.CancelledError | None = None
        while not starting.done():
            try:
                await asyncio.wait({starting})
            except asyncio.CancelledError as error:
                if cancelled is None:
                    self._child.ref.mailbox.ask_to_stop()
                else:
                    starting.cancel()
                cancelled = error
        return cancelled

    async def stop(self, *, drain: bool = False, timeout: float | None = None, cancelled_before: bool = False) -> None:
        """Stop the actor, whatever happens meanwhile; a further wish only waits for the first.

        A cancellation of the caller does not cut the stop short, and is raised afterwards; a second one makes it quick:
        all is cancelled at once.

        Args:
            drain: Whether to handle what waits first.
            timeout: How long that may take, in seconds.
            cancelled_before: Whether the stop is itself the answer to a cancellation, the first.
        """
        if self._stopping is None:
            drain_until = asyncio.get_running_loop().time() + (float("inf") if timeout is None else timeout)
            self._stopping = asyncio.ensure_future(self._stop(drain_until if drain else None))
        cancelled: asyncio.CancelledError | None = None
        while not self._stopping.done():
            try:
                await asyncio.wait({self._stopping})
            except asyncio.CancelledError as error:
                if cancelled is not None or cancelled_before:
                    self.hurry()
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def hurry(self) -> None:
        """Make a stop that is under way quick: all is cancelled at once."""
        self._child.hurry()

    async def leave(self, error: BaseException | None) -> bool:
        """Stop the actor at the end of the body, and raise its failure if it had one.

        Args:
            error: What the body raised.

        Returns:
            Whether that is only our own cancellation, because the actor ended by itself.
        """
        cancelled: asyncio.CancelledError | None = None
        try:
            await self.stop(cancelled_before=isinstance(error, asyncio.CancelledError))
        except asyncio.CancelledError as cancellation:
            cancelled = cancellation
        ours = self._host_cancelled and self._host is not None and self._host.uncancel() == 0
        self._host_cancelled = False
        reason = self._ended.result() if self._ended is not None and self._ended.done() else None
        if reason is not None and reason.abnormal and reason.error is not None:
            raise reason.error
        if cancelled is not None and not ours:
            raise cancelled
        return ours and isinstance(error, asyncio.CancelledError)

    async def wait(self) -> ExitReason:
        """Wait until the actor has ended and return why; the body is not cancelled while it waits here."""
        assert self._ended is not None  # noqa: S101 - who enters has started
        is_host = asyncio.current_task() is self._host
        self._host_waits = self._host_waits or is_host
        try:
            return await asyncio.shield(self._ended)
        finally:
            if is_host:
                self._host_waits = False

    async def _stop(self, drain_until: float | None) -> None:
        end = await self._child.stop(drain_until=drain_until)
        self._child.close()
        is_wish = end is not None and wish_to_exit(end.error) is not None
        self._end(end if is_wish and end is not None else ExitReason(ExitKind.SHUTDOWN))

    def _tell_host(self) -> None:
        if self._host is not None and not self._host.done() and not self._host_waits:
            self._host_cancelled = True
            self._host.cancel()

    def _end(self, reason: ExitReason) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    # --- as the owner of one child

    def emit(self, event: SupervisorEvent) -> None:
        """See `Owner`: nobody is above."""

    def child_exited(self, child: Child[Any, Any], reason: ExitReason) -> None:
        """See `Owner`: the body learns of it."""
        child.close()
        if reason.kind is ExitKind.KILLED and reason.error is None:
            reason = ExitReason(ExitKind.KILLED, ActorStopped(child.spec.id))
        self._end(reason)
        if self._is_entered:
            self._tell_host()

    def child_abandoned(self, child: Child[Any, Any]) -> None:
        """See `Owner`; the child has logged it."""

    def dropped(self, actor: Hashable, requests: Sequence[Request[Any, Any]], why: ActorError | None) -> None:
        """See `Owner`: nobody writes to the root."""
