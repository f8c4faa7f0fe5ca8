"""The Postgres store: maps each method to a statement and the connection it runs on."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Final, Self, TypeVar
from uuid import UUID

from eventree.backoff import Backoff
from eventree.errors import (
    CommitOutcomeUnknown,
    EventStoreError,
    StoreReadOnly,
    StoreUnavailable,
    TransactionRolledBack,
)
from eventree.errors.root import check_positive
from eventree.stores.checked import CheckedStore, Decide, check_transaction_lease
from eventree.stores.contract import (
    AggregateSummary,
    AppendRequest,
    Checkpoint,
    CheckpointUpdate,
    CommitStamp,
    LeaseRequest,
    LogPage,
    Outcome,
    ParkedCommit,
    QueryRequest,
    QuerySummary,
    RecordedCommand,
    RequestAnswer,
    StoredCheckpoint,
    StoredSnapshot,
    StoredStop,
    StoreTransaction,
    StreamPage,
    StreamRead,
)
from eventree.stores.lifecycle import Lifecycle
from eventree.stores.line import Line
from eventree.stores.live import CommitListeners, Tail
from eventree.stores.postgres import query_requests, reads
from eventree.stores.postgres.address import parse
from eventree.stores.postgres.append import AppendAttempt, ExclusiveAttempt, SharedAttempt, WishToLeave, stored_in_part
from eventree.stores.postgres.checkpoints import CheckpointTable
from eventree.stores.postgres.connections import CircuitBreaker, Connections
from eventree.stores.postgres.driver import Connection, ConnectionLost
from eventree.stores.postgres.identity import KnownServer
from eventree.stores.postgres.notify import CommitNotifier
from eventree.stores.postgres.schema import SchemaConnection, check, create_or_check, quoted
from eventree.stores.postgres.sessions import Timeouts
from eventree.stores.postgres.transactions import transaction
from eventree.stores.renewals import Renewal, SharedRenewals
from eventree.stores.shared_appends import SharedAppends, Shipment, waited_too_long

R = TypeVar("R")

_READ_CONNECTIONS = 4
_PROJECTION_CONNECTIONS = 4
_REPEAT: Final = Backoff(initial=0.05, maximum=1.0, jitter=0)
_PUT_SNAPSHOTS: Final = """
INSERT INTO {schema}.snapshots AS kept
  (stream, state_version, sequence, state_type, payload, checksum, taken_at, commit_id, recorded_at)
SELECT DISTINCT ON (s.stream, n.state_version)
  s.stream, n.state_version, n.sequence, n.state_type, n.payload, n.checksum, n.taken_at, n.commit_id, n.recorded_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::json[], $7::bigint[], $8::timestamptz[],
            $9::uuid[], $10::timestamptz[])
WITH ORDINALITY
  n (aggregate_type, aggregate_id, state_version, sequence, state_type, payload, checksum, taken_at, commit_id,
     recorded_at, nth)
JOIN {schema}.streams s ON s.aggregate_type = n.aggregate_type AND s.aggregate_id = n.aggregate_id
  AND s.sequence >= n.sequence AND (n.commit_id IS NULL OR EXISTS (
    SELECT FROM {schema}.events e WHERE e.stream = s.stream AND e.sequence = n.sequence
      AND e.commit_id = n.commit_id AND e.recorded_at = n.recorded_at))
ORDER BY s.stream, n.state_version, n.sequence DESC, nth DESC
ON CONFLICT (stream, state_version) DO UPDATE SET sequence = excluded.sequence, state_type = excluded.state_type,
  payload = excluded.payload, checksum = excluded.checksum, taken_at = excluded.taken_at,
  commit_id = excluded.commit_id, recorded_at = excluded.recorded_at
WHERE excluded.sequence >= kept.sequence
  OR kept.sequence > (SELECT s.sequence FROM {schema}.streams s WHERE s.stream = excluded.stream)
"""


class PostgresStore(CheckedStore):
    """An event store in a schema of a Postgres database; `EventStore` documents its methods.

    Appends use one connection, with one statement and one commit for all that wait for each other, and queue with those
    of other processes for the lock on one row, which makes positions gapless and visible in order. Everything else uses
    other connections. Lost connections are replaced, and if the answer to an append was lost, the store determines its
    outcome. Any number of processes may share a schema. Events are timestamped by the server's clock, in tests too.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "eventree",
        timeout: float = 10.0,
        lock_timeout: float = 2.0,
        require_tls: bool = True,
        notify: bool = True,
        read_only: bool = False,
    ) -> None:
        """Create a closed store.

        Args:
            dsn: `postgresql://user:password@host:port/database`, with libpq's options after a `?`. Only the hosts
                and the database are ever shown.
            schema: The schema of the tables, created if it does not exist: 1 to 41 of a to z, 0 to 9 and _.
            timeout: How long to wait for a connection, for an answer, and for the outcome of an append whose answer
                was lost, in seconds each; default 10.
            lock_timeout: How long to wait for a lock of another process, in seconds; default 2. A command may wait for
                the batch before it and then for its own, so twice this time should be less than the 5 seconds that
                `execute` waits by default; then its caller gets `StoreBusy` and not `ActorTimeout`. The statements of
                projections wait as long as `timeout`.
            require_tls: Whether a server on another machine must prove its identity, by `sslmode=verify-full`; default
                True.
            notify: Whether to announce commits to other processes and listen for theirs, by NOTIFY; default True.
                Without it, queries find the events of other processes by polling.
            read_only: Whether to open the schema only for reading, which works on a replica and for a role that may
                only select: entering neither creates nor migrates anything, and every method that writes raises
                `StoreReadOnly`. Default False.

        Raises:
            InvalidArgument: An argument is invalid.
        """
        self._address = parse(dsn, require_tls=require_tls)
        self._schema = quoted(schema)
        self._channel = f"eventree_{schema}"
        check_positive("timeout", timeout)
        check_positive("lock_timeout", lock_timeout)
        self._timeout = timeout
        self._lock_timeout = lock_timeout
        self._notify = notify
        self._read_only = read_only
        self._writer: Connections | None = None
        self._reader: Connections | None = None
        self._projections: Connections | None = None
        self._notifier: CommitNotifier | None = None
        self._server = KnownServer()
        self._checkpoints = CheckpointTable(self._schema)
        self._appends: set[asyncio.Future[None]] = set()
        self._renewals = SharedRenewals(self._renew_all)
        self._line = Line()
        self._shared_appends: SharedAppends | None = None
        self._tail = Tail()  # empty without listeners
        self._listeners = CommitListeners(on_empty=self._tail.clear)
        self._lifecycle = Lifecycle(self, self._open, self._close)

    def __repr__(self) -> str:
        return f"<PostgresStore {self._address} {self._schema} {'open' if self._lifecycle.is_open else 'closed'}>"

    @property
    def waiting_for(self) -> str:
        """What a write in progress waits for; empty if there is none."""
        where = self._address.where
        return f"an answer of {where}, where another process may hold a lock" if self._appends else ""

    async def __aenter__(self) -> Self:
        await self._lifecycle.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._lifecycle.leave(error)

    async def _append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        if not requests:
            self._writable(self._writer)
            return []
        return await self._writable(self._shared_appends).append(requests)

    async def _read_and_append(self, wanted: Sequence[StreamRead], decide: Decide) -> Sequence[Outcome]:
        writer = self._writable(self._writer)
        place = self._line.enter()
        try:
            if not await self._line.reach(place, self._timeout):
                raise waited_too_long(str(self._address), self._timeout)
            attempt = ExclusiveAttempt(wanted, decide, writer.session)
            return await self._run(writer, attempt, lambda: self._line.leave(place))
        except WishToLeave as leaving:
            raise leaving.wish from None
        finally:
            self._line.leave(place)

    async def _run(self, writer: Connections, attempt: AppendAttempt, lost: Callable[[], None]) -> list[Outcome]:
        """Carry out an attempt.

        Args:
            writer: The connection.
            attempt: The attempt.
            lost: Called if its answer was lost, before its outcome is determined.
        """
        over = asyncio.get_running_loop().create_future()
        self._appends.add(over)
        try:
            return await self._append_and_notify(writer, attempt, lost)
        finally:
            self._appends.discard(over)
            over.set_result(None)

    async def _append_and_notify(
        self, writer: Connections, attempt: AppendAttempt, lost: Callable[[], None]
    ) -> list[Outcome]:
        try:
            outcomes = await writer.run(lambda db: self._attempt(db, attempt))
        except (StoreUnavailable, TransactionRolledBack) as error:
            is_lost = isinstance(error, ConnectionLost) and attempt.was_sent
            if not is_lost and not attempt.has_stored:
                raise
            lost()
            outcomes = await self._determine_outcome(writer, attempt, error)
        if attempt.head:
            self._listeners.notify(attempt.head, attempt.types)
            if self._notifier is not None:
                self._notifier.announce(attempt.head, attempt.types)
        return outcomes

    async def _attempt(self, db: Connection, attempt: AppendAttempt) -> list[Outcome]:
        """Run an attempt and add its events to the tail in order, even if its caller was cancelled."""
        try:
            outcomes = await attempt.run(SchemaConnection(db, self._schema))
        except BaseException:
            self._tail.clear()  # the append may have been committed all the same
            raise
        if self._listeners:
            for stored, recorded_at, before in attempt.stored:
                self._tail.add(stored, recorded_at, before)
        return outcomes

    async def _determine_outcome(
        self, writer: Connections, attempt: AppendAttempt, error: EventStoreError
    ) -> list[Outcome]:
        """Repeat an append whose answer was lost, until there is an answer or the timeout has passed.

        The absence of its events proves nothing: the old server process may still commit them. Repeated, the append is
        either stored now, or its events are found where the first attempt stored them. An append that takes several
        statements is repeated from the one that failed, as those before are committed.
        """
        loop = asyncio.get_running_loop()
        deadline, failures = loop.time() + self._timeout, 1
        while loop.time() < deadline:
            await asyncio.sleep(_REPEAT.delay(failures))
            failures += 1
            try:
                return await writer.run(lambda db: self._attempt(db, attempt))
            except CommitOutcomeUnknown:
                raise
            except EventStoreError as newest:
                error = newest
        raise CommitOutcomeUnknown(
            f"{self._address} was lost or busy during a commit, and its outcome could not be determined within "
            f"{self._timeout} s; send the command again with the same command_id"
        ) from error

    async def _find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        return await self._fetch(lambda db: reads.find_commands(db, command_ids))

    async def _read_streams(self, wanted: Sequence[StreamRead]) -> Sequence[StreamPage]:
        return await self._fetch(lambda db: reads.read_streams(db, wanted))

    async def _read(
        self,
        after: int,
        limit: int,
        types: Collection[str] | None,
        event_types: Collection[str] | None,
        after_stamp: CommitStamp | None,
    ) -> LogPage:
        return await self._fetch(lambda db: reads.read_log(db, after, limit, types, event_types, after_stamp))

    async def _read_live(
        self,
        after: int,
        limit: int,
        types: Collection[str] | None,
        event_types: Collection[str] | None,
        after_stamp: CommitStamp | None,
    ) -> LogPage:
        self._opened(self._reader)
        return await self._tail.read_live(self._read, after, limit, types, event_types, after_stamp)

    async def _read_backwards(
        self, before: int, limit: int, types: Collection[str] | None, event_types: Collection[str] | None
    ) -> LogPage:
        return await self._fetch(lambda db: reads.read_backwards(db, before, limit, types, event_types))

    async def _list_aggregates(
        self, aggregate_type: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[AggregateSummary]:
        return await self._fetch(lambda db: reads.list_aggregates(db, aggregate_type, after, limit))

    async def list_aggregate_types(self) -> Sequence[str]:
        """Return the types of all aggregates, in order."""
        return await self._fetch(reads.list_aggregate_types)

    async def head(self) -> int:
        """Return the position of the newest event."""
        return await self._fetch(reads.head)

    def _watch(self, listener: Callable[[int], None], types: Collection[str] | None) -> Callable[[], None]:
        self._lifecycle.check_loop()
        return self._listeners.add(listener, types)

    async def _claim_checkpoint(self, name: str, version: int, lease: LeaseRequest) -> Checkpoint:
        return await self._writable(self._reader).run(lambda db: self._checkpoints.claim(db, name, version, lease))

    async def _save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await self._writable(self._reader).run(lambda db: self._checkpoints.save(db, name, version, update))

    async def _make_live(self, name: str, version: int, fencing_token: int) -> bool:
        table = self._checkpoints
        return await self._writable(self._reader).run(lambda db: table.make_live(db, name, version, fencing_token))

    async def _renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        self._writable(self._reader)
        return await self._renewals.renew(Renewal(name, version, fencing_token, seconds))

    async def _renew_all(self, renewals: Sequence[Renewal]) -> Sequence[bool]:
        return await self._writable(self._reader).run(lambda db: self._checkpoints.renew_all(db, renewals))

    async def _stop_checkpoint(self, name: str, version: int, owner: str, stop: StoredStop) -> bool:
        table = self._checkpoints
        return await self._writable(self._reader).run(lambda db: table.stop(db, name, version, owner, stop))

    async def _load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        return await self._opened(self._reader).run(lambda db: self._checkpoints.load(db, name, version))

    async def _load_parked(self, name: str, version: int, *, after: int, limit: int) -> Sequence[ParkedCommit]:
        table = self._checkpoints
        return await self._opened(self._reader).run(lambda db: table.load_parked(db, name, version, after, limit))

    async def list_queries(self) -> Sequence[QuerySummary]:
        """Return every version of every query, in order."""
        return await self._opened(self._reader).run(self._checkpoints.list_queries)

    async def _put_request(self, request: QueryRequest) -> bool:
        self._writable(self._reader)
        return await self._fetch(lambda db: query_requests.put(db, request))

    async def _load_requests(self, name: str, version: int) -> Sequence[QueryRequest]:
        return await self._fetch(lambda db: query_requests.load(db, name, version))

    async def _take_answer(self, id: UUID) -> RequestAnswer | None:
        self._writable(self._reader)
        return await self._fetch(lambda db: query_requests.take(db, id))

    def transaction(self, lease: float = 5.0) -> AbstractAsyncContextManager[StoreTransaction[Connection]]:
        """Begin a transaction for a projection, see `TransactionalStore.transaction`.

        Unqualified names resolve through the role's `search_path`, not in the schema of the store.
        """
        check_transaction_lease(lease)
        return transaction(self._writable(self._projections), self._checkpoints, lease, self._lifecycle.check_loop)

    async def _save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        columns = _columns(snapshots)
        reader = self._writable(self._reader)
        await reader.run(lambda db: SchemaConnection(db, self._schema).execute(_PUT_SNAPSHOTS, *columns))

    async def _load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        return await self._fetch(lambda db: reads.load_snapshots(db, aggregate_type, aggregate_ids, state_version))

    async def _open(self) -> None:
        circuit = CircuitBreaker(self._address.where)
        if self._read_only:
            self._reader = Connections(
                self._address, self._schema, _READ_CONNECTIONS, Timeouts(self._timeout), circuit, read_only=True
            )
            await self._reader.run(lambda db: check(db, self._schema, self._address.where))
            await self._refuse_pooler(self._reader)
        else:
            await self._open_to_write(circuit)
        if self._notify and self._reader is not None:
            self._notifier = CommitNotifier(self._channel, self._reader.connect, self._listeners.notify)

    async def _open_to_write(self, circuit: CircuitBreaker) -> None:
        where, schema, server = self._address, self._schema, self._server
        timeouts, of_projections = Timeouts(self._timeout, self._lock_timeout), Timeouts(self._timeout)
        self._writer = Connections(where, schema, 1, timeouts, circuit, self._tail.clear, server=server)
        self._reader = Connections(where, schema, _READ_CONNECTIONS, timeouts, circuit, server=server)
        self._projections = Connections(where, None, _PROJECTION_CONNECTIONS, of_projections, circuit, server=server)
        self._line = Line()
        self._shared_appends = self._share_appends(self._writer)
        await self._writer.run(lambda db: create_or_check(db, self._schema, self._address.where))
        await self._refuse_pooler(self._writer)

    def _share_appends(self, writer: Connections) -> SharedAppends:
        async def send(shipment: Shipment) -> Sequence[Outcome]:
            attempt = SharedAttempt(shipment, writer.session)
            try:
                return await self._run(writer, attempt, shipment.end)
            except EventStoreError as error:
                if len(shipment.calls) > 1 and attempt.stored:  # not by all, but who of them was is not sure
                    raise stored_in_part(str(self._address)) from error
                raise

        return SharedAppends(self._line, send, str(self._address), longest_wait=self._timeout)

    async def _refuse_pooler(self, opened: Connections) -> None:
        """Raise `StoreUnusable` if a second connection shares the first one's server process, so takes its settings.

        Where the server has no second connection to give, nothing is known.
        """
        circuit = CircuitBreaker(self._address.where)
        other = Connections(self._address, self._schema, 1, Timeouts(self._timeout), circuit, read_only=self._read_only)
        try:
            with suppress(StoreUnavailable):
                await other.check_session()
            await opened.check_session()
        finally:
            await other.close()

    async def _close(self) -> None:
        notifier, self._notifier = self._notifier, None
        reader, self._reader = self._reader, None
        projections, self._projections = self._projections, None
        writer, self._writer = self._writer, None
        shared_appends, self._shared_appends = self._shared_appends, None
        if shared_appends is not None:
            await shared_appends.drain()
        if self._appends:
            await asyncio.wait(self._appends)  # they may still be determining an outcome whose answer was lost
        for part in (notifier, projections, writer, reader):
            if part is not None:
                await part.close()
        self._tail.clear()

    async def _fetch(self, operation: Callable[[SchemaConnection], Awaitable[R]]) -> R:
        """Call a function of `reads`."""
        reader = self._opened(self._reader)
        return await reader.run(lambda db: operation(SchemaConnection(db, self._schema)))

    def _writable(self, part: R | None) -> R:
        if self._read_only:
            raise StoreReadOnly(self._address.where)
        return self._opened(part)

    def _opened(self, part: R | None) -> R:
        self._lifecycle.check_loop()
        if part is None:
            raise StoreUnavailable(f"{self._address} is not open; use the store inside `async with store:`")
        return part


def _columns(snapshots: Sequence[StoredSnapshot]) -> tuple[list[object], ...]:
    return (
        [snapshot.aggregate_type for snapshot in snapshots],
        [snapshot.aggregate_id for snapshot in snapshots],
        [snapshot.state_version for snapshot in snapshots],
        [snapshot.sequence for snapshot in snapshots],
        [snapshot.state_type for snapshot in snapshots],
        [snapshot.payload for snapshot in snapshots],
        [snapshot.checksum for snapshot in snapshots],
        [snapshot.taken_at for snapshot in snapshots],
        *reads.stamp_columns(snapshot.stamp for snapshot in snapshots),
    )
