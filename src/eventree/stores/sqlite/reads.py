"""Reads of the SQLite store, each a function on the reader's thread."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import chain, takewhile
from uuid import UUID

import msgspec
from msgspec import Struct, convert
from msgspec.json import Decoder

from eventree.errors import LogRolledBack
from eventree.stores.contract import (
    MAX_PAGE_BYTES,
    LogPage,
    RecordedCommand,
    RecordedEvent,
    StoredSnapshot,
    StreamPage,
    StreamRead,
)
from eventree.stores.pages import bytes_of
from eventree.stores.sqlite.connection import reading

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_STREAM = "SELECT stream, sequence, position FROM streams WHERE aggregate_type = ? AND aggregate_id = ?"
_STREAM_EVENTS = """
SELECT position, sequence, event_type, event_version, payload, metadata, commit_id, recorded_at
FROM events WHERE stream = ? AND sequence > ? ORDER BY sequence LIMIT ?
"""
_HEAD = "SELECT coalesce(max(position), 0) FROM events"
_FROM = "SELECT position, commit_id FROM events WHERE position >= ? ORDER BY position"
_BEFORE = """
SELECT position FROM events WHERE position > ? AND position < ? AND commit_id <> ? ORDER BY position DESC LIMIT 1
"""
# CROSS JOIN fixes the join order: the other one would visit every stream of the types for each page.
_LOG = """
SELECT e.position, s.aggregate_type, s.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, e.metadata,
       e.commit_id, e.recorded_at
FROM events e CROSS JOIN streams s ON s.stream = e.stream
WHERE e.position > ? AND e.position <= ?
"""
_OF_TYPES = " AND s.aggregate_type IN (SELECT value FROM json_each(?))"
_IN_ORDER = " ORDER BY e.position"
_BYTES = """
SELECT sum(length(CAST(payload AS BLOB)) + length(CAST(metadata AS BLOB))) FROM events
WHERE position > ? AND position <= ?
"""
# A page as one JSON text is built without the GIL and decoded in one go: twice as fast as row by row.
_AS_JSON = """
SELECT json_group_array(json_array(position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                                   metadata, hex(commit_id), recorded_at)) FROM ({})
"""
_COMMANDS = """
SELECT command_id, aggregate_type, aggregate_id, first_sequence, last_sequence
FROM commands JOIN streams USING (stream) WHERE command_id IN (SELECT value FROM json_each(?))
"""
# As bytes: a snapshot with damaged text must not prevent reading the others.
_SNAPSHOTS = """
SELECT aggregate_id, n.sequence, CAST(state_type AS BLOB), CAST(payload AS BLOB), checksum, taken_at
FROM json_each(?) JOIN streams s ON s.aggregate_type = ? AND s.aggregate_id = value
JOIN snapshots n ON n.stream = s.stream AND n.state_version = ?
"""


def head(db: sqlite3.Connection) -> int:
    """Return the position of the newest event."""
    return int(db.execute(_HEAD).fetchone()[0])


def read_streams(db: sqlite3.Connection, reads: Sequence[StreamRead]) -> list[StreamPage]:
    """Return one page per read, all from one snapshot of the database."""
    with reading(db):
        return [_read_stream(db, read) for read in reads]


def _read_stream(db: sqlite3.Connection, read: StreamRead) -> StreamPage:
    row = db.execute(_STREAM, (read.aggregate_type, read.aggregate_id)).fetchone()
    if row is None:
        return StreamPage(0, 0, ())
    stream, sequence, position = row
    if read.after >= sequence or not read.limit:
        return StreamPage(sequence, position, ())
    rows = db.execute(_STREAM_EVENTS, (stream, read.after, read.limit))
    key = (read.aggregate_type, read.aggregate_id)
    return StreamPage(
        sequence,
        position,
        tuple(
            RecordedEvent(
                at, *key, number, kind, version, payload, metadata, convert(commit, UUID), from_micros(stored)
            )
            for at, number, kind, version, payload, metadata, commit, stored in rows
        ),
    )


class RawPage(Struct):
    """An undecoded page, so that decoding does not occupy the reader's thread."""

    text: str
    end: int
    more: bool

    def page(self) -> LogPage:
        """Decode the page."""
        return LogPage(self.end, _decoded(self.text), more=self.more)


def read_log(db: sqlite3.Connection, after: int, limit: int, types: Collection[str] | None) -> LogPage | RawPage:
    """Return the next page of the log, which never ends within a commit.

    Raises:
        LogRolledBack: The log ends before `after`.
    """
    with reading(db):
        newest = head(db)
        if after > newest:
            raise LogRolledBack("a reader", after, newest)
        if after == newest:
            return LogPage(after, (), more=False)
        end = _end_of_commit(db, min(after + limit, newest))
        select = _LOG + ("" if types is None else _OF_TYPES) + _IN_ORDER
        values = (after, end) if types is None else (after, end, as_json(list(types)))
        if db.execute(_BYTES, (after, end)).fetchone()[0] <= MAX_PAGE_BYTES:
            return RawPage(db.execute(_AS_JSON.format(select), values).fetchone()[0], end, end < newest)
        with closing(db.execute(select, values)) as rows:
            end, events = _bounded(db, after, end, map(_recorded, rows))
        return LogPage(end, events, more=end < newest)


_decode_rows = Decoder(list[tuple[int, str, str, int, str, int, str, str, UUID, int]]).decode


def _decoded(page: str) -> list[RecordedEvent]:
    events: list[RecordedEvent] = []
    micros, moment = 0, _EPOCH
    for position, kind, id, sequence, event_type, version, payload, metadata, commit_id, stored in _decode_rows(page):
        if stored != micros:  # events of one transaction share it
            micros, moment = stored, from_micros(stored)
        events.append(
            RecordedEvent(position, kind, id, sequence, event_type, version, payload, metadata, commit_id, moment)
        )
    events.sort(key=_position)  # already in order, although SQLite does not guarantee it
    return events


def _position(event: RecordedEvent) -> int:
    return event.position


def _bounded(
    db: sqlite3.Connection, after: int, end: int, events: Iterator[RecordedEvent]
) -> tuple[int, list[RecordedEvent]]:
    """Return the end of the page and its events; at most one row beyond the end is fetched."""
    held: list[RecordedEvent] = []
    size = 0
    for event in events:
        size += bytes_of(event.payload) + bytes_of(event.metadata)
        if size > MAX_PAGE_BYTES:
            before = db.execute(_BEFORE, (after, event.position, event.commit_id.bytes)).fetchone()
            end = before[0] if before is not None else _end_of_commit(db, event.position)
            return end, _up_to(end, chain(held, [event], events))
        held.append(event)
    return end, held


def _up_to(end: int, events: Iterable[RecordedEvent]) -> list[RecordedEvent]:
    return list(takewhile(lambda event: event.position <= end, events))


def _end_of_commit(db: sqlite3.Connection, position: int) -> int:
    rows = db.execute(_FROM, (position,))
    commit_id = next(rows)[1]
    for later, other in rows:
        if other != commit_id:
            break
        position = later
    return position


def find_commands(db: sqlite3.Connection, command_ids: Collection[str]) -> dict[str, RecordedCommand]:
    """Return recorded commands by id."""
    rows = db.execute(_COMMANDS, (as_json(list(command_ids)),))
    return {row[0]: RecordedCommand(*row) for row in rows}


def load_snapshots(
    db: sqlite3.Connection, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
) -> dict[str, StoredSnapshot]:
    """Return snapshots by aggregate id; invalid UTF-8 or times are replaced, so that damaged snapshots load too."""
    rows = db.execute(_SNAPSHOTS, (as_json(list(aggregate_ids)), aggregate_type, state_version))
    return {
        id: StoredSnapshot(
            aggregate_type,
            id,
            state_version,
            sequence,
            state_type.decode(errors="replace"),
            payload.decode(errors="replace"),
            checksum,
            from_micros(min(max(taken_at, _FIRST), _LAST)),
        )
        for id, sequence, state_type, payload, checksum, taken_at in rows
    }


def from_micros(micros: int) -> datetime:
    """Return the time that is this many microseconds after 1970, UTC."""
    return _EPOCH + timedelta(0, 0, micros)


def to_micros(moment: datetime) -> int:
    """Return a time as microseconds since 1970, UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


_FIRST, _LAST = to_micros(datetime.min.replace(tzinfo=UTC)), to_micros(datetime.max.replace(tzinfo=UTC))


def _recorded(row: tuple[int, str, str, int, str, int, str, str, bytes, int]) -> RecordedEvent:
    position, kind, id, sequence, event_type, version, payload, metadata, commit, stored = row
    at = from_micros(stored)
    commit_id = convert(commit, UUID)  # three times faster than UUID(bytes=...)
    return RecordedEvent(position, kind, id, sequence, event_type, version, payload, metadata, commit_id, at)


def as_json(value: Sequence[object]) -> str:
    """Encode a list as one parameter for `json_each`."""
    return msgspec.json.encode(value).decode()
