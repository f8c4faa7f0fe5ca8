"""Connections that are lost, servers that are away or hang: every answer is true, and the store goes on by itself."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import cast

import pytest

from eventree import CommitOutcomeUnknown, EventStoreError, StoreBusy, StoreUnavailable
from eventree.stores.contract import Appended, AppendRequest, Conflict, DuplicateCommand, Outcome
from eventree.stores.postgres import PostgresStore
from eventree.stores.postgres.driver import Connection, ConnectionLost, Row
from eventree.testing.store_values import append, log, positions, request, stream
from postgres.backends import backends, held_head, psql, terminate, wait_for_locks
from servers.postgres import PostgresServer

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


class LosesAnswers:
    """A connection that breaks after the server has committed an append, before its answer arrives."""

    def __init__(self, connection: Connection, lose: Callable[[], Awaitable[bool]]) -> None:
        self._connection = connection
        self._lose = lose

    async def fetch(self, query: str, *values: object) -> list[Row]:
        rows = await self._connection.fetch(query, *values)
        if "INSERT" in query and await self._lose():
            raise ConnectionResetError
        return rows


@contextmanager
def lost_answers(store: PostgresStore, how_many: int, between: Callable[[], Awaitable[object]]) -> Iterator[list[str]]:
    """Lose the next answers to appends on their way back, and let something happen before they are sent again."""
    writer = store._writer
    assert writer is not None
    run, lost = writer.run, list[str]()

    async def lose() -> bool:
        if len(lost) == how_many:
            return False
        lost.append("lost")
        await between()
        return True

    async def lossy(operation: Callable[[Connection], Awaitable[object]]) -> object:
        return await run(lambda db: operation(cast("Connection", LosesAnswers(db, lose))))

    writer.run = lossy  # type: ignore[method-assign, assignment]
    yield lost
    writer.run = run  # type: ignore[method-assign]


async def nothing() -> None:
    pass


@pytest.mark.parametrize("how_many", [1, 2])
async def test_an_append_that_landed_without_an_answer_is_found(store: PostgresStore, how_many: int) -> None:
    await append(store, request("old", events=2, commands=["known"]))
    heard: list[int] = []
    store.watch(heard.append)
    requests = [
        request("a", events=2, commands=["c1"]),
        request("old", after=2, commands=["c2"]),
        request("old2", after=1),
        request("b", commands=["known"]),
        request("c", events=0),
    ]
    with lost_answers(store, how_many, nothing) as lost:
        outcomes = await append(store, *requests)
    assert len(lost) == how_many
    known = DuplicateCommand(frozenset({"known"}))
    assert outcomes == [Appended(2, 4), Appended(3, 5), Conflict(0), known, Appended(0, 0)]
    assert heard == [5]
    assert positions(await log(store)) == [1, 2, 3, 4, 5]


async def test_an_append_that_landed_is_found_though_others_went_on(store: PostgresStore, postgres_dsn: str) -> None:
    async with PostgresStore(postgres_dsn) as other:
        with lost_answers(store, 1, lambda: append(other, request("b", events=3), request("a", after=2))):
            assert await append(store, request("a", events=2, commands=["c"])) == [Appended(2, 2)]
    assert (await stream(store, "a")).sequence == 3


async def test_a_command_without_events_that_landed_is_a_known_one(store: PostgresStore) -> None:
    """Its sender looks its id up then, as for every id that is known, and finds it."""
    nothing_happened = request("a", events=0, commands=["c"])
    with lost_answers(store, 1, nothing):
        assert await append(store, nothing_happened) == [DuplicateCommand(frozenset({"c"}))]
    assert (await store.find_commands(["c"]))["c"].aggregate_id == "a"


async def test_events_of_somebody_else_are_not_taken_for_our_own(store: PostgresStore, postgres_dsn: str) -> None:
    """The statement never ran; meanwhile others put events just like ours where ours should be."""
    ours = request("a", events=2)
    theirs = request("a", events=2)
    assert [event.payload for event in ours.events] == [event.payload for event in theirs.events]
    assert await outcome_after_a_loss(store, postgres_dsn, ours, theirs) == [Conflict(2)]
    assert {event.commit_id for event in await log(store)} == {event.commit_id for event in theirs.events}


async def test_half_of_our_events_are_not_all_of_them(store: PostgresStore, postgres_dsn: str) -> None:
    ours = request("a", events=2)
    half = AppendRequest(ours.aggregate_type, "a", 0, ours.events[:1])
    assert await outcome_after_a_loss(store, postgres_dsn, ours, half) == [Conflict(1)]


async def outcome_after_a_loss(
    store: PostgresStore, dsn: str, ours: AppendRequest, theirs: AppendRequest
) -> list[Outcome]:
    """End the server process of an append that waits, and let another store append before it is sent again."""
    async with PostgresStore(dsn) as other, psql(dsn) as db:
        async with held_head(dsn) as holder:
            waiting = asyncio.create_task(append(store, ours))
            [process] = await wait_for_locks(db)
            before_it = asyncio.create_task(append(other, theirs))
            await wait_for_locks(db, 2)
            await terminate(db, [process])
            await holder.execute("COMMIT")
        assert await before_it == [Appended(len(theirs.events), len(theirs.events))]
        return await waiting


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


async def test_a_store_that_is_closed_ends_what_it_has_begun_and_begins_no_more(postgres_dsn: str) -> None:
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
        with pytest.raises(StoreUnavailable, match="was closed; nothing was stored"):
            await queued
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await closing
    async with store:
        assert positions(await log(store)) == [1]


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
    assert [event.aggregate_id for event in await log(store)] == ["a", "b"]
