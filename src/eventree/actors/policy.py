"""What a supervisor is told and how it decides: pure values and functions, with the clock passed in.

The words and the rules are those of Erlang/OTP's `supervisor`.
"""

import random
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum

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


class ExitKind(Enum):
    """How an actor ended."""

    NORMAL = "normal"
    """By its own wish: it raised `StopActor`."""
    SHUTDOWN = "shutdown"
    """Its supervisor asked it to stop."""
    CRASH = "crash"
    """An exception left it."""
    KILLED = "killed"
    """Its task was cancelled, by its supervisor at the end of its patience or by anybody else."""


@dataclass(frozen=True, slots=True)
class ExitReason:
    """Say how an actor ended and, for a crash, with what.

    Attributes:
        kind: How it ended.
        error: The exception of a crash; None for any other end.
    """

    kind: ExitKind
    error: BaseException | None = None

    @property
    def abnormal(self) -> bool:
        """Whether a transient child is restarted after this end."""
        return self.kind in {ExitKind.CRASH, ExitKind.KILLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Say how long to wait before the next try: longer each time, with a random part so that crowds spread out.

    Attributes:
        initial: The wait before the second try, in seconds; default 0.1.
        maximum: The longest wait, in seconds; default 30.
        factor: How much longer each wait is than the one before; default 2.
        jitter: The random part, from 0 (none) to 1 (up to double); default 0.2.
    """

    initial: float = 0.1
    maximum: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        """Refuse values that would not wait or not end."""
        for name in ("initial", "maximum", "factor"):
            check_positive(name, getattr(self, name))
        if not 0 <= self.jitter <= 1:
            raise InvalidArgument("jitter", f"must be from 0 to 1, got {self.jitter!r}")

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
        if max_restarts < 0:
            raise InvalidArgument("max_restarts", f"must be 0 or more, got {max_restarts!r}")
        check_positive("max_seconds", max_seconds)
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self._clock = clock
        self._crashes: deque[tuple[float, BaseException | None]] = deque()

    def admit(self, crash: BaseException | None) -> bool:
        """Count one more restart and return whether it is still allowed."""
        now = self._clock()
        self._crashes.append((now, crash))
        while now - self._crashes[0][0] > self.max_seconds:
            self._crashes.popleft()
        return len(self._crashes) <= self.max_restarts

    @property
    def crashes(self) -> Sequence[BaseException]:
        """The errors behind the restarts in the window, oldest first."""
        return [crash for _, crash in self._crashes if crash is not None]


def is_restarted(restart: Restart, reason: ExitReason) -> bool:
    """Return whether a child that ended for this reason is started again."""
    return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and reason.abnormal)


def restart_group(strategy: Strategy, children: Sequence[Hashable], failed: Hashable) -> Sequence[Hashable]:
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
            return list(children)[list(children).index(failed) :]
