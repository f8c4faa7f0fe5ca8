"""What a handler may ask about the call it is in."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from eventree.errors import NoQueryContext, WouldDeadlock


@dataclass(frozen=True, slots=True)
class QueryContext:
    """Tell a handler about the call it is in.

    Attributes:
        name: The query.
        version: Its version.
        attempt: How often these events are being tried, from 1.
        is_replay: Whether they were handled before: by the version that is live while this one is built, or before this
            one was reset. Leave out what must not happen twice, such as sending mail.
    """

    name: str
    version: int
    attempt: int
    is_replay: bool


_current: ContextVar[QueryContext | None] = ContextVar("_current", default=None)


@dataclass(slots=True)
class _Open:
    """Tell those who were started inside of a transaction whether it is still open."""

    name: str
    is_open: bool = True


_transaction: ContextVar[_Open | None] = ContextVar("_transaction", default=None)


def query_context() -> QueryContext:
    """Return what the handler that is running was called for.

    Raises:
        NoQueryContext: No handler of a query is running.
    """
    context = _current.get()
    if context is None:
        raise NoQueryContext
    return context


def enter(context: QueryContext) -> None:
    """Let handlers that are called from now on in this task see this context."""
    if _current.get() != context:
        _current.set(context)


@contextmanager
def in_transaction(name: str) -> Generator[None, None, None]:
    """Mark what runs inside of the transaction of a projection of this name."""
    mark = _Open(name)
    token = _transaction.set(mark)
    try:
        yield
    finally:
        mark.is_open = False
        _transaction.reset(token)


def refuse_in_transaction(awaited: str) -> None:
    """Raise `WouldDeadlock` if the transaction of a projection is open around the caller, which this would wait for."""
    mark = _transaction.get()
    if mark is not None and mark.is_open:
        raise WouldDeadlock(mark.name, awaited, "read and write on its connection only, and send commands from a Query")
