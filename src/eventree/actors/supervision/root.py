"""The root of a tree: an actor linked to the body of an `async with`, as Erlang links a process to its parent."""

import asyncio
from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

from eventree.actors.actor.actor import Actor
from eventree.actors.actor.request import Request
from eventree.actors.events import SupervisorEvent
from eventree.actors.exits import ExitKind, ExitReason, exit_request
from eventree.actors.supervision.child import Child
from eventree.actors.supervision.spec import ChildSpec
from eventree.errors import ActorError, ActorStopped, ChildStartError

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class Root(Generic[MessageT, ReplyT]):
    """Run an actor for the duration of a body; if it exits first, cancel the body and raise its error."""

    address = None
    kill_grace = 1.0

    def __init__(self, name: str, actor: Actor[MessageT, ReplyT]) -> None:
        """Create the root; nothing runs yet."""
        self._child = Child(ChildSpec(id=name, start=lambda: actor, start_timeout=float("inf")), self)
        self._body: asyncio.Task[object] | None = None
        self._is_entered = False
        self._body_waits = False
        self._body_cancelled = False
        self._exit: asyncio.Future[ExitReason] | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the actor in its own task and link it to the current task.

        Raises:
            BaseException: The exception of its `init`.
        """
        self._body = asyncio.current_task()
        self._exit = asyncio.get_running_loop().create_future()
        starting = asyncio.ensure_future(self._child.start(asyncio.get_running_loop().create_future()))
        cancelled = await self._wait_for_start(starting)
        error = starting.exception() if not starting.cancelled() else None
        if error is None and cancelled is None and not starting.cancelled():
            self._is_entered = True
            if self._exit.done():  # it exited before the body was entered
                self._cancel_body()
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
        """Wait until a start has finished; the first cancellation aborts it in order, the second at once.

        Returns:
            The cancellation, if there was one.
        """
        cancelled: asyncio.CancelledError | None = None
        while not starting.done():
            try:
                await asyncio.wait({starting})
            except asyncio.CancelledError as error:
                if cancelled is None:
                    self._child.ref.mailbox.request_stop()
                else:
                    starting.cancel()
                cancelled = error
        return cancelled

    async def stop(self, *, drain: bool = False, timeout: float | None = None, cancelled_before: bool = False) -> None:
        """Stop the actor; a second call waits for the first.

        If the caller is cancelled, the stop continues and the cancellation is raised afterwards; a second cancellation
        cancels the whole tree at once.

        Args:
            drain: Whether to process the queued messages first.
            timeout: How long that may take, in seconds; default unlimited.
            cancelled_before: Whether the caller was cancelled already, so that the next cancellation is the second.
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
                    self.cancel_now()
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def cancel_now(self) -> None:
        """Cancel the whole tree at once, in a stop that is in progress."""
        self._child.cancel_now()

    async def exit(self, error: BaseException | None) -> bool:
        """Stop the actor at the end of the body, and raise its error if it crashed.

        Args:
            error: The exception of the body; None if it raised none.

        Returns:
            Whether `error` is only the cancellation that this root sent because the actor had exited.
        """
        cancelled: asyncio.CancelledError | None = None
        try:
            await self.stop(cancelled_before=isinstance(error, asyncio.CancelledError))
        except asyncio.CancelledError as cancellation:
            cancelled = cancellation
        ours = self._body_cancelled and self._body is not None and self._body.uncancel() == 0
        self._body_cancelled = False
        reason = self._exit.result() if self._exit is not None and self._exit.done() else None
        if reason is not None and reason.abnormal and reason.error is not None:
            raise reason.error
        if cancelled is not None and not ours:
            raise cancelled
        return ours and isinstance(error, asyncio.CancelledError)

    async def wait(self) -> ExitReason:
        """Wait until the actor has exited and return the reason; a body that waits here is not cancelled."""
        assert self._exit is not None  # noqa: S101 - `start` has set it
        is_body = asyncio.current_task() is self._body
        self._body_waits = self._body_waits or is_body
        try:
            return await asyncio.shield(self._exit)
        finally:
            if is_body:
                self._body_waits = False

    async def _stop(self, drain_until: float | None) -> None:
        reason = await self._child.stop(drain_until=drain_until)
        self._child.close()
        if reason is None or exit_request(reason.error) is None:
            reason = ExitReason(ExitKind.SHUTDOWN)
        self._record_exit(reason)

    def _cancel_body(self) -> None:
        if self._body is not None and not self._body.done() and not self._body_waits:
            self._body_cancelled = True
            self._body.cancel()

    def _record_exit(self, reason: ExitReason) -> None:
        if self._exit is not None and not self._exit.done():
            self._exit.set_result(reason)

    # --- as the owner of one child

    def emit(self, event: SupervisorEvent) -> None:
        """Ignore the event; the supervisor below has passed it to its listener."""

    def child_exited(self, child: Child[Any, Any], reason: ExitReason) -> None:
        """Record the exit and cancel the body; see `Owner`."""
        child.close()
        if reason.kind is ExitKind.KILLED and reason.error is None:
            reason = ExitReason(ExitKind.KILLED, ActorStopped(child.spec.id))
        self._record_exit(reason)
        if self._is_entered:
            self._cancel_body()

    def child_abandoned(self, child: Child[Any, Any]) -> None:
        """Do nothing more; the child has logged it."""

    def dropped(self, actor: Hashable, requests: Sequence[Request[Any, Any]], why: ActorError | None) -> None:
        """Do nothing: the root's child gets messages only from its own supervisor object, which waits for answers."""
