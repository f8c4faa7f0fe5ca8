"""Short ways to make the values that stores take."""

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from uuid import UUID, uuid4

from eventree.stores.contract import (
    AppendRequest,
    EventStore,
    NewCommand,
    NewEvent,
    Outcome,
    RecordedEvent,
    StreamPage,
    StreamRead,
)

TYPE = "thing"


def event(
    payload: str = "{}", *, metadata: str = "{}", event_type: str = "happened", commit_id: UUID | None = None
) -> NewEvent:
    return NewEvent(event_type, 1, payload, metadata, commit_id or uuid4())


def command(command_id: str, *, after: int, events: int) -> NewCommand:
    return NewCommand(command_id, after + 1, after + events)


def request(
    id: str, after: int = 0, events: int = 1, *, type: str = TYPE, commands: Sequence[str] = ()
) -> AppendRequest:
    """Ask for the events of one command, or check the sequence with `events=0`."""
    commit_id = uuid4()
    return AppendRequest(
        type,
        id,
        after,
        [event(f'{{"number": {number}}}', commit_id=commit_id) for number in range(after + 1, after + events + 1)],
        [command(command_id, after=after, events=events) for command_id in commands],
    )


async def append(store: EventStore, *requests: AppendRequest) -> list[Outcome]:
    return list(await store.append(requests))


async def stream(store: EventStore, id: str, *, after: int = 0, limit: int = 1_000, type: str = TYPE) -> StreamPage:
    [page] = await store.read_streams([StreamRead(type, id, after, limit)])
    return page


async def log(store: EventStore) -> list[RecordedEvent]:
    """Return all events, read in pages."""
    events: list[RecordedEvent] = []
    page = await store.read(0, 100)
    while page.events:
        events += page.events
        page = await store.read(page.position, 100)
    return events


def positions(events: Sequence[RecordedEvent]) -> list[int]:
    return [event.position for event in events]


def run_sql(file: Path, *statements: str) -> list[tuple[object, ...]]:
    """Run statements on a plain connection, commit, and return the rows of the last."""
    rows: list[tuple[object, ...]] = []
    with closing(sqlite3.connect(file)) as db, db:
        for statement in statements:
            rows = db.execute(statement).fetchall()
    return rows


def living(threads: Iterable[threading.Thread]) -> list[threading.Thread]:
    """Return the threads that do not end by themselves."""
    for thread in threads:
        thread.join(5)
    return [thread for thread in threads if thread.is_alive()]
