"""Watching an actor from outside: every restart, and its end for good."""

import asyncio
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

from eventree.actors.exits import ExitKind, ExitReason


@dataclass(frozen=True, slots=True)
class Restarted:
    """The actor ended and runs again.

    Attributes:
        incarnation: The number of its new start.
        reason: Why the one before ended.
    """

    incarnation: int
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Down:
    """The actor ended and does not come back by itself.

    Attributes:
        reason: Why it ended; only the kind of the end, without the error, for whoever began to watch after it.
    """

    reason: ExitReason


Sighting: TypeAlias = Restarted | Down


class Monitors:
    """Remember who watches an actor, and how it ended."""

    def __init__(self) -> None:
        """Begin with an actor that was never started, and nobody who watches."""
        self._watching: list[Monitor] = []
        self._reason = ExitReason(ExitKind.SHUTDOWN)
        self._starts = 0
        self._is_down = True

    def starting(self) -> None:
        """Note that the actor is about to run."""
        if self._is_down:
            self._starts = 0
            self._is_down = False

    def started(self, incarnation: int) -> None:
        """Note that the actor runs."""
        self._starts += 1
        if self._starts > 1:
            for monitor in self._watching:
                monitor.tell(Restarted(incarnation, self._reason))
        self._reason = ExitReason(ExitKind.SHUTDOWN)  # an exception would keep all that its frames refer to

    def ended(self, reason: ExitReason) -> None:
        """Note that an incarnation ended; nobody is told before it is known how it goes on."""
        self._reason = reason

    def down(self) -> None:
        """Note that the actor is stopped for good."""
        if not self._is_down:
            self._is_down = True
            for monitor in self._watching:
                monitor.tell(Down(self._reason))
            self._reason = ExitReason(self._reason.kind)

    def add(self, monitor: "Monitor") -> None:
        """Tell a monitor from now on; at once if the actor is down."""
        self._watching.append(monitor)
        if self._is_down:
            monitor.tell(Down(self._reason))

    def remove(self, monitor: "Monitor") -> None:
        """Tell a monitor nothing more."""
        self._watching.remove(monitor)


class Monitor:
    """Iterate over what becomes of an actor, inside `async with`; the last thing is `Down`.

    Restarts that nobody has read yet are one: the newest counts.
    """

    def __init__(self, monitors: Monitors) -> None:
        """Watch nothing until it is entered."""
        self._monitors = monitors
        self._seen: deque[Sighting] = deque()
        self._news = asyncio.Event()
        self._over = False

    async def __aenter__(self) -> Self:
        """Begin to watch."""
        self._monitors.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Watch no more."""
        self._monitors.remove(self)

    def __aiter__(self) -> Self:
        """Iterate over what is seen from entry on."""
        return self

    async def __anext__(self) -> Sighting:
        """Wait for the next thing that happens to the actor."""
        if self._over:
            raise StopAsyncIteration
        while not self._seen:
            self._news.clear()
            await self._news.wait()
        sighting = self._seen.popleft()
        self._over = isinstance(sighting, Down)
        return sighting

    def tell(self, sighting: Sighting) -> None:
        """Show it to whoever iterates; after `Down` there is nothing more to see."""
        if self._over or (self._seen and isinstance(self._seen[-1], Down)):
            return
        if isinstance(sighting, Restarted) and self._seen and isinstance(self._seen[-1], Restarted):
            self._seen.pop()
        self._seen.append(sighting)
        self._news.set()
