"""The schema of the SQLite store; configure and check connections when a database is opened."""

import sqlite3
import time
from typing import Final

from eventree.errors import SchemaTooNew, StoreUnusable
from eventree.stores.sqlite.connection import execute_when_unlocked, writing
from eventree.stores.sqlite.wal import MAX_BYTES, mention_reset_bug

SCHEMA_VERSION: Final = 1

_FULL = 2
_OURS = {
    *("eventree", "streams", "events", "commands", "checkpoints", "parked", "query_requests", "snapshots", "event_log"),
}

# Integer stream keys make inserts 1.5 times faster than text keys. `length` of a text stops at NUL, so the limits are
# checked on blobs. `commit_id` and `recorded_at` outside of `events` are the stamp of the event at `position` or
# `sequence`: they show whether it is still the same after the database has gone back in time. `owner`, `lease_until`
# and `lease_length` are the lease on a checkpoint; `live` marks the version in use. `failed_*` is the failure of the
# commit to be handled next, `stop_*` what the last worker has reported when it let go.
_TABLES = """
CREATE TABLE eventree (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  schema_version INTEGER NOT NULL,
  epoch BLOB NOT NULL
) STRICT;
INSERT INTO eventree VALUES (1, 1, randomblob(16));

CREATE TABLE streams (
  stream INTEGER PRIMARY KEY,
  aggregate_type TEXT NOT NULL CHECK (length(CAST(aggregate_type AS BLOB)) BETWEEN 1 AND 255),
  aggregate_id TEXT NOT NULL CHECK (length(CAST(aggregate_id AS BLOB)) BETWEEN 1 AND 255),
  sequence INTEGER NOT NULL CHECK (sequence >= 0),
  position INTEGER NOT NULL CHECK (position >= 0),
  commit_id BLOB,
  recorded_at INTEGER,
  UNIQUE (aggregate_type, aggregate_id)
) STRICT;

CREATE TABLE events (
  position INTEGER PRIMARY KEY CHECK (position >= 1),
  stream INTEGER NOT NULL,
  sequence INTEGER NOT NULL CHECK (sequence >= 1),
  event_type TEXT NOT NULL CHECK (length(CAST(event_type AS BLOB)) BETWEEN 1 AND 255),
  event_version INTEGER NOT NULL CHECK (event_version >= 1),
  payload TEXT NOT NULL CHECK (length(CAST(payload AS BLOB)) <= 1048576),
  metadata TEXT NOT NULL CHECK (length(CAST(metadata AS BLOB)) <= 65536),
  commit_id BLOB NOT NULL CHECK (length(commit_id) = 16),
  recorded_at INTEGER NOT NULL,
  UNIQUE (stream, sequence)
) STRICT;
CREATE TRIGGER events_are_never_updated BEFORE UPDATE ON events
  BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
  BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TABLE commands (
  command_id TEXT PRIMARY KEY CHECK (length(CAST(command_id AS BLOB)) BETWEEN 1 AND 255),
  stream INTEGER NOT NULL,
  first_sequence INTEGER NOT NULL CHECK (first_sequence >= 1),
  last_sequence INTEGER NOT NULL CHECK (last_sequence >= first_sequence - 1),
  fingerprint TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  position INTEGER NOT NULL CHECK (position >= 0),
  commit_id BLOB,
  recorded_at INTEGER,
  fencing_token INTEGER NOT NULL,
  owner TEXT NOT NULL,
  lease_until INTEGER NOT NULL,
  lease_length INTEGER NOT NULL,
  skipped INTEGER NOT NULL DEFAULT 0,
  replay_until INTEGER NOT NULL DEFAULT 0,
  live INTEGER NOT NULL DEFAULT 0,
  paused INTEGER NOT NULL DEFAULT 0,
  failed_position INTEGER,
  failed_attempts INTEGER,
  failed_reason TEXT,
  failed_at INTEGER,
  stop_kind TEXT,
  stop_reason TEXT,
  PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX one_version_is_live ON checkpoints (name) WHERE live;

CREATE TABLE parked (
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  position INTEGER NOT NULL,
  last_position INTEGER NOT NULL,
  aggregate_type TEXT NOT NULL,
  aggregate_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  parked_at INTEGER NOT NULL,
  PRIMARY KEY (name, version, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE query_requests (
  number INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  action TEXT NOT NULL,
  argument TEXT NOT NULL,
  answered_at INTEGER,
  result INTEGER,
  error TEXT,
  detail TEXT
) STRICT;
CREATE INDEX waiting_requests ON query_requests (name, version) WHERE answered_at IS NULL;

CREATE TABLE snapshots (
  stream INTEGER NOT NULL,
  state_version TEXT NOT NULL,
  sequence INTEGER NOT NULL CHECK (sequence >= 1),
  state_type TEXT NOT NULL,
  payload TEXT NOT NULL CHECK (length(CAST(payload AS BLOB)) <= 1048576),
  checksum INTEGER NOT NULL,
  taken_at INTEGER NOT NULL,
  commit_id BLOB,
  recorded_at INTEGER,
  PRIMARY KEY (stream, state_version)
) STRICT;

CREATE VIEW event_log AS
  SELECT e.position, aggregate_type, aggregate_id, e.sequence, event_type, event_version, payload, metadata,
         strftime('%Y-%m-%dT%H:%M:%fZ', e.recorded_at / 1000000.0, 'unixepoch') AS recorded_at,
         hex(e.commit_id) AS commit_id
  FROM events e JOIN streams USING (stream)
  ORDER BY e.position;
"""


def open_writer(db: sqlite3.Connection, path: str, busy_timeout: float) -> None:
    """Configure the connection that writes, and create the tables if they are missing.

    Raises:
        StoreUnusable: The database cannot be durable, or it has tables that eventree did not create.
        SchemaTooNew: A newer version of the library wrote it.
    """
    deadline = time.monotonic() + busy_timeout
    _wait_for_others(db, busy_timeout)
    _check_owner(db, path)  # before changing anything
    db.execute("PRAGMA page_size = 16384")  # affects new files only; inserts are 1.2 times faster
    mode = execute_when_unlocked(db, "PRAGMA journal_mode = WAL", deadline).fetchone()[0]
    if mode != "wal":
        raise StoreUnusable(path, f"its journal mode is {mode} and cannot be WAL; use a file on a local disk")
    _require_full_durability(db, path)
    db.execute(f"PRAGMA journal_size_limit = {MAX_BYTES}")
    with writing(db, deadline):
        if not _check_owner(db, path):
            for statement in _statements(_TABLES):
                db.execute(statement)
        db.execute("UPDATE eventree SET schema_version = schema_version")  # fails early if the file is read-only
    _wait_for_others(db, 0)  # from now on, `execute_when_unlocked` waits
    mention_reset_bug(sqlite3.sqlite_version_info)


def open_projection_connection(db: sqlite3.Connection, path: str) -> None:
    """Configure the connection on which projections write."""
    _wait_for_others(db, 0)
    _require_full_durability(db, path)
    db.execute(f"PRAGMA journal_size_limit = {MAX_BYTES}")


def open_read_only(db: sqlite3.Connection, path: str, busy_timeout: float) -> None:
    """Configure a connection of a store that only reads, and check that its tables are those of this version.

    Raises:
        StoreUnusable: The tables are missing, of an older version, or not created by eventree.
        SchemaTooNew: A newer version of the library wrote them.
    """
    open_reader(db, busy_timeout)
    if not _check_owner(db, path):
        raise StoreUnusable(path, "it has no tables of eventree; open it once without read_only, which creates them")
    found = db.execute("SELECT schema_version FROM eventree").fetchone()[0]
    if found < SCHEMA_VERSION:
        raise StoreUnusable(
            path,
            f"its schema version is {found}, this eventree needs {SCHEMA_VERSION}; "
            "open it once without read_only, which migrates it",
        )


def open_reader(db: sqlite3.Connection, busy_timeout: float) -> None:
    """Configure a connection that only reads."""
    _wait_for_others(db, busy_timeout)
    db.execute("PRAGMA query_only = ON")
    db.execute("PRAGMA wal_autocheckpoint = 0")  # the writer checkpoints


def _require_full_durability(db: sqlite3.Connection, path: str) -> None:
    db.execute("PRAGMA synchronous = FULL")
    level = db.execute("PRAGMA synchronous").fetchone()[0]
    if level < _FULL:
        raise StoreUnusable(
            path, f"it refuses synchronous=FULL (and stays at {level}), so commits would not be durable"
        )


def _wait_for_others(db: sqlite3.Connection, busy_timeout: float) -> None:
    db.execute(f"PRAGMA busy_timeout = {int(busy_timeout * 1000)}")


def _check_owner(db: sqlite3.Connection, path: str) -> bool:
    """Return whether our tables exist; raise if they are not ours or of a newer version."""
    taken = _OURS & {row[0].lower() for row in db.execute("SELECT name FROM sqlite_schema")}
    if not taken:
        return False
    try:
        row = db.execute("SELECT schema_version FROM eventree").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        row = None
    if row is None or not isinstance(row[0], int):
        raise StoreUnusable(path, f"it has tables not created by eventree ({', '.join(sorted(taken))}); use a new file")
    if row[0] > SCHEMA_VERSION:
        raise SchemaTooNew(path, row[0], SCHEMA_VERSION)
    return True


def _statements(script: str) -> list[str]:
    """Split a script into statements, as `executescript` would commit the open transaction."""
    statements: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
