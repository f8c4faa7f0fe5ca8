"""Checkpoints: functions on the writer's thread, in their own transaction or (`_inside`) in an open one."""

import sqlite3
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from eventree.errors import CheckpointFenced, CheckpointHeld, LogRolledBack
from eventree.stores.contract import (
    Checkpoint,
    CheckpointUpdate,
    LeaseRequest,
    ParkedCommit,
    QuerySummary,
    StoredCheckpoint,
    StoredFailure,
    StoredStop,
)
from eventree.stores.contract.checkpoints import NEARLY
from eventree.stores.renewals import Renewal
from eventree.stores.sqlite import query_requests
from eventree.stores.sqlite.connection import writing
from eventree.stores.sqlite.reads import as_json, columns_of, from_micros, head, stamp_of, to_micros
from eventree.stores.versions import VersionRow, decide_make_live

# A new checkpoint starts no later than the live version, so that no event is missed in between, and the first version
# is live. An existing one is updated only if its lease has expired or has the same owner; otherwise no row is returned.
_CLAIM = """
INSERT INTO checkpoints (name, version, position, fencing_token, owner, lease_until, lease_length, live)
VALUES (?, ?, min(coalesce(?, (SELECT max(position) FROM events), 0),
                  coalesce((SELECT position FROM checkpoints WHERE name = ? AND live), 9223372036854775807)), 1, ?, ?,
        ?, NOT EXISTS (SELECT 1 FROM checkpoints WHERE name = ?))
ON CONFLICT (name, version) DO UPDATE
SET fencing_token = fencing_token + 1, owner = excluded.owner, lease_until = excluded.lease_until,
  lease_length = excluded.lease_length, stop_kind = NULL, stop_reason = NULL
WHERE lease_until <= ? OR owner = excluded.owner
RETURNING position, fencing_token, commit_id, recorded_at
"""
_HOLDER = "SELECT owner, min(lease_until - ?, lease_length) FROM checkpoints WHERE name = ? AND version = ?"
# A lease lasts longer than it was given for only if the system clock was ahead when it was written.
_OVERLONG = "SELECT 1 FROM checkpoints WHERE lease_until - lease_length > ? LIMIT 1"
_SHORTEN = "UPDATE checkpoints SET lease_until = ?1 + lease_length WHERE lease_until - lease_length > ?1"
_SAVE = """
UPDATE checkpoints SET position = ?1, commit_id = ?2, recorded_at = ?3, skipped = skipped + ?4,
  replay_until = coalesce(?5, replay_until), lease_until = coalesce(?6, lease_until),
  lease_length = coalesce(?7, lease_length),
  failed_position = ?12, failed_attempts = ?13, failed_reason = ?14, failed_at = ?15, paused = coalesce(?16, paused)
WHERE name = ?8 AND version = ?9 AND fencing_token = ?10 AND position = coalesce(?11, position)
  AND (?2 IS NULL OR EXISTS (SELECT 1 FROM events e
                             WHERE e.position = ?1 AND e.commit_id = ?2 AND e.recorded_at = ?3))
"""
_POSITION = "SELECT position FROM checkpoints WHERE name = ? AND version = ? AND fencing_token = ?"
_PARK = """
INSERT OR REPLACE INTO parked
  (name, version, position, last_position, aggregate_type, aggregate_id, reason, parked_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_UNPARK = "DELETE FROM parked WHERE name = ? AND version = ? AND position IN (SELECT value FROM json_each(?))"
_RENEW = "UPDATE checkpoints SET lease_until = ?, lease_length = ? WHERE name = ? AND version = ? AND fencing_token = ?"
_STOP = """
UPDATE checkpoints SET stop_kind = ?, stop_reason = ?, lease_until = 0 WHERE name = ? AND version = ? AND owner = ?
"""
_VERSIONS = """
SELECT version, position, fencing_token, replay_until, live, lease_until > ? FROM checkpoints WHERE name = ?
"""
_RETIRE = """
UPDATE checkpoints SET live = 0, fencing_token = fencing_token + 1, lease_until = 0
WHERE name = ? AND live AND version <> ?
"""
_MAKE_LIVE = "UPDATE checkpoints SET live = 1, replay_until = ? WHERE name = ? AND version = ?"
_LOAD = """
SELECT c.position, c.fencing_token, c.owner,
       (SELECT count(*) FROM parked p WHERE p.name = c.name AND p.version = c.version),
       c.skipped, c.replay_until, coalesce(live.version, 0), coalesce(live.position, 0),
       (SELECT coalesce(max(n.version), 0) FROM checkpoints n WHERE n.name = c.name AND n.version > c.version
         AND n.lease_until > ?1 AND n.lease_until - n.lease_length <= ?1 AND n.position + ?2 >= c.position),
       c.paused, c.failed_position, c.failed_attempts, c.failed_reason, c.failed_at, c.stop_kind, c.stop_reason,
       (SELECT count(*) FROM query_requests r
        WHERE r.name = c.name AND r.version = c.version AND r.answered_at IS NULL),
       max(min(c.lease_until - ?1, c.lease_length), 0)
FROM checkpoints c LEFT JOIN checkpoints live ON live.name = c.name AND live.live WHERE c.name = ?3 AND c.version = ?4
"""
_PARKED = """
SELECT position, last_position, aggregate_type, aggregate_id, reason, parked_at
FROM parked WHERE name = ? AND version = ? AND position > ? ORDER BY position LIMIT ?
"""
_QUERIES = """
SELECT name, version, position, fencing_token, owner, max(min(lease_until - ?, lease_length), 0), live,
       (SELECT count(*) FROM parked p WHERE p.name = c.name AND p.version = c.version), skipped, replay_until
FROM checkpoints c ORDER BY name, version
"""


def claim(db: sqlite3.Connection, name: str, version: int, lease: LeaseRequest, deadline: float) -> Checkpoint:
    """Claim a checkpoint; raise `CheckpointHeld` if another worker holds the lease."""
    try:
        with writing(db, deadline):
            return claim_inside(db, name, version, lease)
    except CheckpointHeld:
        shorten_overlong_leases(db, deadline)
        raise


def claim_inside(db: sqlite3.Connection, name: str, version: int, lease: LeaseRequest) -> Checkpoint:
    """Claim a checkpoint within a transaction; raise `CheckpointHeld` if another worker holds the lease."""
    now, length = _now(), _micros(lease.seconds)
    values = (name, version, lease.start, name, lease.owner, now + length, length, name, now)
    row = db.execute(_CLAIM, values).fetchone()
    if row is None:
        owner, left = db.execute(_HOLDER, (now, name, version)).fetchone()
        raise CheckpointHeld(name, owner, left / 1e6)
    position, fencing_token, *stamp = row
    return Checkpoint(position, fencing_token, stamp_of(*stamp))


def shorten_overlong_leases(db: sqlite3.Connection, deadline: float) -> None:
    """Let leases that were written while the system clock was ahead end in as much time as they were given for.

    Otherwise a lease written an hour ahead of the corrected clock would keep others out for an hour. Its holder, if it
    is alive, renews it in time.
    """
    if db.execute(_OVERLONG, (_now(),)).fetchone() is not None:
        with writing(db, deadline):
            db.execute(_SHORTEN, (_now(),))


def save(db: sqlite3.Connection, name: str, version: int, update: CheckpointUpdate, deadline: float) -> None:
    """Apply an update to a checkpoint; raise `CheckpointFenced` if another worker has claimed it."""
    with writing(db, deadline):
        save_inside(db, name, version, update)


def save_inside(db: sqlite3.Connection, name: str, version: int, update: CheckpointUpdate) -> None:
    """Apply an update to a checkpoint within a transaction.

    Raises:
        CheckpointFenced: Another worker has claimed it.
        LogRolledBack: The checkpoint or the log has gone back in time.
    """
    length = _micros(update.seconds) if update.seconds else None
    replay_until = update.replay_until or None
    values = (
        update.checkpoint.position,
        *columns_of(update.checkpoint.stamp),
        update.skipped,
        replay_until,
        None if length is None else _now() + length,
        length,
        name,
        version,
        update.checkpoint.fencing_token,
        update.moved_from,
        *_failure_columns(update.failure),
        update.paused,
    )
    if db.execute(_SAVE, values).rowcount != 1:
        raise _refusal(db, name, version, update)
    if update.unpark:
        db.execute(_UNPARK, (name, version, as_json(list(update.unpark))))
    db.executemany(_PARK, [(name, version, *_columns(parked)) for parked in update.park])
    if update.answers:
        query_requests.answer(db, name, version, update.answers, _now())


def _refusal(
    db: sqlite3.Connection, name: str, version: int, update: CheckpointUpdate
) -> CheckpointFenced | LogRolledBack:
    row = db.execute(_POSITION, (name, version, update.checkpoint.fencing_token)).fetchone()
    if row is None:
        return CheckpointFenced(name, update.checkpoint.fencing_token)
    if update.moved_from is not None and row[0] != update.moved_from:
        return LogRolledBack(f"query {name!r}", update.moved_from, row[0])
    return LogRolledBack(f"query {name!r}", update.checkpoint.position, head(db))


def make_live(db: sqlite3.Connection, name: str, version: int, fencing_token: int, deadline: float) -> bool:
    """Make a version the live one, if it may be; raise `CheckpointFenced` if another worker has claimed it."""
    with writing(db, deadline):
        return make_live_inside(db, name, version, fencing_token)


def make_live_inside(db: sqlite3.Connection, name: str, version: int, fencing_token: int) -> bool:
    """Make a version the live one within a transaction; raise `CheckpointFenced` if another worker has claimed it."""
    now = _now()
    db.execute(_SHORTEN, (now,))  # the lease of the version that is live counts
    rows = [VersionRow(*row) for row in db.execute(_VERSIONS, (now, name))]
    replay_until = decide_make_live(name, rows, version, fencing_token)
    if replay_until is None:
        return False
    db.execute(_RETIRE, (name, version))
    db.execute(_MAKE_LIVE, (replay_until, name, version))
    return True


def renew_all(db: sqlite3.Connection, renewals: Sequence[Renewal], deadline: float) -> list[bool]:
    """Renew leases; return for each whether the fencing token is still the newest."""
    with writing(db, deadline):
        return [_renew(db, renewal) for renewal in renewals]


def _renew(db: sqlite3.Connection, renewal: Renewal) -> bool:
    length = _micros(renewal.seconds)
    return db.execute(_RENEW, (_now() + length, length, *renewal[:3])).rowcount == 1


def stop(db: sqlite3.Connection, name: str, version: int, owner: str, reported: StoredStop, deadline: float) -> bool:
    """Report that a worker lets go of a query; return whether it was the last to claim it."""
    with writing(db, deadline):
        return db.execute(_STOP, (reported.kind, reported.reason, name, version, owner)).rowcount == 1


def load(db: sqlite3.Connection, name: str, version: int) -> StoredCheckpoint | None:
    """Return everything stored about a checkpoint; None if it does not exist."""
    now = _now()
    row = db.execute(_LOAD, (now, NEARLY, name, version)).fetchone()
    if row is None:
        return None
    position, fencing_token, *rest = row[:9]
    paused, failed_position, attempts, reason, failed_at, stop_kind, stop_reason, waiting, left = row[9:]
    failure = None if attempts is None else StoredFailure(failed_position, attempts, reason, from_micros(failed_at))
    stopped = None if stop_kind is None else StoredStop(stop_kind, stop_reason)
    fields: list[Any] = [*rest, bool(paused), failure, stopped, waiting, left / 1e6]
    return StoredCheckpoint(Checkpoint(position, fencing_token), *fields)


def load_parked(db: sqlite3.Connection, name: str, version: int, after: int, limit: int) -> list[ParkedCommit]:
    """Return a page of parked commits."""
    rows = db.execute(_PARKED, (name, version, after, limit))
    return [
        ParkedCommit(position, last, aggregate_type, aggregate_id, reason, from_micros(parked_at))
        for position, last, aggregate_type, aggregate_id, reason, parked_at in rows
    ]


def list_queries(db: sqlite3.Connection) -> list[QuerySummary]:
    """Return every version of every query, in order."""
    return [
        QuerySummary(name, version, Checkpoint(position, fence), owner, left / 1e6, bool(live), *counts)
        for name, version, position, fence, owner, left, live, *counts in db.execute(_QUERIES, (_now(),))
    ]


def _failure_columns(failure: StoredFailure | None) -> tuple[object, ...]:
    if failure is None:
        return (None, None, None, None)
    return (failure.position, failure.attempts, failure.reason, to_micros(failure.failed_at))


def _columns(parked: ParkedCommit) -> tuple[object, ...]:
    return (
        parked.position,
        parked.last_position,
        parked.aggregate_type,
        parked.aggregate_id,
        parked.reason,
        to_micros(parked.parked_at),
    )


def _now() -> int:
    return time.time_ns() // 1_000


def _micros(seconds: float) -> int:
    return timedelta(seconds=seconds) // timedelta(microseconds=1)
