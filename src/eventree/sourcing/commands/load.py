"""Load aggregates from a store: the newest snapshot, then the events after it, many aggregates in one read."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import Generic, TypeVar
from uuid import UUID

from msgspec import Struct

from eventree.commit import Commit
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
    LogRolledBack,
    StoreUnavailable,
    TransactionRolledBack,
)
from eventree.errors.failures import is_failure
from eventree.errors.root import error_text
from eventree.result import Err, Ok, Result
from eventree.sourcing.commands.answers import log_crash
from eventree.sourcing.envelopes import envelope, payload_of
from eventree.sourcing.snapshots.codec import SnapshotCodec
from eventree.sourcing.snapshots.scheduler import NO_SNAPSHOT, UNUSABLE_SNAPSHOT, NewestSnapshot
from eventree.sourcing.statistics import AggregateStats, Counters
from eventree.stores.contract import (
    CommitStamp,
    EventStore,
    RecordedCommand,
    RecordedEvent,
    StoredSnapshot,
    StreamPage,
    StreamRead,
)

logger = logging.getLogger("eventree")

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

PAGE_SIZE = 1_000
"""The maximum number of events of one aggregate in one read."""

MAX_EVENTS_AT_ONCE = 20_000
"""How many events a read of many aggregates may return, as all commands wait for it; see `MIN_PAGE_SIZE`."""

MIN_PAGE_SIZE = 100
"""How many events of each aggregate are read, however many aggregates there are: one read each would take longer."""


class CachedAggregate(Struct, Generic[StateT]):
    """Hold an aggregate in memory.

    Attributes:
        state: The state after its last event.
        sequence: The sequence of that event; 0 if there is none.
        position: The position of that event; 0 if there is none.
        snapshot: Its newest snapshot, as far as this process knows; default none.
        stamp: The stamp of its last event; None if there is none. The state holds only while that event is in the log.
    """

    state: StateT
    sequence: int
    position: int
    snapshot: NewestSnapshot = NO_SNAPSHOT
    stamp: CommitStamp | None = None


class AggregateLoader(Generic[StateT, CommandT, EventT, ErrorT]):
    """Load aggregates of one type from a store.

    Attributes:
        clock: A monotonic clock in seconds, to measure how long a replay takes.
    """

    def __init__(
        self,
        aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
        store: EventStore,
        snapshots: SnapshotCodec[StateT] | None,
        counters: Counters,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Create a loader.

        Args:
            aggregate_type: The type of the aggregates.
            store: Holds their events.
            snapshots: Decodes snapshots; None to use none.
            counters: Counts unusable snapshots.
            clock: A monotonic clock, in seconds; default `time.perf_counter`.
        """
        self._type = aggregate_type
        self._store = store
        self._snapshots = snapshots
        self._counters = counters
        self.clock = clock

    async def load(self, ids: Collection[str]) -> Mapping[str, CachedAggregate[StateT] | EventreeError]:
        """Return each aggregate in its current state, or the error that keeps it from being loaded.

        Raises:
            EventStoreError: The store could not answer.
        """
        loaded, behind = await self.begin(ids)
        while behind:
            behind = await self._read_next(loaded, behind)
        return loaded

    async def begin(
        self, ids: Collection[str], known: Mapping[str, CachedAggregate[StateT]] | None = None
    ) -> tuple[dict[str, CachedAggregate[StateT] | EventreeError], Sequence[str]]:
        """Load aggregates as far as one page of events goes, all of them in one read.

        Args:
            ids: The aggregates.
            known: Aggregates as they were earlier, to read only the events since; default none.

        Returns:
            The aggregates as in `load`, and the ids of those that have more events: to be passed on to `finish`.

        Raises:
            EventStoreError: The store could not answer.
        """
        known = known or {}
        unknown = [id for id in ids if id not in known]
        found = await self._find_snapshots(unknown)
        loaded: dict[str, CachedAggregate[StateT] | EventreeError] = {**known}
        for id in unknown:
            loaded[id] = self._start_from(id, found[id]) if id in found else self._start_empty(id)
        return loaded, await self._read_next(loaded, [id for id in ids if isinstance(loaded[id], CachedAggregate)])

    async def finish(
        self, id: str, aggregate: CachedAggregate[StateT] | EventreeError, turn: AbstractAsyncContextManager[object]
    ) -> CachedAggregate[StateT] | EventreeError:
        """Load the rest of an aggregate, page by page.

        Args:
            id: The aggregate.
            aggregate: As much of it as `begin` has loaded.
            turn: Entered for each page, so that several of these do not take all of the store and of the event loop.

        Raises:
            EventStoreError: The store could not answer.
        """
        loaded = {id: aggregate}
        behind: Sequence[str] = [id]
        while behind:
            async with turn:
                behind = await self._read_next(loaded, behind)
            await asyncio.sleep(0)  # the store in memory answers without letting anyone else work
        return loaded[id]

    async def snapshot(self, id: str) -> Snapshot[StateT] | None:
        """Return the newest snapshot of an aggregate; None if there is no usable one."""
        found = (await self._find_snapshots([id])).get(id)
        if found is None:
            return None
        snapshot, stamp = found
        read = StreamRead(self._type.name, id, snapshot.sequence, limit=0, after_stamp=stamp)
        [page] = await self._store.read_streams([read])
        return None if self._is_of_another_history(id, snapshot.sequence, page) else snapshot

    async def commit(self, recorded: RecordedCommand, commit_id: UUID) -> Result[Commit[EventT], EventreeError]:
        """Return the commit of a command that was stored before, or the error that keeps its events from being read.

        Args:
            recorded: The record of the command.
            commit_id: The commit id derived from its command id.

        Raises:
            EventStoreError: The store could not answer.
        """
        id, last = recorded.aggregate_id, recorded.last_sequence
        count = last - recorded.first_sequence + 1
        limit = max(count, 1)  # a commit without events has the position of the event before it
        read = StreamRead(self._type.name, id, max(last - limit, 0), limit)
        [page] = await self._store.read_streams([read])
        missing = missing_event(read, page)
        if missing is not None:
            return Err(missing)
        if not last:
            return Ok(Commit(id, 0, 0, (), commit_id, repeated=True))
        try:
            events = tuple(payload_of(event, self._type.events) for event in page.events) if count else ()
        except EventNotDecodable as error:
            return Err(error)
        return Ok(Commit(id, last, page.events[-1].position, events, commit_id, repeated=True))

    def envelope(self, event: RecordedEvent) -> EventEnvelope[EventT]:
        """Return a stored event with its payload decoded.

        Raises:
            EventNotDecodable: The event does not fit the code.
        """
        return envelope(event, self._type.events)

    def _start_from(
        self, id: str, found: tuple[Snapshot[StateT], CommitStamp | None] | None
    ) -> CachedAggregate[StateT] | EventreeError:
        if found is None:
            return self._start_empty(id, UNUSABLE_SNAPSHOT)
        snapshot, stamp = found
        return CachedAggregate(snapshot.state, snapshot.sequence, 0, NewestSnapshot(snapshot.sequence), stamp)

    def _start_empty(self, id: str, snapshot: NewestSnapshot = NO_SNAPSHOT) -> CachedAggregate[StateT] | EventreeError:
        try:
            return CachedAggregate(self._type.start(), 0, 0, snapshot)
        except BaseException as error:  # a bug in `empty_state` is the answer for this aggregate only
            if not is_failure(error):
                raise
            return self._crashed("empty_state", id, error)

    def _crashed(self, function: str, id: str, error: BaseException) -> HandlerCrashed:
        """Return the error for a function that failed, logged once for all who wait for the aggregate."""
        crashed = HandlerCrashed(function, self._type.name, id, error)
        log_crash(crashed)
        return crashed

    async def _read_next(
        self, loaded: dict[str, CachedAggregate[StateT] | EventreeError], ids: Sequence[str]
    ) -> list[str]:
        """Read one page for each aggregate and apply it; return the ids of those that have more events."""
        aggregates = [(id, found) for id in ids if isinstance(found := loaded[id], CachedAggregate)]
        if not aggregates:
            return []
        limit = min(max(MAX_EVENTS_AT_ONCE // len(aggregates), MIN_PAGE_SIZE), PAGE_SIZE)
        reads = [
            StreamRead(self._type.name, id, aggregate.sequence, limit, after_stamp=aggregate.stamp)
            for id, aggregate in aggregates
        ]
        pages = await self._store.read_streams(reads)
        behind: list[str] = []
        for (id, aggregate), read, page in zip(aggregates, reads, pages, strict=True):
            advanced = loaded[id] = self.advance(aggregate, read, page)
            if isinstance(advanced, CachedAggregate) and advanced.sequence < page.sequence:
                behind.append(id)
        return behind

    def advance(
        self, aggregate: CachedAggregate[StateT], read: StreamRead, page: StreamPage
    ) -> CachedAggregate[StateT] | EventreeError:
        """Return an aggregate after the events of a page, or empty if what was read before is gone from the log.

        Args:
            aggregate: The aggregate, as it was at `read.after`; `apply` may change its state in place.
            read: What was read.
            page: The page.

        Returns:
            The aggregate, or the error that keeps it from being loaded.
        """
        missing = missing_event(read, page)
        if missing is not None:
            return missing
        id = read.aggregate_id
        snapshot = aggregate.snapshot
        if page.is_diverged or aggregate.sequence > page.sequence:
            # What was read so far is no longer in the log, so start again. A snapshot without a stamp that was read
            # with events after it cannot be told from those, so it is not used either.
            is_unusable = snapshot.sequence > 0 and self._is_of_another_history(id, snapshot.sequence, page)
            return self._start_empty(id, UNUSABLE_SNAPSHOT if is_unusable else NO_SNAPSHOT)
        started = self.clock()
        try:
            payloads = [payload_of(event, self._type.events) for event in page.events]
        except EventNotDecodable as error:
            return error
        try:
            state = self._type.replay(aggregate.state, payloads)
        except BaseException as error:  # a bug in `apply` is the answer for this aggregate only
            if not is_failure(error):
                raise
            return self._crashed("apply", id, error)
        seconds = snapshot.replay_seconds + self.clock() - started
        newest = NewestSnapshot(snapshot.sequence, seconds, snapshot.is_overdue)
        stamp = page.events[-1].stamp if page.events else aggregate.stamp
        return CachedAggregate(state, aggregate.sequence + len(payloads), page.position, newest, stamp)

    async def _find_snapshots(
        self, ids: Collection[str]
    ) -> Mapping[str, tuple[Snapshot[StateT], CommitStamp | None] | None]:
        """Return the newest snapshots by aggregate id, with the stamps of their last events; None for unusable ones."""
        codec = self._snapshots
        if codec is None or not ids:
            return {}
        try:
            stored = await self._store.load_snapshots(self._type.name, list(ids), codec.state_version)
        except (StoreUnavailable, TransactionRolledBack):  # then the events cannot be read either
            raise
        except BaseException as error:  # snapshots are optional: the events are enough
            if not is_failure(error, closed=True):
                raise
            self._counters.snapshots_ignored += len(ids)
            logger.warning("%s: snapshots cannot be read: %s", self._type.name, error_text(error))
            return dict.fromkeys(ids)
        return {id: self._decode(codec, snapshot) for id, snapshot in stored.items()}

    def _decode(
        self, codec: SnapshotCodec[StateT], stored: StoredSnapshot
    ) -> tuple[Snapshot[StateT], CommitStamp | None] | None:
        try:
            return codec.decode(stored), stored.stamp
        except EventNotDecodable as error:
            self._ignore(stored.aggregate_id, stored.sequence, error.reason)
            return None

    def _is_of_another_history(self, id: str, snapshot: int, page: StreamPage) -> bool:
        """Return whether the events of a snapshot are gone, as after a restore from a backup; count it if so."""
        is_ahead = snapshot > page.sequence
        is_other = page.is_diverged or is_ahead
        if is_other:
            self._ignore(
                id,
                snapshot,
                f"its aggregate is at sequence {page.sequence}" if is_ahead else "its events are others now",
            )
        return is_other

    def _ignore(self, id: str, sequence: int, reason: str) -> None:
        self._counters.snapshots_ignored += 1
        logger.warning("%s %r: the snapshot at sequence %d is not used: %s", self._type.name, id, sequence, reason)


def missing_event(read: StreamRead, page: StreamPage) -> EventMissing | None:
    """Return an error for the first event missing from a page; None if the page continues the stream without a gap."""
    events = page.events
    if page.is_diverged:
        return None
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
    """Read aggregates of one type directly from the store: never behind waiting commands, never from a cache.

    Every method raises an `EventreeError` if it fails.
    """

    def __init__(
        self,
        aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
        store: EventStore,
        loader: AggregateLoader[StateT, CommandT, EventT, ErrorT],
    ) -> None:
        """Create a reader.

        Args:
            aggregate_type: The type of the aggregates.
            store: Holds their events.
            loader: Loads aggregates from that store.
        """
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
        """Return the events of an aggregate, from a sequence on."""
        return [event async for event in self.stream(aggregate_id, start_from)]

    async def stream(self, aggregate_id: str, start_from: int) -> AsyncIterator[EventEnvelope[EventT]]:
        """Yield the events of an aggregate, from a sequence on, with one page in memory at a time."""
        after, stamp = max(start_from, 1) - 1, None
        while True:
            page = await self._page(aggregate_id, after, PAGE_SIZE, stamp)
            if page.is_diverged:
                raise LogRolledBack(f"{self._type.name} {aggregate_id!r}", after, page.sequence)
            for event in page.events:
                yield self._loader.envelope(event)
            after += len(page.events)
            if after >= page.sequence:
                return
            stamp = page.events[-1].stamp

    async def snapshot(self, aggregate_id: str) -> Snapshot[StateT] | None:
        """Return the newest snapshot of an aggregate; None if there is no usable one."""
        return await self._loader.snapshot(check_id("aggregate_id", aggregate_id))

    async def stats(self, aggregate_id: str) -> AggregateStats:
        """Return the statistics of an aggregate."""
        page = await self._page(aggregate_id, 0, 0)
        if not page.sequence:
            raise EntityNotFound(self._type.name, aggregate_id)
        has_snapshot = await self.snapshot(aggregate_id) is not None
        return AggregateStats(aggregate_id, page.sequence, page.sequence, has_snapshot)

    async def _page(self, aggregate_id: str, after: int, limit: int, stamp: CommitStamp | None = None) -> StreamPage:
        read = StreamRead(self._type.name, check_id("aggregate_id", aggregate_id), after, limit, after_stamp=stamp)
        [page] = await self._store.read_streams([read])
        missing = missing_event(read, page)
        if missing is not None:
            raise missing
        return page
