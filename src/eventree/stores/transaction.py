"""What a store with a database underneath promises besides: transactions for projections."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from eventree.stores.checkpoint import Checkpoints
from eventree.stores.contract import EventStore

ConnectionT_co = TypeVar("ConnectionT_co", covariant=True)


class StoreTransaction(Checkpoints, Protocol[ConnectionT_co]):
    """One transaction: what is done on its connection and to checkpoints takes place together, or not at all."""

    @property
    def connection(self) -> ConnectionT_co:
        """The driver's own connection, for the tables of a projection; of use only while the transaction is open."""
        ...

    @property
    def is_contended(self) -> bool:
        """Whether others have written since the last transaction and wait for this one, so that it should be short."""
        ...


class TransactionalStore(EventStore, Protocol[ConnectionT_co]):
    """An event store whose database holds the tables of projections too."""

    def transaction(self, lease: float = 5.0) -> AbstractAsyncContextManager[StoreTransaction[ConnectionT_co]]:
        """Begin a transaction; it is committed at the end of `async with`, and rolled back if anything is raised.

        On SQLite there is one at a time, and nobody else writes meanwhile; what goes on with its connection after it is
        refused. On Postgres let a method of the transaction be the last: where a statement has failed and its error was
        swallowed, the commit does nothing, and only the next statement tells.

        Args:
            lease: Seconds for which the server keeps it if nothing is heard of it, so that a process that is frozen
                in the middle does not keep others from going on; default 5. SQLite has no server that could end it.

        Raises:
            WouldDeadlock: The caller is in such a transaction already.
            TransactionEnded: What was done on the connection has ended the transaction; on Postgres, where a
                `COMMIT` cannot be refused, what was done before it stands without the checkpoint.
            StoreUnavailable, TransactionRolledBack: The store was away or busy, also within a statement on the
                connection; nothing took place, or the connection was lost during the commit and the checkpoint tells.
        """
        ...
