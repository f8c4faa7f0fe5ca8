"""Short ways to create the values that event stores take, and to read what they return."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

from eventree.stores.contract import (
    AppendRequest,
    EventStore,
    NewCommand,
    NewEvent,
    Outcome,
    ParkedCommit,
    QueryRequest,
    RecordedEvent,
    StoredFailure,
    StoredSnapshot,
    StreamPage,
    StreamRead,
)

TYPE: Final = "thing"
"""The default aggregate type."""

NOON: Final = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
"""The default time at which snapshots are taken and commits fail and are parked."""


def event(
    payload: str = "{}",
    *,
    metadata: str = "{}",
    event_type: str = "happened",
    event_version: int = 1,
    commit_id: UUID | None = None,
) -> NewEvent:
    """Return an event; without a `commit_id`, in its own commit."""
    return NewEvent(event_type, event_version, payload, metadata, commit_id or uuid4())


def command(command_id: str, *, after: int, events: int) -> NewCommand:
    """Return a command with this number of events after a sequence."""
    return NewCommand(command_id, after + 1, after + events)


def request(
    id: str, after: int = 0, events: int = 1, *, type: str = TYPE, commands: Sequence[str] = ()
) -> AppendRequest:
    """Return a request for one commit of events; with `events=0`, a request that only checks the sequence."""
    commit_id = uuid4()
    return AppendRequest(
        type,
        id,
        after,
        [event(f'{{"number": {number}}}', commit_id=commit_id) for number in range(after + 1, after + events + 1)],
        [command(command_id, after=after, events=events) for command_id in commands],
    )


def snapshot(
    id: str,
    sequence: int,
    *,
    version: str = "v1",
    payload: str = "{}",
    type: str = TYPE,
    state_type: str = "State",
    checksum: int = 2**32 - 1,
    taken_at: datetime = NOON,
) -> StoredSnapshot:
    """Return a snapshot of an aggregate; its checksum is wrong by default, as a store must not check it."""
    return StoredSnapshot(type, id, version, sequence, state_type, payload, checksum, taken_at)


def parked(id: str, position: int, last: int = 0, *, reason: str = "no", type: str = TYPE) -> ParkedCommit:
    """Return a commit to park: one event, or all up to the position `last`."""
    return ParkedCommit(position, last or position, type, id, reason, NOON)


def failure(position: int, attempts: int = 1, *, reason: str = "no") -> StoredFailure:
    """Return the failure of a commit."""
    return StoredFailure(position, attempts, reason, NOON)


def query_request(action: str = "pause", argument: str = "", *, name: str = "query", version: int = 1) -> QueryRequest:
    """Return a request to the worker of a query."""
    return QueryRequest(uuid4(), name, version, action, argument)


async def append(store: EventStore, *requests: AppendRequest) -> list[Outcome]:
    """Append requests in one call and return their outcomes."""
    return list(await store.append(requests))


async def stream(store: EventStore, id: str, *, after: int = 0, limit: int = 1_000, type: str = TYPE) -> StreamPage:
    """Read a page of one stream."""
    [page] = await store.read_streams([StreamRead(type, id, after, limit)])
    return page


async def log(store: EventStore) -> list[RecordedEvent]:
    """Read all events of the log, in pages."""
    events: list[RecordedEvent] = []
    page = await store.read(0, 100)
    while page.events:
        events += page.events
        page = await store.read(page.position, 100)
    return events


def positions(events: Sequence[RecordedEvent]) -> list[int]:
    """Return the positions of events, in their order."""
    return [event.position for event in events]
