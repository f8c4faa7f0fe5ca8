"""The end of the log as this store committed it, kept in memory: who follows live is served without the database."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from eventree.stores.contract import Appended, AppendRequest, LogPage, NewEvent, Outcome, RecordedEvent
from eventree.stores.pages import bytes_of, page_of

MAX_EVENTS: Final = 8_192
"""How many events a tail keeps."""

MAX_BYTES: Final = 8 * 1024 * 1024
"""How many bytes of payloads and metadata a tail keeps, as UTF-8."""


@dataclass(slots=True)
class _Chunk:
    """Hold what one append stored; what a reader gets is made when the first one asks, and shared."""

    first: int
    last: int
    size: int
    recorded_at: datetime
    kept: Sequence[tuple[AppendRequest, Sequence[NewEvent], int]]
    events: list[RecordedEvent] = field(default_factory=list[RecordedEvent])

    def recorded(self) -> Sequence[RecordedEvent]:
        if not self.events:
            self.events.extend(self._make())
            self.kept = ()
        return self.events

    def _make(self) -> Iterator[RecordedEvent]:
        for request, events, last in self.kept:
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
    """Keep the newest appends of one store, as long as their positions follow each other.

    Only what is known to be committed comes in, and events never change, so a page of it is what the database would
    answer. Where it ends the log may go on, by other processes or by appends that this store has lost sight of: who
    has read to its end must ask the database. An append that does not follow, be it ahead or behind, says that others
    wrote meanwhile, that appends came in another order, or that an older backup was restored; whichever it is, the
    tail starts again with that append alone, and nothing from before it is served any more.

    What remains true for a backup that is restored under an open store: until this store appends again, or loses its
    connection, readers that are behind get what it committed before the restore; at the end of it the database tells
    them that the log was rolled back. And where others have filled the log just up to the end of the tail before this
    store appends again, it takes that append for the next one. That takes as long as the tail keeps what is older.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._chunks: list[_Chunk] = []
        self._size = 0

    def add(self, answered: Iterable[tuple[AppendRequest, Outcome]], recorded_at: datetime) -> None:
        """Keep what one statement or transaction stored, in the order of its positions.

        Args:
            answered: Its requests with their outcomes; only those are kept that stored events.
            recorded_at: When they were stored, as the database has it.
        """
        # Everything that commands wait for passes here. Senders may change their lists later, so these are copied.
        kept = [
            (request, tuple(request.events), outcome.position)
            for request, outcome in answered
            if request.events and isinstance(outcome, Appended)
        ]
        if not kept:
            return
        first, last = kept[0][2] - len(kept[0][1]) + 1, kept[-1][2]
        if self._chunks and self._chunks[-1].last + 1 != first:
            self.clear()
        size = sum(bytes_of(event.payload) + bytes_of(event.metadata) for _, events, _ in kept for event in events)
        self._chunks.append(_Chunk(first, last, size, recorded_at, kept))
        self._size += size
        self._bound(last)

    def read(self, after: int, limit: int, types: Collection[str] | None) -> LogPage | None:
        """Return what `EventStore.read` would; None where only the database can tell."""
        chunks = self._chunks
        if not chunks or not chunks[0].first <= after + 1 <= chunks[-1].last:
            return None
        return page_of(self._after(after), after, limit, types)

    def clear(self) -> None:
        """Forget everything."""
        self._chunks.clear()
        self._size = 0

    def _bound(self, last: int) -> None:
        """Drop the oldest, whole appends, until the rest is within the bounds; nothing is left of one too large."""
        drop = 0
        for chunk in self._chunks:
            if self._size <= MAX_BYTES and last - chunk.first < MAX_EVENTS:
                break
            self._size -= chunk.size
            drop += 1
        del self._chunks[:drop]

    def _after(self, position: int) -> Iterator[RecordedEvent]:
        at = bisect_right(self._chunks, position + 1, key=lambda chunk: chunk.first) - 1
        yield from self._chunks[at].recorded()[position + 1 - self._chunks[at].first :]
        for number in range(at + 1, len(self._chunks)):
            yield from self._chunks[number].recorded()
