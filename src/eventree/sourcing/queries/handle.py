"""What a user holds to see how far a query is and to wait for it."""

import asyncio

from eventree.actors.ref import ActorRef
from eventree.errors import ActorTimeout
from eventree.errors.arguments import check_positive
from eventree.sourcing.queries.actor import CaughtUp, QueryMessage
from eventree.sourcing.queries.subscription import Progress, QueryStatus
from eventree.stores.contract import EventStore


class QueryHandle:
    """Observe one query of a running system.

    Attributes:
        name: The query's name.
    """

    def __init__(self, name: str, store: EventStore, ref: ActorRef[QueryMessage, None], progress: Progress) -> None:
        """Hold what there is to observe; made by `EventSourcing.query`."""
        self.name = name
        self._store = store
        self._ref = ref
        self._progress = progress

    def __repr__(self) -> str:
        return f"<QueryHandle {self.name!r} {self.status.value} at position {self.position}>"

    @property
    def position(self) -> int:
        """The checkpoint: everything up to this position was handled and will not be handed over again."""
        return self._progress.position

    @property
    def status(self) -> QueryStatus:
        """What the query is doing."""
        return self._progress.status

    @property
    def last_error(self) -> BaseException | None:
        """The last failure of its handler; None after a success."""
        return self._progress.last_error

    @property
    def incarnation(self) -> int:
        """How often its actor was started."""
        return self._ref.incarnation

    async def caught_up(self, position: int | None = None, *, timeout: float = 5.0) -> None:
        """Wait until the checkpoint has reached a position.

        Args:
            position: What to wait for; default the newest event at the time of the call.
            timeout: How long to wait, in seconds; default 5.

        Raises:
            ActorTimeout: It has not reached it in time.
            QueryStopped: It gave up before.
            ActorStopped: The system is not running.
            ActorCrashed: Its actor crashed meanwhile and is restarted; wait again.
            EventStoreError: The store could not say what the newest event is.
        """
        check_positive("timeout", timeout)
        try:
            async with asyncio.timeout(timeout):
                target = await self._store.head() if position is None else position
                await self._ref.ask(CaughtUp(target), timeout=timeout)
        except TimeoutError:
            raise ActorTimeout("caught_up", timeout) from None
