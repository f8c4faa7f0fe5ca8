"""Transactions for projections: their rows and their checkpoint together, on connections of their own."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from eventree.errors import TransactionEnded, WouldDeadlock
from eventree.stores.contract import ANYBODY, Checkpoint, Claim, Move
from eventree.stores.postgres.checkpoints import CheckpointTable
from eventree.stores.postgres.connections import Connections
from eventree.stores.postgres.driver import Connection

_is_inside: ContextVar[bool] = ContextVar("is_inside", default=False)


class Transaction:
    """One transaction on a connection; see `StoreTransaction`."""

    is_contended = False
    """Appends take turns on another row than projections do."""

    def __init__(self, connection: Connection, checkpoints: CheckpointTable) -> None:
        """Hold what is open."""
        self.connection = connection
        self._checkpoints = checkpoints

    async def claim_checkpoint(self, name: str, version: int, claim: Claim = ANYBODY) -> Checkpoint:
        """See `Checkpoints.claim_checkpoint`."""
        return await self._checkpoints.claim(self.connection, name, version, claim)

    async def save_checkpoint(self, name: str, version: int, move: Move) -> None:
        """See `Checkpoints.save_checkpoint`."""
        await self._checkpoints.move(self.connection, name, version, move)

    async def make_live(self, name: str, version: int, fence: int) -> bool:
        """See `Checkpoints.make_live`."""
        return await self._checkpoints.make_live(self.connection, name, version, fence)


@asynccontextmanager
async def transaction(
    connections: Connections, checkpoints: CheckpointTable, lease: float
) -> AsyncGenerator[Transaction, None]:
    """Begin a transaction on a free connection, and end it."""
    if _is_inside.get():
        raise WouldDeadlock("a projection", "another transaction", "write on the projection's connection only")
    async with connections.borrow(lease) as db:
        token = _is_inside.set(True)
        outer = db.transaction()
        await outer.start()
        try:
            yield Transaction(db, checkpoints)
            _check_open(db)
            await outer.commit()
        except Exception:
            if not db.is_closed():
                await outer.rollback()
            raise
        finally:
            _is_inside.reset(token)


def _check_open(db: Connection) -> None:
    if not db.is_in_transaction():
        raise TransactionEnded(
            "a projection has ended its transaction, so what it wrote before may stand without the checkpoint; "
            "leave BEGIN, COMMIT and ROLLBACK to the library, and look at what was written"
        )
