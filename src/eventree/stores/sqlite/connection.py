"""A connection that runs whole functions on its own thread, and the translation of SQLite's errors."""

import asyncio
import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

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
from eventree.stores.sqlite.files import OpenedFiles
from eventree.stores.sqlite.wal import Wal

P = ParamSpec("P")
R = TypeVar("R")

_UNAVAILABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM}
_UNUSABLE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
_PRIMARY_CODE = 0xFF
_MIN_WAIT = 0.05
"""Seconds to wait for another process after the deadline, if the time until then was spent waiting for this one."""


class File(sqlite3.Connection):
    """A raw connection that tells whether it waits.

    Attributes:
        is_locked_out: Whether it waits for a lock of another process at this moment.
    """

    is_locked_out = False


class Connection(aiosqlite.Connection):
    """Run functions on the connection's thread: a transaction is one function, so cancellation cannot split it."""

    def __init__(self, path: str, files: OpenedFiles, *, read_only: bool = False) -> None:
        """Create a connection in autocommit mode, so that transactions begin and end explicitly.

        Args:
            path: The database, as errors name it.
            files: Its files, which all its connections share.
            read_only: Whether it only reads; default False.
        """
        super().__init__(self._open_file, iter_chunk_size=64)
        self._thread.daemon = True  # a connection that is never closed must not keep the process from ending
        self._path = path
        self._files = files
        self._read_only = read_only
        self._file: File | None = None
        self._wal = Wal(path)

    @property
    def is_locked_out(self) -> bool:
        """Whether it waits for a lock of another process at this moment."""
        return self._file is not None and self._file.is_locked_out

    def _open_file(self) -> sqlite3.Connection:
        self._files.check()  # another connection has found them; now the path may lead elsewhere, or to nothing
        # The attribute keeps the connection, because a task that is cancelled while opening never gets the result.
        path = self._files.path
        target = f"{Path(path).as_uri()}?mode=ro" if self._read_only else path
        self._file = sqlite3.connect(
            target, isolation_level=None, timeout=0.0, check_same_thread=False, uri=self._read_only, factory=File
        )
        self._files.remember()
        return self._file

    @classmethod
    async def open(cls, path: str, files: OpenedFiles, *, read_only: bool = False) -> Self:
        """Return an open connection, creating the file if it does not exist, unless the connection is read-only.

        Raises:
            EventStoreError: SQLite could not open the file.
        """
        connection = cls(path, files, read_only=read_only)
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

    def abandon(self) -> threading.Thread:
        """Close without an event loop and without waiting; return the thread, which ends after what it has to do."""
        # On the thread there is no event loop, for which `stop` would create a future.
        self._hand_over(self.stop)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        return self._thread

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function with the raw connection, on the connection's thread, in one hop.

        Raises:
            StoreUnusable: The files are no longer where they were opened. What the function did may be stored in the
                old ones.
            EventStoreError: The translated error of SQLite.
        """
        try:
            result: R = await self._execute(self._call, function, self._conn, *args, **kwargs)
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        return result

    async def _execute(self, fn: Callable[..., Any], *args: object, **kwargs: object) -> Any:  # noqa: ANN401
        """Call a function on the thread, as aiosqlite does, but let the thread go on if the event loop is closed."""
        if not self._running or self._connection is None:
            raise ValueError("Connection closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()

        def call() -> None:
            try:
                answer = partial(_settle, future, fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                answer = partial(_settle, future, error=error)
            with suppress(RuntimeError):  # the loop is closed, so no caller waits
                loop.call_soon_threadsafe(answer)
            del answer  # else an error's traceback would keep itself alive

        self._hand_over(call)
        return await future

    def _hand_over(self, call: Callable[[], object]) -> None:
        self._tx.put_nowait((None, call))  # pyright: ignore[reportUnknownMemberType]

    async def remember_files(self) -> None:
        """Remember the files that exist now; see `OpenedFiles.remember`."""
        await self.run(lambda _: self._files.remember())

    def _call(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], R],
        db: sqlite3.Connection,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        self._files.refuse_if_changed()
        try:
            result = function(db, *args, **kwargs)
        except sqlite3.Error:
            self._check_files(db)
            raise
        finally:
            self._wal.limit_wal_size(db)
        self._check_files(db)
        return result

    def _check_files(self, db: sqlite3.Connection) -> None:
        try:
            self._files.check()
        except StoreUnusable:
            if db.in_transaction:
                db.rollback()  # no later call will end it, and others may use the file
            raise


def _settle(future: asyncio.Future[object], result: object = None, error: BaseException | None = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def translate(error: sqlite3.Error, path: str) -> EventStoreError:
    """Translate an error of SQLite into a store error."""
    code = primary_code(error)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreBusy(f"{path} is locked by another process; nothing was stored, try again")
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"the disk of {path} is full; nothing was stored, free space and try again")
    if code == sqlite3.SQLITE_CANTOPEN and Path(path).is_dir():
        return StoreUnusable(path, "it is a directory; name a file in it")
    if code == sqlite3.SQLITE_CANTOPEN and not Path(path).parent.exists():
        return StoreUnavailable(f"{path} cannot be opened: its folder does not exist; create it first")
    if code in _UNAVAILABLE:
        return StoreUnavailable(f"{path} cannot be opened, read or written ({error}); nothing was stored")
    if code in _UNUSABLE:
        return StoreUnusable(path, f"{error}; is it an intact database that this user may write?")
    return TransactionFailed(f"{path} refused a statement ({error}); nothing was stored")


def execute_when_unlocked(db: sqlite3.Connection, statement: str, deadline: float) -> sqlite3.Cursor:
    """Execute a statement, retrying while another process holds the lock.

    SQLite's own busy handler sleeps up to 100 ms at a time and starves, and some statements never call it.

    Args:
        db: The connection.
        statement: The statement.
        deadline: When to stop, on `time.monotonic()`. It counts from when the caller asked, so that callers who wait
            for each other need not wait for the other process one after another. Short waits are always allowed.
    """
    deadline = max(deadline, time.monotonic() + _MIN_WAIT)
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
def writing(db: sqlite3.Connection, deadline: float) -> Generator[None, None, None]:
    """Hold SQLite's write lock for one transaction; commit at the end, or roll back if anything is raised."""
    execute_when_unlocked(db, "BEGIN IMMEDIATE", deadline)
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
