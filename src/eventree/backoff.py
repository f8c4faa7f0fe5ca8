"""Exponential backoff with jitter."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from eventree.errors import InvalidArgument
from eventree.errors.arguments import check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Say how long to wait before the next try: longer each time, with a random part so that crowds spread out.

    Attributes:
        initial: The wait before the second try, in seconds; default 0.1.
        maximum: The longest wait, in seconds; default 30.
        factor: How much longer each wait is than the one before; default 2.
        jitter: The random part, from 0 (none) to 1 (up to double); default 0.2.
        reset_after: How long all must go well until failures are counted from 0 again, in seconds; default half of
            `initial` and `maximum` together (Pekko's rule).
    """

    initial: float = 0.1
    maximum: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2
    reset_after: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that would not wait or not end."""
        for name in ("initial", "maximum", "factor"):
            check_positive(name, getattr(self, name))
        if not 0 <= self.jitter <= 1:
            raise InvalidArgument("jitter", f"must be from 0 to 1, got {self.jitter!r}")
        if self.reset_after is not None:
            check_positive("reset_after", self.reset_after)

    @property
    def calm(self) -> float:
        """How long all must go well until failures are counted from 0 again, in seconds."""
        return (self.initial + self.maximum) / 2 if self.reset_after is None else self.reset_after

    def delay(self, failures: int, *, spread: Callable[[], float] = random.random) -> float:
        """Return how long to wait after a number of failures in a row.

        Args:
            failures: How many tries failed since the last success, from 1.
            spread: Gives the random part, from 0 to 1.

        Returns:
            Seconds, at most `maximum` and its jitter.
        """
        try:
            wait = min(self.initial * self.factor ** (failures - 1), self.maximum)
        except OverflowError:
            wait = self.maximum
        return wait * (1 + self.jitter * spread())
