"""The values that a handle reports about its query: status, position, lag."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from eventree.stores.contract import StoredCheckpoint, StoredFailure


class QueryStatus(Enum):
    """Tell what a query is doing."""

    NOT_RUNNING = "not running"
    """No process runs it: none holds its lease, and this one does not run it."""
    STARTING = "starting"
    """This process has started it, and it has not read its checkpoint yet."""
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
    """It was paused, and stays so until it is resumed, whichever process runs it."""
    SUPERSEDED = "superseded"
    """A newer version is live; this one gets no more events."""
    STOPPED = "stopped"
    """It gave up after failures and gets no events until it is resumed; or its system has stopped."""


@dataclass(frozen=True, slots=True)
class QueryStats:
    """Statistics of a query, as its store has them, so that they are true in every process.

    Attributes:
        name: The name of the query.
        version: Its version.
        status: What it is doing; where this process does not run it, what the last worker has reported.
        is_live: Whether its version is the live one.
        position: Its checkpoint; without one, where it will start.
        head: The position of the store's last event.
        lag_seconds: The age of the oldest event that it has not handled, in seconds; 0 if there is none.
        failures: How often in a row its handler has failed on the same events.
        parked: How many commits are parked.
        skipped: How many commits were skipped so far.
        ignored: How many events of unknown types were skipped in this process; if skipped again, an event counts again.
        last_error: The last failure; None after a success. One of another process is a `ReportedFailure`.
        holder: The worker that holds the lease, its host and process; with several partitions, all of them. None if
            there is none.
        lease_seconds: How long the lease lasts unless it is renewed, in seconds; with several partitions, the shortest.
            0 if there is no holder.
        failure: The failure of the commit that it is trying to handle; None if there is none.
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
    holder: str | None = None
    lease_seconds: float = 0.0
    failure: StoredFailure | None = None

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


def stored_status(stored: StoredCheckpoint | None, version: int) -> QueryStatus:
    """Return the status of a version of a query that this process does not run, as the store has it."""
    if stored is None:
        return QueryStatus.NOT_RUNNING
    if stored.live_version > version:
        return QueryStatus.SUPERSEDED
    if stored.stop is not None:
        return QueryStatus.STOPPED if stored.stop.kind == "stopped" else QueryStatus.OUTDATED
    if stored.is_paused:
        return QueryStatus.PAUSED
    if not stored.lease_seconds:
        return QueryStatus.NOT_RUNNING
    if stored.failure is not None:
        return QueryStatus.RETRYING
    return QueryStatus.RUNNING if stored.live_version == version else QueryStatus.BUILDING


def seconds_since(moment: datetime, now: datetime) -> float:
    """Return the age of a stored event in seconds; at least 0, as the clocks of machines differ."""
    return max((now - moment).total_seconds(), 0.0)
