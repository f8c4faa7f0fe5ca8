"""Load aggregates: the newest snapshot, then the events after it, many aggregates in one read."""

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

from eventree.domain.aggregate import Aggregate, AggregateType
from eventree.domain.events import EventEnvelope
from eventree.domain.limits import check_id
from eventree.domain.snapshots import Snapshot
from eventree.errors import (
    EntityNotFound,
    EventMissing,
    EventNotDecodable,
    EventreeError,
    HandlerCrashed,
    StoreUnavailable,
    TransactionRolledBack,
)
from eventree.errors.root import error_text
from eventree.sourcing.envelopes import envelope, payload_of
from eventree.sourcing.snapshots.codec import SnapshotCodec
from eventree.sourcing.statistics import AggregateStats, Counters
from eventree.stores.contract import EventStore, RecordedEvent, StoredSnapshot, StreamPage, StreamRead

logger = logging.getLogger("eventree")

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

PAGE = 1_000
"""Events of one aggregate to read at once."""


@dataclass(slots=True)
class CachedAggregate(Generic[StateT]):
    """The state of an aggregate and where it stands.

    Attributes:
        state: After its last event.
        sequence: The sequence of that event; 0 if it has none.
        position: The position of that event; 0 if there is none.
        snapshot: The sequence of its newest snapshot, as far as we know; 0 if it has none.
        replay_seconds: How long it took to decode and apply the events after that, when it was loaded; 0 if a snapshot
            was taken since.
        needs_snapshot: Whether the one that was found could not be used, so that the next commit is to replace it.
    """

    state: StateT
    sequence: int
    position: int
    snapshot: int = 0
    replay_seconds: float = 0.0
    needs_snapshot: bool = False


class AggregateLoader(Generic[StateT, CommandT, EventT, ErrorT]):
    """Read aggregates of one type from a store.

    Attributes:
        clock: Returns the time in seconds, never going back; what a replay costs is measured by it.
    """

    def __init__(
        self,
        aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
        store: EventStore,
        snapshots: SnapshotCodec[StateT] | None,
        counters: Counters,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Remember what to load from where.

        Args:
            aggregate_type: What to load.
            store: Keeps it.
            snapshots: Reads snapshots; None to look for none.
            counters: What to count in.
            clock: See the attribute; for tests.
        """
        self._type = aggregate_type
        self._store = store
        self._snapshots = snapshots
        self._counters = counters
        self.clock = clock

    async def load(self, ids: Collection[str]) -> Mapping[str, CachedAggregate[StateT] | EventreeError]:
        """Return the current state of each aggregate, or why it alone cannot be loaded.

        Raises:
            EventStoreError: The store could not answer.
        """
        loaded: dict[str, CachedAggregate[StateT] | EventreeError] = await self._beginnings(ids)
        behind = list(ids)
        while behind:
            reads = [self._read_on(id, loaded[id]) for id in behind]
            pages = await self._store.read_streams(reads)
            for id, read, page in zip(behind, reads, pages, strict=True):
                loaded[id] = missing_event(read, page) or self._advance(id, loaded[id], page)
            behind = [id for id, page in zip(behind, pages, strict=True) if self._is_behind(loaded[id], page.sequence)]
        return loaded

    async def snapshot(self, id: str) -> Snapshot[StateT] | None:
        """Return the newest snapshot of an aggregate, None if there is none that can be used."""
        snapshot = (await self._find_snapshots([id])).get(id)
        if snapshot is None:
            return None
        [page] = await self._store.read_streams([StreamRead(self._type.name, id, limit=0)])
        return None if self._is_ahead(id, snapshot.sequence, page.sequence) else snapshot

    def envelope(self, event: RecordedEvent) -> EventEnvelope[EventT]:
        """Return a stored event with its payload decoded.

        Raises:
            EventNotDecodable: It does not fit the code.
        """
        return envelope(event, self._type.events)

    async def _beginnings(self, ids: Collection[str]) -> dict[str, CachedAggregate[StateT] | EventreeError]:
        found = await self._find_snapshots(ids)
        return {id: self._begin_at(id, found[id]) if id in found else self._nothing_yet(id) for id in ids}

    def _begin_at(self, id: str, snapshot: Snapshot[StateT] | None) -> CachedAggregate[StateT] | EventreeError:
        if snapshot is None:
            return self._nothing_yet(id, needs_snapshot=True)
        return CachedAggregate(snapshot.state, snapshot.sequence, 0, snapshot.sequence)

    def _nothing_yet(self, id: str, *, needs_snapshot: bool = False) -> CachedAggregate[StateT] | EventreeError:
        try:
            return CachedAggregate(self._type.empty_state(), 0, 0, needs_snapshot=needs_snapshot)
        except Exception as error:  # noqa: BLE001 - a bug in `empty_state` is the answer for this aggregate only
            return HandlerCrashed("empty_state", self._type.name, id, error)

    async def _find_snapshots(self, ids: Collection[str]) -> Mapping[str, Snapshot[StateT] | None]:
        """Return the newest snapshots; None for one that cannot be used."""
        codec = self._snapshots
        if codec is None:
            return {}
        try:
            stored = await self._store.load_snapshots(self._type.name, list(ids), codec.state_version)
        except (StoreUnavailable, TransactionRolledBack):  # it would not read events either
            raise
        except Exception as error:  # noqa: BLE001 - events are enough, whatever became of all snapshots
            self._counters.snapshots_ignored += len(ids)
            logger.warning("%s: snapshots cannot be read: %s", self._type.name, error_text(error))
            return dict.fromkeys(ids)
        return {id: self._decode(codec, snapshot) for id, snapshot in stored.items()}

    def _decode(self, codec: SnapshotCodec[StateT], stored: StoredSnapshot) -> Snapshot[StateT] | None:
        try:
            return codec.decode(stored)
        except EventNotDecodable as error:
            self._ignore(stored.aggregate_id, stored.sequence, error.reason)
            return None

    def _is_ahead(self, id: str, snapshot: int, sequence: int) -> bool:
        """Tell whether a snapshot is from a future that a restored backup does not have; then it is counted."""
        if snapshot > sequence:
            self._ignore(id, snapshot, f"its aggregate stands at {sequence}")
        return snapshot > sequence

    def _ignore(self, id: str, sequence: int, reason: str) -> None:
        self._counters.snapshots_ignored += 1
        logger.warning("%s %r: the snapshot at sequence %d is not used: %s", self._type.name, id, sequence, reason)

    def _read_on(self, id: str, live: CachedAggregate[StateT] | EventreeError) -> StreamRead:
        return StreamRead(self._type.name, id, live.sequence if isinstance(live, CachedAggregate) else 0, PAGE)

    def _is_behind(self, live: CachedAggregate[StateT] | EventreeError, sequence: int) -> bool:
        return isinstance(live, CachedAggregate) and live.sequence < sequence

    def _advance(
        self, id: str, live: CachedAggregate[StateT] | EventreeError, page: StreamPage
    ) -> CachedAggregate[StateT] | EventreeError:
        if not isinstance(live, CachedAggregate):
            return live
        if live.sequence > page.sequence:  # an older backup was restored
            return self._nothing_yet(id, needs_snapshot=self._is_ahead(id, live.snapshot, page.sequence))
        began = self.clock()
        try:
            payloads = [payload_of(event, self._type.events) for event in page.events]
        except EventNotDecodable as error:
            return error
        try:
            state = self._type.replay(live.state, payloads)
        except Exception as error:  # noqa: BLE001 - a bug in `apply` is the answer for this aggregate only
            return HandlerCrashed("apply", self._type.name, id, error)
        seconds = live.replay_seconds + self.clock() - began
        sequence = live.sequence + len(payloads)
        return CachedAggregate(state, sequence, page.position, live.snapshot, seconds, live.needs_snapshot)


def missing_event(read: StreamRead, page: StreamPage) -> EventMissing | None:
    """Return the error of the first event that a page lacks; None if it goes on where it should, without a gap."""
    events = page.events
    if not events and (read.after >= page.sequence or not read.limit):
        return None
    expected = read.after + 1
    if events and events[0].sequence == expected and events[-1].sequence == read.after + len(events):
        return None
    for event in events:
        if event.sequence != expected:
            break
        expected += 1
    return EventMissing(read.aggregate_type, read.aggregate_id, expected)


class AggregateReader(Generic[StateT, CommandT, EventT, ErrorT]):
    """Answer questions about aggregates of one type; every method raises what goes wrong."""

    def __init__(
        self,
        aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
        store: EventStore,
        loader: AggregateLoader[StateT, CommandT, EventT, ErrorT],
    ) -> None:
        """Remember what to read from where."""
        self._type = aggregate_type
        self._store = store
        self._loader = loader

    async def aggregate(self, aggregate_id: str) -> Aggregate[StateT]:
        """Return the current state of an aggregate."""
        loaded = (await self._loader.load([check_id("aggregate_id", aggregate_id)]))[aggregate_id]
        if not isinstance(loaded, CachedAggregate):
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
        missing = missing_event(read, page)
        if missing is not None:
            raise missing
        return page
