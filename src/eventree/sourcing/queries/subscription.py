"""What goes into `queries=[...]`: a name, how to follow the log, and what to do with events."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Generic, Never, TypeVar

from eventree.actors import ActorRef, ChildSpec, MailboxSpec
from eventree.domain.limits import check_id
from eventree.errors import InvalidArgument
from eventree.errors.arguments import check_count
from eventree.sourcing.queries.actor import QueryActor
from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.handle import QueryHandle, QueryPart
from eventree.sourcing.queries.messages import QueryMessage
from eventree.sourcing.queries.options import Followed, Options, Partition, QueryOptions
from eventree.sourcing.queries.progress import Progress
from eventree.sourcing.queries.target import Target
from eventree.sourcing.queries.worker import worker_name
from eventree.stores.contract import EventStore
from eventree.stores.forwarding import checked

EventT_contra = TypeVar("EventT_contra", contravariant=True)


class Subscription(ABC, Generic[EventT_contra]):
    """Follow the log from a durable checkpoint: the base of `Query` and `Projection`.

    Attributes:
        name: Names the query and its checkpoint; unique in a store.
        version: Part of the checkpoint's key.
    """

    def __init__(
        self, name: str, follows: "Iterable[Followed[EventT_contra]]", options: QueryOptions, partitions: int = 1
    ) -> None:
        """Describe how to follow.

        Args:
            name: 1 to 255 bytes of UTF-8.
            follows: The aggregate types whose events it gets; none for that of the `EventSourcing` it is given to.
            options: See `QueryOptions`.
            partitions: How many workers share it; default 1.

        Raises:
            InvalidArgument: One of them cannot work.
        """
        self._options = Options.of(name, options)
        self._follows = tuple(follows) if isinstance(follows, Iterable) else follows
        if self._follows:
            Decoding(self._follows)
        check_count("partitions", partitions)
        self._parts = [replace(self._options, partition=Partition(n, partitions)) for n in range(1, partitions + 1)]
        check_id("name", self._parts[-1].key[0])
        self.name = self._options.name
        self.version = self._options.version

    def __repr__(self) -> str:
        version = f", version={self.version}" if self.version > 1 else ""
        return f"{type(self).__name__}({self.name!r}{version})"

    def handle(self, store: EventStore, *, follows: "Iterable[Followed[EventT_contra]]" = ()) -> QueryHandle:
        """Return a handle on this query on a store, to run it without any `EventSourcing`, and to observe and steer it.

        Args:
            store: Keeps the events and the checkpoint.
            follows: The aggregate types whose events it gets, where it does not say so itself.

        Raises:
            InvalidArgument: It does not say whose events it follows, or the store cannot hold what it needs.
        """
        store = checked(store)
        worker = worker_name()
        parts = [self._part(options, store, self._follows or follows, worker) for options in self._parts]
        return QueryHandle(self.name, self.version, store, parts)

    def _part(
        self, options: Options, store: EventStore, follows: "Iterable[Followed[EventT_contra]]", worker: str
    ) -> QueryPart:
        progress = Progress()
        decoding: Decoding[EventT_contra] = Decoding(follows, progress if options.ignore_unknown else None)
        target = self._target(options, store, decoding)
        id = options.key[0] if self.version == 1 else options.key
        spec: ChildSpec[QueryMessage, int] = ChildSpec(
            id=id,
            start=lambda: QueryActor(options, store, decoding.types, target, progress, worker),
            ref=ActorRef(id, mailbox=MailboxSpec(dead_letters=False)),
        )
        return QueryPart(options.key, spec, progress)

    def child_spec(self, store: EventStore) -> ChildSpec[Never, object]:
        """Return this query on a store as a child of your own supervisor: `handle(store).child_spec()`.

        Args:
            store: Keeps the events and the checkpoint.

        Raises:
            InvalidArgument: See `handle`.
        """
        if not self._follows:
            raise InvalidArgument("follows", "must name an aggregate type, as there is no EventSourcing to tell")
        return self.handle(store).child_spec()

    @abstractmethod
    def _target(self, options: Options, store: EventStore, decoding: "Decoding[EventT_contra]") -> Target:
        """Return what gets the events."""
