"""Snapshots that were damaged in their store, whichever it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import aiosqlite

from eventree import MemoryStore, SQLiteStore
from eventree.sourcing.snapshots.codec import SnapshotCodec, checksum_of
from sourcing.ledger import Ledger

if TYPE_CHECKING:
    from eventree.stores.postgres import PostgresStore

AnyStore: TypeAlias = "MemoryStore | SQLiteStore | PostgresStore"
Change: TypeAlias = str | int


@asynccontextmanager
async def opened(place: str) -> AsyncIterator[AnyStore]:
    """Open the store of a place: nothing is in memory, else it is the DSN of Postgres or the path of a file."""
    if not place:
        async with MemoryStore() as memory:
            yield memory
    elif place.startswith("postgresql://"):
        from eventree.stores.postgres import PostgresStore  # noqa: PLC0415 - its driver is an extra

        async with PostgresStore(place) as postgres:
            yield postgres
    else:
        async with SQLiteStore(place) as sqlite:
            yield sqlite


async def damage(store: AnyStore, place: str, id: str, **changes: Change) -> None:
    """Change columns of the snapshots of an aggregate behind the back of the store."""
    if isinstance(store, MemoryStore):
        changed: Any = changes
        store._snapshots |= {key: replace(one, **changed) for key, one in store._snapshots.items() if key[1] == id}
        return
    columns = ", ".join(f"{column} = {_literal(value)}" for column, value in changes.items())
    where = f"stream IN (SELECT stream FROM {{}}streams WHERE aggregate_id = {_literal(id)})"
    if isinstance(store, SQLiteStore):
        async with aiosqlite.connect(place) as file:
            await file.execute(f"UPDATE snapshots SET {columns} WHERE {where.format('')}")
            await file.commit()
        return
    import asyncpg  # noqa: PLC0415 - an extra

    server = await asyncpg.connect(place)
    try:
        await server.execute(f"UPDATE eventree.snapshots SET {columns} WHERE {where.format('eventree.')}")
    finally:
        await server.close()


async def damage_signed(store: AnyStore, place: str, codec: SnapshotCodec[Ledger], id: str, **changes: Change) -> None:
    """Change the snapshot of an aggregate so that its checksum is right: as if the code or the log had changed."""
    changed: Any = changes
    for stored in (await store.load_snapshots(codec.name, [id], codec.state_version)).values():
        await damage(store, place, id, **changes, checksum=checksum_of(replace(stored, **changed)))


def _literal(value: Change) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
