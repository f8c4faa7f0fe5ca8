"""Build pages of the log from events in memory; databases do the same in SQL."""

from collections.abc import Collection, Iterable
from itertools import groupby

from eventree.stores.contract import MAX_PAGE_BYTES, LogPage, RecordedEvent


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
    held: list[RecordedEvent] = []
    for _, group in groupby(events, key=lambda event: event.commit_id):
        if abs(end - start) >= limit:
            return LogPage(end, held, more=True)
        commit = list(group)
        wanted = [event for event in commit if is_wanted(event, types, event_types)]
        size += sum(bytes_of(event.payload) + bytes_of(event.metadata) for event in wanted)
        if size > MAX_PAGE_BYTES and end != start:
            return LogPage(end, held, more=True)
        held += wanted
        end = commit[-1].position
    return LogPage(end, held, more=False)


def is_wanted(event: RecordedEvent, types: Collection[str] | None, event_types: Collection[str] | None) -> bool:
    """Return whether an event passes both filters."""
    return (types is None or event.aggregate_type in types) and (event_types is None or event.event_type in event_types)


def bytes_of(text: str) -> int:
    """Return the length of a text in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
