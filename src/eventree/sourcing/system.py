"""`EventSourcing`: the client that executes commands and reads aggregates, and the tree of actors behind it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Generic, Never, Self, TypeVar

from eventree.actors import ChildSpec, Supervisor
from eventree.domain.aggregate import Aggregate, AggregateType
from eventree.domain.events import EventEnvelope
from eventree.domain.snapshots import Snapshot, SnapshotPolicy, check_snapshot_policy
from eventree.errors import EventreeError, InvalidArgument
from eventree.errors.root import check_count, check_positive
from eventree.instrumentation import Instrumentation
from eventree.instrumentation.guard import GuardedInstrumentation
from eventree.result import Err, Result
from eventree.sourcing.commands.answers import as_result, log_failure, wait_for_queries, with_timeout
from eventree.sourcing.commands.load import AggregateReader
from eventree.sourcing.commands.observed import ObservedCommands
from eventree.sourcing.commands.requests import (
    CommandEnvelope,
    CommandId,
    CommandResult,
    Fingerprint,
    make_request,
    make_requests,
)
from eventree.sourcing.lifetime import SystemStatus
from eventree.sourcing.queries.context import refuse_in_transaction
from eventree.sourcing.queries.handle import QueryHandle
from eventree.sourcing.queries.subscriptions import Subscription
from eventree.sourcing.statistics import AggregateStats, SystemStats
from eventree.sourcing.tree import Tree
from eventree.stores.contract import EventStore
from eventree.stores.forwarding import checked

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")
T = TypeVar("T")


class EventSourcing(Generic[StateT, CommandT, EventT, ErrorT]):
    """Execute commands on the aggregates of one type and keep queries up to date.

    The object is the client: it exists before the system is started, and stays valid while its actors restart. Run it
    with `async with`, or under your own supervisor with `child_spec()`. Expected outcomes, errors included, are
    returned as `Ok` or `Err`; `.unwrap()` turns an `Err` into an exception.
    """

    def __init__(
        self,
        aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
        store: EventStore,
        *,
        queries: Iterable[Subscription[EventT]] = (),
        snapshots: SnapshotPolicy | None = None,
        cache_size: int = 10_000,
        mailbox_size: int = 10_000,
        instrumentation: Instrumentation | None = None,
    ) -> None:
        """Create a client; nothing is started yet.

        Args:
            aggregate_type: Decides the commands.
            store: Holds the events; enter it before you start the system. Several systems may share it.
            queries: The queries to run; default none. See also `register_queries`.
            snapshots: When to take snapshots, for example `SnapshotConfig(frequency=100)`; default never.
            cache_size: How many aggregates to keep in memory; default 10,000.
            mailbox_size: How many commands may wait at once; default 10,000.
            instrumentation: Observes commands, commits, queries and restarts; default none.

        Raises:
            InvalidArgument: An argument is invalid.
        """
        if not isinstance(aggregate_type, AggregateType):
            order = "; the order is EventSourcing(aggregate_type, store)" if isinstance(store, AggregateType) else ""
            raise InvalidArgument("aggregate_type", f"must be an AggregateType, got {aggregate_type!r}{order}")
        check_count("cache_size", cache_size)
        check_count("mailbox_size", mailbox_size)
        if snapshots is not None:
            check_snapshot_policy(snapshots)
        self._type = aggregate_type
        self._store = store = checked(store)
        self._root: Supervisor | None = None
        observer = None if instrumentation is None else GuardedInstrumentation.of(instrumentation)
        self._tree = Tree(
            aggregate_type,
            store,
            queries,
            snapshots=snapshots,
            cache_size=cache_size,
            mailbox_size=mailbox_size,
            instrumentation=observer,
        )
        self._observed: ObservedCommands[CommandT, EventT, ErrorT] | None = None
        if observer is not None:
            self._observed = ObservedCommands(observer, aggregate_type.name, self._tree.commands)
        self._reader = AggregateReader(aggregate_type, store, self._tree.loader)

    def __repr__(self) -> str:
        return f"<EventSourcing {self._type.name!r} {self.status.value}>"

    # --- running

    async def __aenter__(self) -> Self:
        """Start the system under its own supervisor.

        Raises:
            ChildStartError: An actor of the system did not start.
            WrongEventLoop: The system is running in another event loop, or its store is open in another one.
        """
        root = self._tree.build()
        if not self._tree.is_running:
            self._tree.plan_start()
        await root.__aenter__()
        self._root = root
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the system; commands still waiting are answered with `ActorStopped` and not executed.

        Raises:
            RestartIntensityExceeded: The system had already stopped because its actors crashed too often.
        """
        if self._root is not None:
            await self._root.__aexit__(kind, error, traceback)

    def child_spec(self) -> ChildSpec[Never, object]:
        """Return the child spec to run the system under your own supervisor."""
        return self._tree.spec()

    @property
    def status(self) -> SystemStatus:
        """Whether the system runs, for a health check; `failure` says why it gave up."""
        return self._tree.lifetime.status

    @property
    def failure(self) -> BaseException | None:
        """The error for which the system gave up, or did not start; None if it runs or was stopped in order."""
        return self._tree.lifetime.failure

    async def wait_stopped(self) -> None:
        """Wait until the system has stopped for good; a restart by the supervisor above it is no end.

        Use it in a task of your own to end or alarm the program around a system that gave up, such as a web server,
        which would answer every request with an error. The body of `async with` may wait here too.

        Raises:
            RestartIntensityExceeded: The system gave up because its actors crashed too often. Whatever else it ended
                with is raised too, such as the `ChildStartError` of a start that failed.
            ActorStopped: The system was never started.
            WrongEventLoop: It runs in another event loop.
        """
        top = self._tree.lifetime.top
        if self._root is not None and top is not None and self._root.children.address is top:
            reason = await self._root.wait()
            if reason.error is not None:
                raise reason.error
        await self._tree.lifetime.wait_stopped()

    # --- commands

    async def execute(
        self,
        aggregate_id: str,
        command: CommandT,
        *,
        metadata: Mapping[str, str] | None = None,
        command_id: CommandId | None = None,
        expected_sequence: int | None = None,
        fingerprint: Fingerprint | None = None,
        wait_for: Iterable[str] = (),
        timeout: float = 5.0,
    ) -> CommandResult[EventT, ErrorT]:
        """Decide a command and store its events durably.

        Args:
            aggregate_id: 1 to 255 bytes of UTF-8.
            command: Anything but None, for the aggregate type's `handle`.
            metadata: Stored with each event, with the ids of `current_correlation()` added unless it sets them. At
                most 64 KiB of JSON; default none.
            command_id: Makes the command idempotent, without a time limit: a repetition is answered with the first
                commit, which then says `repeated`; another command with the same id is `CommandIdReused`. Default none.
            expected_sequence: The sequence that the aggregate must be at, 0 for one without events. At any other, the
                answer is `ConcurrencyConflict` and nothing is decided. Default any.
            fingerprint: What tells the command from another one with the same `command_id`, for example a hash of an
                HTTP request; not empty. Default computed from the class and the fields of the command, without those
                whose default is made by a function, such as `uuid4`. Commands that cannot be encoded as JSON, or whose
                class has changed since, are not compared. Metadata does not count.
            wait_for: The names of queries that must have handled the events before this returns, so that their read
                models show them; default none. One that does not follow this aggregate type has nothing to handle, and
                commits that a query has parked or skipped count as handled. If
                one of them is too slow, the answer is `NotCaughtUp` and the commit stands.
            timeout: How long to wait for room in the mailbox, the answer and the queries, all together, in seconds;
                default 5.

        Returns:
            `Ok(Commit)` once the events are durable, or the error that explains why nothing was stored. After an
            `ActorTimeout`, `ActorCrashed` or `CommitOutcomeUnknown` the events may be stored nevertheless: repeat the
            command with the same `command_id`.
        """
        began = 0.0
        try:
            refuse_in_transaction("execute")
            if isinstance(wait_for, str):
                raise InvalidArgument("wait_for", f"must be a list of names, such as [{wait_for!r}]")
            if names := [self._tree.query(name, None, argument="wait_for").name for name in wait_for]:
                self._tree.check_loop()
                began = asyncio.get_running_loop().time()
            computing = self._type.fingerprints
            request = make_request(
                aggregate_id, command, metadata, command_id, expected_sequence, fingerprint, computing
            )
            if self._observed is None:
                answer = await self._tree.commands.ask(request, timeout=timeout, operation="execute")
            else:
                answer = await self._observed.ask(request, timeout)
        except EventreeError as error:
            return Err(error)
        return await wait_for_queries(answer, self._type.name, names, self.query, began + timeout) if names else answer

    def execute_nowait(
        self,
        aggregate_id: str,
        command: CommandT,
        *,
        metadata: Mapping[str, str] | None = None,
        command_id: CommandId | None = None,
        fingerprint: Fingerprint | None = None,
    ) -> None:
        """Send a command without waiting for the answer; a failure after that is logged and counted.

        Args:
            aggregate_id: As for `execute`.
            command: As for `execute`.
            metadata: As for `execute`.
            command_id: As for `execute`.
            fingerprint: As for `execute`.

        Raises:
            InvalidArgument: An argument is invalid.
            MailboxFull: Too many commands are waiting.
            ActorStopped: The system is not running.
            WrongEventLoop: The system is running in another event loop; nothing was sent.
        """
        computing = self._type.fingerprints
        request = make_request(aggregate_id, command, metadata, command_id, None, fingerprint, computing)
        send = self._tree.commands.ask_nowait if self._observed is None else self._observed.ask_nowait
        answer = send(request)
        answer.add_done_callback(partial(log_failure, self._type.name, aggregate_id))

    async def execute_many(
        self,
        commands: Iterable[tuple[str, CommandT]],
        *,
        metadata: Mapping[str, str] | Sequence[Mapping[str, str] | None] | None = None,
        command_ids: Sequence[CommandId | None] | None = None,
        fingerprints: Sequence[Fingerprint | None] | None = None,
        timeout: float = 5.0,
    ) -> list[CommandResult[EventT, ErrorT]]:
        """Execute many commands in order, each independently, as with `execute`.

        Args:
            commands: Pairs of aggregate id and command.
            metadata: One for all, or one per command; default none.
            command_ids: One per command, None for a command without; default none.
            fingerprints: One per command, None for a computed one; default all computed.
            timeout: How long to wait for all of them together, in seconds; default 5.

        Returns:
            One result per command, in order.
        """
        prepared = make_requests(commands, metadata, command_ids, fingerprints, self._type.fingerprints)
        try:
            refuse_in_transaction("execute_many")
            check_positive("timeout", timeout)
            self._tree.check_loop()
        except EventreeError as error:
            return [Err(error) for _ in prepared]
        requests = [each for each in prepared if isinstance(each, CommandEnvelope)]
        if self._observed is None:
            given = await self._tree.commands.ask_many(requests, timeout=timeout, operation="execute_many")
        else:
            given = await self._observed.ask_many(requests, timeout)
        answers = iter(given)
        return [as_result(next(answers) if isinstance(each, CommandEnvelope) else each) for each in prepared]

    # --- reading: directly from the store, never behind waiting commands

    async def load_aggregate(
        self, aggregate_id: str, *, timeout: float = 5.0
    ) -> Result[Aggregate[StateT], EventreeError]:
        """Return the current state of an aggregate.

        Args:
            aggregate_id: The aggregate.
            timeout: How long to wait, in seconds; default 5.

        Returns:
            The aggregate, or the error: `EntityNotFound` if it has no events.
        """
        return await self._read("load_aggregate", timeout, self._reader.aggregate(aggregate_id))

    async def load_events(
        self, aggregate_id: str, *, start_from: int = 1, timeout: float = 5.0
    ) -> Result[list[EventEnvelope[EventT]], EventreeError]:
        """Return the events of an aggregate; use `stream_events` for long streams.

        Args:
            aggregate_id: The aggregate.
            start_from: The first sequence to return; default 1, the first event.
            timeout: How long to wait, in seconds; default 5.

        Returns:
            The events in order; an empty list for an aggregate without events.
        """
        return await self._read("load_events", timeout, self._reader.events(aggregate_id, start_from))

    def stream_events(self, aggregate_id: str, *, start_from: int = 1) -> AsyncIterator[EventEnvelope[EventT]]:
        """Iterate over the events of an aggregate, with one page in memory at a time.

        Args:
            aggregate_id: The aggregate.
            start_from: The first sequence to yield; default 1, the first event.

        Raises:
            EventreeError: While iterating, if the store fails or an event cannot be read.
        """
        return self._reader.stream(aggregate_id, start_from)

    async def latest_snapshot(
        self, aggregate_id: str, *, timeout: float = 5.0
    ) -> Result[Snapshot[StateT] | None, EventreeError]:
        """Return the latest snapshot of an aggregate; None if there is no usable one.

        Args:
            aggregate_id: The aggregate.
            timeout: How long to wait, in seconds; default 5.
        """
        return await self._read("latest_snapshot", timeout, self._reader.snapshot(aggregate_id))

    async def aggregate_stats(
        self, aggregate_id: str, *, timeout: float = 5.0
    ) -> Result[AggregateStats, EventreeError]:
        """Return the statistics of an aggregate.

        Args:
            aggregate_id: The aggregate.
            timeout: How long to wait, in seconds; default 5.

        Returns:
            The statistics, or the error: `EntityNotFound` if it has no events.
        """
        return await self._read("aggregate_stats", timeout, self._reader.stats(aggregate_id))

    async def _read(
        self, operation: str, timeout: float, call: Coroutine[object, object, T]
    ) -> Result[T, EventreeError]:
        return await with_timeout(operation, timeout, call, self._tree.check_loop)

    async def system_stats(self) -> SystemStats:
        """Return the statistics of this system, since this object was created.

        Raises:
            EventStoreError: The store could not be read to determine the lag of the queries.
            WrongEventLoop: The system is running in another event loop.
        """
        return await self._tree.stats()

    # --- queries

    async def register_queries(self, queries: Iterable[Subscription[EventT]]) -> None:
        """Add queries; they start at once if the system is running, and with the system otherwise.

        Raises:
            InvalidArgument: A name is taken; no query was added.
            WrongEventLoop: The system is running in another event loop.
        """
        await self._tree.register(queries)

    def query(self, name: str, version: int | None = None) -> QueryHandle:
        """Return the handle of a query.

        Args:
            name: The query's name.
            version: Its version; default the live one, or the highest of this system if none is live.

        Raises:
            InvalidArgument: There is no such query.
        """
        return self._tree.query(name, version)
