"""Monitors: watch an actor's restarts and its final exit from outside."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

from eventree.actors.exits import ExitKind, ExitReason


@dataclass(frozen=True, slots=True)
class Restarted:
    """The actor exited and is running again.

    Attributes:
        incarnation: The number of its new start.
        reason: Why the previous incarnation exited.
    """

    incarnation: int
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Down:
    """The actor exited and will not be restarted.

    Attributes:
        reason: Why it exited; only the kind, without the error, for a monitor that was created afterwards.
    """

    reason: ExitReason


MonitorEvent: TypeAlias = Restarted | Down


class Monitors:
    """Hold the monitors of an actor and its last exit reason."""

    def __init__(self) -> None:
        """Start without monitors, for an actor that was never started."""
        self._monitors: list[Monitor] = []
        self._reason = ExitReason(ExitKind.SHUTDOWN)
        self._starts = 0
        self._is_down = True

    def starting(self) -> None:
        """Record that the actor is about to run."""
        if self._is_down:
            self._starts = 0
            self._is_down = False

    def started(self, incarnation: int) -> None:
        """Record that the actor runs; notify the monitors if this is a restart."""
        self._starts += 1
        if self._starts > 1:
            for monitor in self._monitors:
                monitor.notify(Restarted(incarnation, self._reason))
        self._reason = ExitReason(ExitKind.SHUTDOWN)  # an exception would keep alive everything its frames refer to

    def ended(self, reason: ExitReason) -> None:
        """Record that an incarnation exited; monitors are notified once it is known whether it is restarted."""
        self._reason = reason

    def down(self) -> None:
        """Record that the actor has stopped for good; notify the monitors."""
        if not self._is_down:
            self._is_down = True
            for monitor in self._monitors:
                monitor.notify(Down(self._reason))
            self._reason = ExitReason(self._reason.kind)

    def add(self, monitor: "Monitor") -> None:
        """Notify a monitor from now on, and at once if the actor is down."""
        self._monitors.append(monitor)
        if self._is_down:
            monitor.notify(Down(self._reason))

    def remove(self, monitor: "Monitor") -> None:
        """Stop notifying a monitor."""
        self._monitors.remove(monitor)


class Monitor:
    """Iterate over the restarts of an actor inside `async with`; the last event is `Down`.

    Restarts that have not been read yet are merged into the newest.
    """

    def __init__(self, monitors: Monitors, check_loop: Callable[[], None] = lambda: None) -> None:
        """Create an inactive monitor.

        Args:
            monitors: Those of the actor.
            check_loop: Raises if the actor runs in another event loop; default does nothing.
        """
        self._monitors = monitors
        self._check_loop = check_loop
        self._events: deque[MonitorEvent] = deque()
        self._has_events = asyncio.Event()
        self._is_over = False

    async def __aenter__(self) -> Self:
        """Start monitoring.

        Raises:
            WrongEventLoop: The actor runs in another event loop.
        """
        self._check_loop()
        self._monitors.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop monitoring."""
        self._monitors.remove(self)

    def __aiter__(self) -> Self:
        """Iterate over the events from entry on."""
        return self

    async def __anext__(self) -> MonitorEvent:
        """Wait for the next event."""
        if self._is_over:
            raise StopAsyncIteration
        while not self._events:
            self._has_events.clear()
            await self._has_events.wait()
        event = self._events.popleft()
        self._is_over = isinstance(event, Down)
        return event

    def notify(self, event: MonitorEvent) -> None:
        """Add an event; nothing follows after `Down`."""
        if self._is_over or (self._events and isinstance(self._events[-1], Down)):
            return
        if isinstance(event, Restarted) and self._events and isinstance(self._events[-1], Restarted):
            self._events.pop()
        self._events.append(event)
        self._has_events.set()
