"""The SQLite store: maps each method to a function and the connection it runs on."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar
from uuid import UUID
from weakref import finalize

import aiosqlite

from eventree.errors import EventStoreError, StoreReadOnly, StoreUnavailable, StoreUnusable
from eventree.errors.root import check_positive
from eventree.stores.checked import CheckedStore, Decide, check_transaction_lease
from eventree.stores.clock import Clock, check_clock, utc_now
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
from eventree.stores.live import CommitListeners, Tail, types_of
from eventree.stores.renewals import Renewal, SharedRenewals
from eventree.stores.shared_appends import SharedAppends, Shipment
from eventree.stores.sqlite import checkpoints, query_requests, reads
from eventree.stores.sqlite.append import AppendResult, append, append_and_commit, begin_and_read, roll_back
from eventree.stores.sqlite.connection import Connection, writing
from eventree.stores.sqlite.files import OpenedFiles
from eventree.stores.sqlite.path import check_path
from eventree.stores.sqlite.schema import open_read_only, open_reader, open_writer
from eventree.stores.sqlite.transactions import Transactions
from eventree.stores.sqlite.unclosed import abandon

P = ParamSpec("P")
R = TypeVar("R")

_PUT_SNAPSHOT = """
INSERT INTO snapshots
  (stream, state_version, sequence, state_type, payload, checksum, taken_at, commit_id, recorded_at)
SELECT s.stream, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
FROM streams s WHERE s.aggregate_type = ?10 AND s.aggregate_id = ?1 AND s.sequence >= ?3
  AND (?8 IS NULL OR EXISTS (SELECT 1 FROM events e WHERE e.stream = s.stream AND e.sequence = ?3
                             AND e.commit_id = ?8 AND e.recorded_at = ?9))
ON CONFLICT (stream, state_version) DO UPDATE SET sequence = excluded.sequence, state_type = excluded.state_type,
  payload = excluded.payload, checksum = excluded.checksum, taken_at = excluded.taken_at,
  commit_id = excluded.commit_id, recorded_at = excluded.recorded_at
WHERE excluded.sequence >= snapshots.sequence
  OR snapshots.sequence > (SELECT sequence FROM streams WHERE stream = excluded.stream)
"""


class SQLiteStore(CheckedStore):
    """An event store in one SQLite file; `EventStore` documents its methods.

    It uses WAL mode with `synchronous=FULL`, and verifies both, so acknowledged commits survive a power failure. All
    writes go through one connection, each transaction as one function on its thread, and appends that wait for each
    other share one; reads use another connection. Several processes on one machine may share the file, with SQLite
    3.51.3 or newer (or the fixed 3.50.7 and 3.44.6), as older versions can corrupt it then. Network file systems do not
    work.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        busy_timeout: float = 2.0,
        clock: Clock = utc_now,
        read_only: bool = False,
    ) -> None:
        """Create a closed store.

        Args:
            path: The database file, created if it does not exist. Its directory must exist.
            busy_timeout: How long to wait for the write lock of another process, in seconds; default 2. A command may
                wait for the batch before it and then for its own, so twice this time should be less than the 5 seconds
                that `execute` waits by default; then its caller gets `StoreBusy` and not `ActorTimeout`.
            clock: For tests: returns the time to store with events, as an aware datetime; called on the writer's
                thread. Default the system clock. Leases always use the system's own clock.
            read_only: Whether to open the file only for reading: entering neither creates nor migrates anything, and
                every method that writes raises `StoreReadOnly`. SQLite still needs its `-wal` and `-shm` files next to
                the file, or permission to create them. Default False.

        Raises:
            InvalidArgument: The path is empty, too long, no text, or names an in-memory database (use `MemoryStore`),
                the clock is not callable, or, raised by `append`, it does not return an aware datetime.
            NonPositiveArgument: The timeout is not positive.
        """
        self._path = check_path(path)
        check_positive("busy_timeout", busy_timeout)
        self._busy_timeout = busy_timeout
        self._clock = check_clock(clock)
        self._read_only = read_only
        self._writer: Connection | None = None
        self._reader: Connection | None = None
        self._write_lock = Line()
        self._unclosed: finalize[[str, list[Connection], int], SQLiteStore] | None = None
        self._lifecycle = Lifecycle(self, self._open, self._close)
        self._files = OpenedFiles(self._path)
        self._connections: list[Connection] = []
        self._transactions = self._new_transactions()
        self._renewals = SharedRenewals(self._renew_all)
        self._shared_appends = self._new_shared_appends()
        self._tail = Tail()  # empty without listeners
        self._listeners = CommitListeners(on_empty=self._tail.clear)

    def __repr__(self) -> str:
        return f"<SQLiteStore {self._path!r} {'open' if self._lifecycle.is_open else 'closed'}>"

    @property
    def waiting_for(self) -> str:
        """What a write in progress waits for; empty if it waits for no lock."""
        is_locked_out = self._writer is not None and self._writer.is_locked_out
        return f"a lock of another process on {self._path}" if is_locked_out else ""

    async def __aenter__(self) -> Self:
        await self._lifecycle.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._lifecycle.leave(error)

    async def _append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        self._check_writable()
        self._opened(self._writer)
        return await self._shared_appends.append(requests)

    async def _send(self, shipment: Shipment) -> Sequence[Outcome]:
        """Store the requests of one or several appends in one transaction."""
        deadline = shipment.asked + self._busy_timeout
        writer = self._opened(self._writer)
        requests = shipment.take()
        try:
            result = await writer.run(append, requests, deadline, self._clock)
        except BaseException:
            self._tail.clear()  # the append may have been committed all the same
            raise
        return self._appended(requests, result)

    async def _read_and_append(self, reads: Sequence[StreamRead], decide: Decide) -> Sequence[Outcome]:
        self._check_writable()
        deadline = self._deadline()
        async with self._write_lock:
            writer = self._opened(self._writer)
            try:
                requests = decide(await writer.run(begin_and_read, reads, deadline))
                result = await writer.run(append_and_commit, requests, self._clock)
            except BaseException:
                self._tail.clear()  # the append may have been committed all the same
                # Queued before the next writer takes its turn, so it comes first even if this wait is cancelled.
                with suppress(EventStoreError):
                    await asyncio.shield(asyncio.ensure_future(writer.run(roll_back)))
                raise
            return self._appended(requests, result)

    def _appended(self, requests: Sequence[AppendRequest], result: AppendResult) -> Sequence[Outcome]:
        """Tell the followers of an append, and return its outcomes."""
        if result.head and self._listeners:
            answered = list(zip(requests, result.outcomes, strict=True))
            self._tail.add(answered, result.recorded_at, result.before)
            self._listeners.notify(result.head, types_of(answered))
        return result.outcomes

    async def _find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        return await self._on_reader(reads.find_commands, command_ids)

    async def _read_streams(self, wanted: Sequence[StreamRead]) -> Sequence[StreamPage]:
        return await self._on_reader(reads.read_streams, wanted)

    async def _read(
        self,
        after: int,
        limit: int,
        types: Collection[str] | None,
        event_types: Collection[str] | None,
        after_stamp: CommitStamp | None,
    ) -> LogPage:
        found = await self._on_reader(reads.read_log, after, limit, types, event_types, after_stamp)
        return found.page() if isinstance(found, reads.RawPage) else found

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
        found = await self._on_reader(reads.read_backwards, before, limit, types, event_types)
        return found.page() if isinstance(found, reads.RawPage) else found

    async def _list_aggregates(
        self, aggregate_type: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[AggregateSummary]:
        return await self._on_reader(reads.list_aggregates, aggregate_type, after, limit)

    async def list_aggregate_types(self) -> Sequence[str]:
        """Return the types of all aggregates, in order."""
        return await self._on_reader(reads.list_aggregate_types)

    async def head(self) -> int:
        """Return the position of the newest event."""
        return await self._on_reader(reads.head)

    def _watch(self, listener: Callable[[int], None], types: Collection[str] | None) -> Callable[[], None]:
        self._lifecycle.check_loop()
        return self._listeners.add(listener, types)

    async def _claim_checkpoint(self, name: str, version: int, lease: LeaseRequest) -> Checkpoint:
        return await self._on_writer(checkpoints.claim, name, version, lease, self._deadline())

    async def _save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await self._on_writer(checkpoints.save, name, version, update, self._deadline())

    async def _make_live(self, name: str, version: int, fencing_token: int) -> bool:
        return await self._on_writer(checkpoints.make_live, name, version, fencing_token, self._deadline())

    async def _renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        self._check_writable()
        return await self._renewals.renew(Renewal(name, version, fencing_token, seconds))

    async def _renew_all(self, renewals: Sequence[Renewal]) -> Sequence[bool]:
        return await self._on_writer(checkpoints.renew_all, renewals, self._deadline())

    async def _stop_checkpoint(self, name: str, version: int, owner: str, stop: StoredStop) -> bool:
        return await self._on_writer(checkpoints.stop, name, version, owner, stop, self._deadline())

    async def _load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        return await self._on_reader(checkpoints.load, name, version)

    async def _load_parked(self, name: str, version: int, *, after: int, limit: int) -> Sequence[ParkedCommit]:
        return await self._on_reader(checkpoints.load_parked, name, version, after, limit)

    async def list_queries(self) -> Sequence[QuerySummary]:
        """Return every version of every query, in order."""
        return await self._on_reader(checkpoints.list_queries)

    async def _put_request(self, request: QueryRequest) -> bool:
        return await self._on_writer(query_requests.put, request, self._deadline())

    async def _load_requests(self, name: str, version: int) -> Sequence[QueryRequest]:
        return await self._on_reader(query_requests.load, name, version)

    async def _take_answer(self, id: UUID) -> RequestAnswer | None:
        self._refuse_if_read_only()
        if not await self._on_reader(query_requests.is_answered, id):
            return None
        return await self._on_writer(query_requests.take, id, self._deadline())

    def transaction(self, lease: float = 5.0) -> AbstractAsyncContextManager[StoreTransaction[aiosqlite.Connection]]:
        """Begin a transaction for a projection, see `TransactionalStore.transaction`; SQLite ignores the lease."""
        check_transaction_lease(lease)
        self._refuse_if_read_only()
        self._opened(self._writer)
        return self._transactions.open()

    async def _save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        await self._on_writer(_put_snapshots, snapshots, self._deadline())

    async def _load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        return await self._on_reader(reads.load_snapshots, aggregate_type, aggregate_ids, state_version)

    async def _open(self) -> None:
        self._write_lock = Line()
        self._files = OpenedFiles(self._path)
        self._connections = []
        self._transactions = self._new_transactions()
        self._shared_appends = self._new_shared_appends()
        if self._read_only:
            await self._open_read_only()
        else:
            await self._open_to_write()
        self._connections += [each for each in (self._reader, self._writer) if each is not None]
        self._unclosed = finalize(self, abandon, self._path, self._connections, os.getpid())

    async def _open_to_write(self) -> None:
        self._writer = await Connection.open(self._path, self._files)
        await self._on_writer(open_writer, self._path, self._busy_timeout)
        await self._writer.remember_files()  # now there is a WAL too
        self._reader = await Connection.open(self._path, self._files)
        await self._on_reader(open_reader, self._busy_timeout)

    def _new_transactions(self) -> Transactions:
        return Transactions(
            self._path,
            self._files,
            self._connections,
            self._busy_timeout,
            self._write_lock,
            self._lifecycle.check_loop,
        )

    def _new_shared_appends(self) -> SharedAppends:
        return SharedAppends(self._write_lock, self._send, self._path, busy_timeout=self._busy_timeout)

    async def _open_read_only(self) -> None:
        if not await asyncio.to_thread(Path(self._path).exists):
            raise StoreUnusable(self._path, "there is no such file; open it once without read_only, which creates it")
        self._reader = await Connection.open(self._path, self._files, read_only=True)
        await self._on_reader(open_read_only, self._path, self._busy_timeout)
        await self._reader.remember_files()

    async def _close(self) -> None:
        if self._unclosed is not None:
            self._unclosed.detach()
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        self._shared_appends.close()
        try:
            try:
                await self._transactions.close()
            finally:
                if reader is not None:
                    await reader.close()
        finally:  # the writer last: closing the last connection moves the WAL into the database file
            if writer is not None:
                await writer.close()
            self._tail.clear()

    async def _on_writer(
        self, function: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        self._check_writable()
        async with self._write_lock:
            return await self._opened(self._writer).run(function, *args, **kwargs)

    async def _on_reader(
        self, function: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        return await self._opened(self._reader).run(function, *args, **kwargs)

    def _deadline(self) -> float:
        return time.monotonic() + self._busy_timeout

    def _check_writable(self) -> None:
        self._lifecycle.check_loop()
        self._refuse_if_read_only()
        self._transactions.refuse_inside("a write to the store outside its transaction")

    def _refuse_if_read_only(self) -> None:
        if self._read_only:
            raise StoreReadOnly(self._path)

    def _opened(self, connection: Connection | None) -> Connection:
        self._lifecycle.check_loop()
        if connection is None:
            raise StoreUnavailable(f"{self._path} is not open; use the store inside `async with store:`")
        return connection


def _put_snapshots(db: sqlite3.Connection, snapshots: Sequence[StoredSnapshot], deadline: float) -> None:
    with writing(db, deadline):
        db.executemany(
            _PUT_SNAPSHOT,
            (
                (
                    snapshot.aggregate_id,
                    snapshot.state_version,
                    snapshot.sequence,
                    snapshot.state_type,
                    snapshot.payload,
                    snapshot.checksum,
                    reads.to_micros(snapshot.taken_at),
                    *reads.columns_of(snapshot.stamp),
                    snapshot.aggregate_type,
                )
                for snapshot in snapshots
            ),
        )
