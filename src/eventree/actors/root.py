"""The root of a tree: an actor linked to the body of an `async with`, as Erlang links a process to its parent."""

import asyncio
from typing import Generic, TypeVar

from eventree.actors.actor import Actor
from eventree.actors.child import Child
from eventree.actors.policy import ExitReason
from eventree.actors.spec import ChildSpec
from eventree.errors import ActorStopped, ChildStartError

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class Root(Generic[MessageT, ReplyT]):
    """Run an actor from entry to exit of a body; if it ends before, cancel the body and raise why."""

    def __init__(self, name: str, actor: Actor[MessageT, ReplyT]) -> None:
        """Make the root; nothing runs yet."""
        self._child = Child(ChildSpec(id=name, start=lambda: actor, start_timeout=float("inf")))
        self._host: asyncio.Task[object] | None = None
        self._host_cancelled = False
        self._failure: BaseException | None = None

    async def start(self) -> None:
        """Start the actor in a task of its own and link it to the current task.

        Raises:
            BaseException: What its `init` raised.
        """
        self._host = asyncio.current_task()
        try:
            await self._child.start(self._down, asyncio.get_running_loop().create_future())
        except ChildStartError as error:
            self._child.close()
            if error.__cause__ is None:
                raise
            cause = error.__cause__
        else:
            return
        raise cause

    async def stop(self) -> None:
        """Stop the actor, whatever happens meanwhile, and raise its failure if it had one.

        A cancellation of the caller does not cut the stop short; it is raised afterwards.
        """
        stopping = asyncio.ensure_future(self._child.stop())
        cancelled: asyncio.CancelledError | None = None
        while not stopping.done():
            try:
                await asyncio.wait({stopping})
            except asyncio.CancelledError as error:
                cancelled = error
        self._child.close()
        if self._host_cancelled and self._host is not None:
            self._host.uncancel()
        if self._failure is not None:
            raise self._failure
        if cancelled is not None:
            raise cancelled

    def _down(self, child: Child[MessageT, ReplyT], reason: ExitReason) -> None:
        self._failure = reason.error if reason.error is not None else ActorStopped(child.spec.id)
        child.close()
        if self._host is not None and not self._host.done():
            self._host_cancelled = True
            self._host.cancel()
