"""Transactions for projections: their rows and their checkpoint together, on a connection of their own."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, Concatenate, Final, ParamSpec, TypeVar
from weakref import WeakSet

from eventree.errors import EventStoreError, StoreUnavailable, TransactionEnded, TransactionRolledBack, WouldDeadlock
from eventree.stores.checked import CheckedCheckpointWriter
from eventree.stores.contract import Checkpoint, CheckpointUpdate, LeaseRequest
from eventree.stores.sqlite import checkpoints
from eventree.stores.sqlite.connection import Connection, commit, execute_when_unlocked, primary_code, translate
from eventree.stores.sqlite.reads import head
from eventree.stores.sqlite.schema import open_projection_connection

P = ParamSpec("P")
R = TypeVar("R")

MAX_GAP: Final = 0.05
"""Seconds at most for which the lock is left to others between two transactions."""

# SQLite keeps statements by their text, and one that is kept is not judged again: nobody else writes these.
_BEGIN: Final = "BEGIN IMMEDIATE -- a projection's transaction"
_COMMIT: Final = "COMMIT -- a projection's transaction"
_ROLLBACK: Final = "ROLLBACK -- a projection's transaction"

# Some statements of others would outlive the transaction, or hide our tables from us.
_HARMLESS_PRAGMAS: Final = {
    *("table_info", "table_xinfo", "table_list", "index_info", "index_xinfo", "index_list"),
    *("foreign_key_list", "foreign_key_check", "defer_foreign_keys", "integrity_check", "quick_check"),
}

_inside: ContextVar[frozenset[object]] = ContextVar("_inside", default=frozenset())


class ProjectionConnection(Connection):
    """A connection that is handed to projections: they can use it, but not end the transaction that it is in.

    Attributes:
        transaction: What is open now: only who is in it may use the connection.
    """

    def __init__(self, path: str) -> None:
        """Open nothing yet."""
        super().__init__(path)
        self.transaction: object | None = None
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()
        self._is_ours = False
        self._is_closing = False

    def _open_file(self) -> sqlite3.Connection:
        file = super()._open_file()
        file.set_authorizer(self._authorize)
        return file

    def _authorize(self, action: int, name: str | None, value: str | None, place: str | None, *_: object) -> int:
        is_allowed = self._is_ours or not (
            action in {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_ATTACH}
            or (place == "temp" and action == sqlite3.SQLITE_INSERT)  # into its schema: something is created
            or (action == sqlite3.SQLITE_PRAGMA and value is not None and str(name).lower() not in _HARMLESS_PRAGMAS)
        )
        return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY

    async def _execute(self, fn: Callable[..., Any], *args: object, **kwargs: object) -> Any:  # noqa: ANN401
        if fn == self._call or self._is_closing:
            return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]  # pyright: ignore[reportUnknownMemberType]
        if self.transaction is None or self.transaction not in _inside.get():
            raise TransactionEnded("the transaction is over; use the connection only until the function returns")
        return await super()._execute(self._call_of_others, fn, *args, **kwargs)  # type: ignore[no-untyped-call]  # pyright: ignore[reportUnknownMemberType]

    def _call_of_others(self, fn: Callable[..., Any], *args: object, **kwargs: object) -> Any:  # noqa: ANN401
        if self._file is not None:
            check_open(self._file)
        result = fn(*args, **kwargs)
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
        db.row_factory, db.text_factory = None, str  # a projection may have set them
        try:
            return super()._call(function, db, *args, **kwargs)
        finally:
            self._is_ours = False

    def close_cursors(self) -> None:
        """Close what a projection has not read to its end: it would hold on to what the database was then."""
        for cursor in list(self._cursors):
            cursor.close()
        self._cursors.clear()

    async def close(self) -> None:
        """Close it, from outside of any transaction."""
        self._is_closing = True
        await super().close()


class Transaction(CheckedCheckpointWriter):
    """One transaction on the projector; see `StoreTransaction`."""

    def __init__(self, connection: ProjectionConnection, *, is_contended: bool) -> None:
        """Hold what is open."""
        self.connection = connection
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

        return await self.connection.run(in_transaction)


class Transactions:
    """Give the write lock to projections, in turns with everything else that the store writes.

    While others append, the lock is left to them after each transaction for as long as it was held, so that a
    projection that catches up takes half of the time at most.
    """

    def __init__(self, path: str, busy_timeout: float, turns: asyncio.Lock) -> None:
        """Open nothing yet.

        Args:
            path: The database.
            busy_timeout: How long to wait for other processes, in seconds.
            turns: Held by whoever in this process writes.
        """
        self._path = path
        self._busy_timeout = busy_timeout
        self._turns = turns
        self._projector: ProjectionConnection | None = None
        self._head: int | None = None
        self._free_until = 0.0
        self._is_closed = False

    def refuse_inside(self, awaited: str) -> None:
        """Raise `WouldDeadlock` if the caller is in a transaction, whose end this would wait for."""
        if self._projector is not None and self._projector.transaction in _inside.get():
            raise WouldDeadlock("a projection", awaited, "write on the projection's connection only")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Transaction, None]:
        """Begin a transaction when it is its turn, and end it."""
        self.refuse_inside("another transaction")
        loop = asyncio.get_running_loop()
        gap = self._free_until - loop.time()
        if gap > 0:
            await asyncio.sleep(gap)
        async with self._turns:
            began = loop.time()
            projector = await self._opened()
            mark = object()
            token = _inside.set(_inside.get() | {mark})
            is_contended = False
            try:
                is_contended = await self._begin(projector, mark)
                yield Transaction(projector, is_contended=is_contended)
                projector.transaction = None  # whoever is late must not write beside the commit
                self._head = await projector.run(_commit, projector)
            except BaseException as error:
                await self._roll_back(projector)
                self._weather(error)
                self._refuse_if_closed(error)
                raise
            finally:
                projector.transaction = None
                _inside.reset(token)
                now = loop.time()
                if is_contended:
                    self._free_until = now + min(now - began, MAX_GAP)

    async def close(self) -> None:
        """Close the connection, if there is one; who still waits for a transaction gets none."""
        self._is_closed = True
        projector, self._projector = self._projector, None
        if projector is not None:
            await projector.close()

    async def _opened(self) -> ProjectionConnection:
        self._refuse_if_closed()
        if self._projector is None:
            projector = await ProjectionConnection.open(self._path)
            try:
                await projector.run(open_projection_connection, self._path)
                self._refuse_if_closed()
            except BaseException:
                await projector.close()
                raise
            self._projector = projector
        return self._projector

    async def _begin(self, projector: ProjectionConnection, mark: object) -> bool:
        """Take the write lock; return whether others have appended since the last transaction."""
        found = await projector.run(_begin, self._busy_timeout)
        projector.transaction = mark
        return self._head is not None and found != self._head

    async def _roll_back(self, projector: ProjectionConnection) -> None:
        """Undo what was done; a connection that cannot is closed, which undoes it too."""
        projector.transaction = None
        try:
            await projector.run(_roll_back, projector)
        except (EventStoreError, ValueError):  # ValueError: somebody closed it
            self._projector = None
            with suppress(EventStoreError, ValueError, sqlite3.Error):
                await projector.close()

    def _refuse_if_closed(self, error: BaseException | None = None) -> None:
        """Raise `StoreUnavailable` if the store was closed meanwhile, and in place of what the driver says then."""
        if self._is_closed and (error is None or isinstance(error, ValueError | sqlite3.ProgrammingError)):
            raise StoreUnavailable(f"{self._path} was closed; nothing was stored") from error

    def _weather(self, error: BaseException) -> None:
        """Raise what a statement of a projection failed with, if it was not the statement's fault."""
        if isinstance(error, sqlite3.Error) and primary_code(error) != sqlite3.SQLITE_LOCKED:  # by its own cursor
            ours = translate(error, self._path)
            if isinstance(ours, StoreUnavailable | TransactionRolledBack):
                raise ours from error


def _begin(db: sqlite3.Connection, busy_timeout: float) -> int:
    """Take the write lock and return the newest position."""
    execute_when_unlocked(db, _BEGIN, busy_timeout)
    return head(db)


def _commit(db: sqlite3.Connection, projector: ProjectionConnection) -> int:
    """Commit and return the newest position at that moment."""
    check_open(db)
    projector.close_cursors()
    found = head(db)
    commit(db, _COMMIT)
    return found


def _roll_back(db: sqlite3.Connection, projector: ProjectionConnection) -> None:
    projector.close_cursors()
    if db.in_transaction:
        db.execute(_ROLLBACK)


def check_open(db: sqlite3.Connection) -> None:
    """Raise `TransactionEnded` if a statement has rolled the transaction back, as ON CONFLICT ROLLBACK does."""
    if not db.in_transaction:
        raise TransactionEnded("a statement has rolled the transaction back; let its error pass")
