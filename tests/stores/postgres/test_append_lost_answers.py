"""Appends whose answer was lost: the store finds out what became of them, and claims nothing of others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import pytest

from eventree.stores.contract import (
    Appended,
    AppendRequest,
    Conflict,
    DuplicateCommand,
    Outcome,
    StreamPage,
    StreamRead,
)
from eventree.stores.postgres import PostgresStore
from eventree.stores.postgres.append import AppendAttempt
from eventree.stores.postgres.driver import Connection, Row
from eventree.testing.store_values import TYPE, append, log, positions, request, stream
from servers.proxy import Proxy, Way
from stores.postgres.backends import held_head, psql, terminate, wait_for_locks

_BLOCKS = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1::int = ANY(pg_blocking_pids(pid)))"
_IS_BLOCKED = "SELECT cardinality(pg_blocking_pids($1::int)) > 0"
_IS_NOT_BLOCKED = "SELECT cardinality(pg_blocking_pids($1::int)) = 0"


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


class LosesCommits:
    """A connection that breaks once at the commit of a transaction, before or after the server has carried it out."""

    def __init__(self, connection: Connection, breaks: list[str]) -> None:
        self._connection = connection
        self._breaks = breaks

    async def fetch(self, query: str, *values: object) -> list[Row]:
        return await self._connection.fetch(query, *values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        outer = self._connection.transaction()
        await outer.start()
        yield
        when = self._breaks.pop() if self._breaks else ""
        await (outer.rollback() if when == "before" else outer.commit())
        if when:
            raise ConnectionResetError


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_was_decided_in_a_turn_is_stored_once_when_the_connection_is_lost_at_its_commit(
    store: PostgresStore, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = store._writer
    assert writer is not None
    run, breaks = writer.run, [when]

    async def lossy(operation: Callable[[Connection], Awaitable[object]]) -> object:
        return await run(lambda db: operation(cast("Connection", LosesCommits(db, breaks))))

    monkeypatch.setattr(writer, "run", lossy)
    decided = [request("a", events=2, commands=["c"]), request("b", after=7)]
    outcomes = await store.read_and_append([StreamRead("thing", "a")], lambda _: decided)
    assert breaks == []
    assert outcomes == [Appended(2, 2), Conflict(0)]
    assert positions(await log(store)) == [1, 2]


async def test_a_store_that_is_closed_still_finds_out_what_became_of_an_append(postgres_dsn: str) -> None:
    store = PostgresStore(postgres_dsn, timeout=1, notify=False)
    await store.__aenter__()
    closing: list[asyncio.Task[None]] = []

    async def close() -> None:
        closing.append(asyncio.create_task(store.__aexit__(None, None, None)))
        await asyncio.sleep(0)

    with lost_answers(store, 1, close):
        [outcome] = await asyncio.gather(append(store, request("a")), return_exceptions=True)
    await closing[0]
    assert outcome == [Appended(1, 1)]


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("chunk", [1, 2, 3, 4])
async def test_a_turn_is_answered_by_what_was_committed(postgres_dsn: str, proxy: Proxy, way: Way, chunk: int) -> None:
    """The connection is cut between the decision and the answer to the commit: the append itself proves nothing."""

    def decide(pages: Sequence[StreamPage]) -> list[AppendRequest]:
        proxy.cut_at(way, chunk)
        return [request("a", after=pages[0].sequence, commands=["c"]), request("b", after=3)]

    async with PostgresStore(proxy.dsn(postgres_dsn), timeout=5, notify=False) as store:
        await append(store, request("a"))
        outcomes = await store.read_and_append([StreamRead(TYPE, "a")], decide)
        proxy.pass_on()
        assert (await stream(store, "a")).sequence == 2
        assert positions(await log(store)) == [1, 2]
    assert outcomes == [Appended(2, 2), Conflict(0)]


async def test_a_turn_whose_server_process_ends_before_the_commit_is_repeated(
    store: PostgresStore, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, ended = AppendAttempt.run, list[int]()

    async def end_after(attempt: AppendAttempt, connection: Any) -> list[Outcome]:
        outcomes = await run(attempt, connection)
        if not ended:
            ended.append(await connection.fetchval("SELECT pg_backend_pid()"))
            async with psql(postgres_dsn) as db:
                await terminate(db, ended)
        return outcomes

    monkeypatch.setattr(AppendAttempt, "run", end_after)
    assert await store.read_and_append([], lambda _: [request("a")]) == [Appended(1, 1)]
    assert len(ended) == 1
    assert positions(await log(store)) == [1]


async def test_an_append_that_is_kept_from_telling_who_was_refused_is_not_called_undone(postgres_dsn: str) -> None:
    """What was refused is looked up after the commit; a lock that somebody takes in between must not hide it."""
    async with PostgresStore(postgres_dsn, lock_timeout=0.3) as store, psql(postgres_dsn) as db:
        await append(store, request("a"), request("b"))
        async with psql(postgres_dsn) as holder, psql(postgres_dsn) as migrating:
            await holder.execute("BEGIN")
            await holder.execute("SELECT pg_advisory_xact_lock(7)")
            await db.execute(
                "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS "
                "$$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$"
            )
            await db.execute("CREATE TRIGGER slow AFTER INSERT ON events EXECUTE FUNCTION wait()")
            appending = asyncio.create_task(append(store, request("a", after=1), request("b", after=7)))
            [process] = await wait_for_locks(db)
            await migrating.execute("BEGIN")
            locking = asyncio.create_task(migrating.execute("LOCK TABLE streams IN ACCESS EXCLUSIVE MODE"))
            await until(db, _BLOCKS, process)
            await holder.execute("COMMIT")
            await locking
            await until(db, _IS_BLOCKED, process)
            await until(db, _IS_NOT_BLOCKED, process)  # it has given up
            await migrating.execute("COMMIT")
        assert await appending == [Appended(2, 3), Conflict(1)]
        assert positions(await log(store)) == [1, 2, 3]


async def until(db: Any, condition: str, process: int) -> None:
    """Wait until the server says so of a server process."""
    async with asyncio.timeout(30):
        while True:
            if await db.fetchval(condition, process):
                return
            await asyncio.sleep(0.001)  # the server tells nobody
