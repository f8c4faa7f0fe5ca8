"""Reads of the SQLite store, each a function on the reader's thread."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, takewhile
from uuid import UUID

import msgspec
from msgspec import Struct, convert
from msgspec.json import Decoder

from eventree.errors import LogRolledBack
from eventree.stores.contract import (
    MAX_PAGE_BYTES,
    AggregateSummary,
    CommitStamp,
    LogPage,
    RecordedCommand,
    RecordedEvent,
    StoredSnapshot,
    StreamPage,
    StreamRead,
)
from eventree.stores.live import bytes_of
from eventree.stores.sqlite.connection import reading

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_STREAM = "SELECT stream, sequence, position FROM streams WHERE aggregate_type = ? AND aggregate_id = ?"
_STAMP_IN_STREAM = "SELECT commit_id, recorded_at FROM events WHERE stream = ? AND sequence = ?"
_STAMP = "SELECT commit_id, recorded_at FROM events WHERE position = ?"
_STREAM_EVENTS = """
SELECT position, sequence, event_type, event_version, payload, metadata, commit_id, recorded_at
FROM events WHERE stream = ? AND sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?
"""
_AGGREGATES = """
SELECT aggregate_type, aggregate_id, sequence, position FROM streams
WHERE (aggregate_type, aggregate_id) > (?, ?) AND sequence > 0 ORDER BY aggregate_type, aggregate_id LIMIT ?
"""
_AGGREGATES_OF_TYPE = """
SELECT aggregate_type, aggregate_id, sequence, position FROM streams
WHERE aggregate_type = ? AND aggregate_id > ? AND sequence > 0 ORDER BY aggregate_id LIMIT ?
"""
# Steps from one type to the next through the index, as DISTINCT would visit every stream.
_TYPES = """
WITH RECURSIVE types (type) AS (
  SELECT min(aggregate_type) FROM streams
  UNION ALL SELECT (SELECT min(aggregate_type) FROM streams WHERE aggregate_type > type) FROM types
  WHERE type IS NOT NULL)
SELECT type FROM types WHERE EXISTS (SELECT 1 FROM streams WHERE aggregate_type = type AND sequence > 0) ORDER BY type
"""
_HEAD = "SELECT coalesce(max(position), 0) FROM events"
_LAST_EVENT = "SELECT position, commit_id, recorded_at FROM events ORDER BY position DESC LIMIT 1"
# CROSS JOIN fixes the join order; the opposite order would visit every stream of the types for each page.
_LOG = """
SELECT e.position, s.aggregate_type, s.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, e.metadata,
       e.commit_id, e.recorded_at
FROM events e CROSS JOIN streams s ON s.stream = e.stream
WHERE e.position > ? AND e.position <= ?
"""
_OF_TYPES = " AND s.aggregate_type IN (SELECT value FROM json_each(?))"
_OF_EVENT_TYPES = " AND e.event_type IN (SELECT value FROM json_each(?))"
_BYTES = """
SELECT sum(length(CAST(payload AS BLOB)) + length(CAST(metadata AS BLOB))) FROM events
WHERE position > ? AND position <= ?
"""
# SQLite builds a page as one JSON text without the GIL, and it is decoded in one call: twice as fast as row by row.
_AS_JSON = """
SELECT json_group_array(json_array(position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                                   metadata, hex(commit_id), recorded_at)) FROM ({})
"""
_COMMANDS = """
SELECT command_id, aggregate_type, aggregate_id, first_sequence, last_sequence, fingerprint
FROM commands JOIN streams USING (stream) WHERE command_id IN (SELECT value FROM json_each(?))
"""
# Texts are read as bytes, so that a snapshot with damaged text does not prevent reading the others.
_SNAPSHOTS = """
SELECT aggregate_id, n.sequence, CAST(state_type AS BLOB), CAST(payload AS BLOB), checksum, taken_at, n.commit_id,
  n.recorded_at
FROM json_each(?) JOIN streams s ON s.aggregate_type = ? AND s.aggregate_id = value
JOIN snapshots n ON n.stream = s.stream AND n.state_version = ?
"""


@dataclass(frozen=True, slots=True)
class _Direction:
    """Hold the statements that find the end of a page in one direction.

    Attributes:
        order: The order of a page.
        onward: Selects the commit ids from a position on.
        before: Selects the position nearest to the second of two positions, and between them, that belongs to another
            commit.
    """

    order: str
    onward: str
    before: str


_FORWARDS = _Direction(
    order=" ORDER BY e.position",
    onward="SELECT position, commit_id FROM events WHERE position >= ? ORDER BY position",
    before="SELECT position FROM events WHERE position > ? AND position < ? AND commit_id <> ? "
    "ORDER BY position DESC LIMIT 1",
)
_BACKWARDS = _Direction(
    order=" ORDER BY e.position DESC",
    onward="SELECT position, commit_id FROM events WHERE position <= ? ORDER BY position DESC",
    before="SELECT position FROM events WHERE position < ? AND position > ? AND commit_id <> ? "
    "ORDER BY position LIMIT 1",
)


def head(db: sqlite3.Connection) -> int:
    """Return the position of the newest event."""
    return int(db.execute(_HEAD).fetchone()[0])


def last_event(db: sqlite3.Connection) -> tuple[int, CommitStamp | None]:
    """Return the position of the newest event and its stamp; 0 and None if there is none."""
    row = db.execute(_LAST_EVENT).fetchone()
    return (0, None) if row is None else (row[0], stamp_of(row[1], row[2]))


def stamp_at(db: sqlite3.Connection, position: int) -> CommitStamp | None:
    """Return the stamp of the event at a position; None if there is none."""
    row = db.execute(_STAMP, (position,)).fetchone()
    return None if row is None else stamp_of(*row)


def stamp_of(commit_id: bytes | None, recorded_at: int | None) -> CommitStamp | None:
    """Return a stamp from two columns; None if they are NULL."""
    if commit_id is None or recorded_at is None:
        return None
    return CommitStamp(convert(commit_id, UUID), from_micros(recorded_at))


def columns_of(stamp: CommitStamp | None) -> tuple[bytes | None, int | None]:
    """Return the two columns of a stamp; NULL for none."""
    return (None, None) if stamp is None else (stamp.commit_id.bytes, to_micros(stamp.recorded_at))


def read_streams(db: sqlite3.Connection, reads: Sequence[StreamRead]) -> list[StreamPage]:
    """Return one page per read, all from one snapshot of the database."""
    with reading(db):
        return [read_stream(db, read) for read in reads]


def read_stream(db: sqlite3.Connection, read: StreamRead) -> StreamPage:
    """Return a page of one stream, within a transaction."""
    row = db.execute(_STREAM, (read.aggregate_type, read.aggregate_id)).fetchone()
    if row is None:
        return StreamPage(0, 0, (), is_diverged=read.after_stamp is not None)
    stream, sequence, position = row
    if read.after_stamp is not None:
        at_after = db.execute(_STAMP_IN_STREAM, (stream, read.after)).fetchone()
        if at_after is None or stamp_of(*at_after) != read.after_stamp:
            return StreamPage(sequence, position, (), is_diverged=True)
    if read.after >= sequence or not read.limit:
        return StreamPage(sequence, position, ())
    up_to = sequence if read.up_to is None else read.up_to
    up_to_position = position if read.up_to_position is None else read.up_to_position
    rows = db.execute(_STREAM_EVENTS, (stream, read.after, up_to, read.limit))
    key = (read.aggregate_type, read.aggregate_id)
    return StreamPage(
        sequence,
        position,
        tuple(
            RecordedEvent(
                at, *key, number, kind, version, payload, metadata, convert(commit, UUID), from_micros(stored)
            )
            for at, number, kind, version, payload, metadata, commit, stored in rows
            if at <= up_to_position
        ),
    )


class RawPage(Struct):
    """Hold an undecoded page, so that it is not decoded on the reader's thread, which other reads need."""

    text: str
    end: int
    more: bool
    newest_first: bool
    stamp: CommitStamp | None = None

    def page(self) -> LogPage:
        """Decode the page."""
        return LogPage(self.end, _decoded(self.text, newest_first=self.newest_first), self.more, self.stamp)


def read_log(
    db: sqlite3.Connection,
    after: int,
    limit: int,
    types: Collection[str] | None,
    event_types: Collection[str] | None,
    after_stamp: CommitStamp | None,
) -> LogPage | RawPage:
    """Return the next page of the log, which never ends within a commit.

    Raises:
        LogRolledBack: The log ends before `after`, or has another event there.
    """
    with reading(db):
        newest = head(db)
        if after > newest or (after_stamp is not None and stamp_at(db, after) != after_stamp):
            raise LogRolledBack("a reader", after, newest)
        if after == newest:
            return LogPage(after, (), more=False)
        end = _end_of_commit(db, min(after + limit, newest), _FORWARDS)
        select, filters = _select(types, event_types, _FORWARDS)
        values = (after, end, *filters)
        if db.execute(_BYTES, (after, end)).fetchone()[0] <= MAX_PAGE_BYTES:
            text = db.execute(_AS_JSON.format(select), values).fetchone()[0]
            return RawPage(text, end, more=end < newest, newest_first=False, stamp=stamp_at(db, end))
        with closing(db.execute(select, values)) as rows:
            end, events = _bounded(db, after, end, map(_recorded, rows), _FORWARDS)
        return LogPage(end, events, more=end < newest, stamp=stamp_at(db, end))


def read_backwards(
    db: sqlite3.Connection,
    before: int,
    limit: int,
    types: Collection[str] | None,
    event_types: Collection[str] | None,
) -> LogPage | RawPage:
    """Return the page of the log before a position, newest event first, which never ends within a commit."""
    with reading(db):
        before = min(before, head(db) + 1)
        if before == 1:
            return LogPage(before, (), more=False)
        end = _end_of_commit(db, max(before - limit, 1), _BACKWARDS)
        select, filters = _select(types, event_types, _BACKWARDS)
        values = (end - 1, before - 1, *filters)
        if db.execute(_BYTES, values[:2]).fetchone()[0] <= MAX_PAGE_BYTES:
            text = db.execute(_AS_JSON.format(select), values).fetchone()[0]
            return RawPage(text, end, more=end > 1, newest_first=True)
        with closing(db.execute(select, values)) as rows:
            end, events = _bounded(db, before, end, map(_recorded, rows), _BACKWARDS)
        return LogPage(end, events, more=end > 1)


def _select(
    types: Collection[str] | None, event_types: Collection[str] | None, direction: _Direction
) -> tuple[str, list[str]]:
    """Return the statement that reads a page, and the values of its filters."""
    filters = [(_OF_TYPES, types), (_OF_EVENT_TYPES, event_types)]
    given = [(condition, as_json(list(names))) for condition, names in filters if names is not None]
    return "".join([_LOG, *(condition for condition, _ in given), direction.order]), [value for _, value in given]


_decode_rows = Decoder(list[tuple[int, str, str, int, str, int, str, str, UUID, int]]).decode


def _decoded(page: str, *, newest_first: bool) -> list[RecordedEvent]:
    events: list[RecordedEvent] = []
    micros, moment = 0, _EPOCH
    for position, kind, id, sequence, event_type, version, payload, metadata, commit_id, stored in _decode_rows(page):
        if stored != micros:  # the events of a transaction share their time, so it is converted once
            micros, moment = stored, from_micros(stored)
        events.append(
            RecordedEvent(position, kind, id, sequence, event_type, version, payload, metadata, commit_id, moment)
        )
    events.sort(key=_position, reverse=newest_first)  # already in order, although SQLite does not guarantee it
    return events


def _position(event: RecordedEvent) -> int:
    return event.position


def _bounded(
    db: sqlite3.Connection, start: int, end: int, events: Iterator[RecordedEvent], direction: _Direction
) -> tuple[int, list[RecordedEvent]]:
    """Return the end of a page within `MAX_PAGE_BYTES`, and its events; fetch at most one row beyond the end."""
    held: list[RecordedEvent] = []
    size = 0
    for event in events:
        size += bytes_of(event.payload) + bytes_of(event.metadata)
        if size > MAX_PAGE_BYTES:
            before = db.execute(direction.before, (start, event.position, event.commit_id.bytes)).fetchone()
            end = before[0] if before is not None else _end_of_commit(db, event.position, direction)
            return end, _up_to(start, end, chain(held, [event], events))
        held.append(event)
    return end, held


def _up_to(start: int, end: int, events: Iterable[RecordedEvent]) -> list[RecordedEvent]:
    return list(takewhile(lambda event: abs(event.position - start) <= abs(end - start), events))


def _end_of_commit(db: sqlite3.Connection, position: int, direction: _Direction) -> int:
    """Return the last position of the commit that a position belongs to, seen in this direction."""
    rows = db.execute(direction.onward, (position,))
    commit_id = next(rows)[1]
    for later, other in rows:
        if other != commit_id:
            break
        position = later
    return position


def list_aggregates(
    db: sqlite3.Connection, aggregate_type: str | None, after: tuple[str, str], limit: int
) -> list[AggregateSummary]:
    """Return aggregates in order, after a key."""
    if aggregate_type is None:
        rows = db.execute(_AGGREGATES, (*after, limit))
    else:
        if after[0] > aggregate_type:
            return []
        id_after = after[1] if after[0] == aggregate_type else ""
        rows = db.execute(_AGGREGATES_OF_TYPE, (aggregate_type, id_after, limit))
    return [AggregateSummary(*row) for row in rows]


def list_aggregate_types(db: sqlite3.Connection) -> list[str]:
    """Return the types of all aggregates with events, in order."""
    return [row[0] for row in db.execute(_TYPES)]


def find_commands(db: sqlite3.Connection, command_ids: Collection[str]) -> dict[str, RecordedCommand]:
    """Return recorded commands by id."""
    rows = db.execute(_COMMANDS, (as_json(list(command_ids)),))
    return {row[0]: RecordedCommand(*row) for row in rows}


def load_snapshots(
    db: sqlite3.Connection, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
) -> dict[str, StoredSnapshot]:
    """Return snapshots by aggregate id; invalid UTF-8 and times are replaced, so that damaged snapshots load too."""
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
            stamp_of(commit_id, recorded_at),
        )
        for id, sequence, state_type, payload, checksum, taken_at, commit_id, recorded_at in rows
    }


def from_micros(micros: int) -> datetime:
    """Convert microseconds since 1970, UTC, into a datetime."""
    return _EPOCH + timedelta(0, 0, micros)


def to_micros(moment: datetime) -> int:
    """Convert a datetime into microseconds since 1970, UTC."""
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
