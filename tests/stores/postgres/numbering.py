"""A table of numbers beside a checkpoint, for tests of transactions on Postgres."""

from typing import TypeAlias

from eventree.stores.contract import Checkpoint, CheckpointUpdate, StoreTransaction
from eventree.stores.postgres import PostgresStore
from eventree.stores.postgres.driver import Connection
from sourcing.totals import rows

Transaction: TypeAlias = StoreTransaction[Connection]


async def make(store: PostgresStore) -> Checkpoint:
    async with store.transaction() as transaction:
        await transaction.connection.execute("CREATE TABLE numbers (number INT)")
        return await transaction.claim_checkpoint("query", 1)


async def insert(transaction: Transaction, number: int) -> None:
    await transaction.connection.execute(f"INSERT INTO numbers VALUES ({number})")


async def save(transaction: Transaction, held: Checkpoint, position: int) -> None:
    await transaction.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(position, held.fencing_token)))


async def numbers(dsn: str) -> list[int]:
    return [number for (number,) in await rows(dsn, "SELECT number FROM eventree.numbers ORDER BY number")]


async def checkpoint(store: PostgresStore) -> Checkpoint:
    stored = await store.load_checkpoint("query", 1)
    assert stored is not None
    return stored.checkpoint
