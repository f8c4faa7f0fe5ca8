"""Short ways to make the values that stores take, and to look at what they leave behind."""

import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from eventree.testing.store_values import TYPE, append, command, event, log, positions, request, snapshot, stream

__all__ = [
    "TYPE",
    "append",
    "command",
    "event",
    "living",
    "log",
    "positions",
    "request",
    "run_sql",
    "snapshot",
    "stream",
]


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
