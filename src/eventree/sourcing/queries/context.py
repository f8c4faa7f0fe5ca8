"""The context of a handler: the query it runs for, and whether it runs inside a projection's transaction."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from eventree.errors import NoQueryContext, WouldDeadlock


@dataclass(frozen=True, slots=True)
class QueryContext:
    """Describe the current call of a handler.

    Attributes:
        name: The name of the query.
        version: Its version.
        attempt: Which attempt at these events this is, from 1.
        is_replay: Whether these events were handled before: by the live version while this one is built, or by this
            version before it was reset. Do not repeat side effects then, such as sending mail.
    """

    name: str
    version: int
    attempt: int
    is_replay: bool


_current: ContextVar[QueryContext | None] = ContextVar("_current", default=None)


@dataclass(slots=True)
class _TransactionMark:
    """Mark a transaction of a projection; tasks started inside inherit the mark, and see whether it is still open."""

    name: str
    is_open: bool = True


_transaction: ContextVar[_TransactionMark | None] = ContextVar("_transaction", default=None)


def query_context() -> QueryContext:
    """Return the context of the running handler.

    Raises:
        NoQueryContext: The caller is not inside a query's handler.
    """
    context = _current.get()
    if context is None:
        raise NoQueryContext
    return context


def enter(context: QueryContext) -> None:
    """Set the context of the handlers that this task calls from now on."""
    if _current.get() != context:
        _current.set(context)


@contextmanager
def in_transaction(name: str) -> Generator[None, None, None]:
    """Mark the code inside as running in the transaction of a projection."""
    mark = _TransactionMark(name)
    token = _transaction.set(mark)
    try:
        yield
    finally:
        mark.is_open = False
        _transaction.reset(token)


def refuse_in_transaction(awaited: str) -> None:
    """Raise `WouldDeadlock` if the caller is inside a projection's transaction and would wait for itself."""
    mark = _transaction.get()
    if mark is not None and mark.is_open:
        raise WouldDeadlock(mark.name, awaited, "read and write on its connection only, and send commands from a Query")
