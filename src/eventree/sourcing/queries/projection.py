"""A projection: rows in the store's own database, each event counted exactly once."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeGuard, TypeVar, Unpack

from eventree.domain.events import EventEnvelope
from eventree.errors import InvalidArgument
from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.options import Followed, Options, QueryOptions
from eventree.sourcing.queries.signatures import check_async
from eventree.sourcing.queries.subscription import Subscription
from eventree.sourcing.queries.tables import Steps, TableTarget
from eventree.sourcing.queries.target import Target
from eventree.stores.contract import EventStore, TransactionalStore

EventT_contra = TypeVar("EventT_contra", contravariant=True)
ConnectionT = TypeVar("ConnectionT")

Step: TypeAlias = Callable[[ConnectionT], Awaitable[None]]


class Projection(Subscription[EventT_contra]):
    """Keep tables in the store's database up to date: rows and checkpoint are committed together, exactly once.

    It runs on `SQLiteStore` and `PostgresStore`. Its functions get the driver's own connection (aiosqlite's or
    asyncpg's) inside of a transaction, and leave `BEGIN`, `COMMIT` and `ROLLBACK` to the library. On SQLite nobody else
    can write meanwhile: do not wait for anything else in them. Commands cannot be executed from inside.
    """

    def __init__(
        self,
        name: str,
        project: Callable[[ConnectionT, Sequence[EventEnvelope[EventT_contra]]], Awaitable[None]],
        *,
        setup: Step[ConnectionT] | None = None,
        swap: Step[ConnectionT] | None = None,
        clear: Step[ConnectionT] | None = None,
        follows: "Iterable[Followed[EventT_contra]]" = (),
        **options: Unpack[QueryOptions],
    ) -> None:
        """Describe a projection.

        Args:
            name: Names it and its checkpoint, unique in a store; 1 to 255 bytes of UTF-8.
            project: Async, called with `(connection, events)`: the events of one or more whole commits, at most 1,000
                events unless one commit has more. If it raises, nothing of the batch is stored, and the commits are
                tried one by one; see `on_failure`.
            setup: Async, called with the connection once for a name and version, before the first event: make tables.
            swap: Async, called with the connection once, when this version goes live: rename tables, drop old ones.
            clear: Async, called with the connection when `reset` wants to begin anew: empty the tables.
            follows: The aggregate types whose events it gets; default that of the `EventSourcing` it is given to.
            **options: See `QueryOptions`.

        Raises:
            InvalidArgument: One of them cannot work.
        """
        super().__init__(name, follows, options)
        check_async("project", project, "connection", "events")
        for role, step in (("setup", setup), ("swap", swap), ("clear", clear)):
            if step is not None:
                check_async(role, step, "connection")
        self._steps = Steps(project, setup, swap, clear)

    def _target(self, options: Options, store: EventStore, decoding: "Decoding[EventT_contra]") -> Target:
        if not _has_transactions(store):
            raise InvalidArgument(
                "store", f"{store!r} has no tables for {self!r}; use SQLiteStore or PostgresStore, or a Query"
            )
        return TableTarget(self._steps, store, options, decoding)


def _has_transactions(store: EventStore) -> TypeGuard[TransactionalStore[Any]]:
    return callable(getattr(store, "transaction", None))
