"""Connections that are lost, servers that are away or hang: every answer is true, and the store goes on by itself."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import pytest

from eventree import CommitOutcomeUnknown, EventStoreError, StoreUnavailable
from eventree.errors import StoreBusy
from eventree.stores.contract import Appended, Conflict, Outcome
from eventree.stores.postgres import PostgresStore
from eventree.stores.postgres.driver import Connection, ConnectionLost
from eventree.testing.store_values import append, log, positions, request
from servers.postgres import PostgresServer
from stores.postgres.backends import backends, held_head, psql, terminate, wait_for_locks, writer_process

GRACE = 2.0
"""How long the store waits for a server that has not kept its own time limit."""


async def until_it_works(operation: Callable[[], Awaitable[object]], *, seconds: float) -> float:
    """Try again and again, as fast as it fails; return how long it took."""
    started = monotonic()
    async with asyncio.timeout(seconds):
        while True:
            try:
                await operation()
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return monotonic() - started


@pytest.mark.parametrize("statement", ["SELECT 1 / 0", "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(30)"])
async def test_a_connection_that_is_left_in_a_transaction_is_not_used_again(
    store: PostgresStore, statement: str
) -> None:
    """As after a ROLLBACK that a DBA cancelled: what is sent next would fail, or never be committed."""

    async def left_open(db: Any) -> None:
        await db.execute("BEGIN")
        await db.execute(statement)

    assert store._writer is not None
    with pytest.raises(EventStoreError):
        await store._writer.run(left_open)
    assert await append(store, request("a")) == [Appended(1, 1)]


async def test_connections_that_were_lost_between_calls_are_replaced(store: PostgresStore, postgres_dsn: str) -> None:
    await append(store, request("a"))
    await asyncio.gather(*(store.head() for _ in range(10)))
    async with psql(postgres_dsn) as db:
        ours = [process for process, *_ in await backends(db)]
        assert len(ours) == 6  # one to append, four to read, one for hints
        await terminate(db, ours)
    assert await append(store, request("a", after=1)) == [Appended(2, 2)]
    assert await asyncio.gather(*(store.head() for _ in range(10))) == [2] * 10


async def test_an_append_whose_server_process_is_ended_is_stored_once(store: PostgresStore, postgres_dsn: str) -> None:
    for number in range(3):
        async with held_head(postgres_dsn) as holder, psql(postgres_dsn) as db:
            waiting = asyncio.create_task(append(store, request("a", after=number, commands=[f"c{number}"])))
            for _ in range(2):
                await terminate(db, await wait_for_locks(db))
            await wait_for_locks(db)
            await holder.execute("COMMIT")
            assert await waiting == [Appended(number + 1, number + 1)]
    assert positions(await log(store)) == [1, 2, 3]


async def test_an_append_that_is_cancelled_on_the_server_is_not_stored(store: PostgresStore, postgres_dsn: str) -> None:
    async with held_head(postgres_dsn), psql(postgres_dsn) as db:
        waiting = asyncio.create_task(append(store, request("a")))
        await db.execute("SELECT pg_cancel_backend($1)", *await wait_for_locks(db))
        with pytest.raises(StoreBusy, match="nothing was stored"):
            await waiting
    assert await append(store, request("a")) == [Appended(1, 1)]


async def test_a_read_whose_server_process_is_ended_says_so_and_the_next_one_works(
    store: PostgresStore, postgres_dsn: str
) -> None:
    await append(store, request("a"))
    async with psql(postgres_dsn) as holder, psql(postgres_dsn) as db:
        await holder.execute("BEGIN")
        await holder.execute("LOCK TABLE events")
        waiting = [asyncio.create_task(store.read(0, 10)) for _ in range(8)]  # half of them wait for a connection
        await terminate(db, await wait_for_locks(db, 4))
        await wait_for_locks(db, 4)
        await holder.execute("COMMIT")
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers[:4]] == [ConnectionLost] * 4
    assert not any(isinstance(answer, BaseException) for answer in answers[4:])
    assert (await store.read(0, 10)).position == 1


async def test_a_server_that_was_stopped_is_unavailable_at_once_and_back_soon(
    store: PostgresStore, postgres_server: PostgresServer
) -> None:
    await append(store, request("a"))
    await asyncio.to_thread(postgres_server.stop)
    started = monotonic()
    for _ in range(50):
        for operation in (append(store, request("a", after=1)), store.head(), store.claim_checkpoint("query", 1)):
            with pytest.raises(StoreUnavailable) as caught:
                await operation
            assert not isinstance(caught.value, ConnectionLost)
    assert monotonic() - started < 1.0
    await asyncio.to_thread(postgres_server.start)
    assert await until_it_works(store.head, seconds=10) < 1.5
    assert await append(store, request("a", after=1)) == [Appended(2, 2)]


async def test_a_server_that_restarts_is_back_without_anybody_doing_anything(
    store: PostgresStore, postgres_server: PostgresServer
) -> None:
    await append(store, request("a"))
    await asyncio.to_thread(postgres_server.restart)
    await until_it_works(store.head, seconds=10)
    assert await append(store, request("a", after=1)) == [Appended(2, 2)]


async def test_a_server_that_was_found_away_is_not_waited_for_again(
    postgres_dsn: str, postgres_server: PostgresServer
) -> None:
    async with PostgresStore(postgres_dsn, timeout=0.5, notify=False) as store:
        await asyncio.to_thread(postgres_server.stop)
        with socket.create_server(("127.0.0.1", postgres_server.port)):  # it takes connections and never answers
            started = monotonic()
            for _ in range(20):
                with pytest.raises(StoreUnavailable):
                    await append(store, request("a"))
                with pytest.raises(StoreUnavailable):
                    await store.head()
            assert 0.4 < monotonic() - started < 5


async def test_a_bug_in_the_middle_of_a_transaction_leaves_none_open(store: PostgresStore, postgres_dsn: str) -> None:
    async def fail(db: Connection) -> None:
        await db.execute("BEGIN")
        await db.execute("SELECT FROM head FOR UPDATE")
        raise ZeroDivisionError

    assert store._writer is not None
    with pytest.raises(ZeroDivisionError):
        await store._writer.run(fail)
    async with PostgresStore(postgres_dsn, timeout=2) as other:
        assert await append(other, request("a")) == [Appended(1, 1)]
    assert await append(store, request("b")) == [Appended(1, 2)]


async def test_a_server_that_is_full_does_not_stop_who_has_a_connection(
    postgres_dsn: str, postgres_server: PostgresServer
) -> None:
    postgres_server.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 1")
    postgres_server.execute("CREATE SCHEMA eventree AUTHORIZATION crowded", postgres_dsn)
    postgres_server.execute(f"GRANT CREATE ON DATABASE {postgres_dsn.rpartition('/')[2]} TO crowded", postgres_dsn)
    async with PostgresStore(postgres_dsn.replace("eventree@", "crowded@"), notify=False) as store:
        for number in range(3):
            with pytest.raises(StoreUnavailable):
                await store.head()
            assert await append(store, request("a", after=number)) == [Appended(number + 1, number + 1)]
    postgres_server.execute("DROP OWNED BY crowded CASCADE", postgres_dsn)
    postgres_server.execute("DROP ROLE crowded")


async def test_a_server_that_hangs_is_given_up_in_time(postgres_dsn: str, postgres_server: PostgresServer) -> None:
    timeout = 0.5
    async with PostgresStore(postgres_dsn, timeout=timeout) as store:
        await append(store, request("a"))
        await asyncio.gather(*(store.head() for _ in range(5)))
        postgres_server.pause()
        started = monotonic()

        async def ended(operation: Awaitable[object]) -> tuple[type[BaseException], float]:
            with pytest.raises(EventStoreError) as caught:
                await operation
            return caught.type, monotonic() - started

        try:
            (unknown, after_unknown), *others = await asyncio.gather(
                ended(append(store, request("a", after=1, commands=["c"]))),
                ended(append(store, request("b"))),
                *(ended(store.head()) for _ in range(8)),
            )
        finally:
            postgres_server.resume()
        assert unknown is CommitOutcomeUnknown
        assert after_unknown < timeout + GRACE + 2 * timeout + 1
        assert all(issubclass(kind, StoreUnavailable | StoreBusy) for kind, _ in others)
        assert max(seconds for _, seconds in others) < timeout + GRACE + 1
        # It is stored once or not at all, and who sends it again finds out.
        await until_it_works(store.head, seconds=10)
        [again] = await append(store, request("a", after=1, commands=["c"]))
        assert again in {Appended(2, 2), Conflict(2)}
        assert positions(await log(store)) == [1, 2]
        assert (await store.find_commands(["c"]))["c"].last_sequence == 2


async def test_a_store_that_is_closed_ends_the_appends_it_was_given_and_takes_no_more(postgres_dsn: str) -> None:
    store = PostgresStore(postgres_dsn, notify=False)  # so that closing begins with the appends
    await store.__aenter__()
    async with held_head(postgres_dsn) as holder, psql(postgres_dsn) as db:
        begun = asyncio.create_task(append(store, request("a")))
        await wait_for_locks(db)
        queued = asyncio.create_task(append(store, request("b")))
        cancelled = asyncio.create_task(append(store, request("c")))
        await asyncio.sleep(0)
        cancelled.cancel()
        closing = asyncio.create_task(store.__aexit__(None, None, None))
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="is not open"):
            await append(store, request("d"))
        await holder.execute("COMMIT")
        assert await begun == [Appended(1, 1)]
        assert await queued == [Appended(1, 2)]
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await closing
    async with store:
        assert positions(await log(store)) == [1, 2]


def test_one_store_object_serves_one_event_loop_after_the_other(postgres_dsn: str) -> None:
    store = PostgresStore(postgres_dsn)

    async def use(after: int) -> list[Outcome]:
        async with store:
            return await append(store, request("a", after=after))

    assert [asyncio.run(use(after)) for after in range(3)] == [[Appended(n, n)] for n in (1, 2, 3)]


@pytest.mark.parametrize("caller_leaves", [True, False])
async def test_a_caller_that_leaves_harms_nobody(
    store: PostgresStore, postgres_dsn: str, *, caller_leaves: bool
) -> None:
    async with held_head(postgres_dsn) as holder, psql(postgres_dsn) as db:
        first = asyncio.create_task(append(store, request("a")))
        second = asyncio.create_task(append(store, request("b")))
        before = await wait_for_locks(db)
        if caller_leaves:
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
        assert await wait_for_locks(db) == before
        await holder.execute("COMMIT")
        assert await second == [Appended(1, 2)]
    assert [await writer_process(store)] == before
    assert [event.aggregate_id for event in await log(store)] == ["a", "b"]
