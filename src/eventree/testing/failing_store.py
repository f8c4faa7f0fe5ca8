"""A store that fails, waits, or lets something else happen first, as a test orders."""

from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, ParamSpec, Self, TypeAlias, TypeVar, get_args

from eventree.errors import InvalidArgument, StoreUnavailable
from eventree.errors.arguments import check_count
from eventree.stores.contract import (
    NO_LEASE,
    AppendRequest,
    Checkpoint,
    CheckpointUpdate,
    EventStore,
    LeaseRequest,
    LogPage,
    Outcome,
    ParkedCommit,
    RecordedCommand,
    StoredCheckpoint,
    StoredSnapshot,
    StoreTransaction,
    StreamPage,
    StreamRead,
)
from eventree.stores.memory import MemoryStore
from eventree.testing.gate import Gate

P = ParamSpec("P")
T = TypeVar("T")

StoreMethod: TypeAlias = Literal[
    "append",
    "find_commands",
    "read_streams",
    "read",
    "head",
    "claim_checkpoint",
    "save_checkpoint",
    "make_live",
    "renew_checkpoint",
    "load_checkpoint",
    "load_parked",
    "save_snapshots",
    "load_snapshots",
    "transaction",
    "commit",
]
"""What can be made to fail: the methods of an `EventStore`, and the beginning and the end of a transaction."""

Action: TypeAlias = Callable[[], Awaitable[None]]

_OF_TRANSACTIONS: Final = ("transaction", "commit")


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to happen at one call: before it has its effect, or after."""

    action: Action | None = None
    comes_after: bool = False

    async def before(self) -> None:
        if self.action is not None and not self.comes_after:
            await self.action()

    async def after(self) -> None:
        if self.action is not None and self.comes_after:
            await self.action()


class FailingStore:
    """Wrap any event store, and let calls of its methods fail, wait, or be preceded by something, as you order.

    ```
    async with FailingStore() as store, EventSourcing(bank_account, store) as accounts:
        store.fail("append", StoreUnavailable("away"))
        await accounts.execute("anna", Deposit(Decimal(1)))  # Err(StoreUnavailable)
        await accounts.execute("anna", Deposit(Decimal(1)))  # Ok
    ```

    An order is for one call of one method; orders for the same method are carried out in turn, a call each. What is
    not ordered goes to the inner store as it is, so that every promise of an `EventStore` holds. If that store has
    transactions, so has this one, and projections run on it. `"transaction"` is then the call that begins one, and
    `"commit"` its end: what fails before the commit is rolled back, what fails after it has taken place.

    Attributes:
        inner: The store behind it; what is called there is neither counted nor made to fail.
        calls: How often each method was called, failed calls included.
    """

    def __init__(self, inner: EventStore | None = None) -> None:
        """Wrap a store; nothing fails yet.

        Args:
            inner: Keeps the events; entered and left together with this one. Default a new `MemoryStore`.
        """
        self.inner: EventStore = MemoryStore() if inner is None else inner
        self.calls: Counter[str] = Counter()
        self._orders: defaultdict[str, deque[_Order]] = defaultdict(deque)
        self._away: BaseException | None = None

    def __repr__(self) -> str:
        return f"<FailingStore around {self.inner!r}>"

    # --- what a test orders

    def fail(self, method: StoreMethod, error: BaseException, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of a method fail.

        Args:
            method: Such as `"append"`.
            error: What they raise.
            times: How many of them; default 1.
            after: Whether the call has its effect first, so that only its answer is lost; default no.

        Raises:
            InvalidArgument: The store has no such method, or the error is none.
        """
        if not isinstance(error, BaseException):
            raise InvalidArgument("error", f"must be an exception, got {error!r}")

        async def fail() -> None:
            raise error

        self.do(method, fail, times=times, after=after)

    def hold(self, method: StoreMethod, *, after: bool = False) -> Gate:
        """Let the next call of a method wait until the gate is opened.

        Args:
            method: Such as `"append"`.
            after: Whether the call has its effect first, so that only its answer has to wait; default no.

        Returns:
            Tells by `await gate.reached()` that the call is there, and lets it go on by `gate.open()`.

        Raises:
            InvalidArgument: The store has no such method.
        """
        gate = Gate(f"{method} of the store")
        self.do(method, gate, after=after)
        return gate

    def do(self, method: StoreMethod, action: Action, *, times: int = 1, after: bool = False) -> None:
        """Await a function of yours at the next calls of a method.

        Args:
            method: Such as `"append"`.
            action: Called without arguments. To let somebody else be first, it may use `inner`.
            times: At how many calls; default 1.
            after: Whether the call has its effect first; default no.

        Raises:
            InvalidArgument: The store has no such method, or the action is no function.
        """
        if not callable(action):
            raise InvalidArgument("action", f"must be an async function without arguments, got {action!r}")
        known = [name for name in get_args(StoreMethod) if self._has_transactions or name not in _OF_TRANSACTIONS]
        if method not in known:
            raise InvalidArgument("method", f"there is no {method!r} to order; there are: {', '.join(known)}")
        check_count("times", times)
        self._orders[method].extend([_Order(action, after)] * times)

    @contextmanager
    def away(self, error: BaseException | None = None) -> Generator[None, None, None]:
        """Let every call fail inside of `with`, at once; orders wait until it is over.

        Args:
            error: What they raise; default a `StoreUnavailable`.
        """
        before = self._away
        self._away = StoreUnavailable("the store is away, as the test has it") if error is None else error
        try:
            yield
        finally:
            self._away = before

    # --- the store

    async def __aenter__(self) -> Self:
        """See `EventStore`."""
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """See `EventStore`."""
        await self.inner.__aexit__(kind, error, traceback)

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        """See `EventStore.append`."""
        return await self._pass_on("append", self.inner.append, requests)

    async def find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        """See `EventStore.find_commands`."""
        return await self._pass_on("find_commands", self.inner.find_commands, command_ids)

    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        """See `EventStore.read_streams`."""
        return await self._pass_on("read_streams", self.inner.read_streams, reads)

    async def read(self, after: int, limit: int, types: Collection[str] | None = None) -> LogPage:
        """See `EventStore.read`."""
        return await self._pass_on("read", self.inner.read, after, limit, types)

    async def head(self) -> int:
        """See `EventStore.head`."""
        return await self._pass_on("head", self.inner.head)

    def watch(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """See `EventStore.watch`."""
        return self.inner.watch(listener)

    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        """See `EventStore.claim_checkpoint`."""
        return await self._pass_on("claim_checkpoint", self.inner.claim_checkpoint, name, version, lease)

    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        """See `EventStore.save_checkpoint`."""
        await self._pass_on("save_checkpoint", self.inner.save_checkpoint, name, version, update)

    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        """See `EventStore.make_live`."""
        return await self._pass_on("make_live", self.inner.make_live, name, version, fencing_token)

    async def renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        """See `EventStore.renew_checkpoint`."""
        return await self._pass_on(
            "renew_checkpoint", self.inner.renew_checkpoint, name, version, fencing_token, seconds
        )

    async def load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        """See `EventStore.load_checkpoint`."""
        return await self._pass_on("load_checkpoint", self.inner.load_checkpoint, name, version)

    async def load_parked(
        self, name: str, version: int, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ParkedCommit]:
        """See `EventStore.load_parked`."""
        return await self._pass_on("load_parked", self.inner.load_parked, name, version, after=after, limit=limit)

    async def save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        """See `EventStore.save_snapshots`."""
        await self._pass_on("save_snapshots", self.inner.save_snapshots, snapshots)

    async def load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        """See `EventStore.load_snapshots`."""
        load = self.inner.load_snapshots
        return await self._pass_on("load_snapshots", load, aggregate_type, aggregate_ids, state_version)

    @property
    def transaction(self) -> Callable[..., AbstractAsyncContextManager[StoreTransaction[Any]]]:
        """See `TransactionalStore.transaction`; there is one if the inner store has it."""
        if not self._has_transactions:
            raise AttributeError(f"{self!r} has no transactions")
        return self._transaction

    @property
    def _has_transactions(self) -> bool:
        return callable(getattr(self.inner, "transaction", None))

    @asynccontextmanager
    async def _transaction(self, lease: float = 5.0) -> AsyncGenerator[StoreTransaction[Any], None]:
        inner: Any = self.inner
        beginning = self._called("transaction")
        await beginning.before()
        async with inner.transaction(lease) as transaction:
            await beginning.after()
            yield transaction
            end = self._called("commit")
            await end.before()
        await end.after()

    async def _pass_on(
        self, method: StoreMethod, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        order = self._called(method)
        await order.before()
        answer = await call(*args, **kwargs)
        await order.after()
        return answer

    def _called(self, method: StoreMethod) -> _Order:
        """Count a call and return what is ordered for it."""
        self.calls[method] += 1
        if self._away is not None:
            raise self._away
        return self._orders[method].popleft() if self._orders[method] else _Order()
