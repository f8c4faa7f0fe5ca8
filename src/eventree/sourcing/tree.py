"""The supervision tree behind an `EventSourcing`, and the references that stay valid while its actors restart."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Generic, Never, TypeVar

from eventree.actors import ActorRef, ChildSpec, MailboxSpec, Status, Supervisor, report_restarts
from eventree.domain.aggregate import AggregateType
from eventree.domain.snapshots import SnapshotPolicy
from eventree.errors import ActorCrashed, ActorStopped, ChildRestarting, ChildRunning, InvalidArgument
from eventree.instrumentation.guard import GuardedInstrumentation
from eventree.sourcing.commands.actor import EventSourcingActor
from eventree.sourcing.commands.load import AggregateLoader
from eventree.sourcing.commands.requests import CommandEnvelope, CommandResult
from eventree.sourcing.lifetime import Lifetime, SystemSupervisor
from eventree.sourcing.queries.handle import QueryHandle
from eventree.sourcing.queries.subscriptions import Subscription
from eventree.sourcing.snapshots.codec import SnapshotCodec
from eventree.sourcing.snapshots.scheduler import MissedSnapshots, SnapshotScheduler
from eventree.sourcing.snapshots.writer import SnapshotWriter
from eventree.sourcing.statistics import Counters, SystemStats
from eventree.stores.contract import EventStore, StoredSnapshot

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

SNAPSHOT_QUEUE_SIZE = 256
"""How many snapshots may wait to be written; any more are dropped."""


class Tree(Generic[StateT, CommandT, EventT, ErrorT]):
    """Build the supervisors and actors of one system, anew for each start.

    ```
    event sourcing <name>      one_for_one
    ├── snapshots              SnapshotWriter: saves snapshots, if they are enabled; stopped last
    ├── commands               EventSourcingActor: executes commands
    └── queries                one_for_one, so that a crashing query affects no other query and no command
        └── <query>            QueryActor: follows the log; one per query
    ```
    """

    def __init__(
        self,
        aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
        store: EventStore,
        queries: Iterable[Subscription[EventT]],
        *,
        snapshots: SnapshotPolicy | None,
        cache_size: int,
        mailbox_size: int,
        instrumentation: GuardedInstrumentation | None = None,
    ) -> None:
        """Create the references; nothing runs yet.

        Args:
            aggregate_type: Decides the commands.
            store: Holds the events.
            queries: The queries to run.
            snapshots: When to take snapshots; None for never.
            cache_size: How many aggregates to keep in memory.
            mailbox_size: How many commands may wait at once.
            instrumentation: Observes the actors; default none.
        """
        self._type = aggregate_type
        self._store = store
        self._cache_size = cache_size
        self._instrumentation = instrumentation
        self._counters = Counters()
        self._planned_starts = 0
        self.lifetime = Lifetime(f"event sourcing {aggregate_type.name}")
        self._query_supervisor = Supervisor(name=f"{aggregate_type.name} queries")
        self.commands: ActorRef[CommandEnvelope[CommandT], CommandResult[EventT, ErrorT]] = ActorRef(
            f"{aggregate_type.name} commands", mailbox=MailboxSpec(maxsize=mailbox_size)
        )
        self._writer: ActorRef[StoredSnapshot, None] = ActorRef(
            f"{aggregate_type.name} snapshots", mailbox=MailboxSpec(maxsize=SNAPSHOT_QUEUE_SIZE)
        )
        self._missed = MissedSnapshots()
        self._snapshots: SnapshotScheduler[StateT] | None = None
        codec: SnapshotCodec[StateT] | None = None
        if snapshots is not None:
            codec = SnapshotCodec(aggregate_type)
            self._snapshots = SnapshotScheduler(snapshots, codec, self._writer, self._counters, self._missed)
        self.loader = AggregateLoader(aggregate_type, store, codec, self._counters)
        self.queries: dict[tuple[str, int], QueryHandle] = {}
        self._add(queries)

    def spec(self) -> ChildSpec[Never, object]:
        """Return the child spec to run the tree under any supervisor."""
        return ChildSpec(id=f"event sourcing {self._type.name}", start=self.build)

    def build(self) -> Supervisor:
        """Create the top supervisor, with new child specs.

        Raises:
            WrongEventLoop: The tree is running in another event loop, or its store is open in another one.
        """
        self.check_loop()
        self._store.watch(lambda _: None)()  # refused in another event loop than the store's
        children: list[ChildSpec[Never, object]] = [
            ChildSpec(id="commands", start=self.command_actor, ref=self.commands),
            ChildSpec(id="queries", start=lambda: self._query_supervisor),
        ]
        if self._snapshots is not None:  # first, as the last commands may still make snapshots due while it stops
            children.insert(0, ChildSpec(id="snapshots", start=self.snapshot_writer, ref=self._writer))
        on_event = None if self._instrumentation is None else report_restarts(self._instrumentation)
        top = SystemSupervisor(children, name=f"event sourcing {self._type.name}", on_event=on_event)
        top.lifetime = self.lifetime
        return top

    def check_loop(self) -> None:
        """Raise `WrongEventLoop` if the tree is running in another event loop or process than the caller's."""
        self.commands.check_loop()

    async def register(self, queries: Iterable[Subscription[EventT]]) -> None:
        """Add queries, and start them if the tree is running.

        Raises:
            InvalidArgument: A name is taken; no query was added.
            WrongEventLoop: The tree is running in another event loop.
        """
        self.check_loop()
        for query in self._add(queries):
            # A supervisor that is not running, or is just starting, starts them by itself.
            with suppress(ActorStopped, ActorCrashed, ChildRestarting, ChildRunning):
                await self._query_supervisor.restart_child(query.child_spec().id)

    async def stats(self) -> SystemStats:
        """Return the statistics of the system."""
        self.check_loop()
        counters = self._counters
        head = await self._store.head() if self.queries else 0
        starts = [ref.incarnation for ref in self._refs()]
        return SystemStats(
            query_actors_count=len(self.queries),
            queries=[await query.stats_at(head) for query in self.queries.values()],
            total_commands_processed=counters.commands,
            commands_refused=counters.refused,
            commands_failed=counters.failed,
            conflicts=counters.conflicts,
            snapshots_written=counters.snapshots_written,
            snapshots_dropped=counters.snapshots_dropped,
            snapshots_ignored=counters.snapshots_ignored,
            actor_restarts=sum(starts) - sum(map(bool, starts)) - self._planned_starts,
            uptime_seconds=self.lifetime.uptime,
            status=self.lifetime.status,
            failure=self.lifetime.failure,
        )

    @property
    def is_running(self) -> bool:
        """Whether the command actor is running, or about to."""
        return self.commands.status is not Status.STOPPED

    @property
    def workers(self) -> list[ActorRef[Never, object]]:
        """The command actor and, if snapshots are enabled, the snapshot writer."""
        return [self.commands] if self._snapshots is None else [self.commands, self._writer]

    def plan_start(self) -> None:
        """Keep the start that follows from being counted as a restart, although the actors may have run before."""
        self._planned_starts += sum(ref.incarnation > 0 for ref in self._refs())

    async def wait_until_idle(self, timeout: float) -> int:
        """Wait until no command and no snapshot is waiting or in progress; return the store's head position.

        Args:
            timeout: How long to wait for each batch in progress, in seconds.

        Raises:
            ActorStopped: The tree is not running.
            ActorTimeout: The work in progress took longer.
            EventStoreError: The store could not be read.
        """
        for ref in self.workers:
            is_busy = True
            while is_busy:
                info = await ref.inspect(state=True, timeout=timeout)  # answered once the batch in progress is done
                if info.state is None:
                    raise ActorStopped(ref.id)
                is_busy = bool(info.queued or info.in_progress)
                if is_busy:
                    await asyncio.sleep(0.001)  # commands that wait for a long load are not a batch in progress
        return await self._store.head()

    def _refs(self) -> list[ActorRef[Never, object]]:
        return [self.commands, self._writer, *(part.ref for query in self.queries.values() for part in query.parts)]

    def query(self, name: str, version: int | None, *, argument: str = "name") -> QueryHandle:
        """Return the handle of a query; without a version, that of the live one, or of the highest if none is live."""
        versions = [query for query in self.queries.values() if query.name == name]
        found = [query for query in versions if version in {None, query.version}]
        if not found:
            known = ", ".join(dict.fromkeys(query.name for query in self.queries.values())) or "none"
            what = f"there is no query {name!r}" if not versions else f"query {name!r} has no version {version}"
            raise InvalidArgument(argument, f"{what}; there are: {known}")
        return max(found, key=lambda query: (query.is_live, query.version))

    def _add(self, queries: Iterable[Subscription[EventT]]) -> Sequence[QueryHandle]:
        added: dict[tuple[str, int], QueryHandle] = {}
        if not isinstance(queries, Iterable):
            raise InvalidArgument("queries", f"must be a list of queries and projections, got {queries!r}")
        for query in queries:
            if not isinstance(query, Subscription):
                raise InvalidArgument("queries", f"must hold queries and projections, got {type(query).__name__}")
            key = (query.name, query.version)
            if key in self.queries or key in added:
                raise InvalidArgument(
                    "queries", f"has two called {query.name!r}, version {query.version}; give each its own name"
                )
            added[key] = query.handle(self._store, follows=[self._type], instrumentation=self._instrumentation)
        self._query_supervisor.reconfigure([query.child_spec() for query in added.values()])
        self.queries.update(added)
        return list(added.values())

    def snapshot_writer(self) -> SnapshotWriter:
        """Create the actor that writes snapshots."""
        return SnapshotWriter(self._store, self._counters, self._missed)

    def command_actor(self) -> EventSourcingActor[StateT, CommandT, EventT, ErrorT]:
        """Create the actor that executes commands."""
        return EventSourcingActor(
            self._type,
            self._store,
            self.loader,
            self._counters,
            cache_size=self._cache_size,
            snapshots=self._snapshots,
            instrumentation=self._instrumentation,
        )
