"""What a running system counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from eventree.sourcing.queries.status import QueryStats


@dataclass(slots=True)
class Counters:
    """Count what the actors of one system do; they outlive restarts.

    Attributes:
        commands: Commands that were answered, refused ones included.
        refused: Commands that a business rule refused.
        failed: Commands that ended in any other error.
        conflicts: Requests that met an aggregate somebody else had written to.
        snapshots_written: Snapshots saved.
        snapshots_dropped: Snapshots that fell due and were not saved.
        snapshots_ignored: How often a snapshot was found that could not be used.
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
    """Tell how a system is doing.

    Attributes:
        query_actors_count: How many queries are registered.
        queries: How each of them does.
        total_commands_processed: Commands answered since the system was made, refused and failed ones included.
        commands_refused: Those that a business rule refused.
        commands_failed: Those that ended in any other error.
        conflicts: How often somebody else had written to an aggregate first.
        snapshots_written: Snapshots saved.
        snapshots_dropped: Snapshots that fell due and were not saved.
        snapshots_ignored: How often a snapshot was found that could not be used: it was damaged, does not fit the code,
            or is ahead of its aggregate since an older backup was restored. Events were replayed in its place, and the
            next commit of its aggregate replaces it.
        actor_restarts: How often a supervisor restarted an actor of the system.
        uptime_seconds: Seconds since the system was started; 0 before.
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


@dataclass(frozen=True, slots=True)
class AggregateStats:
    """Tell about one aggregate.

    Attributes:
        aggregate_id: The aggregate.
        event_count: How many events it has.
        current_sequence: The sequence of its last event.
        has_snapshot: Whether a snapshot of it is stored that can be used.
    """

    aggregate_id: str
    event_count: int
    current_sequence: int
    has_snapshot: bool
