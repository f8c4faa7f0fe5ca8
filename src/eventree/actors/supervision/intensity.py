"""How many restarts a supervisor allows, and what counts against them."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from eventree.actors.exits import ExitReason
from eventree.actors.supervision.messages import AnyChild
from eventree.actors.supervision.options import Flags
from eventree.errors import RestartIntensityExceeded


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


class RestartBudget:
    """Admit restarts: so many within a window of time, or, with a backoff, so many in a row of the same child."""

    def __init__(self, supervisor: str, flags: Flags, clock: Callable[[], float]) -> None:
        """Begin with all restarts to come.

        Args:
            supervisor: Names it in the error.
            flags: How many restarts are allowed within which time.
            clock: Returns the time in seconds.
        """
        self._supervisor = supervisor
        self._flags = flags
        self._clock = clock
        self._window = RestartWindow(flags.max_restarts, flags.max_seconds, clock)

    def admit(self, child: AnyChild, reason: ExitReason) -> float | None:
        """Count a restart; return after how many seconds it may take place, None if it is one too many."""
        backoff = child.spec.backoff
        if backoff is None:
            _forget_later(self._window.max_seconds, lambda: self._window.count)
            return 0.0 if self._window.admit(reason.error) else None
        self._calm_down(child, backoff.calm)
        child.started_at = None  # what fails to start never ran well
        child.streak.append(reason.error)
        return backoff.delay(len(child.streak)) if len(child.streak) <= self._flags.max_restarts else None

    def started(self, child: AnyChild) -> None:
        """Note when a child began to run well."""
        child.started_at = self._clock()
        backoff = child.spec.backoff
        if child.streak and backoff is not None:
            _forget_later(backoff.calm, lambda: self._calm_down(child, backoff.calm))

    def change(self, flags: Flags) -> None:
        """Allow more or less from now on; what has happened still counts."""
        self._flags = flags
        self._window.max_restarts = flags.max_restarts
        self._window.max_seconds = flags.max_seconds

    def _calm_down(self, child: AnyChild, seconds: float) -> None:
        if child.started_at is not None and self._clock() - child.started_at >= seconds:
            child.streak.clear()

    @property
    def recent(self) -> int:
        """How many restarts count against the supervisor at the moment."""
        return self._window.count

    def used_by(self, child: AnyChild) -> int:
        """Return how many restarts counted, of those allowed, when this child was last admitted."""
        return len(child.streak) if child.spec.backoff else self.recent

    def exceeded_by(self, child: AnyChild) -> RestartIntensityExceeded:
        """Return the error of a supervisor that gives up, with the crashes that led there."""
        crashes = child.streak if child.spec.backoff else self._window.crashes
        return RestartIntensityExceeded(
            self._supervisor,
            self._flags.max_restarts,
            self._flags.max_seconds,
            [crash for crash in crashes if crash is not None],
        )


def _forget_later(seconds: float, forget: Callable[[], object]) -> None:
    """Let go of crashes that do not count any more, and of all that their frames refer to."""
    asyncio.get_running_loop().call_later(seconds * 1.01, forget)
