"""What handles tell of a query: what it is doing and how far it is."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class QueryStatus(Enum):
    """What a query is doing."""

    RUNNING = "running"
    """It follows the log."""
    RETRYING = "retrying"
    """Its handler failed, or its store is away; it waits and tries again."""
    WAITING = "waiting"
    """Another process works on it; this one takes over as soon as that one ends, or is not heard of for its lease."""
    BUILDING = "building"
    """It is a new version that has not read as far as the live one; it goes live when it has."""
    PAUSED = "paused"
    """Somebody paused it."""
    SUPERSEDED = "superseded"
    """A newer version is live; nothing is handed to this one any more."""
    STOPPED = "stopped"
    """It gave up; nothing is handed to it until it is resumed."""


@dataclass(frozen=True, slots=True)
class QueryStats:
    """Tell how a query is doing.

    Attributes:
        name: The query.
        version: Its version.
        status: What it is doing.
        is_live: Whether its results count, as far as this process knows.
        position: Its checkpoint.
        head: The newest position of the store.
        lag_seconds: How long ago the oldest event that it has not handled was stored; 0 if there is none.
        failures: How often in a row its handler failed at the same events.
        parked: How many commits are parked.
        skipped: How many commits were skipped in this process.
        ignored: How many events of unknown types were left out in this process, one that was tried again each time.
        last_error: The last failure, None after a success.
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
        """How many events of the store it has not looked at."""
        return max(self.head - self.position, 0)


@dataclass(frozen=True, slots=True)
class QueryProgress:
    """Tell how far a query is on its way.

    Attributes:
        position: Its checkpoint.
        target: Where it is going.
    """

    position: int
    target: int

    @property
    def fraction(self) -> float:
        """Between 0 and 1."""
        return min(self.position / self.target, 1.0) if self.target else 1.0


def seconds_since(moment: datetime, now: datetime) -> float:
    """Return how long ago something was stored, never less than 0, as clocks of different machines differ."""
    return max((now - moment).total_seconds(), 0.0)
