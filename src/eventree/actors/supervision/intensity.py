"""Restart intensity: how many restarts a supervisor allows before it gives up."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from eventree.actors.exits import ExitReason
from eventree.actors.supervision.messages import AnyChild
from eventree.actors.supervision.options import SupervisorOptions
from eventree.backoff import Backoff
from eventree.errors import RestartIntensityExceeded


class RestartWindow:
    """Count restarts within a sliding window of time."""

    def __init__(self, max_restarts: int, max_seconds: float, clock: Callable[[], float]) -> None:
        """Create an empty window.

        Args:
            max_restarts: How many restarts it allows; with 0, the first crash already exceeds it.
            max_seconds: Its length in seconds; a restart exactly that old still counts.
            clock: Returns a monotonic time in seconds.
        """
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self._clock = clock
        self._crashes: deque[tuple[float, BaseException | None]] = deque()

    def admit(self, crash: BaseException | None) -> bool:
        """Count one more restart and return whether it is still allowed."""
        now = self._clock()
        self._crashes.append((now, crash))
        self._expire(now)
        return len(self._crashes) <= self.max_restarts

    def resize(self, max_restarts: int, max_seconds: float) -> None:
        """Change the limits; the restarts counted so far still count."""
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds

    @property
    def count(self) -> int:
        """The number of restarts within the last `max_seconds`."""
        self._expire(self._clock())
        return len(self._crashes)

    @property
    def crashes(self) -> Sequence[BaseException]:
        """The errors behind the restarts in the window, oldest first."""
        return [crash for _, crash in self._crashes if crash is not None]

    def _expire(self, now: float) -> None:
        while self._crashes and now - self._crashes[0][0] > self.max_seconds:
            self._crashes.popleft()


class ConsecutiveCrashes:
    """Count the crashes of one child since it last ran without one for long enough."""

    def __init__(self) -> None:
        """Begin without a crash."""
        self.crashes: list[BaseException | None] = []
        self._running_since: float | None = None

    def __len__(self) -> int:
        """Return the number of crashes."""
        return len(self.crashes)

    def started(self, now: float) -> None:
        """Record when the child started."""
        self._running_since = now

    def crashed(self, crash: BaseException | None) -> None:
        """Record a crash, or a failed start."""
        self._running_since = None
        self.crashes.append(crash)

    def reset_if_stable(self, now: float, seconds: float) -> None:
        """Forget the crashes if the child has run for so many seconds."""
        if self._running_since is not None and now - self._running_since >= seconds:
            self.crashes.clear()


class RestartIntensity:
    """Admit restarts: a number of them within a window or, for a child with a backoff, in a row."""

    def __init__(self, supervisor: str, options: SupervisorOptions, clock: Callable[[], float]) -> None:
        """Begin with no restart counted.

        Args:
            supervisor: The supervisor's name, for the error.
            options: The maximum number of restarts, and the length of the window.
            clock: Returns a monotonic time in seconds.
        """
        self._supervisor = supervisor
        self._options = options
        self._clock = clock
        self._window = RestartWindow(options.max_restarts, options.max_seconds, clock)
        self._consecutive: WeakKeyDictionary[AnyChild, ConsecutiveCrashes] = WeakKeyDictionary()

    def admit(self, child: AnyChild, reason: ExitReason) -> float | None:
        """Count a restart and return the delay before it in seconds; None if it exceeds the intensity."""
        backoff = child.spec.backoff
        if backoff is None:
            _expire_later(self._window.max_seconds, lambda: self._window.count)
            return 0.0 if self._window.admit(reason.error) else None
        crashes = self._crashes_of(child)
        crashes.reset_if_stable(self._clock(), backoff.effective_reset_after)
        crashes.crashed(reason.error)
        return backoff.delay(len(crashes)) if len(crashes) <= self._options.max_restarts else None

    def started(self, child: AnyChild) -> None:
        """Record that a child has started; once it is stable, its consecutive crashes are forgotten."""
        backoff = child.spec.backoff
        crashes = self._consecutive.get(child) if backoff is None else self._crashes_of(child)
        if crashes is None:
            return
        crashes.started(self._clock())
        if len(crashes) and backoff is not None:
            self._reset_later(crashes, backoff)

    def _reset_later(self, crashes: ConsecutiveCrashes, backoff: Backoff) -> None:
        seconds = backoff.effective_reset_after
        _expire_later(seconds, lambda: crashes.reset_if_stable(self._clock(), seconds))

    def _crashes_of(self, child: AnyChild) -> ConsecutiveCrashes:
        return self._consecutive.setdefault(child, ConsecutiveCrashes())

    def reconfigure(self, options: SupervisorOptions) -> None:
        """Change the limits; the restarts counted so far still count."""
        self._options = options
        self._window.resize(options.max_restarts, options.max_seconds)

    @property
    def recent(self) -> int:
        """The number of restarts in the current window."""
        return self._window.count

    def count_for(self, child: AnyChild) -> int:
        """Return how many of the allowed restarts are used up, as seen by this child."""
        return len(self._crashes_of(child)) if child.spec.backoff else self.recent

    def exceeded_by(self, child: AnyChild) -> RestartIntensityExceeded:
        """Return the error with which the supervisor gives up, and the crashes that led to it."""
        crashes = self._crashes_of(child).crashes if child.spec.backoff else self._window.crashes
        return RestartIntensityExceeded(
            self._supervisor,
            self._options.max_restarts,
            self._options.max_seconds,
            [crash for crash in crashes if crash is not None],
        )


def _expire_later(seconds: float, expire: Callable[[], object]) -> None:
    """Call a function once crashes no longer count, to release them and everything that their frames refer to."""
    asyncio.get_running_loop().call_later(seconds * 1.01, expire)
