"""Promises about transactions for projections."""

import asyncio
from typing import Any, TypeAlias

import pytest

from eventree.errors import CheckpointFenced, InvalidArgument, WouldDeadlock
from eventree.stores.contract import Checkpoint, CheckpointUpdate, LeaseRequest, StoreTransaction, TransactionalStore
from eventree.testing.store_values import append, parked, request

AnyTransaction: TypeAlias = StoreTransaction[Any]
AnyStore: TypeAlias = TransactionalStore[Any]


class TransactionalStoreSuite:
    """Test every promise about transactions, which commit the rows and the checkpoint of a projection together.

    Derive a class from it and from `EventStoreSuite`. The connection of a transaction must run plain SQL by
    `execute`, at least `CREATE TABLE`, `INSERT` and `SELECT`.
    """

    async def test_rows_and_checkpoint_are_committed_atomically(self, store: AnyStore) -> None:
        held = await _begin_table(store)
        async with store.transaction() as transaction:
            await _insert(transaction, 7)
            move = CheckpointUpdate(Checkpoint(3, held.fencing_token), park=[parked("a", 2)], skipped=1)
            await transaction.save_checkpoint("query", 1, move)
        assert await _numbers(store) == [7]
        stored = await store.load_checkpoint("query", 1)
        assert stored is not None
        assert (stored.checkpoint.position, stored.parked, stored.skipped) == (3, 1, 1)

    async def test_a_transaction_that_raises_is_rolled_back(self, store: AnyStore) -> None:
        held = await _begin_table(store)
        for error in (ValueError("boom"), asyncio.CancelledError()):
            with pytest.raises(type(error)) as caught:
                async with store.transaction() as transaction:
                    await _insert(transaction, 7)
                    await transaction.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(3, held.fencing_token)))
                    raise error
            assert caught.value is error
        assert await _numbers(store) == []
        stored = await store.load_checkpoint("query", 1)
        assert stored is not None
        assert stored.checkpoint == held

    async def test_a_fenced_transaction_is_rolled_back(self, store: AnyStore) -> None:
        held = await _begin_table(store)
        await store.claim_checkpoint("query", 1)
        with pytest.raises(CheckpointFenced):
            async with store.transaction() as transaction:
                await _insert(transaction, 7)
                await transaction.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(3, held.fencing_token)))
        assert await _numbers(store) == []

    async def test_a_transaction_whose_task_is_cancelled_is_rolled_back(self, store: AnyStore) -> None:
        held = await _begin_table(store)
        inside = asyncio.Event()

        async def stay() -> None:
            async with store.transaction() as transaction:
                await _insert(transaction, 7)
                await transaction.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(3, held.fencing_token)))
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(stay())
        async with asyncio.timeout(20):
            await inside.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await _numbers(store) == []
            async with store.transaction() as transaction:
                await _insert(transaction, 8)
            assert await _numbers(store) == [8]
            await append(store, request("a"))

    async def test_a_checkpoint_and_its_tables_are_created_atomically(self, store: AnyStore) -> None:
        with pytest.raises(ValueError, match="boom"):
            async with store.transaction() as transaction:
                await transaction.claim_checkpoint("query", 1, LeaseRequest("one", 60))
                await transaction.connection.execute("CREATE TABLE numbers (number INTEGER)")
                raise ValueError("boom")
        assert await store.load_checkpoint("query", 1) is None
        async with store.transaction() as transaction:
            held = await transaction.claim_checkpoint("query", 1, LeaseRequest("one", 60))
            await transaction.connection.execute("CREATE TABLE numbers (number INTEGER)")
        assert held == Checkpoint(0, 1)
        assert await _numbers(store) == []

    async def test_a_version_goes_live_atomically_with_its_rows(self, store: AnyStore) -> None:
        await _begin_table(store)
        two = await store.claim_checkpoint("query", 2)
        with pytest.raises(ValueError, match="boom"):
            async with store.transaction() as transaction:
                assert await transaction.make_live("query", 2, two.fencing_token)
                raise ValueError("boom")
        stored = await store.load_checkpoint("query", 2)
        assert stored is not None
        assert stored.live_version == 1
        async with store.transaction() as transaction:
            assert await transaction.make_live("query", 2, two.fencing_token)
            await _insert(transaction, 9)
        stored = await store.load_checkpoint("query", 2)
        assert stored is not None
        assert stored.live_version == 2
        assert await _numbers(store) == [9]

    async def test_invalid_arguments_are_refused_inside_a_transaction(self, store: AnyStore) -> None:
        async with store.transaction() as transaction:
            with pytest.raises(InvalidArgument, match="name"):
                await transaction.claim_checkpoint("", 1)
            with pytest.raises(InvalidArgument, match="position"):
                await transaction.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(-1, 1)))
            with pytest.raises(InvalidArgument, match="fencing_token"):
                await transaction.make_live("query", 1, -1)

    async def test_a_lease_out_of_range_is_refused(self, store: AnyStore) -> None:
        wrong: list[Any] = [0, -1, 86_401, float("nan"), float("inf"), True, "5", None]
        for lease in wrong:
            with pytest.raises(InvalidArgument, match="lease"):
                async with store.transaction(lease):
                    pass

    async def test_a_nested_transaction_raises_would_deadlock(self, store: AnyStore) -> None:
        async with asyncio.timeout(20), store.transaction():
            with pytest.raises(WouldDeadlock):
                async with store.transaction():
                    pass

    async def test_transactions_and_appends_run_side_by_side(self, store: AnyStore) -> None:
        held = await _begin_table(store)

        async def project() -> None:
            for number in range(20):
                async with store.transaction() as transaction:
                    await _insert(transaction, number)
                    await transaction.save_checkpoint(
                        "query", 1, CheckpointUpdate(Checkpoint(number, held.fencing_token))
                    )

        async def write(id: str) -> None:
            for number in range(20):
                await append(store, request(f"{id}{number}"))

        async with asyncio.timeout(60):
            await asyncio.gather(project(), write("a"), write("b"))
        assert await _numbers(store) == list(range(20))
        assert await store.head() == 40


async def _begin_table(store: AnyStore) -> Checkpoint:
    async with store.transaction() as transaction:
        await transaction.connection.execute("CREATE TABLE numbers (number INTEGER)")
        return await transaction.claim_checkpoint("query", 1)


async def _insert(transaction: AnyTransaction, number: int) -> None:
    await transaction.connection.execute(f"INSERT INTO numbers VALUES ({number})")  # noqa: S608 - a number


async def _numbers(store: AnyStore) -> list[int]:
    query = "SELECT number FROM numbers ORDER BY number"
    async with store.transaction() as transaction:
        if hasattr(transaction.connection, "fetch"):
            rows = await transaction.connection.fetch(query)
        else:
            rows = await (await transaction.connection.execute(query)).fetchall()
        return [row[0] for row in rows]
