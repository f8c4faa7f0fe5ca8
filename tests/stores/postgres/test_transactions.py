"""Transactions of projections on Postgres: rows and checkpoint stay together, whatever happens to the connection."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from eventree import EventStoreError, StoreUnavailable
from eventree.errors import CheckpointHeld, StoreBusy, TransactionEnded, TransactionOutlivedLease
from eventree.stores.contract import Appended, Checkpoint, CheckpointUpdate, StoreTransaction
from eventree.stores.postgres import PostgresStore
from eventree.stores.postgres.driver import ConnectionLost, translate
from eventree.testing.store_values import append, request
from servers.proxy import Proxy, Way
from stores.postgres.backends import backends, psql, terminate
from stores.postgres.numbering import Transaction, checkpoint, insert, make, numbers, save


@pytest.fixture
async def held(store: PostgresStore) -> Checkpoint:
    """Make a table, and claim a checkpoint."""
    return await make(store)


async def until_it_works(operation: Callable[[], Awaitable[object]]) -> None:
    """Try again until the store is back; what it raises until then is about nothing else."""
    async with asyncio.timeout(20):
        while True:
            try:
                await operation()
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


# --- what a projection does to its transaction


@pytest.mark.parametrize(("end", "stands"), [("COMMIT", [7]), ("END", [7]), ("ROLLBACK", []), ("ABORT", [])])
async def test_a_transaction_that_was_ended_from_inside_is_told_at_its_end(
    store: PostgresStore, postgres_dsn: str, held: Checkpoint, end: str, stands: list[int]
) -> None:
    with pytest.raises(TransactionEnded):
        async with store.transaction() as transaction:
            await insert(transaction, 7)
            await transaction.connection.execute(end)
    assert await numbers(postgres_dsn) == stands
    assert await checkpoint(store) == held


Act = Callable[[Transaction, Checkpoint], Awaitable[object]]
MOVES: dict[str, Act] = {
    "save": lambda transaction, held: save(transaction, held, 9),
    "claim": lambda transaction, _: transaction.claim_checkpoint("query", 1),
    "claim another one": lambda transaction, _: transaction.claim_checkpoint("query", 2),
    "make live": lambda transaction, held: transaction.make_live("query", 1, held.fencing_token),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
async def test_no_checkpoint_moves_when_its_transaction_was_ended_from_inside(
    store: PostgresStore, held: Checkpoint, end: str, move: str
) -> None:
    for _ in range(2):
        with pytest.raises(TransactionEnded):
            async with store.transaction() as transaction:
                await insert(transaction, 7)
                await transaction.connection.execute(end)
                with pytest.raises(TransactionEnded):
                    await MOVES[move](transaction, held)
    assert await checkpoint(store) == held
    assert await store.load_checkpoint("query", 2) is None
    async with store.transaction() as transaction:
        await save(transaction, held, 9)
    assert await checkpoint(store) == Checkpoint(9, held.fencing_token)


async def swallow(transaction: Transaction) -> None:
    """Write something, and swallow the error of a statement that fails."""
    await insert(transaction, 7)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await transaction.connection.execute("SELECT 1 / 0")


async def test_a_failure_that_was_swallowed_is_told_at_the_end_of_the_transaction(
    store: PostgresStore, postgres_dsn: str, held: Checkpoint
) -> None:
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        async with store.transaction() as transaction:
            await swallow(transaction)
    assert await numbers(postgres_dsn) == []
    assert await checkpoint(store) == held


@pytest.mark.parametrize("move", MOVES)
async def test_no_checkpoint_moves_after_a_failure_that_was_swallowed(
    store: PostgresStore, postgres_dsn: str, held: Checkpoint, move: str
) -> None:
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        async with store.transaction() as transaction:
            await swallow(transaction)
            await MOVES[move](transaction, held)
    assert await numbers(postgres_dsn) == []
    assert await checkpoint(store) == held
    assert await store.load_checkpoint("query", 2) is None


async def test_a_failure_within_a_savepoint_may_be_swallowed(
    store: PostgresStore, postgres_dsn: str, held: Checkpoint
) -> None:
    async with store.transaction() as transaction:
        await insert(transaction, 7)
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with transaction.connection.transaction():
                await insert(transaction, 8)
                await transaction.connection.execute("SELECT 1 / 0")
        await save(transaction, held, 9)
    assert await numbers(postgres_dsn) == [7]
    assert await checkpoint(store) == Checkpoint(9, held.fencing_token)


async def test_a_constraint_that_is_judged_at_the_commit_is_the_projections_own_failure(
    store: PostgresStore, postgres_dsn: str, held: Checkpoint
) -> None:
    async with store.transaction() as transaction:
        await transaction.connection.execute(
            "CREATE TABLE parent (number INT PRIMARY KEY);"
            "CREATE TABLE child (number INT REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
        )
    for _ in range(2):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with store.transaction() as transaction:
                await insert(transaction, 7)
                await transaction.connection.execute("INSERT INTO child VALUES (1)")
                await save(transaction, held, 9)
    assert await numbers(postgres_dsn) == []
    assert await checkpoint(store) == held


async def test_a_commit_that_cannot_be_put_in_an_order_with_others_is_nobodys_fault(
    store: PostgresStore, postgres_dsn: str, held: Checkpoint
) -> None:
    async with psql(postgres_dsn) as other:
        with pytest.raises(StoreBusy, match="nothing was stored"):
            async with store.transaction() as transaction:
                await transaction.connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
                await transaction.connection.fetch("SELECT sum(number) FROM numbers")
                async with other.transaction(isolation="serializable"):
                    await other.fetch("SELECT sum(number) FROM numbers")
                    await other.execute("INSERT INTO numbers VALUES (1)")
                    await insert(transaction, 7)
                await transaction.connection.fetch("SELECT 1")  # the failure is at the commit, not here
    assert await numbers(postgres_dsn) == [1]
    assert await checkpoint(store) == held


# --- what happens to its connection


@pytest.mark.parametrize("way", Way)
async def test_a_transaction_that_cannot_begin_harms_no_later_one(postgres_dsn: str, proxy: Proxy, way: Way) -> None:
    async with PostgresStore(proxy.dsn(postgres_dsn), timeout=3, notify=False) as store:
        held = await make(store)
        for number in range(3):
            proxy.cut_at(way, 1)
            with pytest.raises(StoreUnavailable):
                async with store.transaction():
                    pytest.fail("it has begun")
            assert proxy.cuts == number + 1

            async def project(number: int = number) -> None:
                async with store.transaction() as transaction:
                    await insert(transaction, number)
                    await save(transaction, held, number)

            await until_it_works(project)
        assert await numbers(postgres_dsn) == [0, 1, 2]
        assert await checkpoint(store) == Checkpoint(2, held.fencing_token)


@pytest.mark.parametrize("way", Way)
async def test_a_connection_that_is_lost_during_a_statement_leaves_nothing_behind(
    postgres_dsn: str, proxy: Proxy, way: Way
) -> None:
    async with PostgresStore(proxy.dsn(postgres_dsn), timeout=3, notify=False) as store:
        held = await make(store)
        with pytest.raises(StoreUnavailable):
            async with store.transaction() as transaction:
                await insert(transaction, 7)
                await save(transaction, held, 9)
                proxy.cut_at(way, 1)
                await insert(transaction, 8)
        await until_it_works(store.head)
        assert await numbers(postgres_dsn) == []
        assert await checkpoint(store) == held


@pytest.mark.parametrize(("way", "stands"), [(Way.TO_SERVER, False), (Way.TO_CLIENT, True)])
async def test_a_connection_that_is_lost_during_the_commit_keeps_rows_and_checkpoint_together(
    postgres_dsn: str, proxy: Proxy, way: Way, *, stands: bool
) -> None:
    async with PostgresStore(proxy.dsn(postgres_dsn), timeout=3, notify=False) as store:
        held = await make(store)
        with pytest.raises(StoreUnavailable):
            async with store.transaction() as transaction:
                await insert(transaction, 7)
                await save(transaction, held, 9)
                proxy.cut_at(way, 1)
        await until_it_works(store.head)
        assert await numbers(postgres_dsn) == ([7] if stands else [])
        assert await checkpoint(store) == Checkpoint(9 if stands else 0, held.fencing_token)


async def test_a_transaction_whose_server_process_is_ended_leaves_nothing_behind(
    store: PostgresStore, postgres_dsn: str, held: Checkpoint
) -> None:
    async with psql(postgres_dsn) as db:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                async with store.transaction() as transaction:
                    await insert(transaction, 7)
                    await save(transaction, held, 9)
                    await terminate(db, [transaction.connection.get_server_pid()])
                    await insert(transaction, 8)
    assert await numbers(postgres_dsn) == []
    assert await checkpoint(store) == held


async def test_a_transaction_that_waits_for_a_lock_too_long_fails_alone(postgres_dsn: str) -> None:
    async with PostgresStore(postgres_dsn, timeout=0.5, notify=False) as store, psql(postgres_dsn) as other:
        held = await make(store)
        async with other.transaction():
            await other.execute("LOCK TABLE numbers")
            with pytest.raises(StoreBusy):
                async with store.transaction() as transaction:
                    await insert(transaction, 7)
            assert await append(store, request("a")) == [Appended(1, 1)]
        async with store.transaction() as transaction:
            await insert(transaction, 8)
            await save(transaction, held, 9)
    assert await numbers(postgres_dsn) == [8]


async def test_a_transaction_that_is_idle_for_longer_than_its_lease_is_ended_by_the_server(
    store: PostgresStore, postgres_dsn: str, held: Checkpoint
) -> None:
    with pytest.raises(EventStoreError):
        async with store.transaction(0.2) as transaction:
            await insert(transaction, 7)
            await save(transaction, held, 9)
            async with psql(postgres_dsn) as db, asyncio.timeout(3):
                process = transaction.connection.get_server_pid()
                while process in [ours for ours, *_ in await backends(db)]:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.02)
            await insert(transaction, 8)
    async with store.transaction() as transaction:
        await insert(transaction, 8)
        await save(transaction, held, 9)
    assert await numbers(postgres_dsn) == [8]
    assert await checkpoint(store) == Checkpoint(9, held.fencing_token)


async def test_a_short_lease_does_not_outlive_its_transaction(store: PostgresStore, postgres_dsn: str) -> None:
    async with store.transaction(0.2) as transaction:
        process = transaction.connection.get_server_pid()
        await transaction.connection.execute("CREATE TABLE numbers (number INT)")
    async with store.transaction(20.0) as transaction:
        assert transaction.connection.get_server_pid() == process
        await insert(transaction, 7)
        await asyncio.sleep(0.5)
        await transaction.claim_checkpoint("query", 1)
    assert await numbers(postgres_dsn) == [7]


async def and_swallow(db: Any) -> None:
    with suppress(Exception):
        await db.execute("SELECT 1")


LATER: dict[str, Callable[[StoreTransaction[Any]], Awaitable[object]]] = {
    "a statement": lambda transaction: transaction.connection.execute("SELECT 1"),
    "a swallowed one": lambda transaction: and_swallow(transaction.connection),
    "the checkpoint": lambda transaction: transaction.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(1, 1))),
    "nothing": lambda _: asyncio.sleep(0),
}


@pytest.mark.parametrize("later", LATER)
async def test_what_waits_for_longer_than_its_lease_is_told_of_the_lease(store: PostgresStore, later: str) -> None:
    with pytest.raises(TransactionOutlivedLease, match=r"its lease of 0\.2 s") as caught:
        async with store.transaction(lease=0.2) as transaction:
            await transaction.connection.execute("SELECT 1")
            ended = asyncio.Event()
            transaction.connection.add_termination_listener(lambda _: ended.set())
            await ended.wait()
            await LATER[later](transaction)
    assert caught.value.lease == 0.2
    assert caught.value.seconds >= 0.2


async def test_an_error_of_ours_is_none_of_a_lost_connection(store: PostgresStore) -> None:
    held = CheckpointHeld("query", "another", 3)
    with pytest.raises(CheckpointHeld) as caught:
        async with store.transaction() as transaction:
            transaction.connection.terminate()
            raise held
    assert caught.value is held


def test_what_the_driver_says_of_itself_is_not_told() -> None:
    error = asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
    translated = translate(error, "bank")
    assert isinstance(translated, ConnectionLost)
    assert "state 12" not in str(translated)
