"""An event store: all roles together, and its lifecycle."""

from abc import abstractmethod
from types import TracebackType
from typing import Protocol, Self

from eventree.stores.contract.checkpoints import Checkpoints
from eventree.stores.contract.commands import CommandLog
from eventree.stores.contract.log import EventLog
from eventree.stores.contract.requests import QueryRequests
from eventree.stores.contract.snapshots import Snapshots


class EventStore(EventLog, CommandLog, Checkpoints, QueryRequests, Snapshots, Protocol):
    """Store events, recorded commands, checkpoints, requests to queries and snapshots.

    A store knows nothing of the classes behind the JSON text. It is an async context manager: before entry and after
    exit its methods raise `StoreUnavailable`. Any number of tasks of one event loop may use it concurrently. Cancelling
    a caller neither leaves a transaction open nor affects another caller; a cancelled append may still be committed.

    Every method, even one that only reads, raises `InvalidArgument` for values that no store could hold: see
    `CheckedStore`. All texts are UTF-8, without lone surrogates or NUL. A store that was opened only for reading raises
    `StoreReadOnly` from every method that writes, before it accesses the database.
    """

    @property
    def waiting_for(self) -> str:
        """What a write in progress waits for at this moment, such as "a lock of another process"; empty if unknown."""
        return ""

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Open the store and create its schema if it is missing; each further entry only counts.

        Raises:
            StoreUnusable: The database cannot fulfil this contract.
            SchemaTooNew: A newer version of the library wrote it.
            StoreUnavailable: It cannot be reached.
        """
        ...

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish running operations and close the store; after several entries, only the last exit does so."""
        ...
