"""A projection that counts, in plain SQL that SQLite and Postgres both understand, and a look at what it counted."""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias

from eventree import EventEnvelope
from sourcing.ledger import Added

Events: TypeAlias = Sequence[EventEnvelope[Added]]


class Connection(Protocol):
    """What the connections of both drivers have."""

    async def execute(self, sql: str, /) -> object: ...


async def setup(connection: Connection) -> None:
    await connection.execute("CREATE TABLE totals (id TEXT PRIMARY KEY, amount BIGINT, events BIGINT)")


async def project(connection: Connection, events: Events) -> None:
    for event in events:
        await count(connection, event, "totals")


async def count(connection: Connection, event: EventEnvelope[Added], table: str) -> None:
    await connection.execute(
        # Plain text, as the drivers differ in how parameters are written.
        f"INSERT INTO {table} VALUES ('{event.aggregate_id}', {event.payload.amount}, 1) ON CONFLICT (id) "
        f"DO UPDATE SET amount = {table}.amount + excluded.amount, events = {table}.events + 1"
    )


async def clear(connection: Connection) -> None:
    await connection.execute("DELETE FROM totals")


def before(first: Callable[[Events], Awaitable[None]]) -> Callable[[Connection, Events], Awaitable[None]]:
    """Return a projection that counts, then does something."""

    async def counts(connection: Connection, events: Events) -> None:
        await project(connection, events)
        await first(events)

    return counts


async def rows(place: str, sql: str) -> list[tuple[Any, ...]]:
    """Return what a reader outside of the store sees."""
    if place.startswith("postgresql:"):
        import asyncpg  # noqa: PLC0415 - it may be missing

        connection = await asyncpg.connect(place)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()
    database = sqlite3.connect(place)
    try:
        return database.execute(sql).fetchall()
    finally:
        database.close()


async def totals(place: str) -> dict[str, tuple[int, int]]:
    """Return amount and number of events by id."""
    return {id: (amount, events) for id, amount, events in await rows(place, "SELECT id, amount, events FROM totals")}
