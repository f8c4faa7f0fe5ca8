"""A connection that runs whole functions on its own thread, and the translation of SQLite's errors."""

import contextlib
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

import aiosqlite

from eventree.errors import (
    CommitOutcomeUnknown,
    EventStoreError,
    StoreBusy,
    StoreFull,
    StoreUnavailable,
    StoreUnusable,
    TransactionFailed,
)
from eventree.stores.sqlite.wal import Wal

P = ParamSpec("P")
R = TypeVar("R")

_UNAVAILABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM}
_UNUSABLE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
_PRIMARY_CODE = 0xFF


class File(sqlite3.Connection):
    """A raw connection that tells whether it waits.

    Attributes:
        is_locked_out: Whether it waits for a lock of another process at this moment.
    """

    is_locked_out = False


class Connection(aiosqlite.Connection):
    """Run functions on the connection's thread: a transaction is one function, so cancellation cannot split it."""

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        """Create a connection in autocommit mode, so that transactions begin and end explicitly."""
        super().__init__(self._open_file, iter_chunk_size=64)
        self._path = path
        self._read_only = read_only
        self._file: File | None = None
        self._wal = Wal(path)

    @property
    def is_locked_out(self) -> bool:
        """Whether it waits for a lock of another process at this moment."""
        return self._file is not None and self._file.is_locked_out

    def _open_file(self) -> sqlite3.Connection:
        # The attribute keeps the connection, because a task that is cancelled while opening never gets the result.
        target = f"{Path(self._path).absolute().as_uri()}?mode=ro" if self._read_only else self._path
        self._file = sqlite3.connect(
            target, isolation_level=None, timeout=0.0, check_same_thread=False, uri=self._read_only, factory=File
        )
        return self._file

    @classmethod
    async def open(cls, path: str, *, read_only: bool = False) -> Self:
        """Return an open connection, creating the file if it does not exist, unless the connection is read-only.

        Raises:
            EventStoreError: SQLite could not open the file.
        """
        connection = cls(path, read_only=read_only)
        try:
            await connection
        except BaseException as error:
            connection._thread.join(1.0)  # it has been asked to stop, and must not outlive the event loop
            if connection._file is not None:
                connection._file.close()
            if isinstance(error, sqlite3.Error):
                raise translate(error, path) from error
            raise
        return connection

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function with the raw connection, on the connection's thread, in one hop.

        Raises:
            EventStoreError: The translated error of SQLite.
        """
        execute: Callable[..., Awaitable[R]] = self._execute  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        try:
            return await execute(self._call, function, self._conn, *args, **kwargs)
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    def _call(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], R],
        db: sqlite3.Connection,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        try:
            return function(db, *args, **kwargs)
        finally:
            self._wal.limit_wal_size(db)


def translate(error: sqlite3.Error, path: str) -> EventStoreError:
    """Translate an error of SQLite into a store error."""
    code = primary_code(error)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreBusy(f"{path} is locked by another process; nothing was stored, try again")
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"the disk of {path} is full; nothing was stored, free space and try again")
    if code == sqlite3.SQLITE_CANTOPEN and Path(path).is_dir():
        return StoreUnusable(path, "it is a directory; name a file in it")
    if code in _UNAVAILABLE:
        return StoreUnavailable(f"{path} cannot be opened, read or written ({error}); nothing was stored")
    if code in _UNUSABLE:
        return StoreUnusable(path, f"{error}; is it an intact database that this user may write?")
    return TransactionFailed(f"{path} refused a statement ({error}); nothing was stored")


def execute_when_unlocked(db: sqlite3.Connection, statement: str, busy_timeout: float) -> sqlite3.Cursor:
    """Execute a statement, retrying while another process holds the lock, up to the timeout.

    SQLite's own busy handler sleeps up to 100 ms at a time and starves, and some statements never call it.
    """
    deadline = time.monotonic() + busy_timeout
    try:
        while True:
            try:
                return db.execute(statement)
            except sqlite3.OperationalError as error:
                busy = primary_code(error) == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() >= deadline:
                    raise
                _note_wait(db, is_locked_out=True)
                time.sleep(random.uniform(0.0003, 0.001))  # noqa: S311 - jitter, not security
    finally:
        _note_wait(db, is_locked_out=False)


def _note_wait(db: sqlite3.Connection, *, is_locked_out: bool) -> None:
    if isinstance(db, File):
        db.is_locked_out = is_locked_out


@contextlib.contextmanager
def writing(db: sqlite3.Connection, busy_timeout: float) -> Generator[None, None, None]:
    """Hold SQLite's write lock for one transaction; commit at the end, or roll back if anything is raised."""
    execute_when_unlocked(db, "BEGIN IMMEDIATE", busy_timeout)
    with _ending(db):
        yield


@contextlib.contextmanager
def reading(db: sqlite3.Connection) -> Generator[None, None, None]:
    """Run a transaction in which all statements read the same snapshot of the database."""
    db.execute("BEGIN")
    with _ending(db):
        yield


@contextlib.contextmanager
def _ending(db: sqlite3.Connection) -> Generator[None, None, None]:
    try:
        yield
        commit(db)
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def commit(db: sqlite3.Connection, statement: str = "COMMIT") -> None:
    """Commit a transaction.

    Raises:
        CommitOutcomeUnknown: The disk failed during the commit.
    """
    try:
        db.execute(statement)
    except sqlite3.OperationalError as error:
        if primary_code(error) != sqlite3.SQLITE_IOERR:
            raise
        # Although the sync failed, the transaction may be complete in the WAL, and a recovery would then restore it.
        raise CommitOutcomeUnknown(
            f"the disk failed during the commit ({error}); send the command again with the same command_id"
        ) from error


def primary_code(error: sqlite3.Error) -> int:
    """Return the primary result code of an error of SQLite."""
    return int(getattr(error, "sqlite_errorcode", 0)) & _PRIMARY_CODE
