"""The write-ahead log (WAL): kept from growing without bound, and a bug that SQLite had in it for long."""

import logging
import os
import sqlite3
from pathlib import Path
from typing import Final

logger = logging.getLogger("eventree")

MAX_BYTES: Final = 64 * 1024 * 1024
"""How long the WAL may become before something is done about it."""

_PATIENCE = 200
"""Milliseconds to wait for readers; each only has to finish what it reads just now."""


class Wal:
    """Watch the WAL of a database, on the thread of a connection.

    SQLite copies the WAL into the database at commits and then begins it again, but only in a moment in which nobody
    reads: one long read, or short ones that overlap, let it grow for good. A checkpoint that waits for readers ends
    the second; the first ends by itself, and `journal_size_limit` cuts the file then.
    """

    def __init__(self, path: str) -> None:
        """Name the database."""
        self._file = f"{os.path.realpath(path)}-wal"  # SQLite follows links before it names the file
        self._changes = 0
        self._limit = MAX_BYTES

    def limit_wal_size(self, db: sqlite3.Connection) -> None:
        """Shorten the WAL if the connection wrote and it has become too long; log once if that is not possible."""
        if db.total_changes == self._changes or db.in_transaction:
            return
        self._changes = db.total_changes
        size = self._size()
        if size <= MAX_BYTES:
            self._limit = MAX_BYTES
        elif size > self._limit and not _truncate(db):
            if self._limit == MAX_BYTES:
                logger.warning(
                    "%s has grown to %d MiB, as somebody keeps reading the database; it is cut when they have ended",
                    self._file,
                    size // 1024**2,
                )
            self._limit = size + MAX_BYTES  # commands wait meanwhile, so try rarely

    def _size(self) -> int:
        try:
            return Path(self._file).stat().st_size
        except OSError:
            return 0


def _truncate(db: sqlite3.Connection) -> bool:
    """Copy the whole WAL into the database and cut it; return whether readers let us."""
    db.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
    try:
        busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:  # what was committed stays committed
        return False
    else:
        return not busy
    finally:
        db.execute("PRAGMA busy_timeout = 0")


def warn_of_reset_bug(path: str) -> None:
    """Log a warning if this SQLite can damage a file that several processes write, and another one has it open."""
    others = _other_processes(path) if _has_reset_bug(sqlite3.sqlite_version_info) else set[int]()
    if others:
        logger.warning(
            "%s is open in other processes too (%s), and SQLite %s can damage a file that several processes write at "
            "the same instant (its WAL-reset bug); use SQLite 3.51.3 or newer, one process, or Postgres",
            path,
            ", ".join(map(str, sorted(others))),
            sqlite3.sqlite_version,
        )


def _has_reset_bug(version: tuple[int, ...]) -> bool:
    """Tell whether a version is from before the fix in 3.51.3, which 3.50.7 and 3.44.6 have too."""
    return version < (3, 51, 3) and not (3, 50, 7) <= version < (3, 51) and not (3, 44, 6) <= version < (3, 45)


def _other_processes(path: str) -> set[int]:
    """Return the processes that have the database open beside us, as far as the system tells: Linux does.

    Every connection keeps a lock on the WAL's index. Asking for that lock would mean to open the file, and closing it
    again would drop the locks that SQLite itself holds in this process.
    """
    try:
        index = Path(f"{os.path.realpath(path)}-shm").stat()
        locks = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return set()
    file = f"{os.major(index.st_dev):02x}:{os.minor(index.st_dev):02x}:{index.st_ino}"
    rows = (line.split() for line in locks.splitlines())
    return {int(pid) for *_, pid, locked, _, _ in rows if locked == file} - {os.getpid()}
