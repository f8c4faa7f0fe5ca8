"""Exponential backoff with jitter."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from eventree.errors import InvalidArgument
from eventree.errors.root import check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Define the delay before each retry: exponential, with jitter so that many clients do not retry together.

    Attributes:
        initial: The delay after the first failure, in seconds; default 0.1.
        maximum: The longest delay, before jitter, in seconds; default 30.
        factor: The ratio of each delay to the one before; default 2.
        jitter: The random addition to each delay, as a share of it, from 0 (none) to 1 (up to double); default 0.2.
        reset_after: Seconds without a failure after which failures are counted from 0 again; default the mean of
            `initial` and `maximum` (Pekko's rule).
    """

    initial: float = 0.1
    maximum: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2
    reset_after: float | None = None

    def __post_init__(self) -> None:
        """Validate the values."""
        for name in ("initial", "maximum", "factor"):
            check_positive(name, getattr(self, name))
        if not 0 <= self.jitter <= 1:
            raise InvalidArgument("jitter", f"must be from 0 to 1, got {self.jitter!r}")
        if self.reset_after is not None:
            check_positive("reset_after", self.reset_after)

    @property
    def effective_reset_after(self) -> float:
        """Seconds without a failure after which failures are counted from 0 again."""
        return (self.initial + self.maximum) / 2 if self.reset_after is None else self.reset_after

    def delay(self, failures: int, *, spread: Callable[[], float] = random.random) -> float:
        """Return the delay after a number of consecutive failures.

        Args:
            failures: The number of failures since the last success, from 1.
            spread: Returns the random share, from 0 to 1; default `random.random`.

        Returns:
            Seconds, at most `maximum` plus its jitter.
        """
        return self._without_jitter(failures) * (1 + self.jitter * spread())

    def delay_with_full_jitter(self, failures: int, *, spread: Callable[[], float] = random.random) -> float:
        """Return a random share of the delay, which separates competing writers soonest; `jitter` is not used.

        Args:
            failures: The number of failures since the last success, from 1.
            spread: Returns that share, from 0 to 1; default `random.random`.

        Returns:
            Seconds, at most `maximum`.
        """
        return self._without_jitter(failures) * spread()

    def _without_jitter(self, failures: int) -> float:
        try:
            return min(self.initial * self.factor ** (failures - 1), self.maximum)
        except OverflowError:
            return self.maximum
