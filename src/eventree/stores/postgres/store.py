"""The Postgres store: which statement runs on which connection."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Self

from eventree.errors import CommitOutcomeUnknown, EventStoreError, StoreUnavailable
from eventree.errors.arguments import check_positive
from eventree.stores.checks import (
    check_checkpoint,
    check_command_ids,
    check_fencing_token,
    check_lease_request,
    check_log_read,
    check_parked_read,
    check_renewal,
    check_requests,
    check_snapshot_ids,
    check_snapshots,
    check_stream_reads,
    check_update,
)
from eventree.stores.contract import (
    NO_LEASE,
    AppendRequest,
    Checkpoint,
    CheckpointUpdate,
    LeaseRequest,
    LogPage,
    Outcome,
    ParkedCommit,
    RecordedCommand,
    StoredCheckpoint,
    StoredSnapshot,
    StoreTransaction,
    StreamPage,
    StreamRead,
)
from eventree.stores.lifecycle import Lifecycle
from eventree.stores.postgres import read as queries
from eventree.stores.postgres.address import parse
from eventree.stores.postgres.append import Call
from eventree.stores.postgres.checkpoints import CheckpointTable
from eventree.stores.postgres.connections import Circuit, Connections
from eventree.stores.postgres.driver import Connection, ConnectionLost
from eventree.stores.postgres.notify import Hints
from eventree.stores.postgres.schema import create_or_check, quoted
from eventree.stores.postgres.transactions import transaction
from eventree.stores.tail import Tail
from eventree.stores.watchers import Watchers

_READERS = 4
_PROJECTORS = 4
_PUT_SNAPSHOTS: Final = """
INSERT INTO snapshots (stream, state_version, sequence, state_type, payload, checksum, taken_at)
SELECT DISTINCT ON (stream, n.state_version)
  stream, n.state_version, n.sequence, n.state_type, n.payload, n.checksum, n.taken_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::json[], $7::bigint[], $8::timestamptz[])
WITH ORDINALITY
  n (aggregate_type, aggregate_id, state_version, sequence, state_type, payload, checksum, taken_at, nth)
JOIN streams s ON s.aggregate_type = n.aggregate_type AND s.aggregate_id = n.aggregate_id
  AND s.sequence >= n.sequence
ORDER BY stream, n.state_version, n.sequence DESC, nth DESC
ON CONFLICT (stream, state_version) DO UPDATE SET sequence = excluded.sequence, state_type = excluded.state_type,
  payload = excluded.payload, checksum = excluded.checksum, taken_at = excluded.taken_at
WHERE excluded.sequence >= snapshots.sequence
  OR snapshots.sequence > (SELECT s.sequence FROM streams s WHERE s.stream = excluded.stream)
"""


class PostgresStore:
    """Keep events in a schema of a Postgres database; see `EventStore` for what each method promises.

    Appends go through one connection, one statement and one commit each, and take turns with those of other processes
    on the lock of one row: that makes positions gapless and visible in order. Reads and all else have connections of
    their own. A connection that was lost is replaced, and if an append lost its answer, the store finds out what it
    came to. Any number of processes may share a schema. When an event was
    stored, the clock of the server says, also in tests.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "eventree",
        timeout: float = 10.0,
        require_tls: bool = True,
        notify: bool = True,
    ) -> None:
        """Name the database; nothing is opened yet.

        Args:
            dsn: `postgresql://user:password@host:port/database`, with libpq's options after a `?`. Only hosts and
                database are ever shown.
            schema: Where the tables are; created if it is missing. 1 to 41 of a to z, 0 to 9 and _.
            timeout: How long to wait for a connection, for an answer, for locks of other processes, and for the
                outcome of an append whose answer was lost, each in seconds; default 10.
            require_tls: Whether a server on another machine must prove who it is, by `sslmode=verify-full`; default
                true.
            notify: Whether to tell other processes of commits, and to hear of theirs, by NOTIFY. Without it their
                queries find new events when they look, each poll interval.

        Raises:
            InvalidArgument: One of them cannot work.
        """
        self._address = parse(dsn, require_tls=require_tls)
        self._schema = quoted(schema)
        self._channel = f"eventree_{schema}"
        check_positive("timeout", timeout)
        self._timeout = timeout
        self._notify = notify
        self._writer: Connections | None = None
        self._reader: Connections | None = None
        self._projector: Connections | None = None
        self._hints: Hints | None = None
        self._checkpoints = CheckpointTable(self._schema)
        self._appends: set[asyncio.Future[None]] = set()
        self._tail = Tail()  # empty while nobody follows
        self._watchers = Watchers(self._tail.clear)
        self._lifecycle = Lifecycle(self._open, self._close)

    def __repr__(self) -> str:
        return f"<PostgresStore {self._address} {self._schema} {'open' if self._lifecycle.is_open else 'closed'}>"

    async def __aenter__(self) -> Self:
        """See `EventStore`; entering it again while it is open only counts."""
        await self._lifecycle.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """See `EventStore`; the last one out closes the connections."""
        await self._lifecycle.leave()

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        """See `EventStore.append`."""
        check_requests(requests)
        writer = self._opened(self._writer)
        if not requests:
            return []
        over = asyncio.get_running_loop().create_future()
        self._appends.add(over)
        try:
            return await self._append(writer, Call(requests))
        finally:
            self._appends.discard(over)
            over.set_result(None)

    async def find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        """See `EventStore.find_commands`."""
        check_command_ids(command_ids)
        return await self._opened(self._reader).run(lambda db: queries.find_commands(db, command_ids))

    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        """See `EventStore.read_streams`."""
        check_stream_reads(reads)
        return await self._opened(self._reader).run(lambda db: queries.read_streams(db, reads))

    async def read(self, after: int, limit: int, types: Collection[str] | None = None) -> LogPage:
        """See `EventStore.read`."""
        check_log_read(after, limit, types)
        reader = self._opened(self._reader)
        page = self._tail.read(after, limit, types)
        return page if page is not None else await reader.run(lambda db: queries.read_log(db, after, limit, types))

    async def head(self) -> int:
        """See `EventStore.head`."""
        return await self._opened(self._reader).run(queries.head)

    def watch(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """See `EventStore.watch`."""
        return self._watchers.add(listener)

    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        """See `EventStore.claim_checkpoint`."""
        check_lease_request(name, version, lease)
        return await self._opened(self._reader).run(lambda db: self._checkpoints.claim(db, name, version, lease))

    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        """See `EventStore.save_checkpoint`."""
        check_update(name, version, update)
        await self._opened(self._reader).run(lambda db: self._checkpoints.save(db, name, version, update))

    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        """See `EventStore.make_live`."""
        check_checkpoint(name, version)
        check_fencing_token(fencing_token)
        return await self._opened(self._reader).run(
            lambda db: self._checkpoints.make_live(db, name, version, fencing_token)
        )

    async def renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        """See `EventStore.renew_checkpoint`."""
        check_renewal(name, version, fencing_token, seconds)
        table = self._checkpoints
        return await self._opened(self._reader).run(lambda db: table.renew(db, name, version, fencing_token, seconds))

    async def load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        """See `EventStore.load_checkpoint`."""
        check_checkpoint(name, version)
        return await self._opened(self._reader).run(lambda db: self._checkpoints.load(db, name, version))

    async def load_parked(
        self, name: str, version: int, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ParkedCommit]:
        """See `EventStore.load_parked`."""
        check_parked_read(name, version, after, limit)
        table = self._checkpoints
        return await self._opened(self._reader).run(lambda db: table.load_parked(db, name, version, after, limit))

    def transaction(self, lease: float = 5.0) -> AbstractAsyncContextManager[StoreTransaction[Connection]]:
        """See `TransactionalStore.transaction`; unqualified names are looked up as the role has it, not in `schema`."""
        return transaction(self._opened(self._projector), self._checkpoints, lease)

    async def save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        """See `EventStore.save_snapshots`."""
        check_snapshots(snapshots)
        columns = _columns(snapshots)
        await self._opened(self._reader).run(lambda db: db.execute(_PUT_SNAPSHOTS, *columns))

    async def load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        """See `EventStore.load_snapshots`."""
        check_snapshot_ids(aggregate_type, aggregate_ids, state_version)
        return await self._opened(self._reader).run(
            lambda db: queries.load_snapshots(db, aggregate_type, aggregate_ids, state_version)
        )

    async def _append(self, writer: Connections, call: Call) -> list[Outcome]:
        try:
            outcomes = await writer.run(lambda db: self._attempt(db, call))
        except ConnectionLost as error:
            outcomes = await self._find_out(writer, call, error)
        if call.head:
            self._watchers.tell(call.head)
            if self._hints is not None:
                self._hints.committed(call.head)
        return outcomes

    async def _attempt(self, db: Connection, call: Call) -> list[Outcome]:
        """Attempt a call and keep what it stored, even if its caller was cancelled: so all appends come in order."""
        try:
            outcomes = await call.attempt(db)
        except BaseException:
            self._tail.clear()  # there may be events that nobody here knows of
            raise
        if self._watchers.are_there:
            for stored, recorded_at in call.stored:
                self._tail.add(stored, recorded_at)
        return outcomes

    async def _find_out(self, writer: Connections, call: Call, error: EventStoreError) -> list[Outcome]:
        """Send an append whose answer was lost again, until there is an answer or the time is up.

        That its events are not there proves nothing: the old server process may still commit them. Sent again, either
        they land now, or they are found where they landed before.
        """
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._timeout, 0.05
        while loop.time() < deadline:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)
            try:
                return await writer.run(lambda db: self._attempt(db, call))
            except EventStoreError as newest:
                error = newest
        raise CommitOutcomeUnknown(
            f"the connection to {self._address} was lost during a commit, and what became of it could not be found out "
            f"for {self._timeout} s; send the command again with the same command_id"
        ) from error

    async def _open(self) -> None:
        circuit = Circuit(self._address.where)
        self._writer = Connections(self._address, self._schema, 1, self._timeout, circuit, self._tail.clear)
        self._reader = Connections(self._address, self._schema, _READERS, self._timeout, circuit)
        self._projector = Connections(self._address, None, _PROJECTORS, self._timeout, circuit)
        await self._writer.run(self._prepare)
        if self._notify:
            self._hints = Hints(self._channel, self._reader.connect, self._watchers.tell)

    async def _prepare(self, db: Connection) -> None:
        await create_or_check(db, self._schema, self._address.where)

    async def _close(self) -> None:
        hints, self._hints = self._hints, None
        reader, self._reader = self._reader, None
        projector, self._projector = self._projector, None
        writer, self._writer = self._writer, None
        if self._appends:
            await asyncio.wait(self._appends)  # one whose answer was lost asks again what became of it
        for part in (hints, projector, writer, reader):
            if part is not None:
                await part.close()
        self._tail.clear()

    def _opened(self, connections: Connections | None) -> Connections:
        if connections is None:
            raise StoreUnavailable(f"{self._address} is not open; use the store inside `async with store:`")
        return connections


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
    )
