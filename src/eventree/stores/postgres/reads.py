"""Reads of the Postgres store; each is one statement, so that it reads one snapshot of the database."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final
from uuid import UUID

from eventree.errors import LogRolledBack
from eventree.stores.checked import MAX_NUMBER
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
from eventree.stores.postgres.driver import Row
from eventree.stores.postgres.replication import IS_AWAITED, wait_for_standby
from eventree.stores.postgres.schema import SchemaConnection

_HEAD: Final = "SELECT position FROM {schema}.head WHERE id"
_STREAMS: Final = """
SELECT r.number, r.aggregate_type, r.aggregate_id, coalesce(s.sequence, 0), coalesce(l.position, 0),
       d.is_diverged, e.*
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::uuid[],
            $8::timestamptz[])
  WITH ORDINALITY r (aggregate_type, aggregate_id, after, size, up_to, up_to_position, stamp_id, stamp_time, number)
LEFT JOIN LATERAL (
  SELECT stream, sequence FROM {schema}.streams s
  WHERE s.aggregate_type = r.aggregate_type AND s.aggregate_id = r.aggregate_id LIMIT 1) s ON true
LEFT JOIN LATERAL (
  SELECT position FROM {schema}.events e WHERE e.stream = s.stream AND e.sequence = s.sequence LIMIT 1) l ON true
CROSS JOIN LATERAL (
  SELECT r.stamp_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM {schema}.events a WHERE a.stream = s.stream AND a.sequence = r.after
      AND a.commit_id = r.stamp_id AND a.recorded_at = r.stamp_time) AS is_diverged) d
LEFT JOIN LATERAL (
  SELECT * FROM (
    SELECT position, sequence, event_type, event_version, payload, metadata, commit_id, recorded_at
    FROM {schema}.events WHERE stream = s.stream AND sequence > r.after AND sequence <= r.up_to
    ORDER BY sequence LIMIT r.size) bounded
  WHERE position <= r.up_to_position) e ON NOT d.is_diverged
ORDER BY r.number, e.sequence
"""
# A page ends with the commit at its limit, or, if its events are too large, before the commit that exceeds the size,
# unless that is its first commit. `too_much` reads no further than the event that exceeds it, and nothing in the usual
# case that all events together are small enough. The bounds are scalars, so that the planner has to use the index.
_LOG: Final = """
WITH reach AS MATERIALIZED (
  SELECT head.position AS head, coalesce(
    (SELECT n.position - 1 FROM {schema}.events n
     WHERE n.position > $2 AND n.commit_id <> (SELECT commit_id FROM {schema}.events WHERE position = $2)
     ORDER BY n.position LIMIT 1),
    head.position) AS upto FROM {schema}.head WHERE id LIMIT 1),
too_much AS MATERIALIZED (
  SELECT position, commit_id FROM (
    SELECT e.position, e.commit_id, sum(octet_length(e.payload::text) + octet_length(e.metadata::text))
      OVER (ORDER BY e.position ROWS UNBOUNDED PRECEDING) AS bytes
    FROM {schema}.events e WHERE e.position > $1 AND e.position <= (SELECT upto FROM reach)
      AND ($3::text[] IS NULL
        OR (SELECT aggregate_type FROM {schema}.streams WHERE stream = e.stream) = ANY($3::text[]))
      AND ($5::text[] IS NULL OR e.event_type = ANY($5::text[]))) sized
  WHERE bytes > $4 AND $4 < (
    SELECT sum(octet_length(payload::text) + octet_length(metadata::text)) FROM {schema}.events
    WHERE position > $1 AND position <= (SELECT upto FROM reach)) ORDER BY position LIMIT 1),
bounds AS MATERIALIZED (
  SELECT head, coalesce(
    (SELECT b.position FROM {schema}.events b
     WHERE b.position > $1 AND b.position < (SELECT position FROM too_much)
       AND b.commit_id <> (SELECT commit_id FROM too_much) ORDER BY b.position DESC LIMIT 1),
    (SELECT n.position - 1 FROM {schema}.events n
     WHERE n.position > (SELECT position FROM too_much) AND n.commit_id <> (SELECT commit_id FROM too_much)
     ORDER BY n.position LIMIT 1),
    upto) AS upto FROM reach)
SELECT head, upto,
       (SELECT commit_id FROM {schema}.events WHERE position = (SELECT upto FROM bounds)),
       (SELECT recorded_at FROM {schema}.events WHERE position = (SELECT upto FROM bounds)),
       $6::uuid IS NOT NULL AND NOT EXISTS (
         SELECT FROM {schema}.events WHERE position = $1 AND commit_id = $6 AND recorded_at = $7::timestamptz),
       e.* FROM bounds LEFT JOIN LATERAL (
  SELECT e.position, s.aggregate_type, s.aggregate_id, e.sequence, event_type, event_version, payload, metadata,
         commit_id, recorded_at
  FROM {schema}.events e CROSS JOIN LATERAL (
    SELECT aggregate_type, aggregate_id FROM {schema}.streams WHERE stream = e.stream LIMIT 1) s
  WHERE e.position > $1 AND e.position <= (SELECT upto FROM bounds)
    AND ($3::text[] IS NULL OR s.aggregate_type = ANY($3::text[]))
    AND ($5::text[] IS NULL OR event_type = ANY($5::text[]))) e ON true
ORDER BY e.position
"""
# The same in the other direction.
_BACKWARDS: Final = """
WITH start AS MATERIALIZED (
  SELECT least($1, head.position + 1) AS before, greatest(least($1, head.position + 1) - $2, 1) AS target
  FROM {schema}.head WHERE id LIMIT 1),
reach AS MATERIALIZED (
  SELECT before, coalesce(
    (SELECT n.position + 1 FROM {schema}.events n
     WHERE n.position < (SELECT target FROM start)
       AND n.commit_id <> (SELECT commit_id FROM {schema}.events WHERE position = (SELECT target FROM start))
     ORDER BY n.position DESC LIMIT 1),
    1) AS downto FROM start),
too_much AS MATERIALIZED (
  SELECT position, commit_id FROM (
    SELECT e.position, e.commit_id, sum(octet_length(e.payload::text) + octet_length(e.metadata::text))
      OVER (ORDER BY e.position DESC ROWS UNBOUNDED PRECEDING) AS bytes
    FROM {schema}.events e WHERE e.position < (SELECT before FROM reach) AND e.position >= (SELECT downto FROM reach)
      AND ($3::text[] IS NULL
        OR (SELECT aggregate_type FROM {schema}.streams WHERE stream = e.stream) = ANY($3::text[]))
      AND ($5::text[] IS NULL OR e.event_type = ANY($5::text[]))) sized
  WHERE bytes > $4 AND $4 < (
    SELECT sum(octet_length(payload::text) + octet_length(metadata::text)) FROM {schema}.events
    WHERE position < (SELECT before FROM reach) AND position >= (SELECT downto FROM reach))
  ORDER BY position DESC LIMIT 1),
bounds AS MATERIALIZED (
  SELECT before, coalesce(
    (SELECT b.position FROM {schema}.events b
     WHERE b.position < (SELECT before FROM reach) AND b.position > (SELECT position FROM too_much)
       AND b.commit_id <> (SELECT commit_id FROM too_much) ORDER BY b.position LIMIT 1),
    (SELECT n.position + 1 FROM {schema}.events n
     WHERE n.position < (SELECT position FROM too_much) AND n.commit_id <> (SELECT commit_id FROM too_much)
     ORDER BY n.position DESC LIMIT 1),
    downto) AS downto FROM reach)
SELECT before, downto, e.* FROM bounds LEFT JOIN LATERAL (
  SELECT e.position, s.aggregate_type, s.aggregate_id, e.sequence, event_type, event_version, payload, metadata,
         commit_id, recorded_at
  FROM {schema}.events e CROSS JOIN LATERAL (
    SELECT aggregate_type, aggregate_id FROM {schema}.streams WHERE stream = e.stream LIMIT 1) s
  WHERE e.position < (SELECT before FROM bounds) AND e.position >= (SELECT downto FROM bounds)
    AND ($3::text[] IS NULL OR s.aggregate_type = ANY($3::text[]))
    AND ($5::text[] IS NULL OR event_type = ANY($5::text[]))) e ON true
ORDER BY e.position DESC
"""
_AGGREGATES: Final = """
SELECT s.aggregate_type, s.aggregate_id, s.sequence, e.position FROM (
  SELECT stream, aggregate_type, aggregate_id, sequence FROM {schema}.streams
  WHERE {condition} AND sequence > 0 ORDER BY aggregate_type, aggregate_id LIMIT $3) s
CROSS JOIN LATERAL (
  SELECT position FROM {schema}.events e WHERE e.stream = s.stream AND e.sequence = s.sequence LIMIT 1) e
ORDER BY s.aggregate_type, s.aggregate_id
"""
_AGGREGATES_OF_ALL_TYPES: Final = _AGGREGATES.replace("{condition}", "(aggregate_type, aggregate_id) > ($1, $2)")
_AGGREGATES_OF_TYPE: Final = _AGGREGATES.replace("{condition}", "aggregate_type = $1 AND aggregate_id > $2")
# Steps from one type to the next through the index, as DISTINCT would visit every stream.
_TYPES: Final = """
WITH RECURSIVE types (type) AS (
  (SELECT aggregate_type FROM {schema}.streams ORDER BY aggregate_type LIMIT 1)
  UNION ALL SELECT (
    SELECT aggregate_type FROM {schema}.streams WHERE aggregate_type > type ORDER BY aggregate_type LIMIT 1)
  FROM types WHERE type IS NOT NULL)
SELECT type FROM types
WHERE EXISTS (SELECT FROM {schema}.streams WHERE aggregate_type = type AND sequence > 0) ORDER BY type
"""
_COMMANDS: Final = """
SELECT command_id, aggregate_type, aggregate_id, first_sequence, last_sequence, fingerprint, {is_awaited}
FROM {schema}.commands JOIN {schema}.streams USING (stream) WHERE command_id = ANY($1::text[])
""".replace("{is_awaited}", IS_AWAITED)
_SNAPSHOTS: Final = """
SELECT aggregate_id, n.sequence, state_type, payload, checksum, taken_at, n.commit_id, n.recorded_at
FROM {schema}.streams s JOIN {schema}.snapshots n ON n.stream = s.stream AND n.state_version = $3
WHERE s.aggregate_type = $1 AND s.aggregate_id = ANY($2::text[])
"""


async def head(db: SchemaConnection) -> int:
    """Return the position of the newest event."""
    return int(await db.fetchval(_HEAD))


def stamp_of(commit_id: UUID | None, recorded_at: datetime | None) -> CommitStamp | None:
    """Return a stamp from two columns; None if they are NULL."""
    return None if commit_id is None or recorded_at is None else CommitStamp(commit_id, recorded_at)


def stamp_columns(stamps: Iterable[CommitStamp | None]) -> tuple[list[object], list[object]]:
    """Return the two columns of stamps; NULL for none."""
    pairs = [stamp or (None, None) for stamp in stamps]
    return [commit_id for commit_id, _ in pairs], [recorded_at for _, recorded_at in pairs]


async def read_streams(db: SchemaConnection, reads: Sequence[StreamRead]) -> list[StreamPage]:
    """Return one page per read."""
    rows = await db.fetch(
        _STREAMS,
        [read.aggregate_type for read in reads],
        [read.aggregate_id for read in reads],
        [read.after for read in reads],
        [read.limit for read in reads],
        [MAX_NUMBER if read.up_to is None else read.up_to for read in reads],
        [MAX_NUMBER if read.up_to_position is None else read.up_to_position for read in reads],
        *stamp_columns(read.after_stamp for read in reads),
    )
    pages: list[StreamPage] = []
    for _, group in groupby(rows, key=lambda row: row[0]):
        page = list(group)
        events = [RecordedEvent(row[6], row[1], row[2], *row[7:]) for row in page if row[6] is not None]
        pages.append(StreamPage(page[0][3], page[0][4], events, is_diverged=page[0][5]))
    return pages


async def read_log(
    db: SchemaConnection,
    after: int,
    limit: int,
    types: Collection[str] | None,
    event_types: Collection[str] | None,
    after_stamp: CommitStamp | None,
) -> LogPage:
    """Return the next page of the log, which never ends within a commit.

    Raises:
        LogRolledBack: The log ends before `after`, or has another event there.
    """
    rows = await db.fetch(
        _LOG,
        after,
        min(after + limit, MAX_NUMBER),
        _listed(types),
        MAX_PAGE_BYTES,
        _listed(event_types),
        *(after_stamp or (None, None)),
    )
    newest, end, commit_id, recorded_at, is_other = rows[0][:5]
    if after > newest or is_other:
        raise LogRolledBack("a reader", after, newest)
    stamp = None if end == after else CommitStamp(commit_id, recorded_at)
    return LogPage(end, _events(rows, 5), end < newest, stamp)


async def read_backwards(
    db: SchemaConnection, before: int, limit: int, types: Collection[str] | None, event_types: Collection[str] | None
) -> LogPage:
    """Return the page of the log before a position, newest event first, which never ends within a commit."""
    rows = await db.fetch(_BACKWARDS, before, limit, _listed(types), MAX_PAGE_BYTES, _listed(event_types))
    end = min(rows[0][0], rows[0][1])
    return LogPage(end, _events(rows, 2), more=end > 1)


def _listed(names: Collection[str] | None) -> list[str] | None:
    return None if names is None else list(names)


def _events(rows: Sequence[Row], first: int) -> list[RecordedEvent]:
    """Return the events of rows, whose columns begin at this index; NULL where there is none."""
    return [RecordedEvent(*row[first:]) for row in rows if row[first] is not None]


async def list_aggregates(
    db: SchemaConnection, aggregate_type: str | None, after: tuple[str, str], limit: int
) -> list[AggregateSummary]:
    """Return aggregates in order, after a key."""
    if aggregate_type is None:
        rows = await db.fetch(_AGGREGATES_OF_ALL_TYPES, *after, limit)
    elif after[0] > aggregate_type:
        rows = []
    else:
        id_after = after[1] if after[0] == aggregate_type else ""
        rows = await db.fetch(_AGGREGATES_OF_TYPE, aggregate_type, id_after, limit)
    return [AggregateSummary(*row) for row in rows]


async def list_aggregate_types(db: SchemaConnection) -> list[str]:
    """Return the types of all aggregates with events, in order."""
    return [row[0] for row in await db.fetch(_TYPES)]


async def find_commands(db: SchemaConnection, command_ids: Collection[str]) -> dict[str, RecordedCommand]:
    """Return recorded commands by id, once a synchronous standby has them too, if there is one.

    Raises:
        NotReplicated: It has not confirmed them in time.
    """
    rows = await db.fetch(_COMMANDS, list(command_ids))
    if rows and rows[0][-1]:
        await wait_for_standby(db)
    return {command_id: RecordedCommand(command_id, *rest) for command_id, *rest, _ in rows}


async def load_snapshots(
    db: SchemaConnection, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
) -> dict[str, StoredSnapshot]:
    """Return snapshots by aggregate id."""
    rows = await db.fetch(_SNAPSHOTS, aggregate_type, list(aggregate_ids), state_version)
    return {
        id: StoredSnapshot(
            aggregate_type,
            id,
            state_version,
            sequence,
            state_type,
            payload,
            checksum,
            taken_at,
            stamp_of(commit_id, recorded_at),
        )
        for id, sequence, state_type, payload, checksum, taken_at, commit_id, recorded_at in rows
    }
