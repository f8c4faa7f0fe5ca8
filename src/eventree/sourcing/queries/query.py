"""A query: every commit is handed to a function, at least once."""

from collections.abc import Iterable
from typing import TypeVar, Unpack

from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.functions import FunctionTarget, QueryHandler
from eventree.sourcing.queries.options import Followed, Options, QueryOptions
from eventree.sourcing.queries.signatures import check_callable
from eventree.sourcing.queries.subscription import Subscription
from eventree.sourcing.queries.target import Target
from eventree.stores.contract import EventStore

EventT_contra = TypeVar("EventT_contra", contravariant=True)


class Query(Subscription[EventT_contra]):
    """Hand every commit to a function, in the order of the log, at least once.

    The checkpoint moves after the function has returned, so a crash repeats what was not yet stored: what was handled
    within 0.1 s, or 500 positions. Make the function idempotent, for example by setting values instead of adding to
    them, or use a `Projection`. Commands that it executes have the commit's id as their `causation_id`; one that has a
    `command_id` made of it takes place once.
    """

    def __init__(
        self,
        name: str,
        handler: QueryHandler[EventT_contra],
        *,
        follows: "Iterable[Followed[EventT_contra]]" = (),
        partitions: int = 1,
        **options: Unpack[QueryOptions],
    ) -> None:
        """Describe a query.

        Args:
            name: Names it and its checkpoint, unique in a store; 1 to 255 bytes of UTF-8.
            handler: Called with `(aggregate_id, events)`; sync or async. If it raises, the same events are tried
                again after a while; see `on_failure`. `query_context()` tells it more.
            follows: The aggregate types whose events it gets; default that of the `EventSourcing` it is given to.
            partitions: How many workers share it, by aggregate; default 1. Each has a checkpoint and a lease of its
                own, so that several processes share the work too. Order is kept for each aggregate. Another number is
                another query: it begins anew, as no checkpoint tells how far each aggregate is.
            **options: See `QueryOptions`.

        Raises:
            InvalidArgument: One of them cannot work.
        """
        super().__init__(name, follows, options, partitions)
        check_callable("handler", handler, "aggregate_id", "events")
        self._handler = handler

    def _target(self, options: Options, store: EventStore, decoding: "Decoding[EventT_contra]") -> Target:
        return FunctionTarget(self._handler, store, options, decoding)
