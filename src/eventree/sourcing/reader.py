"""Read aggregates straight from the store: never behind commands that wait, never from a stale state."""

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from eventree.domain.aggregate import Aggregate, AggregateType
from eventree.domain.events import EventEnvelope
from eventree.domain.limits import check_id
from eventree.domain.snapshots import Snapshot
from eventree.errors import EntityNotFound
from eventree.sourcing.loading import PAGE, Live, Loader
from eventree.sourcing.statistics import AggregateStats
from eventree.stores.contract import EventStore, StreamPage, StreamRead

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")


class Reader(Generic[StateT, CommandT, EventT, ErrorT]):
    """Answer questions about aggregates of one type; every method raises what goes wrong."""

    def __init__(
        self,
        aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
        store: EventStore,
        loader: Loader[StateT, CommandT, EventT, ErrorT],
    ) -> None:
        """Remember what to read from where."""
        self._type = aggregate_type
        self._store = store
        self._loader = loader

    async def aggregate(self, aggregate_id: str) -> Aggregate[StateT]:
        """Return the current state of an aggregate."""
        loaded = (await self._loader.load([check_id("aggregate_id", aggregate_id)]))[aggregate_id]
        if not isinstance(loaded, Live):
            raise loaded
        if not loaded.sequence:
            raise EntityNotFound(self._type.name, aggregate_id)
        return Aggregate(aggregate_id, loaded.state, loaded.sequence)

    async def events(self, aggregate_id: str, start_from: int) -> list[EventEnvelope[EventT]]:
        """Return the events of an aggregate from a sequence on."""
        return [event async for event in self.stream(aggregate_id, start_from)]

    async def stream(self, aggregate_id: str, start_from: int) -> AsyncIterator[EventEnvelope[EventT]]:
        """Yield the events of an aggregate from a sequence on, a page in memory at a time."""
        after = max(start_from, 1) - 1
        while True:
            page = await self._page(aggregate_id, after, PAGE)
            for event in page.events:
                yield self._loader.envelope(event)
            after += len(page.events)
            if after >= page.sequence:
                return

    async def snapshot(self, aggregate_id: str) -> Snapshot[StateT] | None:
        """Return the newest snapshot of an aggregate, None if there is none that can be used."""
        return await self._loader.snapshot(check_id("aggregate_id", aggregate_id))

    async def stats(self, aggregate_id: str) -> AggregateStats:
        """Return the numbers of an aggregate."""
        page = await self._page(aggregate_id, 0, 0)
        if not page.sequence:
            raise EntityNotFound(self._type.name, aggregate_id)
        has_snapshot = await self.snapshot(aggregate_id) is not None
        return AggregateStats(aggregate_id, page.sequence, page.sequence, has_snapshot)

    async def _page(self, aggregate_id: str, after: int, limit: int) -> StreamPage:
        read = StreamRead(self._type.name, check_id("aggregate_id", aggregate_id), after, limit)
        [page] = await self._store.read_streams([read])
        return page
