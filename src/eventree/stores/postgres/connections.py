"""Connections to one database: opened when they are needed, replaced when they are lost."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from eventree.errors import EventStoreError, StoreBusy, StoreUnavailable, StoreUnusable
from eventree.stores.postgres.address import Address
from eventree.stores.postgres.driver import DRIVER_ERRORS, Connection, connect, is_weather, translate

R = TypeVar("R")

# A plan is kept, and tables grow: what was the fastest way through ten rows must not be taken through a million. Every
# statement of ours finds its rows by an index.
_SESSION: Final = """
SELECT current_setting('fsync') = 'on', pg_is_in_recovery(),
  CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
       THEN set_config('synchronous_commit', 'on', false) END,
  (SELECT count(set_config(name, 'off', false)) FROM pg_settings
   WHERE $1 AND name IN ('jit', 'enable_seqscan', 'enable_mergejoin'))
"""
_LIMIT_IDLING: Final = "SELECT set_config('idle_in_transaction_session_timeout', $1, false)"
_GRACE = 2.0
_LONGEST = 2**31 - 1


class CircuitBreaker:
    """Remember that a server is away, so that those who ask meanwhile need not find out for themselves."""

    def __init__(self, where: str) -> None:
        """Begin with a server that is there."""
        self._where = where
        self._failures = 0
        self._retry_at = 0.0
        self._reason = ""

    def check(self) -> None:
        """Raise `StoreUnavailable` if the server was away a moment ago."""
        wait = self._retry_at - asyncio.get_running_loop().time()
        if wait > 0:
            raise StoreUnavailable(
                f"{self._where} is away ({self._reason}), it is tried again in {wait:.1f} s; nothing was stored"
            )

    def failed(self, error: BaseException) -> None:
        """Count a failure to connect; the next try comes 0.1 s later, then twice as late each time, up to 3.2 s."""
        self._failures += 1
        self._reason = type(error).__name__
        self._retry_at = asyncio.get_running_loop().time() + 0.1 * 2 ** min(self._failures - 1, 5)

    def works(self) -> None:
        """Forget all failures."""
        self._failures = 0
        self._retry_at = 0.0


class Connections:
    """Run operations on at most so many connections, each operation to its end even if its caller is cancelled.

    A cancelled statement would make the driver ask the server to cancel whatever runs on that connection, and the
    server may hear of it when the next caller's statement runs.
    """

    def __init__(
        self,
        address: Address,
        schema: str | None,
        size: int,
        timeout: float,
        circuit: CircuitBreaker,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            address: The database.
            schema: Where unqualified names are looked up, quoted; None for connections that are for the statements of
                users, with all settings as their role has them.
            size: How many operations may run at once.
            timeout: How long a statement may take, and how long to wait for a free connection, in seconds.
            circuit: What is known of the server; shared by all that connect to it.
            ended: Called when a connection has ended, whoever ended it.
        """
        self._address = address
        self._schema = schema
        self._timeout = timeout
        self._circuit = circuit
        self._ended = ended
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._leases: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        self._running: set[asyncio.Task[object]] = set()
        self._closed = False

    async def run(self, operation: Callable[[Connection], Awaitable[R]]) -> R:
        """Call a function with a connection; those who wait for one are served in order.

        Raises:
            ConnectionLost: The connection broke meanwhile; what the operation did may have taken place.
            StoreUnavailable: There was no connection to be had; nothing happened.
            EventStoreError: What the driver raised, in our words; its transaction was rolled back.
        """
        await self._wait_for_slot()
        task = asyncio.create_task(self._carry_out(operation))
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    @asynccontextmanager
    async def borrow(self, lease: float) -> AsyncGenerator[Connection, None]:
        """Lend a connection for statements of others; one whose borrower is cancelled, or whose state is unknown, ends.

        Args:
            lease: Seconds after which the server ends a transaction of which it hears nothing.

        Raises:
            StoreUnavailable: There was no connection to be had, or it was lost.
            TransactionRolledBack: A statement failed for a reason that passes by itself.
        """
        await self._wait_for_slot()
        try:
            connection = await self._take()
            try:
                await self._limit_idling(connection, lease)
                yield connection
            except Exception as error:
                if is_weather(error, connection):
                    connection.terminate()
                    raise translate(error, self._address.where) from error
                raise
            except BaseException:
                connection.terminate()  # nobody knows what it is in the middle of
                raise
            finally:
                self._give_back(connection)
        finally:
            self._slots.release()

    async def connect(self) -> Connection:
        """Return a new connection on which commits are durable; the caller closes it.

        Raises:
            StoreUnavailable: The server cannot be reached, or is a replica.
            StoreUnusable: It does not let us in, or keeps no promises.
        """
        self._circuit.check()
        try:
            connection = await self._connect()
        except EventStoreError:
            raise
        except DRIVER_ERRORS as error:
            failure = translate(error, self._address.where)
            if isinstance(failure, StoreUnusable):
                raise failure from error
            self._circuit.failed(error)
            raise StoreUnavailable(
                f"{self._address} cannot be reached ({type(error).__name__}); nothing was stored"
            ) from error
        self._circuit.works()
        return connection

    async def close(self) -> None:
        """Wait for what is running, then close all connections; those who still wait for one get none."""
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
            task.exception()  # its caller may have been cancelled: nobody else looks at it then

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
            connection.terminate()  # nobody knows what it is in the middle of
            raise
        finally:
            if not connection.is_closed():
                self._idle.append(connection)

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self.connect()

    async def _connect(self) -> Connection:
        milliseconds = str(max(1, int(min(self._timeout * 1000, _LONGEST))))  # 0 would be no limit
        path = {} if self._schema is None else {"search_path": self._schema}
        connection = await connect(
            self._address.dsn,
            timeout=self._timeout,
            command_timeout=self._timeout + _GRACE,  # the server gives up first, and then we know the outcome
            settings={
                "application_name": "eventree",
                **path,
                "default_transaction_isolation": "read committed",  # appends rest on it, whatever the role is given
                "statement_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
            },
        )
        try:
            [(syncs, is_replica, *_)] = await connection.fetch(_SESSION, self._schema is not None)
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
            raise StoreUnusable(self._address.where, "its fsync is off, so a commit would not be durable; turn it on")


async def close(connection: Connection) -> None:
    """Close a connection politely, or at least at once."""
    try:
        await connection.close(timeout=1.0)
    except DRIVER_ERRORS:
        connection.terminate()
