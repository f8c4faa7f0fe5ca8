"""Requests to the workers of queries: functions on the writer's and the reader's thread."""

import sqlite3
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from eventree.stores.contract import QueryRequest, RequestAnswer
from eventree.stores.contract.requests import KEEP_ANSWERS, MAX_REQUESTS
from eventree.stores.sqlite.connection import writing

_EXPIRE: Final = "DELETE FROM query_requests WHERE answered_at <= ?"
_IS_KNOWN: Final = "SELECT 1 FROM query_requests WHERE id = ?"
_PUT: Final = """
INSERT INTO query_requests (id, name, version, action, argument) SELECT ?1, ?2, ?3, ?4, ?5
WHERE (SELECT count(*) FROM query_requests WHERE name = ?2 AND version = ?3 AND answered_at IS NULL) < ?6
"""
_WAITING: Final = """
SELECT id, name, version, action, argument FROM query_requests
WHERE name = ? AND version = ? AND answered_at IS NULL ORDER BY number
"""
_ANSWER: Final = """
UPDATE query_requests SET answered_at = ?, result = ?, error = ?, detail = ?
WHERE id = ? AND name = ? AND version = ? AND answered_at IS NULL
"""
_IS_ANSWERED: Final = "SELECT 1 FROM query_requests WHERE id = ? AND answered_at IS NOT NULL"
_TAKE: Final = """
DELETE FROM query_requests WHERE id = ? AND answered_at IS NOT NULL RETURNING result, error, detail
"""


def put(db: sqlite3.Connection, request: QueryRequest, deadline: float) -> bool:
    """Put a request; return whether there was room."""
    values = (request.id.bytes, request.name, request.version, request.action, request.argument)
    with writing(db, deadline):
        db.execute(_EXPIRE, ((time.time() - KEEP_ANSWERS) * 1e6,))
        is_known = db.execute(_IS_KNOWN, values[:1]).fetchone() is not None
        return is_known or db.execute(_PUT, (*values, MAX_REQUESTS)).rowcount == 1


def load(db: sqlite3.Connection, name: str, version: int) -> list[QueryRequest]:
    """Return the requests that wait, in order."""
    return [QueryRequest(UUID(bytes=id), *rest) for id, *rest in db.execute(_WAITING, (name, version))]


def answer(db: sqlite3.Connection, name: str, version: int, answers: Sequence[RequestAnswer], now: int) -> None:
    """Answer requests of a query within a transaction; `now` is in microseconds since 1970."""
    rows = [(now, one.result, one.error, one.detail, one.id.bytes, name, version) for one in answers]
    db.executemany(_ANSWER, rows)


def is_answered(db: sqlite3.Connection, id: UUID) -> bool:
    """Return whether there is an answer to a request."""
    return db.execute(_IS_ANSWERED, (id.bytes,)).fetchone() is not None


def take(db: sqlite3.Connection, id: UUID, deadline: float) -> RequestAnswer | None:
    """Return the answer to a request and delete both; None if there is none."""
    with writing(db, deadline):
        row = db.execute(_TAKE, (id.bytes,)).fetchone()
    return None if row is None else RequestAnswer(id, *row)
