"""A supervisor whose children are all made from one template, by key, when they are first needed."""

import asyncio
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar, cast

from eventree.actors.ref import ActorRef
from eventree.actors.spec import ChildSpec
from eventree.actors.supervisor import Supervisor
from eventree.errors import ChildAlreadyExists, ChildNotFound

KeyT = TypeVar("KeyT", bound=Hashable)
MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class DynamicSupervisor(Supervisor, Generic[KeyT, MessageT, ReplyT]):
    """Keep one child per key, each started by the first caller who wants it.

    A child that ends is restarted alone. All are stopped at the same time, since none depends on another.
    """

    def __init__(
        self,
        template: Callable[[KeyT], ChildSpec[MessageT, ReplyT]],
        *,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        name: str = "dynamic supervisor",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe the children.

        Args:
            template: Makes the spec for a key; its `id` must be the same for the same key.
            max_restarts: As for `Supervisor`.
            max_seconds: As for `Supervisor`.
            name: Names the supervisor in errors and logs.
            clock: Returns the time in seconds; for tests.
        """
        super().__init__(max_restarts=max_restarts, max_seconds=max_seconds, name=name, clock=clock)
        self._template = template

    async def get_or_start(self, key: KeyT) -> ActorRef[MessageT, ReplyT]:
        """Return the child for a key, started if it is not running; however many callers, it is started once.

        Raises:
            ChildStartError: It did not start.
        """
        spec = self._template(key)
        while True:
            try:
                return await self.start_child(spec)
            except ChildAlreadyExists:
                with suppress(ChildNotFound):  # a temporary one ended between the two: begin again
                    return cast("ActorRef[MessageT, ReplyT]", await self.restart_child(spec.id))

    async def _stop_children(self) -> None:
        children = list(self._children.values())
        await asyncio.gather(*(child.stop() for child in children))
        for child in children:
            child.close()
