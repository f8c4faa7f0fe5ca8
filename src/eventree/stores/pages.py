"""Cut pages of the log from events in memory; a database does the same in SQL."""

from collections.abc import Collection, Iterable
from itertools import groupby

from eventree.stores.contract import MAX_PAGE_BYTES, LogPage, RecordedEvent


def page_of(events: Iterable[RecordedEvent], after: int, limit: int, types: Collection[str] | None) -> LogPage:
    """Return the page that `EventStore.read` promises for the same arguments.

    Args:
        events: The log after that position; it is consumed only as far as the page needs, plus one event.
        after: The position to start after.
        limit: How many positions to examine.
        types: The aggregate types to return; None for all.
    """
    end, size = after, 0
    held: list[RecordedEvent] = []
    for _, group in groupby(events, key=lambda event: event.commit_id):
        if end - after >= limit:
            return LogPage(end, held, more=True)
        commit = list(group)
        wanted = commit if types is None else [event for event in commit if event.aggregate_type in types]
        size += sum(bytes_of(event.payload) + bytes_of(event.metadata) for event in wanted)
        if size > MAX_PAGE_BYTES and end > after:
            return LogPage(end, held, more=True)
        held += wanted
        end = commit[-1].position
    return LogPage(end, held, more=False)


def bytes_of(text: str) -> int:
    """Return the length of a text in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
