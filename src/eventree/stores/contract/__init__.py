"""The contract of every event store, by role: protocols and their values, without an implementation.

- `log`: append events and read them, as one log or per aggregate.
- `commands`: look up recorded commands.
- `checkpoints`: the progress, the leases and the parked commits of queries.
- `requests`: ask the worker of a query, in whatever process it is, to do something.
- `snapshots`: save and load the states of aggregates.
- `store`: `EventStore`, all of these together.
- `transactions`: the transactions that projections need in addition.
"""

from eventree.stores.contract.checkpoints import (
    NO_LEASE as NO_LEASE,
    Checkpoint as Checkpoint,
    Checkpoints as Checkpoints,
    CheckpointUpdate as CheckpointUpdate,
    CheckpointWriter as CheckpointWriter,
    LeaseRequest as LeaseRequest,
    ParkedCommit as ParkedCommit,
    QuerySummary as QuerySummary,
    StoredCheckpoint as StoredCheckpoint,
    StoredFailure as StoredFailure,
    StoredStop as StoredStop,
)
from eventree.stores.contract.commands import (
    CommandLog as CommandLog,
    NewCommand as NewCommand,
    RecordedCommand as RecordedCommand,
)
from eventree.stores.contract.log import (
    MAX_PAGE_BYTES as MAX_PAGE_BYTES,
    AggregateSummary as AggregateSummary,
    Appended as Appended,
    AppendRequest as AppendRequest,
    CommitStamp as CommitStamp,
    Conflict as Conflict,
    DuplicateCommand as DuplicateCommand,
    EventLog as EventLog,
    LogPage as LogPage,
    NewEvent as NewEvent,
    Outcome as Outcome,
    RecordedEvent as RecordedEvent,
    StreamPage as StreamPage,
    StreamRead as StreamRead,
)
from eventree.stores.contract.requests import (
    MAX_REQUESTS as MAX_REQUESTS,
    QueryRequest as QueryRequest,
    QueryRequests as QueryRequests,
    RequestAnswer as RequestAnswer,
)
from eventree.stores.contract.snapshots import (
    Snapshots as Snapshots,
    StoredSnapshot as StoredSnapshot,
)
from eventree.stores.contract.store import (
    EventStore as EventStore,
)
from eventree.stores.contract.transactions import (
    StoreTransaction as StoreTransaction,
    TransactionalStore as TransactionalStore,
)
