"""Counters and statistics of a running system."""

from collections.abc import Sequence
from dataclasses import dataclass

from eventree.sourcing.lifetime import SystemStatus
from eventree.sourcing.queries.status import QueryStats


@dataclass(slots=True)
class Counters:
    """Count the work of one system; the numbers survive restarts of its actors.

    Attributes:
        commands: Answered commands, whatever the answer.
        refused: Commands refused with a `DomainError`.
        failed: Commands that ended in any other error.
        conflicts: Appends that conflicted, because another writer had changed an aggregate first.
        snapshots_written: Snapshots saved.
        snapshots_dropped: Snapshots that were due and not saved.
        snapshots_ignored: Stored snapshots found unusable.
    """

    commands: int = 0
    refused: int = 0
    failed: int = 0
    conflicts: int = 0
    snapshots_written: int = 0
    snapshots_dropped: int = 0
    snapshots_ignored: int = 0


@dataclass(frozen=True, slots=True)
class SystemStats:
    """Statistics of a system.

    Attributes:
        query_actors_count: How many queries are registered.
        queries: The statistics of each query.
        total_commands_processed: Commands answered since the system was created, refused and failed ones included.
        commands_refused: Commands refused with a `DomainError`.
        commands_failed: Commands that ended in any other error.
        conflicts: Appends that conflicted, because another writer had changed an aggregate first.
        snapshots_written: Snapshots saved.
        snapshots_dropped: Snapshots that were due and not saved.
        snapshots_ignored: Stored snapshots found unusable: damaged, not matching the code, or newer than their
            aggregate after a restore from a backup. The events were replayed instead, and the next commit of the
            aggregate replaces the snapshot.
        actor_restarts: How often a supervisor restarted an actor of the system.
        uptime_seconds: Seconds since the system was started last, up to its end if it has stopped; 0 before.
        status: Whether it runs.
        failure: Why it gave up, or did not start; None if it did not fail.
    """

    query_actors_count: int
    queries: Sequence[QueryStats]
    total_commands_processed: int
    commands_refused: int
    commands_failed: int
    conflicts: int
    snapshots_written: int
    snapshots_dropped: int
    snapshots_ignored: int
    actor_restarts: int
    uptime_seconds: float
    status: SystemStatus
    failure: BaseException | None


@dataclass(frozen=True, slots=True)
class AggregateStats:
    """Statistics of one aggregate.

    Attributes:
        aggregate_id: The aggregate.
        event_count: How many events it has.
        current_sequence: The sequence of its last event.
        has_snapshot: Whether a usable snapshot of it is stored.
    """

    aggregate_id: str
    event_count: int
    current_sequence: int
    has_snapshot: bool
