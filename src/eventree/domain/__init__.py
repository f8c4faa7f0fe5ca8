"""Aggregates, events, their stored form and snapshot policies: values and pure functions, without asyncio or I/O."""

from eventree.commit import Commit as Commit
from eventree.domain.aggregate import (
    Aggregate as Aggregate,
    AggregateType as AggregateType,
)
from eventree.domain.event_types import (
    Upcaster as Upcaster,
    event_type as event_type,
)
from eventree.domain.events import (
    EventEnvelope as EventEnvelope,
)
from eventree.domain.snapshots import (
    Snapshot as Snapshot,
    SnapshotConfig as SnapshotConfig,
    SnapshotPolicy as SnapshotPolicy,
)
