"""A supervisor that creates its children from one template, by key, on first use."""

import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Generic, TypeVar, cast

from eventree.actors.actor.deadlocks import refuse_to_wait_for
from eventree.actors.actor.ref import ActorRef
from eventree.actors.events import SupervisorEvent
from eventree.actors.supervision.messages import GetOrStart
from eventree.actors.supervision.spec import ChildSpec
from eventree.actors.supervision.supervisor import Supervisor

KeyT = TypeVar("KeyT", bound=Hashable)
MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class DynamicSupervisor(Supervisor, Generic[KeyT, MessageT, ReplyT]):
    """Supervise one child per key, started by the first caller that needs it.

    A child that exits is restarted alone; one that is not restarted, or was terminated, is removed and takes up no
    memory. All children are stopped concurrently, as they do not depend on each other.
    """

    stops_concurrently = True
    forgets_stopped = True

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
            template: Returns the spec for a key; its `id` must be the same for the same key.
            max_children: The maximum number of children, those being restarted included; default no limit.
            max_concurrent_restarts: How many children are restarted at the same time when many crash at once, so that
                they do not all load their state together; default 50 (Pekko's `max-concurrent-recoveries`).
            max_restarts: As for `Supervisor`.
            max_seconds: As for `Supervisor`.
            name: The supervisor's name in errors and logs.
            on_event: As for `Supervisor`.
            kill_grace: As for `Supervisor`.
            clock: Returns a monotonic time in seconds; for tests.
        """
        super().__init__(
            max_restarts=max_restarts,
            max_seconds=max_seconds,
            name=name,
            on_event=on_event,
            kill_grace=kill_grace,
            clock=clock,
        )
        options = self.children.options
        limits = replace(options, max_children=max_children, max_concurrent_restarts=max_concurrent_restarts)
        self.children.reconfigure(limits, ())
        self._template = template

    async def get_or_start(self, key: KeyT) -> ActorRef[MessageT, ReplyT]:
        """Return the child for a key; start it if necessary, once for any number of concurrent callers.

        A child that is being restarted counts as started: messages wait in its mailbox. For a child that is ending by
        itself, because it raised `StopActor` or crashed, this waits until its `on_stop` has returned.

        Raises:
            ChildStartError: It did not start.
            TooManyChildren: There are `max_children` already, and none for this key.
            WouldDeadlock: The caller is that child while it is ending, or below it.
        """
        spec = self._template(key)
        if spec.id in self.children and self.children.find(spec.id).ending is not None:
            refuse_to_wait_for(self.children.find(spec.id).ref)
        return cast("ActorRef[MessageT, ReplyT]", await self._call(GetOrStart(spec)))
