"""eventree: event sourcing for asyncio, on a supervision tree.

Layers, each importing only what stands before it: result and errors; actors and domain; stores (on domain); sourcing
(on all of them); testing.
"""

import typing

from eventree.actors import (
    BRUTAL_KILL,
    Actor,
    ActorContext,
    ActorRef,
    Backoff,
    ChildInfo,
    ChildSpec,
    DynamicSupervisor,
    ExitKind,
    ExitReason,
    Request,
    Restart,
    Status,
    StopActor,
    Strategy,
    Supervisor,
)
from eventree.domain import Aggregate, AggregateType, Commit, EventEnvelope, Snapshot, SnapshotConfig
from eventree.errors import (
    ActorCrashed,
    ActorError,
    ActorStopped,
    ActorTimeout,
    CheckpointFenced,
    ChildAlreadyExists,
    ChildNotFound,
    ChildStartError,
    CodecError,
    CommandIdReused,
    CommitOutcomeUnknown,
    ConcurrencyConflict,
    DomainError,
    EntityNotFound,
    EventNotDecodable,
    EventNotEncodable,
    EventreeError,
    EventStoreError,
    HandlerCrashed,
    InvalidArgument,
    LogRolledBack,
    MailboxFull,
    NonPositiveArgument,
    QueryStopped,
    RestartIntensityExceeded,
    SchemaTooNew,
    StoreBusy,
    StoreFull,
    StoreUnavailable,
    StoreUnusable,
    SupervisorError,
    TransactionFailed,
    TransactionRolledBack,
)
from eventree.result import Err, Ok, Result
from eventree.sourcing import AggregateStats, EventSourcing, Query, QueryHandle, QueryStatus, SystemStats
from eventree.stores import EventStore, MemoryStore, SQLiteStore

if typing.TYPE_CHECKING:
    from eventree.stores.postgres import PostgresStore as PostgresStore

__all__ = [
    "BRUTAL_KILL",
    "Actor",
    "ActorContext",
    "ActorCrashed",
    "ActorError",
    "ActorRef",
    "ActorStopped",
    "ActorTimeout",
    "Aggregate",
    "AggregateStats",
    "AggregateType",
    "Backoff",
    "CheckpointFenced",
    "ChildAlreadyExists",
    "ChildInfo",
    "ChildNotFound",
    "ChildSpec",
    "ChildStartError",
    "CodecError",
    "CommandIdReused",
    "Commit",
    "CommitOutcomeUnknown",
    "ConcurrencyConflict",
    "DomainError",
    "DynamicSupervisor",
    "EntityNotFound",
    "Err",
    "EventEnvelope",
    "EventNotDecodable",
    "EventNotEncodable",
    "EventSourcing",
    "EventStore",
    "EventStoreError",
    "EventreeError",
    "ExitKind",
    "ExitReason",
    "HandlerCrashed",
    "InvalidArgument",
    "LogRolledBack",
    "MailboxFull",
    "MemoryStore",
    "NonPositiveArgument",
    "Ok",
    "Query",
    "QueryHandle",
    "QueryStatus",
    "QueryStopped",
    "Request",
    "Restart",
    "RestartIntensityExceeded",
    "Result",
    "SQLiteStore",
    "SchemaTooNew",
    "Snapshot",
    "SnapshotConfig",
    "Status",
    "StopActor",
    "StoreBusy",
    "StoreFull",
    "StoreUnavailable",
    "StoreUnusable",
    "Strategy",
    "Supervisor",
    "SupervisorError",
    "SystemStats",
    "TransactionFailed",
    "TransactionRolledBack",
]


def __getattr__(name: str) -> object:
    """Import the Postgres store when it is asked for: its driver is an extra, so it is not in `__all__` either."""
    if name != "PostgresStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eventree.stores.postgres import PostgresStore  # noqa: PLC0415

    return PostgresStore
