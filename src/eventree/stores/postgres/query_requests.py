"""Requests to the workers of queries: one statement each, on the connection passed to it."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from eventree.stores.contract import QueryRequest, RequestAnswer
from eventree.stores.contract.requests import KEEP_ANSWERS, MAX_REQUESTS
from eventree.stores.postgres.schema import SchemaConnection

_PUT: Final = """
WITH expired AS (
  DELETE FROM {schema}.query_requests WHERE answered_at <= clock_timestamp() - $7 * interval '1 second'),
known AS (SELECT id FROM {schema}.query_requests WHERE id = $1),
put AS (
  INSERT INTO {schema}.query_requests (id, name, version, action, argument) SELECT $1, $2, $3, $4, $5
  WHERE (SELECT count(*) FROM {schema}.query_requests WHERE name = $2 AND version = $3 AND answered_at IS NULL) < $6
  ON CONFLICT (id) DO NOTHING RETURNING id)
SELECT id FROM known UNION ALL SELECT id FROM put
"""
_WAITING: Final = """
SELECT id, name, version, action, argument FROM {schema}.query_requests
WHERE name = $1 AND version = $2 AND answered_at IS NULL ORDER BY number
"""
_TAKE: Final = """
DELETE FROM {schema}.query_requests WHERE id = $1 AND answered_at IS NOT NULL RETURNING result, error, detail
"""


async def put(db: SchemaConnection, request: QueryRequest) -> bool:
    """Put a request; return whether there was room."""
    values = (request.id, request.name, request.version, request.action, request.argument)
    return bool(await db.fetch(_PUT, *values, MAX_REQUESTS, KEEP_ANSWERS))


async def load(db: SchemaConnection, name: str, version: int) -> Sequence[QueryRequest]:
    """Return the requests that wait, in order."""
    return [QueryRequest(UUID(int=row[0].int), *row[1:]) for row in await db.fetch(_WAITING, name, version)]


async def take(db: SchemaConnection, id: UUID) -> RequestAnswer | None:
    """Return the answer to a request and delete both; None if there is none."""
    for result, error, detail in await db.fetch(_TAKE, id):
        return RequestAnswer(id, result, error, detail)
    return None
