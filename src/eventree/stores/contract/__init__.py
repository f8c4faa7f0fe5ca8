"""The contract of every event store, by role: promises and the values they are made of; no code.

- `log`: append events and read them, as one log or per aggregate.
- `commands`: look up recorded commands.
- `checkpoints`: how far queries have read, leases, and parked commits.
- `snapshots`: save and load the states of aggregates.
- `store`: `EventStore`, all of these together.
- `transactions`: what projections need besides.
"""

from eventree.stores.contract.checkpoints import (
    NO_LEASE,
    Checkpoint,
    Checkpoints,
    CheckpointUpdate,
    CheckpointWriter,
    LeaseRequest,
    ParkedCommit,
    QuerySummary,
    StoredCheckpoint,
)
from eventree.stores.contract.commands import CommandLog, NewCommand, RecordedCommand
from eventree.stores.contract.log import (
    MAX_PAGE_BYTES,
    AggregateSummary,
    Appended,
    AppendRequest,
    Conflict,
    DuplicateCommand,
    EventLog,
    LogPage,
    NewEvent,
    Outcome,
    RecordedEvent,
    StreamPage,
    StreamRead,
)
from eventree.stores.contract.snapshots import Snapshots, StoredSnapshot
from eventree.stores.contract.store import EventStore
from eventree.stores.contract.transactions import StoreTransaction, TransactionalStore

__all__ = [
    "MAX_PAGE_BYTES",
    "NO_LEASE",
    "AggregateSummary",
    "AppendRequest",
    "Appended",
    "Checkpoint",
    "CheckpointUpdate",
    "CheckpointWriter",
    "Checkpoints",
    "CommandLog",
    "Conflict",
    "DuplicateCommand",
    "EventLog",
    "EventStore",
    "LeaseRequest",
    "LogPage",
    "NewCommand",
    "NewEvent",
    "Outcome",
    "ParkedCommit",
    "QuerySummary",
    "RecordedCommand",
    "RecordedEvent",
    "Snapshots",
    "StoreTransaction",
    "StoredCheckpoint",
    "StoredSnapshot",
    "StreamPage",
    "StreamRead",
    "TransactionalStore",
]
