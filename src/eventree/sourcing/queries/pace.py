"""How many events a projection handles in one transaction: few while others wait for the lock, many alone."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

PAGE: Final = 1_000
"""Positions to read at once, and events in a transaction at most."""

CONTENDED: Final = 200
"""Events in a transaction at most while others write."""

LONGEST: Final = 0.1
"""Seconds that a transaction should take at most: commands wait for it on SQLite."""

CONTENDED_LONGEST: Final = 0.01
"""The same while others write."""


class Pace:
    """Learn how long events take, and say how many to take next."""

    def __init__(self) -> None:
        """Begin with one event at a time."""
        self._seconds_per_event = LONGEST

    def room(self, *, is_contended: bool) -> int:
        """Return how many events to handle in the next transaction, at least 1."""
        most, longest = (CONTENDED, CONTENDED_LONGEST) if is_contended else (PAGE, LONGEST)
        return max(1, min(most, int(longest / self._seconds_per_event)))

    @contextmanager
    def timing(self, events: int) -> Generator[None, None, None]:
        """Learn how long a transaction takes with so many events, also if it fails."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            yield
        finally:
            self.took(events, clock() - began)

    def took(self, events: int, seconds: float) -> None:
        """Learn from a transaction; what became slower counts at once, what became faster slowly."""
        newest = max(seconds, 1e-6) / max(events, 1)
        average = (self._seconds_per_event + newest) / 2
        self._seconds_per_event = max(newest, average) if newest > self._seconds_per_event else average
