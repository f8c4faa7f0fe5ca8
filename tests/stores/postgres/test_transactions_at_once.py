"""Several transactions on Postgres at once, and one that closes its store or starts tasks: all get their turn."""

import asyncio

import pytest

from eventree import StoreUnavailable
from eventree.errors import WouldDeadlock
from eventree.stores.contract import Checkpoint, LeaseRequest
from eventree.stores.postgres import PostgresStore
from stores.postgres.backends import psql, wait_for_locks
from stores.postgres.numbering import checkpoint, insert, make, numbers, save


@pytest.fixture
async def held(store: PostgresStore) -> Checkpoint:
    """Make a table, and claim a checkpoint."""
    return await make(store)


async def test_of_two_first_versions_that_are_claimed_at_once_one_is_live(
    store: PostgresStore, postgres_dsn: str
) -> None:
    is_claimed, go_on = asyncio.Event(), asyncio.Event()

    async def first() -> Checkpoint:
        async with store.transaction() as transaction:
            held = await transaction.claim_checkpoint("query", 1, LeaseRequest("one", 60))
            is_claimed.set()
            await go_on.wait()
            return held

    async def second() -> Checkpoint:
        async with store.transaction() as transaction:
            await transaction.connection.execute("CREATE TABLE numbers (number INT)")
            held = await transaction.claim_checkpoint("query", 2, LeaseRequest("two", 60))
            await insert(transaction, 2)
            return held

    one = asyncio.create_task(first())
    await is_claimed.wait()
    two = asyncio.create_task(second())
    async with psql(postgres_dsn) as db:
        await wait_for_locks(db)
    go_on.set()
    assert list(await asyncio.gather(one, two)) == [Checkpoint(0, 1)] * 2
    assert await numbers(postgres_dsn) == [2]  # what it did before it had to wait is still there
    stored = await store.load_checkpoint("query", 2)
    assert stored is not None
    assert stored.live_version == 1


async def test_more_transactions_than_there_are_connections_take_turns(
    store: PostgresStore, postgres_dsn: str, held: Checkpoint
) -> None:
    processes = set[int]()
    open_now = most = 0

    async def use(number: int) -> None:
        nonlocal open_now, most
        async with store.transaction() as transaction:
            open_now += 1
            most = max(most, open_now)
            processes.add(transaction.connection.get_server_pid())
            await insert(transaction, number)
            await asyncio.sleep(0.005)
            open_now -= 1

    async with asyncio.timeout(20):
        await asyncio.gather(*map(use, range(40)))
    assert (most, len(processes)) == (4, 4)
    assert await numbers(postgres_dsn) == list(range(40))
    assert await checkpoint(store) == held


async def test_a_store_that_closes_ends_who_waits_for_a_transaction(postgres_dsn: str) -> None:
    store, inside = PostgresStore(postgres_dsn, notify=False), asyncio.Semaphore(0)

    async def stay() -> None:
        async with store.transaction():
            inside.release()
            await asyncio.Event().wait()

    async def use() -> None:
        async with store.transaction():
            pass

    async with store:
        holders = [asyncio.create_task(stay()) for _ in range(4)]
        for _ in holders:
            await inside.acquire()
        waiter = asyncio.create_task(use())
        await asyncio.sleep(0.02)
        assert not waiter.done()
    for holder in holders:
        holder.cancel()
    ends = await asyncio.gather(*holders, waiter, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 4 + [StoreUnavailable]


async def test_a_task_that_a_transaction_started_has_transactions_of_its_own_when_that_is_over(
    store: PostgresStore, postgres_dsn: str, held: Checkpoint
) -> None:
    is_over = asyncio.Event()

    async def later() -> None:
        with pytest.raises(WouldDeadlock):
            async with store.transaction():
                pass
        await is_over.wait()
        async with store.transaction() as transaction:
            await insert(transaction, 7)
            await save(transaction, held, 9)

    async with store.transaction():
        task = asyncio.create_task(later())
        await asyncio.sleep(0)
    is_over.set()
    await task
    assert await numbers(postgres_dsn) == [7]
