"""The values that a handle reports about its query: status, position, lag."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class QueryStatus(Enum):
    """Tell what a query is doing."""

    RUNNING = "running"
    """It follows the log."""
    RETRYING = "retrying"
    """Its handler failed or its store is unavailable; it will try again."""
    OUTDATED = "outdated"
    """The next event is newer than this code. It let go of its lease for a process with newer code, and tries again now
    and then; `last_error` names the event, which `skip(position)` leaves out for good."""
    WAITING = "waiting"
    """Another process holds the lease; this one takes over when that one stops or its lease expires."""
    BUILDING = "building"
    """It is a new version that has not yet read as far as the live one; it goes live once it has."""
    PAUSED = "paused"
    """It was paused."""
    SUPERSEDED = "superseded"
    """A newer version is live; this one gets no more events."""
    STOPPED = "stopped"
    """It gave up after failures and gets no events until it is resumed; or its system has stopped."""


@dataclass(frozen=True, slots=True)
class QueryStats:
    """Statistics of a query.

    Attributes:
        name: The name of the query.
        version: Its version.
        status: What it is doing.
        is_live: Whether its version is the live one, as far as this process knows.
        position: Its checkpoint.
        head: The position of the store's last event.
        lag_seconds: The age of the oldest event that it has not handled, in seconds; 0 if there is none.
        failures: How often in a row its handler has failed on the same events.
        parked: How many commits are parked.
        skipped: How many commits were skipped in this process.
        ignored: How many events of unknown types were skipped in this process; if skipped again, an event counts again.
        last_error: The last failure; None after a success.
    """

    name: str
    version: int
    status: QueryStatus
    is_live: bool
    position: int
    head: int
    lag_seconds: float
    failures: int
    parked: int
    skipped: int
    ignored: int
    last_error: BaseException | None

    @property
    def lag_events(self) -> int:
        """The number of events in the store after its position, including those of types it does not follow."""
        return max(self.head - self.position, 0)


@dataclass(frozen=True, slots=True)
class QueryProgress:
    """Report the progress of a query towards a target.

    Attributes:
        position: Its checkpoint.
        target: The position to reach.
    """

    position: int
    target: int

    @property
    def fraction(self) -> float:
        """The share of the log handled, between 0 and 1."""
        return min(self.position / self.target, 1.0) if self.target else 1.0


def seconds_since(moment: datetime, now: datetime) -> float:
    """Return the age of a stored event in seconds; at least 0, as the clocks of machines differ."""
    return max((now - moment).total_seconds(), 0.0)
