"""Aggregates, events, their stored form and snapshot policies: values and pure functions, no asyncio, no I/O."""

from eventree.domain.aggregate import Aggregate, AggregateType
from eventree.domain.event_types import Upcaster, event_type
from eventree.domain.events import Commit, EventEnvelope
from eventree.domain.snapshots import Snapshot, SnapshotConfig, SnapshotPolicy

__all__ = [
    "Aggregate",
    "AggregateType",
    "Commit",
    "EventEnvelope",
    "Snapshot",
    "SnapshotConfig",
    "SnapshotPolicy",
    "Upcaster",
    "event_type",
]
