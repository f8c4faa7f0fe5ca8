"""Transactions for projections, on separate connections: rows and checkpoint are committed together."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from eventree.errors import CheckpointHeld, TransactionEnded, TransactionOutlivedLease, WouldDeadlock
from eventree.errors.failures import is_failure
from eventree.stores.checked import CheckedCheckpointWriter
from eventree.stores.contract import Checkpoint, CheckpointUpdate, LeaseRequest
from eventree.stores.postgres.checkpoints import CheckpointTable
from eventree.stores.postgres.connections import Connections
from eventree.stores.postgres.driver import DRIVER_ERRORS, Connection

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class _Mark:
    """Mark a transaction; tasks started inside inherit the mark, and see whether it is still open."""

    is_open: bool = True


_inside: ContextVar[_Mark | None] = ContextVar("_inside", default=None)


class Transaction(CheckedCheckpointWriter):
    """A transaction on a connection; see `StoreTransaction`.

    Attributes:
        connection: The connection.
        is_verified: Whether a statement of the store has succeeded. As the library executes it last, its success proves
            that no earlier statement has failed.
    """

    is_contended = False
    """Always False, as projections and appends lock different rows."""

    def __init__(self, connection: Connection, checkpoints: CheckpointTable, check_loop: Callable[[], None]) -> None:
        """Wrap a connection in an open transaction."""
        self._check_loop = check_loop
        self.connection = connection
        self.is_verified = False
        self._checkpoints = checkpoints

    async def _claim_checkpoint(self, name: str, version: int, lease: LeaseRequest) -> Checkpoint:
        return await self._run(self._checkpoints.claim, name, version, lease)

    async def _save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await self._run(self._checkpoints.save, name, version, update)

    async def _make_live(self, name: str, version: int, fencing_token: int) -> bool:
        return await self._run(self._checkpoints.make_live, name, version, fencing_token)

    async def _run(
        self, statement: Callable[Concatenate[Connection, P], Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        self._check_loop()
        _check_open(self.connection)
        result = await statement(self.connection, *args, **kwargs)
        self.is_verified = True
        return result


@asynccontextmanager
async def transaction(
    connections: Connections, checkpoints: CheckpointTable, lease: float, check_loop: Callable[[], None]
) -> AsyncGenerator[Transaction, None]:
    """Begin a transaction on a free connection; commit it, or roll it back if anything is raised."""
    check_loop()
    outside = _inside.get()
    if outside is not None and outside.is_open:
        raise WouldDeadlock("a projection", "another transaction", "write on the projection's connection only")
    clock = asyncio.get_running_loop().time
    async with connections.borrow(lease) as db:
        began = clock()
        outer = db.transaction()
        try:
            await outer.start()
        except BaseException:
            db.terminate()  # the driver believes it is in a transaction
            raise
        mark = _Mark()
        token = _inside.set(mark)
        try:
            transaction = Transaction(db, checkpoints, check_loop)
            yield transaction
            await _verify(transaction)
        except BaseException as error:
            if is_failure(error, closed=True) and not db.is_closed():
                with suppress(*DRIVER_ERRORS):  # the caller must get the first error
                    await outer.rollback()
                    if isinstance(error, CheckpointHeld):
                        await checkpoints.shorten_overlong_leases(db)  # again, as that was rolled back too
            elif isinstance(error, DRIVER_ERRORS) and clock() - began >= lease:
                raise TransactionOutlivedLease(lease, clock() - began) from error
            raise
        finally:
            mark.is_open = False
            _inside.reset(token)
        await outer.commit()


async def _verify(transaction: Transaction) -> None:
    """Raise if COMMIT would silently roll back, because a statement failed and its error was swallowed.

    After a failed statement every later one fails too, so send one, unless a statement of the store has succeeded.
    """
    _check_open(transaction.connection)
    if not transaction.is_verified:
        await transaction.connection.execute("SELECT 1")


def _check_open(db: Connection) -> None:
    if not db.is_in_transaction():
        raise TransactionEnded(
            "a projection has ended its transaction, so what it wrote may be committed without the checkpoint; "
            "leave BEGIN, COMMIT and ROLLBACK to the library, and check the rows"
        )
