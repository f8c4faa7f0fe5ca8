"""The SQLite store: which function runs on which connection."""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from os import PathLike, fspath
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import aiosqlite

from eventree.errors import InvalidArgument, StoreUnavailable
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
from eventree.stores.clock import Clock, check_clock, utc_now
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
from eventree.stores.sqlite import checkpoints
from eventree.stores.sqlite import read as queries
from eventree.stores.sqlite.append import append
from eventree.stores.sqlite.connection import Connection, writing
from eventree.stores.sqlite.schema import open_reader, open_writer
from eventree.stores.sqlite.transactions import Transactions
from eventree.stores.tail import Tail
from eventree.stores.watchers import Watchers

P = ParamSpec("P")
R = TypeVar("R")

_PUT_SNAPSHOT = """
INSERT INTO snapshots (stream, state_version, sequence, state_type, payload, checksum, taken_at)
SELECT stream, ?, ?, ?, ?, ?, ? FROM streams WHERE aggregate_type = ? AND aggregate_id = ? AND sequence >= ?
ON CONFLICT (stream, state_version) DO UPDATE SET sequence = excluded.sequence, state_type = excluded.state_type,
  payload = excluded.payload, checksum = excluded.checksum, taken_at = excluded.taken_at
WHERE excluded.sequence >= snapshots.sequence
  OR snapshots.sequence > (SELECT sequence FROM streams WHERE stream = excluded.stream)
"""


class SQLiteStore:
    """Keep events in one SQLite file; see `EventStore` for what each method promises.

    WAL mode with `synchronous=FULL`, both read back: what is acknowledged survives a power failure. Everything that
    writes goes through one connection, each transaction as one function on its thread; reads have their own. Any
    number of processes of one machine may share the file; network file systems do not work.
    """

    def __init__(self, path: str | PathLike[str], *, busy_timeout: float = 5.0, clock: Clock = utc_now) -> None:
        """Name the file; nothing is opened yet.

        Args:
            path: The database file, created if it is missing. Its folder must exist.
            busy_timeout: How long to wait for the write lock of another process, in seconds; default 5.
            clock: For tests: says when events are stored, as an aware datetime; called on the thread that writes.
                Default that of the computer, which leases go by in any case.

        Raises:
            InvalidArgument: The path is empty or an in-memory database, which is what `MemoryStore` is for; the clock
                is no function, or, when events are stored, it returns no aware datetime.
            NonPositiveArgument: The timeout is not positive.
        """
        self._path = fspath(path)
        if not self._path or self._path.startswith((":memory:", "file:")):
            raise InvalidArgument("path", f"must be the path of a file, got {self._path!r}; MemoryStore() needs none")
        check_positive("busy_timeout", busy_timeout)
        self._busy_timeout = busy_timeout
        self._clock = check_clock(clock)
        self._writer: Connection | None = None
        self._reader: Connection | None = None
        self._turns = asyncio.Lock()
        self._transactions = Transactions(self._path, busy_timeout, self._turns)
        self._tail = Tail()  # empty while nobody follows
        self._watchers = Watchers(self._tail.clear)
        self._lifecycle = Lifecycle(self._open, self._close)

    def __repr__(self) -> str:
        return f"<SQLiteStore {self._path!r} {'open' if self._lifecycle.is_open else 'closed'}>"

    async def __aenter__(self) -> Self:
        """See `EventStore`; entering it again while it is open only counts."""
        await self._lifecycle.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """See `EventStore`; the last one out closes the file."""
        await self._lifecycle.leave()

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        """See `EventStore.append`."""
        check_requests(requests)
        try:
            answer = await self._write(append, requests, self._busy_timeout, self._clock)
        except BaseException:
            self._tail.clear()  # there may be events that nobody here knows of
            raise
        if answer.head:
            if self._watchers.are_there:
                stored = zip(requests, answer.outcomes, strict=True)
                self._tail.add(stored, queries.from_micros(answer.recorded_at))
            self._watchers.tell(answer.head)
        return answer.outcomes

    async def find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        """See `EventStore.find_commands`."""
        check_command_ids(command_ids)
        return await self._read(queries.find_commands, command_ids)

    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        """See `EventStore.read_streams`."""
        check_stream_reads(reads)
        return await self._read(queries.read_streams, reads)

    async def read(self, after: int, limit: int, types: Collection[str] | None = None) -> LogPage:
        """See `EventStore.read`."""
        check_log_read(after, limit, types)
        self._opened(self._reader)
        page = self._tail.read(after, limit, types)
        if page is not None:
            return page
        found = await self._read(queries.read_log, after, limit, types)
        return found.page() if isinstance(found, queries.RawPage) else found

    async def head(self) -> int:
        """See `EventStore.head`."""
        return await self._read(queries.head)

    def watch(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """See `EventStore.watch`."""
        return self._watchers.add(listener)

    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        """See `EventStore.claim_checkpoint`."""
        check_lease_request(name, version, lease)
        return await self._write(checkpoints.claim, name, version, lease, self._busy_timeout)

    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        """See `EventStore.save_checkpoint`."""
        check_update(name, version, update)
        await self._write(checkpoints.save, name, version, update, self._busy_timeout)

    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        """See `EventStore.make_live`."""
        check_checkpoint(name, version)
        check_fencing_token(fencing_token)
        return await self._write(checkpoints.make_live, name, version, fencing_token, self._busy_timeout)

    async def renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        """See `EventStore.renew_checkpoint`."""
        check_renewal(name, version, fencing_token, seconds)
        return await self._write(checkpoints.renew, name, version, fencing_token, seconds, self._busy_timeout)

    async def load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        """See `EventStore.load_checkpoint`."""
        check_checkpoint(name, version)
        return await self._read(checkpoints.load, name, version)

    async def load_parked(
        self, name: str, version: int, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ParkedCommit]:
        """See `EventStore.load_parked`."""
        check_parked_read(name, version, after, limit)
        return await self._read(checkpoints.load_parked, name, version, after, limit)

    def transaction(self, lease: float = 5.0) -> AbstractAsyncContextManager[StoreTransaction[aiosqlite.Connection]]:
        """See `TransactionalStore.transaction`."""
        self._opened(self._writer)
        return self._transactions.open()

    async def save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        """See `EventStore.save_snapshots`."""
        check_snapshots(snapshots)
        await self._write(_save_snapshots, snapshots, self._busy_timeout)

    async def load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        """See `EventStore.load_snapshots`."""
        check_snapshot_ids(aggregate_type, aggregate_ids, state_version)
        return await self._read(queries.load_snapshots, aggregate_type, aggregate_ids, state_version)

    async def _open(self) -> None:
        self._turns = asyncio.Lock()  # it belongs to one loop, a store to one after the other
        self._transactions = Transactions(self._path, self._busy_timeout, self._turns)
        self._writer = await Connection.open(self._path)
        await self._write(open_writer, self._path, self._busy_timeout)
        self._reader = await Connection.open(self._path)
        await self._read(open_reader, self._busy_timeout)

    async def _close(self) -> None:
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        try:
            try:
                await self._transactions.close()
            finally:
                if reader is not None:
                    await reader.close()
        finally:  # the writer last: the last connection moves the WAL into the file
            if writer is not None:
                await writer.close()
            self._tail.clear()

    async def _write(
        self, function: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        self._transactions.refuse_inside("what the store writes outside of it")
        async with self._turns:
            return await self._opened(self._writer).run(function, *args, **kwargs)

    async def _read(
        self, function: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        return await self._opened(self._reader).run(function, *args, **kwargs)

    def _opened(self, connection: Connection | None) -> Connection:
        if connection is None:
            raise StoreUnavailable(f"{self._path} is not open; use the store inside `async with store:`")
        return connection


def _save_snapshots(db: sqlite3.Connection, snapshots: Sequence[StoredSnapshot], busy_timeout: float) -> None:
    with writing(db, busy_timeout):
        db.executemany(
            _PUT_SNAPSHOT,
            (
                (
                    snapshot.state_version,
                    snapshot.sequence,
                    snapshot.state_type,
                    snapshot.payload,
                    snapshot.checksum,
                    queries.to_micros(snapshot.taken_at),
                    snapshot.aggregate_type,
                    snapshot.aggregate_id,
                    snapshot.sequence,
                )
                for snapshot in snapshots
            ),
        )
