"""How much of the log makes a page, for what is in memory; a database does the same by itself."""

from collections.abc import Collection, Iterable
from itertools import groupby

from eventree.stores.contract import MAX_PAGE_BYTES, LogPage, RecordedEvent


def page_of(events: Iterable[RecordedEvent], after: int, limit: int, types: Collection[str] | None) -> LogPage:
    """Return the page that `EventStore.read` promises.

    Args:
        events: The log after that position; no more of it is looked at than the page needs, and one event.
        after: See `EventStore.read`.
        limit: See there.
        types: See there.
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
    """Return how long a text is as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
