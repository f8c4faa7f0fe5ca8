"""A store that fails, waits, or lets something else happen first, as a test orders."""

from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, Literal, ParamSpec, TypeAlias, TypeVar, get_args

from eventree.errors import InvalidArgument, StoreUnavailable
from eventree.errors.arguments import check_count
from eventree.stores.contract import EventStore
from eventree.stores.forwarding import AnyTransaction, ForwardedMethod, ForwardingStore
from eventree.stores.memory import MemoryStore
from eventree.testing.gate import Gate

P = ParamSpec("P")
T = TypeVar("T")

StoreMethod: TypeAlias = ForwardedMethod | Literal["transaction", "commit"]
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


class FailingStore(ForwardingStore):
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
        super().__init__(MemoryStore() if inner is None else inner)
        self.calls: Counter[str] = Counter()
        self._orders: defaultdict[str, deque[_Order]] = defaultdict(deque)
        self._away: BaseException | None = None

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
            action: Called without arguments. To let another writer go first, it may use `inner`.
            times: At how many calls; default 1.
            after: Whether the call has its effect first; default no.

        Raises:
            InvalidArgument: The store has no such method, or the action is no function.
        """
        if not callable(action):
            raise InvalidArgument("action", f"must be an async function without arguments, got {action!r}")
        known = [*get_args(ForwardedMethod), *(_OF_TRANSACTIONS if self.has_transactions else ())]
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

    async def forward(
        self, method: ForwardedMethod, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the inner store, and carry out what is ordered for this call."""
        order = self._called(method)
        await order.before()
        answer = await call(*args, **kwargs)
        await order.after()
        return answer

    @asynccontextmanager
    async def begin_transaction(self, lease: float = 5.0) -> AsyncGenerator[AnyTransaction, None]:
        """Begin a transaction of the inner store, and carry out what is ordered for its beginning and its end."""
        beginning = self._called("transaction")
        await beginning.before()
        async with super().begin_transaction(lease) as transaction:
            await beginning.after()
            yield transaction
            end = self._called("commit")
            await end.before()
        await end.after()

    def _called(self, method: StoreMethod) -> _Order:
        """Count a call and return what is ordered for it."""
        self.calls[method] += 1
        if self._away is not None:
            raise self._away
        return self._orders[method].popleft() if self._orders[method] else _Order()
