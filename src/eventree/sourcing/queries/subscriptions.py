"""`Query` and `Projection`, and their base `Subscription`: what goes into `queries=[...]`."""

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Generic, Never, TypeAlias, TypeGuard, TypeVar, Unpack
from uuid import uuid4

from eventree.actors import ActorRef, ChildSpec, MailboxSpec
from eventree.domain.events import EventEnvelope
from eventree.domain.functions import check_async, check_callable
from eventree.domain.limits import check_id
from eventree.errors import InvalidArgument
from eventree.errors.root import check_count
from eventree.instrumentation import Instrumentation
from eventree.instrumentation.guard import GuardedInstrumentation
from eventree.sourcing.queries.actor import QueryActor, QueryMessage
from eventree.sourcing.queries.at_least_once import AtLeastOnce, QueryHandler
from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.delivery import Delivery
from eventree.sourcing.queries.exactly_once import ExactlyOnce, ProjectionFunctions
from eventree.sourcing.queries.handle import QueryHandle, QueryPart
from eventree.sourcing.queries.options import Followed, Options, Partition, QueryOptions
from eventree.sourcing.queries.state import QueryState
from eventree.sourcing.queries.worker import PublishedState
from eventree.stores.contract import EventStore, TransactionalStore
from eventree.stores.forwarding import checked

EventT_contra = TypeVar("EventT_contra", contravariant=True)
ConnectionT = TypeVar("ConnectionT")

ConnectionFunction: TypeAlias = Callable[[ConnectionT], Awaitable[None]]
"""An async function that gets the connection of a projection's transaction."""


class Subscription(ABC, Generic[EventT_contra]):
    """A durable subscription to the log: the base of `Query` and `Projection`.

    Attributes:
        name: The name of the query and of its checkpoint; unique in a store.
        version: Part of the checkpoint's key.
    """

    def __init__(
        self, name: str, follows: "Iterable[Followed[EventT_contra]]", options: QueryOptions, partitions: int = 1
    ) -> None:
        """Describe the subscription.

        Args:
            name: 1 to 255 bytes of UTF-8.
            follows: The aggregate types whose events it gets; empty for that of its `EventSourcing`.
            options: See `QueryOptions`.
            partitions: How many workers share the aggregates; default 1.

        Raises:
            InvalidArgument: An argument is invalid.
        """
        self._options = Options.of(name, options)
        self._follows = tuple(follows) if isinstance(follows, Iterable) else follows
        if self._follows:
            Decoding(self._follows)
        check_count("partitions", partitions)
        self._parts = [replace(self._options, partition=Partition(n, partitions)) for n in range(1, partitions + 1)]
        check_id("name", self._parts[-1].key[0])
        self.name = self._options.name
        self.version = self._options.version

    def __repr__(self) -> str:
        version = f", version={self.version}" if self.version > 1 else ""
        return f"{type(self).__name__}({self.name!r}{version})"

    def handle(
        self,
        store: EventStore,
        *,
        follows: "Iterable[Followed[EventT_contra]]" = (),
        instrumentation: Instrumentation | None = None,
    ) -> QueryHandle:
        """Return a handle for this query on a store, to run it without an `EventSourcing`, observe it and control it.

        Args:
            store: Holds the events and the checkpoint.
            follows: The aggregate types whose events it gets if it names none itself; default none.
            instrumentation: Observes the calls of its handler; default none.

        Raises:
            InvalidArgument: No aggregate type is named, or the store cannot run a projection.
        """
        owner, store = _new_owner(), checked(store)
        observer = None if instrumentation is None else GuardedInstrumentation.of(instrumentation)
        parts = [self._part(options, store, self._follows or follows, owner, observer) for options in self._parts]
        return QueryHandle(self.name, self.version, store, parts)

    def _part(
        self,
        options: Options,
        store: EventStore,
        follows: "Iterable[Followed[EventT_contra]]",
        owner: str,
        instrumentation: GuardedInstrumentation | None,
    ) -> QueryPart:
        decoding: Decoding[EventT_contra] = Decoding(follows, ignore_unknown=options.ignore_unknown)
        delivery = self._delivery(options, store, decoding, instrumentation)
        published = PublishedState(QueryState(options, owner, delivery.recheck_after))
        id = options.key[0] if self.version == 1 else options.key
        spec: ChildSpec[QueryMessage, int] = ChildSpec(
            id=id,
            start=lambda: QueryActor(store, decoding.types, delivery, published),
            ref=ActorRef(id, mailbox=MailboxSpec(dead_letters=False)),
        )
        return QueryPart(options.key, spec, published, decoding)

    def child_spec(
        self, store: EventStore, *, instrumentation: Instrumentation | None = None
    ) -> ChildSpec[Never, object]:
        """Return this query on a store as a child of your own supervisor: `handle(store).child_spec()`.

        Args:
            store: Holds the events and the checkpoint.
            instrumentation: Observes the calls of its handler; default none. To observe restarts too, create your
                supervisor with `on_event=report_restarts(instrumentation)`.

        Raises:
            InvalidArgument: See `handle`.
        """
        if not self._follows:
            raise InvalidArgument("follows", "is required outside an EventSourcing: name the aggregate types to follow")
        return self.handle(store, instrumentation=instrumentation).child_spec()

    @abstractmethod
    def _delivery(
        self,
        options: Options,
        store: EventStore,
        decoding: "Decoding[EventT_contra]",
        instrumentation: GuardedInstrumentation | None,
    ) -> Delivery:
        """Return the delivery of commits to the user's function."""


class Query(Subscription[EventT_contra]):
    """A subscription that feeds a read model: its function gets every commit, in log order, at least once.

    The checkpoint is stored after the function has returned, so a crash repeats the last commits: at most 0.1 s or 500
    positions of them. Make the function idempotent, for example by setting values instead of adding to them, or use a
    `Projection`. Commands that it executes get the commit's id as their `causation_id`; to make them take effect once,
    give them a `command_id` derived from it.
    """

    def __init__(
        self,
        name: str,
        handler: QueryHandler[EventT_contra],
        *,
        follows: "Iterable[Followed[EventT_contra]]" = (),
        partitions: int = 1,
        **options: Unpack[QueryOptions],
    ) -> None:
        """Describe a query.

        Args:
            name: The name of the query and of its checkpoint, unique in a store; 1 to 255 bytes of UTF-8.
            handler: Called with `(aggregate_id, events)`; sync or async. If it raises, it gets the same events again
                after a while; see `on_failure`. Inside, `query_context()` describes the call.
            follows: The aggregate types whose events it gets; default that of its `EventSourcing`.
            partitions: How many workers share the aggregates; default 1. Each has its own checkpoint and lease, so
                that several processes can share the work. Order is kept within each aggregate. If you change the
                number, the query starts over, because the old checkpoints do not apply to the new partitions.
            **options: See `QueryOptions`.

        Raises:
            InvalidArgument: An argument is invalid.
        """
        super().__init__(name, follows, options, partitions)
        check_callable("handler", handler, "aggregate_id", "events")
        self._handler = handler

    def _delivery(
        self,
        options: Options,
        store: EventStore,
        decoding: "Decoding[EventT_contra]",
        instrumentation: GuardedInstrumentation | None,
    ) -> Delivery:
        return AtLeastOnce(self._handler, store, options, decoding, instrumentation)


class Projection(Subscription[EventT_contra]):
    """A read model in tables of the store's own database: rows and checkpoint are committed together, exactly once.

    It runs on `SQLiteStore` and `PostgresStore`. Its functions get the driver's own connection (aiosqlite's or
    asyncpg's) inside a transaction, and must leave `BEGIN`, `COMMIT` and `ROLLBACK` to the library. On SQLite the
    transaction holds the write lock, so keep it short and wait for nothing else in it. It cannot execute commands.
    """

    def __init__(
        self,
        name: str,
        project: Callable[[ConnectionT, Sequence[EventEnvelope[EventT_contra]]], Awaitable[None]],
        *,
        setup: ConnectionFunction[ConnectionT] | None = None,
        swap: ConnectionFunction[ConnectionT] | None = None,
        clear: ConnectionFunction[ConnectionT] | None = None,
        follows: "Iterable[Followed[EventT_contra]]" = (),
        **options: Unpack[QueryOptions],
    ) -> None:
        """Describe a projection.

        Args:
            name: The name of the projection and of its checkpoint, unique in a store; 1 to 255 bytes of UTF-8.
            project: Async, called with `(connection, events)`: the events of one or more whole commits, at most 1,000
                events unless one commit has more. If it raises, nothing of the batch is stored, and the commits are
                delivered one by one; see `on_failure`.
            setup: Async, called with the connection once per name and version, before the first event, to create
                tables; default none.
            swap: Async, called with the connection once, when this version goes live, to rename or drop tables; default
                none.
            clear: Async, called with the connection by `reset`, to empty the tables; default none.
            follows: The aggregate types whose events it gets; default that of its `EventSourcing`.
            **options: See `QueryOptions`.

        Raises:
            InvalidArgument: An argument is invalid.
        """
        super().__init__(name, follows, options)
        check_async("project", project, "connection", "events")
        for role, function in (("setup", setup), ("swap", swap), ("clear", clear)):
            if function is not None:
                check_async(role, function, "connection")
        self._functions = ProjectionFunctions(project, setup, swap, clear)

    def _delivery(
        self,
        options: Options,
        store: EventStore,
        decoding: "Decoding[EventT_contra]",
        instrumentation: GuardedInstrumentation | None,
    ) -> Delivery:
        if not _has_transactions(store):
            raise InvalidArgument(
                "store", f"{store!r} has no tables for {self!r}; use SQLiteStore or PostgresStore, or a Query"
            )
        return ExactlyOnce(self._functions, store, options, decoding, instrumentation)


def _has_transactions(store: EventStore) -> TypeGuard[TransactionalStore[Any]]:
    return callable(getattr(store, "transaction", None))


def _new_owner() -> str:
    """Return a unique name for a worker that shows where it runs."""
    return f"{socket.gethostname()[:100]}/{os.getpid()}/{uuid4().hex}"
