"""Transactions: the additional promises of a store with a database, which make projections exactly-once."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from eventree.stores.contract.checkpoints import CheckpointWriter
from eventree.stores.contract.store import EventStore

ConnectionT_co = TypeVar("ConnectionT_co", covariant=True)


class StoreTransaction(CheckpointWriter, Protocol[ConnectionT_co]):
    """A transaction: statements on its connection and changes to checkpoints are committed together or not at all."""

    @property
    def connection(self) -> ConnectionT_co:
        """The driver's own connection, for the tables of a projection; usable only while the transaction is open."""
        ...

    @property
    def is_contended(self) -> bool:
        """Whether other writers have been active since the last transaction, so that this one should be short."""
        ...


class TransactionalStore(EventStore, Protocol[ConnectionT_co]):
    """An event store whose database holds the tables of projections too."""

    def transaction(self, lease: float = 5.0) -> AbstractAsyncContextManager[StoreTransaction[ConnectionT_co]]:
        """Begin a transaction that is committed at the end of `async with`, and rolled back if anything is raised.

        On SQLite there is one transaction at a time and no other writer meanwhile; statements on its connection after
        the end are refused. On Postgres, call a method of the transaction last: if a statement failed and its error was
        swallowed, COMMIT silently rolls back, and only another statement reveals it.

        Args:
            lease: Seconds after which the server ends the transaction if it is idle, so that a frozen process does not
                block others: more than 0, at most 86,400; default 5. SQLite has no server that could do so.

        Raises:
            InvalidArgument: The lease is out of range.
            WouldDeadlock: The caller is already inside such a transaction.
            TransactionEnded: A statement on the connection has ended the transaction; on Postgres, where `COMMIT`
                cannot be refused, earlier statements may be stored without the checkpoint.
            StoreUnavailable, TransactionRolledBack: The store was unreachable or busy, possibly during a statement on
                the connection. Nothing was stored, unless the connection was lost during the commit; the checkpoint
                shows which.
        """
        ...
