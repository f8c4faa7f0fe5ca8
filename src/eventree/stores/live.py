"""What a store of this process knows of new commits: its listeners, and the last events in memory."""

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from time import monotonic
from typing import Final, TypeAlias

from eventree.errors import LogRolledBack
from eventree.stores.contract import (
    MAX_PAGE_BYTES,
    Appended,
    AppendRequest,
    CommitStamp,
    LogPage,
    NewEvent,
    Outcome,
    RecordedEvent,
)

Listener: TypeAlias = Callable[[int], None]
"""Called with the head position; it must neither raise nor block."""

_ANY: Final = None
"""The key of listeners that hear of all types."""

_NONE: Final[Mapping[object, Listener]] = {}


class CommitListeners:
    """Hold listeners, by the aggregate types that they want to hear of, and call them after commits."""

    def __init__(self, on_empty: Callable[[], None] = lambda: None) -> None:
        """Start without listeners.

        Args:
            on_empty: Called when the last listener was removed; default does nothing.
        """
        self._listeners: dict[object, Listener] = {}
        self._of_type: dict[str | None, dict[object, Listener]] = {}
        self._on_empty = on_empty

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def add(self, listener: Listener, types: Collection[str] | None = None) -> Callable[[], None]:
        """Add a listener and return a function that removes it.

        Args:
            listener: The listener.
            types: The aggregate types that it wants to hear of; default all.
        """
        key = object()
        wanted = {_ANY} if types is None else set(types)
        self._listeners[key] = listener
        for each in wanted:
            self._of_type.setdefault(each, {})[key] = listener

        def remove() -> None:
            if self._listeners.pop(key, None) is None:
                return
            for each in wanted:
                del self._of_type[each][key]
                if not self._of_type[each]:
                    del self._of_type[each]
            if not self._listeners:
                self._on_empty()

        return remove

    def notify(self, head: int, types: Iterable[str] | None = None) -> None:
        """Call each listener of these types once, in no particular order.

        Args:
            head: The head position.
            types: The aggregate types of the events that were stored; default unknown, so that all are called.
        """
        called = dict(self._listeners if types is None else self._of_type.get(_ANY, _NONE))
        for each in types or ():
            called.update(self._of_type.get(each, _NONE))
        for listener in called.values():
            listener(head)


def types_of(answered: Iterable[tuple[AppendRequest, Outcome | None]]) -> set[str]:
    """Return the aggregate types of the events that were stored, given requests with their outcomes."""
    return {request.aggregate_type for request, outcome in answered if request.events and isinstance(outcome, Appended)}


def page_of(
    events: Iterable[RecordedEvent],
    start: int,
    limit: int,
    types: Collection[str] | None,
    event_types: Collection[str] | None = None,
) -> LogPage:
    """Return the page that `EventLog.read` or `EventLog.read_backwards` promises for the same arguments.

    Args:
        events: The events after the start, or those before it, newest first; consumed only as far as the page needs,
            plus one event.
        start: The position to start after, or before.
        limit: How many positions to examine.
        types: The aggregate types to return; None for all.
        event_types: The names of events to return; None for all.
    """
    end, size = start, 0
    stamp: CommitStamp | None = None
    held: list[RecordedEvent] = []
    for _, group in groupby(events, key=lambda event: event.commit_id):
        if abs(end - start) >= limit:
            return LogPage(end, held, more=True, stamp=stamp)
        commit = list(group)
        wanted = [event for event in commit if is_wanted(event, types, event_types)]
        size += sum(bytes_of(event.payload) + bytes_of(event.metadata) for event in wanted)
        if size > MAX_PAGE_BYTES and end != start:
            return LogPage(end, held, more=True, stamp=stamp)
        held += wanted
        end, stamp = commit[-1].position, commit[-1].stamp
    return LogPage(end, held, more=False, stamp=stamp)


def is_wanted(event: RecordedEvent, types: Collection[str] | None, event_types: Collection[str] | None) -> bool:
    """Return whether an event passes both filters."""
    return (types is None or event.aggregate_type in types) and (event_types is None or event.event_type in event_types)


def bytes_of(text: str) -> int:
    """Return the length of a text in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


MAX_EVENTS: Final = 8_192
"""The maximum number of events in a tail."""

MAX_BYTES: Final = 8 * 1024 * 1024
"""The maximum size of a tail: payloads and metadata in bytes of UTF-8."""


CONFIRMED_FOR: Final = 0.1
"""Seconds for which a tail counts as part of the log after it was confirmed, by an append or by a look."""

ReadLog: TypeAlias = Callable[
    [int, int, Collection[str] | None, Collection[str] | None, CommitStamp | None], Awaitable[LogPage]
]
"""`EventLog.read` from the database, with all arguments."""


@dataclass(slots=True)
class _Chunk:
    """Hold the events of one append; the first reader creates the recorded events, and the others share them.

    `before` is the stamp of the event before the first one, and `stamp` that of the last one.
    """

    first: int
    last: int
    size: int
    recorded_at: datetime
    before: CommitStamp | None
    stamp: CommitStamp
    stored: Sequence[tuple[AppendRequest, Sequence[NewEvent], int]]
    events: list[RecordedEvent] = field(default_factory=list[RecordedEvent])

    def recorded(self) -> Sequence[RecordedEvent]:
        if not self.events:
            self.events.extend(self._create())
            self.stored = ()
        return self.events

    def _create(self) -> Iterator[RecordedEvent]:
        for request, events, last in self.stored:
            before = last - len(events)
            for number, event in enumerate(events, 1):
                yield RecordedEvent(
                    before + number,
                    request.aggregate_type,
                    request.aggregate_id,
                    request.expected_sequence + number,
                    event.event_type,
                    event.event_version,
                    event.payload,
                    event.metadata,
                    event.commit_id,
                    self.recorded_at,
                )


class Tail:
    """Hold the newest appends of one store, as long as their positions are contiguous.

    It pays off when several queries follow a store: measured from the start of a command until the last query has
    handled it, Postgres took 1.4 times as long without a tail for 1 query, 1.7 for 4 and 2.7 for 16; SQLite 1.1, 1.6
    and 2.1. Throughput beside a busy writer hardly differs.

    A tail holds only committed events, and events never change, so a page from it equals what the database would
    return, unless the database has gone back in time: `read_live` looks now and then. Beyond its end the log may
    continue, through other processes or through appends whose outcome this store does not know: a reader that has
    reached the end must ask the database. An append that is not contiguous, ahead or behind, or that followed
    another event than the last one here, means that other processes have written, that appends arrived out of
    order, or that the database has gone back in time. In all these cases the tail restarts with that append alone
    and serves no earlier event. A reader that has seen another event at its position than the tail holds must ask
    the database.
    """

    def __init__(self) -> None:
        """Create an empty tail."""
        self._chunks: list[_Chunk] = []
        self._last_of_type: dict[str, int] = {}
        self._size = 0
        self._confirmed_at = 0.0

    def add(
        self,
        answered: Iterable[tuple[AppendRequest, Outcome]],
        recorded_at: datetime,
        before: CommitStamp | None = None,
    ) -> None:
        """Add the events stored by one statement or transaction, in the order of positions.

        Args:
            answered: Its requests with their outcomes; those that stored no events are ignored.
            recorded_at: When the events were stored, as recorded in the database.
            before: The stamp of the event before the first one; None if there is none or it is unknown.
        """
        # Every append waits for this, so do little here. Copy the lists, as callers may change them later.
        stored = [
            (request, tuple(request.events), outcome.position)
            for request, outcome in answered
            if request.events and isinstance(outcome, Appended)
        ]
        if not stored:
            return
        first, last = stored[0][2] - len(stored[0][1]) + 1, stored[-1][2]
        if self._chunks and (self._chunks[-1].last + 1 != first or self._chunks[-1].stamp != before):
            self.clear()
        size = sum(bytes_of(event.payload) + bytes_of(event.metadata) for _, events, _ in stored for event in events)
        stamp = CommitStamp(stored[-1][1][-1].commit_id, recorded_at)
        self._chunks.append(_Chunk(first, last, size, recorded_at, before, stamp, stored))
        self._last_of_type.update((request.aggregate_type, position) for request, _, position in stored)
        self._size += size
        self._confirmed_at = monotonic()
        self._trim(last)

    def read(
        self,
        after: int,
        limit: int,
        types: Collection[str] | None,
        event_types: Collection[str] | None = None,
        after_stamp: CommitStamp | None = None,
    ) -> LogPage | None:
        """Return the page for a live `EventLog.read`; None if it must be read from the database."""
        chunks = self._chunks
        if not chunks or not chunks[0].first <= after + 1 <= chunks[-1].last:
            return None
        if after_stamp is not None and self._stamp_at(after) != after_stamp:
            return None
        if types is not None and all(self._last_of_type.get(each, 0) <= after for each in types):
            return self._empty_page(min(after + limit, chunks[-1].last))
        return page_of(self._after(after), after, limit, types, event_types)

    async def read_live(
        self,
        read: ReadLog,
        after: int,
        limit: int,
        types: Collection[str] | None,
        event_types: Collection[str] | None,
        after_stamp: CommitStamp | None,
    ) -> LogPage:
        """Return the page for a live `EventLog.read`, from memory if it is there and in the log still.

        A reader that is behind may come long after the last append, and events that are gone must not be handed out.
        """
        page = self.read(after, limit, types, event_types, after_stamp)
        try:
            if page is not None and (self._is_confirmed() or await self._confirm(read)):
                return page
            return await read(after, limit, types, event_types, after_stamp)
        except LogRolledBack:
            self.clear()
            raise

    def _is_confirmed(self) -> bool:
        return monotonic() - self._confirmed_at < CONFIRMED_FOR

    async def _confirm(self, read: ReadLog) -> bool:
        """Return whether the last event is in the log still, and with it all others; if it is not, clear the tail."""
        now, last = monotonic(), self._chunks[-1]
        try:
            await read(last.last, 1, (), None, last.stamp)
        except LogRolledBack:
            self.clear()
            return False
        self._confirmed_at = max(self._confirmed_at, now)
        return True

    def _empty_page(self, position: int) -> LogPage:
        """Return a page without events that examines all up to a position, and to the end of the commit there."""
        chunk = self._chunks[self._chunk_of(position)]
        events, at = chunk.recorded(), position - chunk.first
        while at + 1 < len(events) and events[at + 1].commit_id == events[at].commit_id:
            at += 1
        last = events[at]
        return LogPage(last.position, [], more=last.position < self._chunks[-1].last, stamp=last.stamp)

    def clear(self) -> None:
        """Remove all events."""
        self._chunks.clear()
        self._last_of_type.clear()
        self._size = 0

    def _trim(self, last: int) -> None:
        """Drop the oldest appends until the rest is within the limits; a single append that is too large goes too."""
        drop = 0
        for chunk in self._chunks:
            if self._size <= MAX_BYTES and last - chunk.first < MAX_EVENTS:
                break
            self._size -= chunk.size
            drop += 1
        del self._chunks[:drop]

    def _stamp_at(self, position: int) -> CommitStamp | None:
        """Return the stamp of the event at a position whose next event is in the tail; None if it is unknown."""
        at = self._chunk_of(position + 1)
        chunk = self._chunks[at]
        if position < chunk.first:
            return chunk.before
        return chunk.recorded()[position - chunk.first].stamp

    def _chunk_of(self, position: int) -> int:
        return bisect_right(self._chunks, position, key=lambda chunk: chunk.first) - 1

    def _after(self, position: int) -> Iterator[RecordedEvent]:
        at = self._chunk_of(position + 1)
        yield from self._chunks[at].recorded()[position + 1 - self._chunks[at].first :]
        for number in range(at + 1, len(self._chunks)):
            yield from self._chunks[number].recorded()
