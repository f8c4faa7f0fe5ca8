"""Connections to one database: opened on demand, replaced when lost."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from eventree.backoff import Backoff
from eventree.errors import EventreeError, EventStoreError, StoreBusy, StoreUnavailable, StoreUnusable
from eventree.errors.failures import is_failure
from eventree.stores.postgres.address import Address
from eventree.stores.postgres.driver import (
    DRIVER_ERRORS,
    Connection,
    SessionChanged,
    connect,
    error_text,
    is_transient,
    outdated,
    pooled,
    translate,
    translate_refusal,
)
from eventree.stores.postgres.identity import KnownServer
from eventree.stores.postgres.replication import LogMessage, NotReplicated, tells_of_unconfirmed_commit, unconfirmed
from eventree.stores.postgres.sessions import SessionSettings, Timeouts

R = TypeVar("R")

_LIMIT_IDLING: Final = "SELECT set_config('idle_in_transaction_session_timeout', $1, false)"
_RECONNECT: Final = Backoff(initial=0.1, maximum=3.2, jitter=0)

_GRACE = 2.0
"""Seconds by which the driver's timeout exceeds that of the server, so that the server's comes first."""


class CircuitBreaker:
    """Fail calls at once while the server is known to be unreachable."""

    def __init__(self, where: str) -> None:
        """Start closed: calls pass."""
        self._where = where
        self._failures = 0
        self._retry_at = 0.0
        self._reason = ""

    def check(self) -> None:
        """Raise `StoreUnavailable` until the next attempt to connect is due."""
        wait = self._retry_at - asyncio.get_running_loop().time()
        if wait > 0:
            raise StoreUnavailable(
                f"{self._where} is unreachable ({self._reason}); next attempt in {wait:.1f} s; nothing was stored"
            )

    def failed(self, error: BaseException) -> None:
        """Count a failure to connect; the next attempt is due in 0.1 s, then twice as late each time, up to 3.2 s."""
        self._failures += 1
        self._reason = error_text(error)
        self._retry_at = asyncio.get_running_loop().time() + _RECONNECT.delay(self._failures)

    def succeeded(self) -> None:
        """Reset after a successful connection."""
        self._failures = 0
        self._retry_at = 0.0


class Connections:
    """Run operations on a limited number of connections, each to its end even if its caller is cancelled.

    If a statement were cancelled, the driver would ask the server to cancel whatever runs on that connection, and the
    request might arrive while the next caller's statement runs.

    The pool of asyncpg would not replace this class, as only its list of idle connections would be of use. It costs a
    task and a proxy for each call (measured: a read takes 1.35 times as long), it does not serve waiting callers in
    order, and it takes a lost connection away from its user, for whom even `is_closed()` then raises.
    """

    def __init__(
        self,
        address: Address,
        schema: str | None,
        size: int,
        timeouts: Timeouts,
        circuit: CircuitBreaker,
        ended: Callable[[], None] = lambda: None,
        *,
        read_only: bool = False,
        server: KnownServer | None = None,
    ) -> None:
        """Start without connections.

        Args:
            address: The database.
            schema: The schema, as a quoted name; None for connections that run users' statements, with the search path
                and the plans of the role.
            size: How many operations may run concurrently.
            timeouts: How long statements may take; the time for a statement is also that for a free connection.
            circuit: The circuit breaker of the server, shared by all its connections.
            ended: Called when a connection has ended, for any reason; default does nothing.
            read_only: Whether the connections only read, which a replica allows too; default False.
            server: The server that the store has written to; default not known yet.
        """
        self._address = address
        self._settings = SessionSettings(server or KnownServer(), address.where, schema, timeouts, read_only=read_only)
        self._timeout = timeouts.statement
        self._circuit = circuit
        self._ended = ended
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._leases: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        self._unconfirmed: WeakSet[Connection] = WeakSet()
        self._running: set[asyncio.Task[object]] = set()
        self._closed = False

    @property
    def session(self) -> str:
        """The marker that the session of each connection has."""
        return self._settings.marker

    async def check_session(self) -> None:
        """Check that a connection still has the settings it was opened with, after others were opened.

        Raises:
            StoreUnusable: It has lost them: a pooler gave its server process to another connection.
        """
        await self.run(self._settings.check)

    async def run(self, operation: Callable[[Connection], Awaitable[R]]) -> R:
        """Call a function with a connection; waiting callers are served in order.

        Raises:
            ConnectionLost: The connection was lost during the operation, which may have been committed.
            CommitOutcomeUnknown: It was committed, but no synchronous standby has confirmed it.
            StoreUnavailable: No connection could be opened; nothing was stored.
            EventStoreError: The translated error of the driver; the transaction was rolled back.
        """
        await self._wait_for_slot()
        task = asyncio.create_task(self._carry_out(operation))
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    @asynccontextmanager
    async def borrow(self, lease: float) -> AsyncGenerator[Connection, None]:
        """Lend a connection for users' statements; terminate it after a cancellation or in an unknown state.

        Args:
            lease: Seconds after which the server ends an idle transaction.

        Raises:
            StoreUnavailable: No connection could be opened, or it was lost.
            TransactionRolledBack: A statement failed with a transient error.
            StatementOutdated: A statement was prepared before a table was altered; the next connection is a new one.
        """
        await self._wait_for_slot()
        try:
            connection = await self._take()
            try:
                await self._limit_idling(connection, lease)
                yield connection
            except EventreeError:
                raise  # it says itself what happened, whatever has become of the connection
            except BaseException as error:
                if not is_failure(error, closed=True):
                    connection.terminate()  # its state is unknown
                elif (stale := outdated(error, self._address.where)) is not None:
                    self._forget_statements(connection)
                    raise stale from error
                elif is_transient(error, connection):
                    connection.terminate()
                    raise translate(error, self._address.where) from error
                raise
            finally:
                self._give_back(connection)
        finally:
            self._slots.release()

    async def connect(self) -> Connection:
        """Return a new connection, after checking that commits on it are durable unless it only reads.

        The caller must close it.

        Raises:
            StoreUnavailable: The server cannot be reached, or is a replica.
            StoreUnusable: It refuses the login, or commits on it would not be durable.
        """
        self._circuit.check()
        try:
            connection = await self._connect()
        except SessionChanged as error:
            raise pooled(self._address.where, "a session without its settings") from error
        except DRIVER_ERRORS as error:
            failure = translate_refusal(error, self._address.where)
            if not isinstance(failure, StoreUnusable):
                self._circuit.failed(error)
            raise failure from error
        self._circuit.succeeded()
        return connection

    async def close(self) -> None:
        """Wait for running operations, then close all connections; callers still waiting for one get an error."""
        self._closed = True
        if self._running:
            await asyncio.wait(self._running)
        idle, self._idle = self._idle, []
        for connection in idle:
            await close(connection)

    async def _wait_for_slot(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise StoreBusy(f"no connection to {self._address} was free for {self._timeout} s; try again") from None
        if self._closed:
            self._slots.release()
            raise StoreUnavailable(f"{self._address} was closed; nothing was stored")

    async def _limit_idling(self, connection: Connection, lease: float) -> None:
        if self._leases.get(connection) != lease:
            milliseconds = str(max(1, int(lease * 1000)))
            await connection.execute(_LIMIT_IDLING, milliseconds)
            self._leases[connection] = lease

    def _forget_statements(self, connection: Connection) -> None:
        """End this connection and those that are idle, as their statements may be outdated too."""
        for each in (connection, *self._idle):
            each.terminate()
        self._idle.clear()

    def _give_back(self, connection: Connection) -> None:
        if connection.is_closed():
            return
        if self._closed:
            connection.terminate()
        else:
            self._put_back(connection)

    def _put_back(self, connection: Connection) -> None:
        """Keep a connection for later, unless it is still in a transaction, as after a ROLLBACK that was cancelled."""
        if connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)

    def _finished(self, task: "asyncio.Task[R]") -> None:
        self._running.discard(task)
        self._slots.release()
        if not task.cancelled():
            task.exception()  # its caller may have been cancelled, so mark the exception as retrieved

    async def _carry_out(self, operation: Callable[[Connection], Awaitable[R]]) -> R:
        connection = await self._take()
        try:
            return await self._complete(operation, connection)
        except DRIVER_ERRORS as error:
            failure = translate(error, self._address.where)
            if isinstance(failure, StoreUnavailable | StoreUnusable):
                connection.terminate()
            raise failure from error
        except EventStoreError:
            raise
        except SessionChanged as error:
            connection.terminate()
            raise pooled(self._address.where, "a session without its settings") from error
        except NotReplicated as error:
            connection.terminate()  # at once, else the driver would ask the server to cancel the wait for the standby
            raise unconfirmed(self._address.where) from error
        except BaseException:
            connection.terminate()  # its state is unknown
            raise
        finally:
            self._unconfirmed.discard(connection)
            if not connection.is_closed():
                self._put_back(connection)

    async def _complete(self, operation: Callable[[Connection], Awaitable[R]], connection: Connection) -> R:
        result = await operation(connection)
        if connection in self._unconfirmed:
            raise unconfirmed(self._address.where)
        return result

    def _listen(self, connection: Connection, message: LogMessage) -> None:
        """Note a warning about a commit; the driver calls this before the statement's own answer arrives."""
        if tells_of_unconfirmed_commit(message):
            self._unconfirmed.add(connection)

    async def _take(self) -> Connection:
        while self._idle:
            if not (connection := self._idle.pop()).is_closed():
                return connection
        return await self.connect()

    async def _connect(self) -> Connection:
        connection = await connect(
            self._address.dsn,
            timeout=self._timeout,
            command_timeout=self._timeout + _GRACE,  # the server must time out first, as its answer tells the outcome
            settings=self._settings.at_startup(self._address.options),
        )
        try:
            await self._settings.apply(connection)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(lambda _: self._ended())
        connection.add_log_listener(self._listen)
        return connection


async def close(connection: Connection) -> None:
    """Close a connection gracefully if possible, else terminate it."""
    try:
        await connection.close(timeout=1.0)
    except DRIVER_ERRORS:
        connection.terminate()
