"""The write-ahead log (WAL): limit its size, and log a bug in older versions of SQLite."""

import logging
import os
import sqlite3
from functools import cache
from pathlib import Path
from typing import Final

logger = logging.getLogger("eventree")

MAX_BYTES: Final = 64 * 1024 * 1024
"""The size above which the WAL is truncated, in bytes."""

_PATIENCE = 200
"""Milliseconds to wait for readers, each of which only has to finish its current read."""


class Wal:
    """Limit the WAL of a database, on the thread of a connection.

    SQLite copies the WAL into the database at commits and then restarts it, but only while there are no readers: one
    long read, or short reads that overlap, let it grow without limit. A checkpoint that waits for readers handles
    overlapping ones. A long read ends by itself, and `journal_size_limit` then truncates the file.
    """

    def __init__(self, path: str) -> None:
        """Create the limit for a database, which need not exist yet."""
        self._file = f"{os.path.realpath(path)}-wal"  # SQLite follows links before it names the file
        self._changes = 0
        self._limit = MAX_BYTES

    def limit_wal_size(self, db: sqlite3.Connection) -> None:
        """Truncate the WAL if the connection wrote and it is too large; log once if that is not possible."""
        if db.total_changes == self._changes or db.in_transaction:
            return
        self._changes = db.total_changes
        size = self._size()
        if size <= MAX_BYTES:
            self._limit = MAX_BYTES
        elif size > self._limit and not _truncate(db):
            if self._limit == MAX_BYTES:
                logger.warning(
                    "%s has grown to %d MiB because of a long read; it is truncated once that read ends",
                    self._file,
                    size // 1024**2,
                )
            self._limit = size + MAX_BYTES  # commands wait during a truncation, so retry rarely

    def _size(self) -> int:
        try:
            return Path(self._file).stat().st_size
        except OSError:
            return 0


def _truncate(db: sqlite3.Connection) -> bool:
    """Copy the whole WAL into the database and truncate it; return whether readers allowed it."""
    db.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
    try:
        busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:  # the WAL just stays large; commits are not affected
        return False
    else:
        return not busy
    finally:
        db.execute("PRAGMA busy_timeout = 0")


@cache
def mention_reset_bug(version: tuple[int, ...]) -> None:
    """Log once if a version of SQLite can corrupt a file that several processes write.

    It is not a warning, because most installed versions have the bug, and most files are used by one process.
    """
    if _has_reset_bug(version):
        logger.info(
            "SQLite %s can corrupt a file that several processes write at the same instant (its WAL-reset bug); "
            "use SQLite 3.51.3 or newer, a single process per file, or Postgres",
            ".".join(map(str, version)),
        )


def _has_reset_bug(version: tuple[int, ...]) -> bool:
    """Return whether a version lacks the fix of 3.51.3, which was backported to 3.50.7 and 3.44.6."""
    return version < (3, 51, 3) and not (3, 50, 7) <= version < (3, 51) and not (3, 44, 6) <= version < (3, 45)
