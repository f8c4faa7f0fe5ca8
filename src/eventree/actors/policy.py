"""What a supervisor is told and how it decides: pure values and functions, with the clock passed in.

The words and the rules are those of Erlang/OTP's `supervisor`.
"""

import random
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import dropwhile

from eventree.actors.exits import ExitReason
from eventree.errors import InvalidArgument
from eventree.errors.arguments import check_positive


class Restart(Enum):
    """When a child that ended is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """Only after an abnormal end: a crash or a kill."""
    TEMPORARY = "temporary"
    """Never; its place in the tree is forgotten."""


class Strategy(Enum):
    """Which children are restarted when one of them ends."""

    ONE_FOR_ONE = "one_for_one"
    """Only that one."""
    ONE_FOR_ALL = "one_for_all"
    """All: the others are stopped in reverse order, then all are started in order."""
    REST_FOR_ONE = "rest_for_one"
    """That one and all that were started after it."""


class AutoShutdown(Enum):
    """Whether a supervisor ends when its significant children have ended by themselves."""

    NEVER = "never"
    """It goes on."""
    ANY_SIGNIFICANT = "any_significant"
    """It ends with the first of them."""
    ALL_SIGNIFICANT = "all_significant"
    """It ends with the last of them."""


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


class RestartWindow:
    """Count restarts within a sliding window of time (OTP's restart intensity)."""

    def __init__(self, max_restarts: int, max_seconds: float, clock: Callable[[], float]) -> None:
        """Start an empty window.

        Args:
            max_restarts: How many restarts it holds; 0 means that the first crash is one too many.
            max_seconds: Its length in seconds; a restart exactly that old still counts.
            clock: Returns the time in seconds, never going back.
        """
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self._clock = clock
        self._crashes: deque[tuple[float, BaseException | None]] = deque()

    def admit(self, crash: BaseException | None) -> bool:
        """Count one more restart and return whether it is still allowed."""
        now = self._clock()
        self._crashes.append((now, crash))
        self._forget(now)
        return len(self._crashes) <= self.max_restarts

    @property
    def count(self) -> int:
        """How many restarts there were within the last `max_seconds`."""
        self._forget(self._clock())
        return len(self._crashes)

    @property
    def crashes(self) -> Sequence[BaseException]:
        """The errors behind the restarts in the window, oldest first."""
        return [crash for _, crash in self._crashes if crash is not None]

    def _forget(self, now: float) -> None:
        while self._crashes and now - self._crashes[0][0] > self.max_seconds:
            self._crashes.popleft()


def is_restarted(restart: Restart, reason: ExitReason) -> bool:
    """Return whether a child that ended for this reason is started again."""
    return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and reason.abnormal)


def restart_group(strategy: Strategy, children: Iterable[Hashable], failed: Hashable) -> Sequence[Hashable]:
    """Return the ids of the children to restart, in start order.

    Args:
        strategy: The supervisor's.
        children: The ids of all children in start order.
        failed: The one that ended.
    """
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return [failed]
        case Strategy.ONE_FOR_ALL:
            return list(children)
        case Strategy.REST_FOR_ONE:
            return list(dropwhile(lambda child: child != failed, children))
