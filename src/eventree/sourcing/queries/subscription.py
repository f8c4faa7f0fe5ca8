"""What goes into `queries=[...]`: a name, how to follow the log, and what to do with events."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

from eventree.actors.mailbox_spec import MailboxSpec
from eventree.actors.ref import ActorRef
from eventree.actors.spec import ChildSpec
from eventree.errors import InvalidArgument
from eventree.sourcing.queries.actor import QueryActor
from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.handle import QueryHandle
from eventree.sourcing.queries.messages import QueryMessage
from eventree.sourcing.queries.options import Followed, Options, QueryOptions
from eventree.sourcing.queries.progress import Progress
from eventree.sourcing.queries.target import Target
from eventree.sourcing.queries.worker import worker_name
from eventree.stores.contract import EventStore

EventT_contra = TypeVar("EventT_contra", contravariant=True)


class Subscription(ABC, Generic[EventT_contra]):
    """Follow the log from a durable checkpoint: the base of `Query` and `Projection`.

    Attributes:
        name: Names the query and its checkpoint; unique in a store.
        version: Part of the checkpoint's key.
    """

    def __init__(self, name: str, follows: "Iterable[Followed[EventT_contra]]", options: QueryOptions) -> None:
        """Describe how to follow.

        Args:
            name: 1 to 255 bytes of UTF-8.
            follows: The aggregate types whose events it gets; none for that of the `EventSourcing` it is given to.
            options: See `QueryOptions`.

        Raises:
            InvalidArgument: One of them cannot work.
        """
        self._options = Options.of(name, options)
        self._follows = tuple(follows) if isinstance(follows, Iterable) else follows
        if self._follows:
            Decoding(self._follows)
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
        decoding: Decoding[EventT_contra] = Decoding(self._follows or follows)
        target = self._target(store, decoding)
        progress, worker = Progress(), worker_name()
        id = self.name if self.version == 1 else (self.name, self.version)
        spec: ChildSpec[QueryMessage, int] = ChildSpec(
            id=id,
            start=lambda: QueryActor(self._options, store, decoding.types, target, progress, worker),
            ref=ActorRef(id, mailbox=MailboxSpec(dead_letters=False)),
        )
        return QueryHandle(self._options, store, spec, progress)

    def child_spec(self, store: EventStore) -> ChildSpec[QueryMessage, int]:
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
    def _target(self, store: EventStore, decoding: "Decoding[EventT_contra]") -> Target:
        """Return what gets the events."""
