"""Whether a system runs, since when, and why it has stopped."""

import asyncio
from enum import Enum
from time import monotonic
from typing import Final, Never

from eventree.actors import ActorContext, ActorRef, Down, ExitReason, Status, Supervisor
from eventree.actors.supervision.messages import SupervisorMessage
from eventree.errors import ActorStopped


class SystemStatus(Enum):
    """Tell whether a system runs."""

    CREATED = "created"
    """It was never started."""
    STARTING = "starting"
    """It is being started, or restarted by the supervisor above it."""
    RUNNING = "running"
    """It executes commands; `query(name).status` tells what each query is doing."""
    STOPPING = "stopping"
    """It was asked to stop."""
    STOPPED = "stopped"
    """It has stopped for good: in order, or, if there is a `failure`, because it gave up."""


_STATUS: Final = {
    Status.STARTING: SystemStatus.STARTING,
    Status.RUNNING: SystemStatus.RUNNING,
    Status.RESTARTING: SystemStatus.STARTING,
    Status.STOPPING: SystemStatus.STOPPING,
    Status.STOPPED: SystemStatus.STOPPED,
}


class Lifetime:
    """Follow the top supervisor of a system through its starts and ends.

    Attributes:
        top: The reference to the supervisor that was started last; None before the first start.
        failure: Why the last run failed: it gave up, or did not start. None if it runs or has stopped in order.
    """

    def __init__(self, name: str) -> None:
        """Begin before the first start.

        Args:
            name: The name of the system, for errors.
        """
        self.top: ActorRef[Never, object] | None = None
        self.failure: BaseException | None = None
        self._name = name
        self._began = 0.0
        self._ended: float | None = 0.0

    @property
    def status(self) -> SystemStatus:
        """Whether the system runs."""
        return SystemStatus.CREATED if self.top is None else _STATUS[self.top.status]

    @property
    def uptime(self) -> float:
        """Seconds since the last start, up to its end if it has ended; 0 before the first."""
        return (monotonic() if self._ended is None else self._ended) - self._began

    def begin(self, top: ActorRef[Never, object]) -> None:
        """Record a start."""
        self.top, self.failure = top, None
        self._began, self._ended = monotonic(), None

    def end(self, failure: BaseException | None) -> None:
        """Record the end of a run, with the error that caused it; None for an end in order."""
        if self._ended is None:
            self.failure, self._ended = failure, monotonic()

    async def wait_stopped(self) -> None:
        """Wait until the system has stopped for good.

        Raises:
            ActorStopped: It was never started.
            BaseException: The error for which it gave up.
        """
        if self.top is None:
            raise ActorStopped(self._name)
        async with self.top.monitor() as events:
            async for event in events:
                if isinstance(event, Down) and event.reason.error is not None:
                    raise event.reason.error
        if self.failure is not None:
            raise self.failure


class SystemSupervisor(Supervisor):
    """The top supervisor of a system, which records in its lifetime when it starts and ends."""

    lifetime: Lifetime

    async def init(self, ctx: ActorContext[SupervisorMessage, object]) -> None:
        """Start the children."""
        self.lifetime.begin(ctx.ref)
        try:
            await super().init(ctx)
        except asyncio.CancelledError:
            self.lifetime.end(None)
            raise
        except BaseException as error:
            self.lifetime.end(error)
            raise

    async def on_stop(self, reason: ExitReason) -> None:
        """Stop the children."""
        try:
            await super().on_stop(reason)
        finally:
            self.lifetime.end(reason.error)

    async def on_kill(self) -> None:
        """Cancel the children."""
        try:
            await super().on_kill()
        finally:
            self.lifetime.end(None)
