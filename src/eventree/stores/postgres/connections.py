"""Connections to one database: opened on demand, replaced when lost."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from eventree.backoff import Backoff
from eventree.errors import EventreeError, EventStoreError, StoreBusy, StoreUnavailable, StoreUnusable
from eventree.stores.postgres.address import Address
from eventree.stores.postgres.driver import DRIVER_ERRORS, Connection, connect, is_transient, translate

R = TypeVar("R")

# Plans are cached while tables grow, and a plan made for ten rows must not be used for a million. Every statement of
# the store finds its rows by an index, so other kinds of plan are disabled.
_SESSION: Final = """
SELECT current_setting('fsync') = 'on', pg_is_in_recovery(),
  CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
       THEN set_config('synchronous_commit', 'on', false) END,
  (SELECT count(set_config(name, 'off', false)) FROM pg_settings
   WHERE $1 AND name IN ('jit', 'enable_seqscan', 'enable_mergejoin'))
"""
_LIMIT_IDLING: Final = "SELECT set_config('idle_in_transaction_session_timeout', $1, false)"
_RECONNECT: Final = Backoff(initial=0.1, maximum=3.2, jitter=0)

_GRACE = 2.0
"""Seconds by which the driver's timeout exceeds that of the server, so that the server's comes first."""

_MAX_MILLISECONDS = 2**31 - 1
"""The highest timeout that Postgres accepts."""


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
        self._reason = type(error).__name__
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
        timeout: float,
        circuit: CircuitBreaker,
        ended: Callable[[], None] = lambda: None,
        *,
        lock_timeout: float | None = None,
        read_only: bool = False,
    ) -> None:
        """Start without connections.

        Args:
            address: The database.
            schema: The search path, as a quoted name; None for connections that run users' statements, with the
                settings of the role.
            size: How many operations may run concurrently.
            timeout: How long a statement may take, and how long to wait for a free connection, in seconds.
            circuit: The circuit breaker of the server, shared by all its connections.
            ended: Called when a connection has ended, for any reason; default does nothing.
            lock_timeout: How long a statement may wait for a lock, in seconds; None, the default, for as long as the
                role's settings allow.
            read_only: Whether the connections only read, which a replica allows too; default False.
        """
        self._address = address
        self._schema = schema
        self._timeout = timeout
        self._circuit = circuit
        self._ended = ended
        self._lock_timeout = lock_timeout
        self._read_only = read_only
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._leases: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        self._running: set[asyncio.Task[object]] = set()
        self._closed = False

    async def run(self, operation: Callable[[Connection], Awaitable[R]]) -> R:
        """Call a function with a connection; waiting callers are served in order.

        Raises:
            ConnectionLost: The connection was lost during the operation, which may have been committed.
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
        """
        await self._wait_for_slot()
        try:
            connection = await self._take()
            try:
                await self._limit_idling(connection, lease)
                yield connection
            except EventreeError:
                raise  # it says itself what happened, whatever has become of the connection
            except Exception as error:
                if is_transient(error, connection):
                    connection.terminate()
                    raise translate(error, self._address.where) from error
                raise
            except BaseException:
                connection.terminate()  # its state is unknown
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
        except DRIVER_ERRORS as error:
            failure = translate(error, self._address.where)
            if isinstance(failure, StoreUnusable):
                raise failure from error
            self._circuit.failed(error)
            raise StoreUnavailable(
                f"{self._address} cannot be reached ({type(error).__name__}); nothing was stored"
            ) from error
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

    def _give_back(self, connection: Connection) -> None:
        if connection.is_closed():
            return
        if connection.is_in_transaction() or self._closed:
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
            return await operation(connection)
        except DRIVER_ERRORS as error:
            failure = translate(error, self._address.where)
            if isinstance(failure, StoreUnavailable):
                connection.terminate()
            raise failure from error
        except EventStoreError:
            raise
        except BaseException:
            connection.terminate()  # its state is unknown
            raise
        finally:
            if not connection.is_closed():
                self._idle.append(connection)

    async def _take(self) -> Connection:
        while self._idle:
            if not (connection := self._idle.pop()).is_closed():
                return connection
        return await self.connect()

    async def _connect(self) -> Connection:
        milliseconds = _milliseconds(self._timeout)
        path = {} if self._schema is None else {"search_path": self._schema}
        locks = {} if self._lock_timeout is None else {"lock_timeout": _milliseconds(self._lock_timeout)}
        mode = {"default_transaction_read_only": "on"} if self._read_only else {}
        connection = await connect(
            self._address.dsn,
            timeout=self._timeout,
            command_timeout=self._timeout + _GRACE,  # the server must time out first, as its answer tells the outcome
            settings={
                "application_name": "eventree",
                **path,
                **locks,
                **mode,
                "default_transaction_isolation": "read committed",  # appends depend on it, whatever the role's default
                "statement_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
            },
        )
        try:
            [(syncs, is_replica, *_)] = await connection.fetch(_SESSION, self._schema is not None)
            if not self._read_only:
                self._require_durability(syncs=syncs, is_replica=is_replica)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(lambda _: self._ended())
        return connection

    def _require_durability(self, *, syncs: bool, is_replica: bool) -> None:
        if is_replica:
            raise StoreUnavailable(f"{self._address} is a replica now; commands need the primary")
        if not syncs:
            raise StoreUnusable(self._address.where, "its fsync is off, so commits would not be durable; turn it on")


def _milliseconds(seconds: float) -> str:
    return str(max(1, int(min(seconds * 1000, _MAX_MILLISECONDS))))  # 0 would mean no limit


async def close(connection: Connection) -> None:
    """Close a connection gracefully if possible, else terminate it."""
    try:
        await connection.close(timeout=1.0)
    except DRIVER_ERRORS:
        connection.terminate()
