"""Stores that wrap another store, to observe its calls, make them fail, or check their arguments."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeAlias, TypeVar
from uuid import UUID

from eventree.errors import InvalidArgument
from eventree.stores.checked import CheckedCheckpointWriter, CheckedStore, Decide, check_transaction_lease
from eventree.stores.contract import (
    NO_LEASE,
    AggregateSummary,
    AppendRequest,
    Checkpoint,
    CheckpointUpdate,
    CommitStamp,
    EventStore,
    LeaseRequest,
    LogPage,
    Outcome,
    ParkedCommit,
    QueryRequest,
    QuerySummary,
    RecordedCommand,
    RequestAnswer,
    StoredCheckpoint,
    StoredSnapshot,
    StoredStop,
    StoreTransaction,
    StreamPage,
    StreamRead,
)

P = ParamSpec("P")
T = TypeVar("T")

AnyTransaction: TypeAlias = StoreTransaction[Any]
"""A transaction on a connection of the inner store's driver."""

ForwardedMethod: TypeAlias = Literal[
    "append",
    "read_and_append",
    "find_commands",
    "read_streams",
    "read",
    "read_backwards",
    "list_aggregates",
    "list_aggregate_types",
    "head",
    "claim_checkpoint",
    "save_checkpoint",
    "make_live",
    "renew_checkpoint",
    "stop_checkpoint",
    "load_checkpoint",
    "load_parked",
    "list_queries",
    "put_request",
    "load_requests",
    "take_answer",
    "save_snapshots",
    "load_snapshots",
]
"""The methods of an `EventStore` that go through `ForwardingStore.forward`: all coroutine functions."""


class ForwardingStore(EventStore):
    """Forward every call to an inner store; the base class of stores that add something to another one.

    Override `forward` to act on each call, `begin_transaction` to act on transactions, or a single method. For example,
    a store that times appends:

        class Timed(ForwardingStore):
            async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
                began = perf_counter()
                outcomes = await super().append(requests)
                print(len(requests), "aggregates in", perf_counter() - began, "s")
                return outcomes

    It is opened and closed together with the inner store, and has transactions if the inner store has them.

    Attributes:
        inner: The store that does the work.
    """

    def __init__(self, inner: EventStore) -> None:
        """Wrap a store.

        Args:
            inner: Receives the calls.

        Raises:
            InvalidArgument: It is no store.
        """
        _check_store("inner", inner)
        self.inner = inner

    def __repr__(self) -> str:
        return f"<{type(self).__name__} around {self.inner!r}>"

    async def forward(
        self, method: ForwardedMethod, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the inner store.

        Args:
            method: The name of the method.
            call: The method of the inner store.
            args: Its arguments.
            kwargs: Its keyword arguments.
        """
        return await call(*args, **kwargs)

    def begin_transaction(self, lease: float = 5.0) -> AbstractAsyncContextManager[AnyTransaction]:
        """Begin a transaction of the inner store, which must have them; `transaction` returns this method."""
        inner: Any = self.inner
        transaction: AbstractAsyncContextManager[AnyTransaction] = inner.transaction(lease)
        return transaction

    @property
    def has_transactions(self) -> bool:
        """Whether the inner store has transactions."""
        return callable(getattr(self.inner, "transaction", None))

    @property
    def transaction(self) -> Callable[..., AbstractAsyncContextManager[AnyTransaction]]:
        """`TransactionalStore.transaction`; an attribute only if the inner store has it."""
        if not self.has_transactions:
            raise AttributeError(f"{self!r} has no transactions")
        return self.begin_transaction

    @property
    def waiting_for(self) -> str:
        """What a write of the inner store waits for."""
        return getattr(self.inner, "waiting_for", "")

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.inner.__aexit__(kind, error, traceback)

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        return await self.forward("append", self.inner.append, requests)

    async def read_and_append(self, reads: Sequence[StreamRead], decide: Decide) -> Sequence[Outcome]:
        return await self.forward("read_and_append", self.inner.read_and_append, reads, decide)

    async def find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        return await self.forward("find_commands", self.inner.find_commands, command_ids)

    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        return await self.forward("read_streams", self.inner.read_streams, reads)

    async def read(
        self,
        after: int,
        limit: int,
        types: Collection[str] | None = None,
        event_types: Collection[str] | None = None,
        *,
        live: bool = False,
        after_stamp: CommitStamp | None = None,
    ) -> LogPage:
        read = self.inner.read
        return await self.forward("read", read, after, limit, types, event_types, live=live, after_stamp=after_stamp)

    async def read_backwards(
        self,
        before: int | None,
        limit: int,
        types: Collection[str] | None = None,
        event_types: Collection[str] | None = None,
    ) -> LogPage:
        return await self.forward("read_backwards", self.inner.read_backwards, before, limit, types, event_types)

    async def list_aggregates(
        self, aggregate_type: str | None = None, *, after: tuple[str, str] | None = None, limit: int = 1_000
    ) -> Sequence[AggregateSummary]:
        listed = self.inner.list_aggregates
        return await self.forward("list_aggregates", listed, aggregate_type, after=after, limit=limit)

    async def list_aggregate_types(self) -> Sequence[str]:
        return await self.forward("list_aggregate_types", self.inner.list_aggregate_types)

    async def head(self) -> int:
        return await self.forward("head", self.inner.head)

    def watch(self, listener: Callable[[int], None], types: Collection[str] | None = None) -> Callable[[], None]:
        return self.inner.watch(listener, types)

    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        return await self.forward("claim_checkpoint", self.inner.claim_checkpoint, name, version, lease)

    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await self.forward("save_checkpoint", self.inner.save_checkpoint, name, version, update)

    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        return await self.forward("make_live", self.inner.make_live, name, version, fencing_token)

    async def renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        renew = self.inner.renew_checkpoint
        return await self.forward("renew_checkpoint", renew, name, version, fencing_token, seconds)

    async def stop_checkpoint(self, name: str, version: int, owner: str, stop: StoredStop) -> bool:
        return await self.forward("stop_checkpoint", self.inner.stop_checkpoint, name, version, owner, stop)

    async def load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        return await self.forward("load_checkpoint", self.inner.load_checkpoint, name, version)

    async def load_parked(
        self, name: str, version: int, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ParkedCommit]:
        return await self.forward("load_parked", self.inner.load_parked, name, version, after=after, limit=limit)

    async def list_queries(self) -> Sequence[QuerySummary]:
        return await self.forward("list_queries", self.inner.list_queries)

    async def put_request(self, request: QueryRequest) -> bool:
        return await self.forward("put_request", self.inner.put_request, request)

    async def load_requests(self, name: str, version: int) -> Sequence[QueryRequest]:
        return await self.forward("load_requests", self.inner.load_requests, name, version)

    async def take_answer(self, id: UUID) -> RequestAnswer | None:
        return await self.forward("take_answer", self.inner.take_answer, id)

    async def save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        await self.forward("save_snapshots", self.inner.save_snapshots, snapshots)

    async def load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        load = self.inner.load_snapshots
        return await self.forward("load_snapshots", load, aggregate_type, aggregate_ids, state_version)


def checked(store: EventStore) -> EventStore:
    """Return a store whose arguments are checked exactly once: this one if it checks them, else one around it.

    Raises:
        InvalidArgument: It is no store.
    """
    _check_store("store", store)
    inner = store
    while not isinstance(inner, CheckedStore):
        if not isinstance(inner, ForwardingStore):
            return _CheckingStore(store)
        inner = inner.inner
    return store


def _check_store(name: str, store: object) -> None:
    has_methods = all(callable(getattr(store, method, None)) for method in ("append", "read_streams", "head"))
    if isinstance(store, type) or not has_methods:
        shown = type(store).__name__ if isinstance(store, str | bytes) else repr(store)  # a DSN has secrets
        raise InvalidArgument(name, f"must be an event store, such as MemoryStore(), got {shown}")


class _CheckingStore(CheckedStore, ForwardingStore):
    """Check the arguments of a store that does not check them itself."""

    def __repr__(self) -> str:
        return repr(self.inner)

    async def _append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        return await self.inner.append(requests)

    async def _read_and_append(self, reads: Sequence[StreamRead], decide: Decide) -> Sequence[Outcome]:
        return await self.inner.read_and_append(reads, decide)

    async def _find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        return await self.inner.find_commands(command_ids)

    async def _read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        return await self.inner.read_streams(reads)

    async def _read(
        self,
        after: int,
        limit: int,
        types: Collection[str] | None,
        event_types: Collection[str] | None,
        after_stamp: CommitStamp | None,
    ) -> LogPage:
        return await self.inner.read(after, limit, types, event_types, after_stamp=after_stamp)

    async def _read_live(
        self,
        after: int,
        limit: int,
        types: Collection[str] | None,
        event_types: Collection[str] | None,
        after_stamp: CommitStamp | None,
    ) -> LogPage:
        return await self.inner.read(after, limit, types, event_types, live=True, after_stamp=after_stamp)

    async def _read_backwards(
        self, before: int, limit: int, types: Collection[str] | None, event_types: Collection[str] | None
    ) -> LogPage:
        return await self.inner.read_backwards(before, limit, types, event_types)

    async def _list_aggregates(
        self, aggregate_type: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[AggregateSummary]:
        return await self.inner.list_aggregates(aggregate_type, after=after if any(after) else None, limit=limit)

    def _watch(self, listener: Callable[[int], None], types: Collection[str] | None) -> Callable[[], None]:
        return self.inner.watch(listener, types)

    async def _claim_checkpoint(self, name: str, version: int, lease: LeaseRequest) -> Checkpoint:
        return await self.inner.claim_checkpoint(name, version, lease)

    async def _save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await self.inner.save_checkpoint(name, version, update)

    async def _make_live(self, name: str, version: int, fencing_token: int) -> bool:
        return await self.inner.make_live(name, version, fencing_token)

    async def _renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        return await self.inner.renew_checkpoint(name, version, fencing_token, seconds)

    async def _stop_checkpoint(self, name: str, version: int, owner: str, stop: StoredStop) -> bool:
        return await self.inner.stop_checkpoint(name, version, owner, stop)

    async def _load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        return await self.inner.load_checkpoint(name, version)

    async def _load_parked(self, name: str, version: int, *, after: int, limit: int) -> Sequence[ParkedCommit]:
        return await self.inner.load_parked(name, version, after=after, limit=limit)

    async def _put_request(self, request: QueryRequest) -> bool:
        return await self.inner.put_request(request)

    async def _load_requests(self, name: str, version: int) -> Sequence[QueryRequest]:
        return await self.inner.load_requests(name, version)

    async def _take_answer(self, id: UUID) -> RequestAnswer | None:
        return await self.inner.take_answer(id)

    async def _save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        await self.inner.save_snapshots(snapshots)

    async def _load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        return await self.inner.load_snapshots(aggregate_type, aggregate_ids, state_version)

    @asynccontextmanager
    async def begin_transaction(self, lease: float = 5.0) -> AsyncGenerator[AnyTransaction, None]:
        check_transaction_lease(lease)
        async with super().begin_transaction(lease) as transaction:
            yield _CheckingTransaction(transaction)


class _CheckingTransaction(CheckedCheckpointWriter):
    """Check the arguments of a transaction that does not check them itself."""

    def __init__(self, inner: AnyTransaction) -> None:
        self.connection = inner.connection
        self.is_contended = inner.is_contended
        self._inner = inner

    async def _claim_checkpoint(self, name: str, version: int, lease: LeaseRequest) -> Checkpoint:
        return await self._inner.claim_checkpoint(name, version, lease)

    async def _save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await self._inner.save_checkpoint(name, version, update)

    async def _make_live(self, name: str, version: int, fencing_token: int) -> bool:
        return await self._inner.make_live(name, version, fencing_token)
