"""Transactions for projections, on a separate connection: rows and checkpoint are committed together."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, Concatenate, Final, ParamSpec, TypeVar
from weakref import WeakSet

from eventree.errors import (
    CheckpointHeld,
    EventreeError,
    EventStoreError,
    StoreUnavailable,
    TransactionEnded,
    TransactionRolledBack,
    WouldDeadlock,
)
from eventree.errors.root import causes
from eventree.stores.checked import CheckedCheckpointWriter
from eventree.stores.contract import Checkpoint, CheckpointUpdate, LeaseRequest
from eventree.stores.line import Line
from eventree.stores.sqlite import checkpoints
from eventree.stores.sqlite.connection import Connection, commit, execute_when_unlocked, primary_code, translate
from eventree.stores.sqlite.files import OpenedFiles
from eventree.stores.sqlite.reads import head
from eventree.stores.sqlite.schema import open_projection_connection

P = ParamSpec("P")
R = TypeVar("R")

MAX_GAP: Final = 0.05
"""The longest pause after a transaction that leaves the write lock to other writers, in seconds."""

# SQLite caches statements by their text, and does not call the authorizer again for a cached one. The comments make
# these texts unique, so that a projection cannot end its transaction by one that the store has executed before.
_BEGIN: Final = "BEGIN IMMEDIATE -- a projection's transaction"
_COMMIT: Final = "COMMIT -- a projection's transaction"
_ROLLBACK: Final = "ROLLBACK -- a projection's transaction"

# Pragmas that a projection may use with a value. Others could outlast its transaction, so the authorizer denies them.
_HARMLESS_PRAGMAS: Final = {
    *("table_info", "table_xinfo", "table_list", "index_info", "index_xinfo", "index_list"),
    *("foreign_key_list", "foreign_key_check", "defer_foreign_keys", "integrity_check", "quick_check"),
}

_inside: ContextVar[frozenset[object]] = ContextVar("_inside", default=frozenset())


class ProjectionConnection(Connection):
    """A connection for projections, which can use it but cannot end its transaction.

    Attributes:
        transaction: The open transaction; only code within it may use the connection.
    """

    def __init__(self, path: str, files: OpenedFiles, *, read_only: bool = False) -> None:
        """Create a closed connection; see `Connection`."""
        super().__init__(path, files, read_only=read_only)
        self.transaction: object | None = None
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()
        self._is_ours = False
        self._is_closing = False
        self._is_ending_refused = False

    def _open_file(self) -> sqlite3.Connection:
        file = super()._open_file()
        file.set_authorizer(self._authorize)
        return file

    def _authorize(self, action: int, name: str | None, value: str | None, place: str | None, *_: object) -> int:
        is_allowed = self._is_ours or not (
            action in {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_ATTACH}
            # An insert into the temp schema is how SQLite creates temporary objects, which could hide our tables.
            or (place == "temp" and action == sqlite3.SQLITE_INSERT)
            or (action == sqlite3.SQLITE_PRAGMA and value is not None and str(name).lower() not in _HARMLESS_PRAGMAS)
        )
        self._is_ending_refused |= not is_allowed and action == sqlite3.SQLITE_TRANSACTION
        return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY

    async def _execute(self, fn: Callable[..., Any], *args: object, **kwargs: object) -> Any:  # noqa: ANN401
        if fn == self._call or self._is_closing:
            return await super()._execute(fn, *args, **kwargs)
        if self.transaction is None or self.transaction not in _inside.get():
            raise TransactionEnded("the transaction is over; use the connection only until the function returns")
        return await super()._execute(self._call_for_projection, fn, *args, **kwargs)

    def _call_for_projection(self, fn: Callable[..., Any], *args: object, **kwargs: object) -> Any:  # noqa: ANN401
        if self._file is not None:
            check_open(self._file)
        self._is_ending_refused = False
        try:
            result = fn(*args, **kwargs)
        except sqlite3.DatabaseError as error:
            if self._is_ending_refused:
                raise TransactionEnded(
                    "a projection must not begin or end a transaction: it runs in one of the library, which commits "
                    "its rows together with the checkpoint; leave out BEGIN, COMMIT, END, ROLLBACK, commit(), "
                    "rollback() and executescript(), savepoints are fine"
                ) from error
            raise
        if isinstance(result, sqlite3.Cursor):
            self._cursors.add(result)
        return result

    def _call(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], R],
        db: sqlite3.Connection,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        self._is_ours = True
        db.row_factory, db.text_factory = None, str  # a projection may have changed them
        try:
            return super()._call(function, db, *args, **kwargs)
        finally:
            self._is_ours = False

    def close_cursors(self) -> None:
        """Close cursors that a projection has not exhausted, as they would keep an old snapshot open."""
        for cursor in list(self._cursors):
            cursor.close()
        self._cursors.clear()

    async def close(self) -> None:
        """Close the connection; the caller need not be inside a transaction."""
        self._is_closing = True
        await super().close()


class Transaction(CheckedCheckpointWriter):
    """A transaction on the projection connection; see `StoreTransaction`."""

    def __init__(self, connection: ProjectionConnection, check_loop: Callable[[], None], *, is_contended: bool) -> None:
        """Wrap a connection in an open transaction."""
        self.connection = connection
        self._check_loop = check_loop
        self.is_contended = is_contended

    async def _claim_checkpoint(self, name: str, version: int, lease: LeaseRequest) -> Checkpoint:
        return await self._run(checkpoints.claim_inside, name, version, lease)

    async def _save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await self._run(checkpoints.save_inside, name, version, update)

    async def _make_live(self, name: str, version: int, fencing_token: int) -> bool:
        return await self._run(checkpoints.make_live_inside, name, version, fencing_token)

    async def _run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        def in_transaction(db: sqlite3.Connection) -> R:
            check_open(db)
            return function(db, *args, **kwargs)

        self._check_loop()
        return await self.connection.run(in_transaction)


class Transactions:
    """Give projections the write lock, in turns with the other writers of the store.

    While there are appends, each transaction is followed by a pause as long as it held the lock, so that a projection
    that is catching up takes at most half of the time.
    """

    def __init__(
        self,
        path: str,
        files: OpenedFiles,
        connections: list[Connection],
        busy_timeout: float,
        line: Line,
        check_loop: Callable[[], None],
    ) -> None:
        """Start without a connection.

        Args:
            path: The database, as errors name it.
            files: Its files.
            connections: The open connections of the store, to which the one for projections is added, in front.
            busy_timeout: How long to wait for other processes, in seconds.
            line: The line of all writers in this process.
            check_loop: Raises if the caller is not in the store's event loop.
        """
        self._check_loop = check_loop
        self._path = path
        self._files = files
        self._connections = connections
        self._busy_timeout = busy_timeout
        self._line = line
        self._connection: ProjectionConnection | None = None
        self._head: int | None = None
        self._free_until = 0.0
        self._is_closed = False

    def refuse_inside(self, awaited: str) -> None:
        """Raise `WouldDeadlock` if the caller is inside a transaction and would wait for itself."""
        if self._connection is not None and self._connection.transaction in _inside.get():
            raise WouldDeadlock("a projection", awaited, "write on the projection's connection only")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Transaction, None]:
        """Begin a transaction once the write lock is free; commit it, or roll it back if anything is raised."""
        self._check_loop()
        self.refuse_inside("another transaction")
        loop = asyncio.get_running_loop()
        gap = self._free_until - loop.time()
        if gap > 0:
            await asyncio.sleep(gap)
        deadline = time.monotonic() + self._busy_timeout
        async with self._line:
            began = loop.time()
            connection = await self._opened()
            transaction = object()
            token = _inside.set(_inside.get() | {transaction})
            is_contended = False
            try:
                is_contended = await self._begin(connection, transaction, deadline)
                yield Transaction(connection, self._check_loop, is_contended=is_contended)
                connection.transaction = None  # a late task must not write during the commit
                self._head = await connection.run(_commit, connection)
            except BaseException as error:
                await self._roll_back(connection)
                if isinstance(error, CheckpointHeld):
                    with suppress(EventStoreError, ValueError):  # a later claim tries again
                        await connection.run(checkpoints.shorten_overlong_leases, time.monotonic())
                self._raise_if_transient(error)
                self._refuse_if_closed(error)
                raise
            finally:
                connection.transaction = None
                _inside.reset(token)
                now = loop.time()
                if is_contended:
                    self._free_until = now + min(now - began, MAX_GAP)

    async def close(self) -> None:
        """Close the connection, if there is one; callers still waiting for a transaction get an error."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _opened(self) -> ProjectionConnection:
        self._refuse_if_closed()
        if self._connection is None:
            connection = await ProjectionConnection.open(self._path, self._files)
            try:
                await connection.run(open_projection_connection, self._path)
                self._refuse_if_closed()
            except BaseException:
                await connection.close()
                raise
            self._connection = connection
            self._connections.insert(0, connection)
        return self._connection

    async def _begin(self, connection: ProjectionConnection, transaction: object, deadline: float) -> bool:
        """Take the write lock; return whether other writers have appended since the last transaction."""
        found = await connection.run(_begin, deadline)
        connection.transaction = transaction
        return self._head is not None and found != self._head

    async def _roll_back(self, connection: ProjectionConnection) -> None:
        """Roll back; if that fails, close the connection, which rolls back too."""
        connection.transaction = None
        try:
            await connection.run(_roll_back, connection)
        except (EventStoreError, ValueError):  # a ValueError if the connection was closed
            self._connection = None
            if connection in self._connections:
                self._connections.remove(connection)
            with suppress(EventStoreError, ValueError, sqlite3.Error):
                await connection.close()

    def _refuse_if_closed(self, error: BaseException | None = None) -> None:
        """Raise `StoreUnavailable` instead of the driver's error if the store was closed."""
        if self._is_closed and (error is None or isinstance(error, ValueError | sqlite3.ProgrammingError)):
            raise StoreUnavailable(f"{self._path} was closed; nothing was stored") from error

    def _raise_if_transient(self, error: BaseException) -> None:
        """Raise the translated error of a projection's statement, if it is transient or the error's cause."""
        for cause in () if isinstance(error, EventreeError) else causes(error):
            # SQLITE_LOCKED is not transient here: the projection's own cursor holds the lock.
            if isinstance(cause, sqlite3.Error) and primary_code(cause) != sqlite3.SQLITE_LOCKED:
                ours = translate(cause, self._path)
                if isinstance(ours, StoreUnavailable | TransactionRolledBack):
                    raise ours from error


def _begin(db: sqlite3.Connection, deadline: float) -> int:
    """Take the write lock and return the position of the newest event."""
    execute_when_unlocked(db, _BEGIN, deadline)
    return head(db)


def _commit(db: sqlite3.Connection, connection: ProjectionConnection) -> int:
    """Commit, and return the position of the newest event at that moment."""
    check_open(db)
    connection.close_cursors()
    found = head(db)
    commit(db, _COMMIT)
    return found


def _roll_back(db: sqlite3.Connection, connection: ProjectionConnection) -> None:
    connection.close_cursors()
    if db.in_transaction:
        db.execute(_ROLLBACK)


def check_open(db: sqlite3.Connection) -> None:
    """Raise `TransactionEnded` if a statement has rolled back the transaction, as ON CONFLICT ROLLBACK does."""
    if not db.in_transaction:
        raise TransactionEnded("a statement has rolled back the transaction; do not swallow its error")
