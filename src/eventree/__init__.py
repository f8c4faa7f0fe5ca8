"""Event sourcing for asyncio, on a supervision tree.

The names exported here are enough to start with. The others are in subpackages: `eventree.errors` (all errors),
`eventree.actors` (the actor runtime), `eventree.domain` (values and pure functions), `eventree.stores` (the contract,
and base classes for your own stores), `eventree.sourcing` (commands and queries), `eventree.instrumentation` (tracing
and metrics) and `eventree.testing`.

Glossary:

- aggregate: the unit of consistency, for example one account; its state follows from its events alone.
- command: a request to change an aggregate; `handle` decides on events, or refuses it.
- event: a stored fact; the events of one command form one commit.
- log, position: all events of a store in commit order, numbered from 1 without gaps.
- stream, sequence: the events of one aggregate, numbered from 1 without gaps.
- query, projection: durable subscriptions to the log that feed read models, at least once and exactly once.
- checkpoint: the stored position up to which a query has handled the log.
- lease, fencing token: the right of one worker to move a checkpoint, and the number by which the store recognises it.
- snapshot: a stored state that saves replaying events; an optimisation, never the source of truth.
- parked commit: a dead letter: a commit that a query could not handle and has put aside for later.
"""

import typing

from eventree.actors import (
    Actor,
    ActorContext,
    ActorRef,
    AutoShutdown,
    ChildSpec,
    DynamicSupervisor,
    Restart,
    Strategy,
    Supervisor,
    run,
)
from eventree.backoff import Backoff
from eventree.domain import (
    Aggregate,
    AggregateType,
    Commit,
    EventEnvelope,
    Snapshot,
    SnapshotConfig,
    event_type,
)
from eventree.errors import (
    ActorCrashed,
    ActorStopped,
    ActorTimeout,
    CommitOutcomeUnknown,
    ConcurrencyConflict,
    DomainError,
    EntityNotFound,
    EventreeError,
    EventStoreError,
    HandlerCrashed,
    InvalidArgument,
    MailboxFull,
    NotCaughtUp,
    QueryStopped,
    StoreUnavailable,
)
from eventree.result import (
    Err,
    Ok,
    Result,
)
from eventree.sourcing import (
    EventSourcing,
    Projection,
    Query,
    correlation,
    current_correlation,
    query_context,
)
from eventree.stores import (
    EventStore,
    MemoryStore,
    SQLiteStore,
)

if typing.TYPE_CHECKING:
    from eventree.stores.postgres import PostgresStore as PostgresStore

# Without `PostgresStore`, so that `import *` works without its driver.
__all__ = [
    "Actor",
    "ActorContext",
    "ActorCrashed",
    "ActorRef",
    "ActorStopped",
    "ActorTimeout",
    "Aggregate",
    "AggregateType",
    "AutoShutdown",
    "Backoff",
    "ChildSpec",
    "Commit",
    "CommitOutcomeUnknown",
    "ConcurrencyConflict",
    "DomainError",
    "DynamicSupervisor",
    "EntityNotFound",
    "Err",
    "EventEnvelope",
    "EventSourcing",
    "EventStore",
    "EventStoreError",
    "EventreeError",
    "HandlerCrashed",
    "InvalidArgument",
    "MailboxFull",
    "MemoryStore",
    "NotCaughtUp",
    "Ok",
    "Projection",
    "Query",
    "QueryStopped",
    "Restart",
    "Result",
    "SQLiteStore",
    "Snapshot",
    "SnapshotConfig",
    "StoreUnavailable",
    "Strategy",
    "Supervisor",
    "correlation",
    "current_correlation",
    "event_type",
    "query_context",
    "run",
]


def __getattr__(name: str) -> object:
    """Import the Postgres store on first use, as its driver is an optional dependency."""
    if name != "PostgresStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eventree.stores.postgres import PostgresStore  # noqa: PLC0415

    return PostgresStore


def __dir__() -> list[str]:
    return [*__all__, "PostgresStore"]
