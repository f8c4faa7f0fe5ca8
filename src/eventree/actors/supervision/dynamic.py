"""A supervisor whose children are all made from one template, by key, when they are first needed."""

import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Generic, TypeVar, cast

from eventree.actors.actor.ref import ActorRef
from eventree.actors.events import SupervisorEvent
from eventree.actors.supervision.messages import GetOrStart
from eventree.actors.supervision.spec import ChildSpec
from eventree.actors.supervision.supervisor import Supervisor

KeyT = TypeVar("KeyT", bound=Hashable)
MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class DynamicSupervisor(Supervisor, Generic[KeyT, MessageT, ReplyT]):
    """Keep one child per key, each started by the first caller who wants it.

    A child that ends is restarted alone; one that is not restarted, or was terminated, is forgotten, so that nothing
    is kept for it. All are stopped at the same time, since none depends on another.
    """

    stops_at_once = True
    forgets_ended = True

    def __init__(  # noqa: PLR0913 - as for `Supervisor`
        self,
        template: Callable[[KeyT], ChildSpec[MessageT, ReplyT]],
        *,
        max_children: int | None = None,
        max_concurrent_restarts: int = 50,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        name: str = "dynamic supervisor",
        on_event: Callable[[SupervisorEvent], None] | None = None,
        kill_grace: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe the children.

        Args:
            template: Makes the spec for a key; its `id` must be the same for the same key.
            max_children: How many there may be at a time, those that are being restarted too; default any number.
            max_concurrent_restarts: How many are restarted at the same time when many crash at once, so that what they
                load does not come all at once; default 50 (Pekko's `max-concurrent-recoveries`).
            max_restarts: As for `Supervisor`.
            max_seconds: As for `Supervisor`.
            name: Names the supervisor in errors and logs.
            on_event: As for `Supervisor`.
            kill_grace: As for `Supervisor`.
            clock: Returns the time in seconds; for tests.
        """
        super().__init__(
            max_restarts=max_restarts,
            max_seconds=max_seconds,
            name=name,
            on_event=on_event,
            kill_grace=kill_grace,
            clock=clock,
        )
        self.children.flags = replace(
            self.children.flags, max_children=max_children, max_concurrent_restarts=max_concurrent_restarts
        )
        self._template = template

    async def get_or_start(self, key: KeyT) -> ActorRef[MessageT, ReplyT]:
        """Return the child for a key, started if it is not there; however many callers, it is started once.

        A child that is just being restarted is there: messages wait for it.

        Raises:
            ChildStartError: It did not start.
            TooManyChildren: There are `max_children`, and none for this key.
        """
        return cast("ActorRef[MessageT, ReplyT]", await self._call(GetOrStart(self._template(key))))
