"""What a handler may ask about the call it is in."""

from contextvars import ContextVar
from dataclasses import dataclass

from eventree.errors import OutsideQuery, WouldDeadlock


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
_transaction_of: ContextVar[str | None] = ContextVar("_transaction_of", default=None)


def query_context() -> QueryContext:
    """Return what the handler that is running was called for.

    Raises:
        OutsideQuery: No handler of a query is running.
    """
    context = _current.get()
    if context is None:
        raise OutsideQuery
    return context


def enter(context: QueryContext) -> None:
    """Let handlers that are called from now on in this task see this context."""
    if _current.get() != context:
        _current.set(context)


class InTransaction:
    """Mark what runs inside of a projection's transaction."""

    def __init__(self, name: str) -> None:
        """Name the projection."""
        self._name = name

    def __enter__(self) -> None:
        self._token = _transaction_of.set(self._name)

    def __exit__(self, *_: object) -> None:
        _transaction_of.reset(self._token)


def refuse_in_transaction(awaited: str) -> None:
    """Raise `WouldDeadlock` if a projection's transaction is open in this task, which this would wait for."""
    name = _transaction_of.get()
    if name is not None:
        raise WouldDeadlock(name, awaited, "read and write on its connection only, and send commands from a Query")
