"""Rows that another session keeps locked: callers hear so, before their own time is up."""

import asyncio

import pytest

from eventree import Err, EventSourcing
from eventree.errors import NonPositiveArgument, StoreBusy
from eventree.stores.postgres import PostgresStore
from sourcing.ledger import add, ledger
from stores.postgres.backends import held_head, psql


async def test_commands_are_told_that_the_store_is_busy(postgres_dsn: str) -> None:
    async with PostgresStore(postgres_dsn) as store, EventSourcing(ledger, store) as system:
        (await system.execute("a", add(1))).unwrap()
        async with held_head(postgres_dsn):
            first = [asyncio.create_task(system.execute(id, add(1))) for id in "abc"]
            await asyncio.sleep(0.1)  # so that the others come while a batch waits
            later = [asyncio.create_task(system.execute(id, add(1))) for id in "abc"]
            answers = await asyncio.gather(*first, *later)
        assert [type(answer.error) for answer in answers if isinstance(answer, Err)] == [StoreBusy] * 6
        (await system.execute("a", add(1))).unwrap()


async def test_another_lock_timeout_of_the_database_does_not_shorten_the_store_s(postgres_dsn: str) -> None:
    database = postgres_dsn.rpartition("/")[2]
    async with psql(postgres_dsn) as db:
        await db.execute(f"ALTER DATABASE {database} SET lock_timeout = '1ms'")
    try:
        async with PostgresStore(postgres_dsn, lock_timeout=7) as store:
            assert store._reader is not None
            assert await store._reader.run(lambda db: db.fetchval("SHOW lock_timeout")) == "7s"
            async with store.transaction() as transaction:  # it holds for the statements of a projection
                assert await transaction.connection.fetchval("SHOW lock_timeout") == "1ms"
    finally:  # other tests are given the same database
        async with psql(postgres_dsn) as db:
            await db.execute(f"ALTER DATABASE {database} RESET lock_timeout")


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_lock_timeout_that_is_not_positive_is_refused(seconds: float) -> None:
    with pytest.raises(NonPositiveArgument, match="lock_timeout"):
        PostgresStore("postgresql://127.0.0.1:1/nowhere", lock_timeout=seconds)
