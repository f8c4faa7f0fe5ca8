"""Decide how many events a projection's transaction handles, from how long the last ones took."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from eventree.sourcing.queries.actions import PAGE_SIZE

MAX_CONTENDED_EVENTS: Final = 200
"""The maximum number of events in a transaction while others wait for the write lock."""

MAX_SECONDS: Final = 0.1
"""Seconds that the events of a transaction should take at most, as commands wait for it on SQLite."""

MAX_CONTENDED_SECONDS: Final = 0.01
"""The same while others wait for the write lock."""

_SHARE: Final = 0.25
"""The share of the lease that is aimed at: below a third, as the estimates are not exact."""

_NEWEST: Final = 0.3
"""The weight of the newest transaction in the averages."""

_DOUBT: Final = 0.95
"""What remains of the estimated cost of an event after each transaction that says nothing about it.

Without that, one slow transaction could keep batches small for good, as only batches of other sizes would disprove it.
"""

_SURPRISE: Final = 1.5
"""How many times as long as expected a transaction must take to count at once."""


class BatchSizer:
    """Fit the time of a transaction as a fixed cost and a cost for each event, and size batches by the latter.

    A fixed cost, such as a round trip to the server, is paid however small the batch is, so it must not make the batch
    small. A batch is at most twice as large as the last one, as the cost of an event is seen best in large ones.
    """

    def __init__(self, lease: float) -> None:
        """Start with one event.

        Args:
            lease: The query's lease in seconds, of which a transaction may take a third.
        """
        self._longest = lease * _SHARE
        self._fixed = 0.0
        self._per_event = 0.0
        self._next = 1
        self._events = 0.0
        self._seconds = 0.0
        self._variance = 0.0
        self._covariance = 0.0

    def batch_size(self, *, is_contended: bool) -> int:
        """Return how many events the next transaction should handle, at least 1."""
        events, seconds = (MAX_CONTENDED_EVENTS, MAX_CONTENDED_SECONDS) if is_contended else (PAGE_SIZE, MAX_SECONDS)
        events, room = min(events, self._next), min(seconds, self._longest - self._fixed)
        if room <= 0:
            return 1
        return max(1, events if events * self._per_event <= room else int(room / self._per_event))

    @contextmanager
    def timed(self, events: int) -> Generator[None, None, None]:
        """Return a context manager that measures the transaction inside; a failed one counts only if it was slow."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            yield
        except BaseException:
            if clock() - began > self._expected(events):
                self.record(events, clock() - began)
            raise
        self.record(events, clock() - began)

    def record(self, events: int, seconds: float) -> None:
        """Learn from a transaction: an unexpectedly slow one counts at once, others by and by."""
        events, is_first = max(events, 1), self._events == 0
        is_slow = not is_first and seconds > max(_SURPRISE * self._expected(events), MAX_CONTENDED_SECONDS)
        self._average(events, seconds, 1.0 if is_first or is_slow else _NEWEST)
        self._per_event = min(self._fitted(), seconds / events)
        self._fixed = min(max(0.0, self._seconds - self._per_event * self._events), seconds)
        if seconds > self._longest:
            self._next = int(events * self._longest / seconds)  # as if all of the time was for the events
        elif is_slow:
            self._next = events // 2  # smaller batches show whether the events have become slow
        else:
            self._next = max(events + 1, min(2 * events, int(events * self._longest / max(seconds, 1e-6))))

    def _expected(self, events: int) -> float:
        return self._fixed + self._per_event * events

    def _average(self, events: int, seconds: float, weight: float) -> None:
        """Update the weighted means, and the variance and covariance around them."""
        more, longer = events - self._events, seconds - self._seconds
        self._events += weight * more
        self._seconds += weight * longer
        self._variance = (1 - weight) * (self._variance + weight * more * more)
        self._covariance = (1 - weight) * (self._covariance + weight * more * longer)

    def _fitted(self) -> float:
        """Return the cost of an event: the slope of a line through the last transactions, as far as sizes differ."""
        doubt = (self._events / 10) ** 2  # sizes that differ by a tenth say as much as what was known before
        return max(0.0, (self._covariance + doubt * _DOUBT * self._per_event) / (self._variance + doubt))
