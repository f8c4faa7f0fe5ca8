"""Decide which requests of an overloaded actor can still be handled in time.

A queue that is longer than its senders are willing to wait is emptied from the front, in the order of arrival: without
more, each request is taken up just before its time is up, and answered just after. So a request is refused when less
time is left than its batch is expected to take. That costs no throughput: those behind it have more time left.

Neither of the usual alternatives fits. Taking the newest first starves those who wait patiently, and changes the order
of messages. Refusing by how long the queue has existed (CoDel) needs a target that suits all senders, while each of
them says here how long it waits.
"""

import math
from typing import Final

from eventree.actors.actor.request import Deadline

FORGETTING: Final = 0.8
"""What is left of the weight of a batch after the next one."""

MAX_SURPRISE: Final = 4.0
"""How many times the expected time a batch may count as, so that a single stall does not outweigh all others."""

MARGIN: Final = 2.0
"""How many times the expected time of its batch a request needs, as batches differ and the event loop may be late."""

SHARE: Final = 0.1
"""The share of a sender's patience that a batch with its request may take."""

_MIN_VARIANCE: Final = 0.01
"""The variance of the sizes of batches, as a share of their square, from which on the sizes tell something."""

_SMALL: Final = 64
"""The size of a batch that is not made smaller just to see what that does."""

_UNLIMITED: Final = 2**31


class BatchTimes:
    """Learn from the last batches how long a batch takes, as a fixed time and a time per request."""

    def __init__(self) -> None:
        """Start without experience: no batch takes any time."""
        self._weight = self._counts = self._seconds = self._squares = self._products = 0.0
        self._mean_count = self._largest = self._fixed = self._each = 0.0
        self._knows_each = False

    def observe(self, count: int, seconds: float) -> None:
        """Learn from a batch of so many requests, at least one."""
        if self._weight:
            growth = max(count / self._mean_count, 1.0)
            seconds = min(seconds, MAX_SURPRISE * growth * self._seconds / self._weight)
        self._weight = FORGETTING * self._weight + 1
        self._counts = FORGETTING * self._counts + count
        self._seconds = FORGETTING * self._seconds + seconds
        self._squares = FORGETTING * self._squares + count * count
        self._products = FORGETTING * self._products + count * seconds
        self._largest = max(FORGETTING * self._largest, count)
        self._fit()

    def _fit(self) -> None:
        """Fit a line through the batches; through batches of about the same size, none can be told from another."""
        count, seconds = self._counts / self._weight, self._seconds / self._weight
        variance = self._squares / self._weight - count * count
        self._mean_count = count
        self._knows_each = variance > _MIN_VARIANCE * count * count
        self._each = 0.0
        if self._knows_each:
            slope = (self._products / self._weight - count * seconds) / variance
            self._each = min(max(slope, 0.0), seconds / count)
        self._fixed = seconds - self._each * count

    def seconds(self, count: int) -> float:
        """Return how long a batch of so many requests is expected to take."""
        return self._fixed + self._each * count

    def count_within(self, seconds: float) -> int:
        """Return the size of the largest batch that is expected to take at most so long.

        Never less than one whose requests take as long as the fixed part: smaller ones would mostly cost throughput.
        Where batches of one size have taken too long, smaller ones are tried, unless these were small already.

        Never much more than what was seen lately, as batches of about one size do not tell what others take: `MARGIN`
        times as large, which the requests admitted have the time for, or what is short enough in any case.
        """
        if not self._weight:
            return _UNLIMITED
        most = int(max(MARGIN * self._largest, self._in_any_case(seconds), _SMALL))
        if self._each:
            return min(max(int(max(seconds - self._fixed, self._fixed) / self._each), 1), most)
        if not self._knows_each and self._fixed > seconds and self._mean_count > _SMALL:
            return int(self._mean_count / 2)
        return most

    def _in_any_case(self, seconds: float) -> float:
        """Return the size of a batch that takes so long if all the time of the batches was that of their requests."""
        return min(seconds * self._counts / self._seconds, _UNLIMITED) if self._seconds else _UNLIMITED


class Admission:
    """Decide, for one batch, which requests are taken up.

    Attributes:
        limit: How large the batch may become, given the requests admitted so far.
    """

    def __init__(self, times: BatchTimes, now: float, limit: int, waiting: int) -> None:
        """Begin a batch.

        Args:
            times: How long batches take.
            now: The event loop's time.
            limit: How large the batch may become.
            waiting: How many requests wait.
        """
        self.limit = limit
        self._times = times
        self._now = now
        self._waiting = waiting
        self._patience = math.inf
        self._needed = 0.0

    def admits(self, deadline: Deadline | None) -> bool:
        """Return whether a request is taken up.

        One that has waited for less than half of its sender's patience always is, so that an estimate that is too high
        is corrected by the next batch.
        """
        if deadline is None:
            return True
        if deadline.seconds < self._patience:
            self._patience = deadline.seconds
            self.limit = min(self.limit, self._times.count_within(SHARE * deadline.seconds))
            self._needed = MARGIN * self._times.seconds(min(self.limit, self._waiting))
        return deadline.at - self._now > min(self._needed, deadline.seconds / 2)
