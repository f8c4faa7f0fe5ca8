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

import inspect
import typing

from eventree.actors import (
    Actor as Actor,
    ActorContext as ActorContext,
    ActorRef as ActorRef,
    AutoShutdown as AutoShutdown,
    ChildSpec as ChildSpec,
    DynamicSupervisor as DynamicSupervisor,
    Restart as Restart,
    Strategy as Strategy,
    Supervisor as Supervisor,
    run as run,
)
from eventree.backoff import (
    Backoff as Backoff,
)
from eventree.domain import (
    Aggregate as Aggregate,
    AggregateType as AggregateType,
    Commit as Commit,
    EventEnvelope as EventEnvelope,
    Snapshot as Snapshot,
    SnapshotConfig as SnapshotConfig,
    event_type as event_type,
)
from eventree.errors import (
    ActorCrashed as ActorCrashed,
    ActorStopped as ActorStopped,
    ActorTimeout as ActorTimeout,
    CommitOutcomeUnknown as CommitOutcomeUnknown,
    ConcurrencyConflict as ConcurrencyConflict,
    DomainError as DomainError,
    EntityNotFound as EntityNotFound,
    EventreeError as EventreeError,
    EventStoreError as EventStoreError,
    HandlerCrashed as HandlerCrashed,
    InvalidArgument as InvalidArgument,
    MailboxFull as MailboxFull,
    NotCaughtUp as NotCaughtUp,
    QueryStopped as QueryStopped,
    StoreUnavailable as StoreUnavailable,
)
from eventree.result import (
    Err as Err,
    Ok as Ok,
    Result as Result,
)
from eventree.sourcing import (
    EventSourcing as EventSourcing,
    Projection as Projection,
    Query as Query,
    correlation as correlation,
    current_correlation as current_correlation,
    query_context as query_context,
)
from eventree.stores import (
    EventStore as EventStore,
    MemoryStore as MemoryStore,
    SQLiteStore as SQLiteStore,
)

if typing.TYPE_CHECKING:
    from eventree.stores.postgres import PostgresStore as PostgresStore

# Without `PostgresStore`, so that `import *` works without its driver.
__all__ = [name for name in dir() if name[0] != "_" and not inspect.ismodule(globals()[name])]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Import the Postgres store on first use, as its driver is an optional dependency."""
    if name != "PostgresStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eventree.stores.postgres import PostgresStore  # noqa: PLC0415

    return PostgresStore


def __dir__() -> list[str]:
    return [*__all__, "PostgresStore"]
