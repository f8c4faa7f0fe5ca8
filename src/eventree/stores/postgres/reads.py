"""Reads of the Postgres store, each one statement, so that it reads one snapshot of the database."""

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Final

from eventree.errors import LogRolledBack
from eventree.stores.checks import MAX_NUMBER
from eventree.stores.contract import (
    MAX_PAGE_BYTES,
    LogPage,
    RecordedCommand,
    RecordedEvent,
    StoredSnapshot,
    StreamPage,
    StreamRead,
)
from eventree.stores.postgres.driver import Connection

_HEAD: Final = "SELECT position FROM head WHERE id"
_STREAMS: Final = """
SELECT r.number, r.aggregate_type, r.aggregate_id, coalesce(s.sequence, 0), coalesce(l.position, 0), e.*
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
  WITH ORDINALITY r (aggregate_type, aggregate_id, after, size, number)
LEFT JOIN LATERAL (
  SELECT stream, sequence FROM streams s
  WHERE s.aggregate_type = r.aggregate_type AND s.aggregate_id = r.aggregate_id LIMIT 1) s ON true
LEFT JOIN LATERAL (
  SELECT position FROM events e WHERE e.stream = s.stream AND e.sequence = s.sequence LIMIT 1) l ON true
LEFT JOIN LATERAL (
  SELECT position, sequence, event_type, event_version, payload, metadata, commit_id, recorded_at
  FROM events WHERE stream = s.stream AND sequence > r.after ORDER BY sequence LIMIT r.size) e ON true
ORDER BY r.number, e.sequence
"""
# A page ends with the commit at its limit, or, if its events are too large, before the commit that exceeds the size,
# unless that is its first commit. `too_much` reads no further than the event that exceeds it, and nothing if all events
# together are small enough, as is usual. The bounds are scalars, so that the planner has to look them up in the index.
_LOG: Final = """
WITH reach AS MATERIALIZED (
  SELECT head.position AS head, coalesce(
    (SELECT n.position - 1 FROM events n
     WHERE n.position > $2 AND n.commit_id <> (SELECT commit_id FROM events WHERE position = $2)
     ORDER BY n.position LIMIT 1),
    head.position) AS upto FROM head WHERE id LIMIT 1),
too_much AS MATERIALIZED (
  SELECT position, commit_id FROM (
    SELECT e.position, e.commit_id, sum(octet_length(e.payload::text) + octet_length(e.metadata::text))
      OVER (ORDER BY e.position ROWS UNBOUNDED PRECEDING) AS bytes
    FROM events e WHERE e.position > $1 AND e.position <= (SELECT upto FROM reach)
      AND ($3::text[] IS NULL OR (SELECT aggregate_type FROM streams WHERE stream = e.stream) = ANY($3::text[]))) sized
  WHERE bytes > $4 AND $4 < (
    SELECT sum(octet_length(payload::text) + octet_length(metadata::text)) FROM events
    WHERE position > $1 AND position <= (SELECT upto FROM reach)) ORDER BY position LIMIT 1),
bounds AS MATERIALIZED (
  SELECT head, coalesce(
    (SELECT b.position FROM events b
     WHERE b.position > $1 AND b.position < (SELECT position FROM too_much)
       AND b.commit_id <> (SELECT commit_id FROM too_much) ORDER BY b.position DESC LIMIT 1),
    (SELECT n.position - 1 FROM events n
     WHERE n.position > (SELECT position FROM too_much) AND n.commit_id <> (SELECT commit_id FROM too_much)
     ORDER BY n.position LIMIT 1),
    upto) AS upto FROM reach)
SELECT head, upto, e.* FROM bounds LEFT JOIN LATERAL (
  SELECT e.position, s.aggregate_type, s.aggregate_id, e.sequence, event_type, event_version, payload, metadata,
         commit_id, recorded_at
  FROM events e CROSS JOIN LATERAL (
    SELECT aggregate_type, aggregate_id FROM streams WHERE stream = e.stream LIMIT 1) s
  WHERE e.position > $1 AND e.position <= (SELECT upto FROM bounds)
    AND ($3::text[] IS NULL OR s.aggregate_type = ANY($3::text[]))) e ON true
ORDER BY e.position
"""
_COMMANDS: Final = """
SELECT command_id, aggregate_type, aggregate_id, first_sequence, last_sequence
FROM commands JOIN streams USING (stream) WHERE command_id = ANY($1::text[])
"""
_SNAPSHOTS: Final = """
SELECT aggregate_id, n.sequence, state_type, payload, checksum, taken_at
FROM streams s JOIN snapshots n ON n.stream = s.stream AND n.state_version = $3
WHERE s.aggregate_type = $1 AND s.aggregate_id = ANY($2::text[])
"""


async def head(db: Connection) -> int:
    """Return the position of the newest event."""
    return int(await db.fetchval(_HEAD))


async def read_streams(db: Connection, reads: Sequence[StreamRead]) -> list[StreamPage]:
    """Return one page per read."""
    rows = await db.fetch(
        _STREAMS,
        [read.aggregate_type for read in reads],
        [read.aggregate_id for read in reads],
        [read.after for read in reads],
        [read.limit for read in reads],
    )
    pages: list[StreamPage] = []
    for _, group in groupby(rows, key=lambda row: row[0]):
        page = list(group)
        events = [RecordedEvent(row[5], row[1], row[2], *row[6:]) for row in page if row[5] is not None]
        pages.append(StreamPage(page[0][3], page[0][4], events))
    return pages


async def read_log(db: Connection, after: int, limit: int, types: Collection[str] | None) -> LogPage:
    """Return the next page of the log, which never ends within a commit.

    Raises:
        LogRolledBack: The log ends before `after`.
    """
    wanted = None if types is None else list(types)
    rows = await db.fetch(_LOG, after, min(after + limit, MAX_NUMBER), wanted, MAX_PAGE_BYTES)
    newest, end = rows[0][0], rows[0][1]
    if after > newest:
        raise LogRolledBack("a reader", after, newest)
    events = [RecordedEvent(*row[2:]) for row in rows if row[2] is not None]
    return LogPage(end, events, more=end < newest)


async def find_commands(db: Connection, command_ids: Collection[str]) -> dict[str, RecordedCommand]:
    """Return recorded commands by id."""
    return {row[0]: RecordedCommand(*row) for row in await db.fetch(_COMMANDS, list(command_ids))}


async def load_snapshots(
    db: Connection, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
) -> dict[str, StoredSnapshot]:
    """Return snapshots by aggregate id."""
    rows = await db.fetch(_SNAPSHOTS, aggregate_type, list(aggregate_ids), state_version)
    return {
        id: StoredSnapshot(aggregate_type, id, state_version, sequence, state_type, payload, checksum, taken_at)
        for id, sequence, state_type, payload, checksum, taken_at in rows
    }
