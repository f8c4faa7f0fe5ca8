"""A store that fails, waits, or lets another action run first, as a test orders."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, Literal, ParamSpec, TypeAlias, TypeVar, get_args

from eventree.errors import InvalidArgument, StoreUnavailable
from eventree.errors.root import check_count
from eventree.stores.contract import EventStore
from eventree.stores.forwarding import AnyTransaction, ForwardedMethod, ForwardingStore
from eventree.stores.memory import MemoryStore


class Gate:
    """Hold every task that awaits it, until it is opened; an open gate holds no task.

    `FailingStore.hold` puts one into a call of a store. Your own handlers can await one too: `await gate()`.
    """

    def __init__(self, name: str = "the gate") -> None:
        """Create a closed gate.

        Args:
            name: The name of the gate in its `repr` and in the error of `reached`; default `"the gate"`.
        """
        self._name = name
        self._reached = asyncio.Event()
        self._opened = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Gate {self._name!r} {'open' if self._opened.is_set() else 'closed'}>"

    async def __call__(self) -> None:
        """Wait until the gate is open."""
        self._reached.set()
        await self._opened.wait()

    async def reached(self, *, timeout: float = 5.0) -> None:
        """Wait until a task has reached the gate.

        Args:
            timeout: How long to wait, in seconds; default 5.

        Raises:
            AssertionError: No task has reached it in time.
        """
        __tracebackhide__ = True
        try:
            async with asyncio.timeout(timeout):
                await self._reached.wait()
        except TimeoutError:
            raise AssertionError(
                f"no task reached {self._name} within {timeout:g} s; check that the call is made, or wait longer"
            ) from None

    def open(self) -> None:
        """Let all tasks continue, both those waiting and later ones."""
        self._opened.set()


P = ParamSpec("P")
T = TypeVar("T")

StoreMethod: TypeAlias = ForwardedMethod | Literal["transaction", "commit"]
"""The calls that can be intercepted: the methods of an `EventStore`, and the begin and the commit of a transaction."""

_Action: TypeAlias = Callable[[], Awaitable[None]]

_OF_TRANSACTIONS: Final = ("transaction", "commit")


@dataclass(frozen=True, slots=True)
class _Interception:
    """An action to await at one call, before or after its effect; none by default."""

    action: _Action | None = None
    is_after: bool = False

    async def before(self) -> None:
        if self.action is not None and not self.is_after:
            await self.action()

    async def after(self) -> None:
        if self.action is not None and self.is_after:
            await self.action()


class FailingStore(ForwardingStore):
    """Wrap an event store, and make calls of its methods fail, wait or run a function of the test.

    ```
    async with FailingStore() as store, EventSourcing(bank_account, store) as accounts:
        store.fail("append", StoreUnavailable("no connection"))
        await accounts.execute("anna", Deposit(Decimal(1)))  # Err(StoreUnavailable)
        await accounts.execute("anna", Deposit(Decimal(1)))  # Ok
    ```

    Each `fail`, `hold` or `intercept` applies to the next call of one method, or the next `times` calls; several for
    the same method apply in order, one per call. All other calls go to the inner store unchanged, so this store fulfils
    the contract of `EventStore`. If the inner store has transactions, so does this one, and projections run on it. Then
    `"transaction"` intercepts the begin of a transaction and `"commit"` its commit: a failure before the commit rolls
    the transaction back; after the commit, only the answer is lost.

    Attributes:
        inner: The wrapped store; calls made on it directly are neither counted nor intercepted.
        calls: The number of calls by method, failed calls included.
    """

    def __init__(self, inner: EventStore | None = None) -> None:
        """Wrap a store; no call fails yet.

        Args:
            inner: The store to wrap, entered and left together with this one; default a new `MemoryStore`.
        """
        super().__init__(MemoryStore() if inner is None else inner)
        self.calls: Counter[str] = Counter()
        self._interceptions: defaultdict[str, deque[_Interception]] = defaultdict(deque)
        self._outage: BaseException | None = None

    # --- methods for tests

    def fail(self, method: StoreMethod, error: BaseException, *, times: int = 1, after: bool = False) -> None:
        """Make the next calls of a method fail.

        Args:
            method: The method, such as `"append"`.
            error: The exception that the calls raise.
            times: How many calls fail; default 1.
            after: Whether the call takes effect first, so that only its answer is lost; default False.

        Raises:
            InvalidArgument: The store has no such method, `error` is not an exception, or `times` is below 1.
        """
        if not isinstance(error, BaseException):
            raise InvalidArgument("error", f"must be an exception, got {error!r}")

        async def fail() -> None:
            raise error.with_traceback(None)  # not with the frames of the call before

        self.intercept(method, fail, times=times, after=after)

    def hold(self, method: StoreMethod, *, after: bool = False) -> Gate:
        """Make the next call of a method wait at a gate.

        Args:
            method: The method, such as `"append"`.
            after: Whether the call takes effect first, so that only its answer waits; default False.

        Returns:
            The gate: `await gate.reached()` waits for the call, `gate.open()` lets it continue.

        Raises:
            InvalidArgument: The store has no such method.
        """
        gate = Gate(f"{method}() of the store")
        self.intercept(method, gate, after=after)
        return gate

    def intercept(self, method: StoreMethod, action: _Action, *, times: int = 1, after: bool = False) -> None:
        """Await a function at the next calls of a method, such as one that writes to `inner` to cause a conflict.

        Args:
            method: The method, such as `"append"`.
            action: An async function without arguments; if it raises, the call raises the same exception.
            times: For how many calls; default 1.
            after: Whether the call takes effect first; default False.

        Raises:
            InvalidArgument: The store has no such method, `action` is not callable, or `times` is below 1.
        """
        if not callable(action):
            raise InvalidArgument("action", f"must be an async function without arguments, got {action!r}")
        known = [*get_args(ForwardedMethod), *(_OF_TRANSACTIONS if self.has_transactions else ())]
        if method not in known:
            raise InvalidArgument(
                "method", f"the store has no {method!r} to intercept; choose one of: {', '.join(known)}"
            )
        check_count("times", times)
        self._interceptions[method].extend([_Interception(action, after)] * times)

    @contextmanager
    def unavailable(self, error: BaseException | None = None) -> Generator[None, None, None]:
        """Make every call fail immediately inside the `with` block; interceptions stay pending until its end.

        Args:
            error: The exception that the calls raise; default a `StoreUnavailable`.
        """
        before = self._outage
        self._outage = StoreUnavailable("the test has made the store unavailable") if error is None else error
        try:
            yield
        finally:
            self._outage = before

    # --- the store

    async def forward(
        self, method: ForwardedMethod, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the inner store, with the interception of this call before or after it."""
        interception = self._called(method)
        await interception.before()
        answer = await call(*args, **kwargs)
        await interception.after()
        return answer

    @asynccontextmanager
    async def begin_transaction(self, lease: float = 5.0) -> AsyncGenerator[AnyTransaction, None]:
        """Begin a transaction of the inner store, with the interceptions of its begin and its commit."""
        begin = self._called("transaction")
        await begin.before()
        async with super().begin_transaction(lease) as transaction:
            await begin.after()
            yield transaction
            commit = self._called("commit")
            await commit.before()
        await commit.after()

    def _called(self, method: StoreMethod) -> _Interception:
        """Count a call and return its interception; raise if the store is made unavailable."""
        self.calls[method] += 1
        if self._outage is not None:
            raise self._outage.with_traceback(None)
        return self._interceptions[method].popleft() if self._interceptions[method] else _Interception()
