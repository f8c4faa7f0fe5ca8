"""Positions: gapless, in commit order, and never seen otherwise, however many write at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from eventree.errors import StoreBusy
from eventree.stores import EventStore
from eventree.stores.contract import Appended, Conflict, RecordedEvent
from eventree.stores.postgres import PostgresStore
from eventree.testing.store_values import append, log, positions, request, stream
from servers.postgres import PostgresServer
from servers.processes import Child, python
from stores.postgres import rush
from stores.postgres.backends import held_head, psql, wait_for_locks
from stores.postgres.rush import Kept

SECONDS = 3.0


async def page_through(store: EventStore, done: asyncio.Event, limit: int) -> int:
    """Read the log from its beginning, again and again; every page must go on where the last one ended."""
    looked = after = 0
    while not done.is_set():
        page = await store.read(after, limit)
        assert positions(page.events) == list(range(after + 1, page.position + 1))
        after = page.position if page.events else 0
        looked += 1
    return looked


async def look_on(dsn: str, done: asyncio.Event) -> int:
    """Look at the tables as a whole: the highest position is the number of events, and where the head is."""
    looked = 0
    async with psql(dsn) as db:
        while not done.is_set():
            [row] = await db.fetch(
                "SELECT (SELECT position FROM head), coalesce(max(position), 0), count(*), count(*) FILTER (WHERE "
                "position > 0) FROM events"
            )
            assert len(set(row)) == 1, row
            states = await db.fetch("SELECT state FROM pg_stat_activity WHERE application_name = 'eventree'")
            assert "idle in transaction" not in {state for (state,) in states}
            looked += 1
    return looked


@asynccontextmanager
async def observed(dsn: str) -> AsyncIterator[None]:
    """Let readers look all the time; at the end they must have seen something, and nothing wrong."""
    done = asyncio.Event()
    async with PostgresStore(dsn) as store, asyncio.TaskGroup() as group:
        readers = [group.create_task(page_through(store, done, limit)) for limit in (1, 7, 1_000)]
        readers.append(group.create_task(look_on(dsn, done)))
        try:
            yield
        finally:
            done.set()
    assert all(reader.result() > 20 for reader in readers)


async def kept_by(other: Child) -> list[Kept]:
    return [msgspec.json.decode(line, type=Kept) for line in await other.lines()]


def assert_kept(kept: Sequence[Kept], events: Sequence[RecordedEvent]) -> None:
    """Hold every answer against the log, and the log against the answers."""
    assert positions(events) == list(range(1, len(events) + 1))
    sequences: Counter[str] = Counter()
    for event in events:
        sequences[event.aggregate_id] += 1
        assert event.sequence == sequences[event.aggregate_id]
    with_events = sorted((each for each in kept if each.commits), key=lambda each: each.position)
    assert [id for each in with_events for id in each.commits] == [event.commit_id for event in events]
    for each in with_events:
        last = events[each.position - 1]
        assert (last.aggregate_id, last.sequence) == (each.aggregate_id, each.sequence)
    for each in kept:
        if not each.commits and each.sequence:
            last = events[each.position - 1]
            assert (last.aggregate_id, last.sequence) == (each.aggregate_id, each.sequence)
    ids = Counter(each.command_id for each in kept if each.command_id)
    assert max(ids.values()) == 1


@pytest.mark.slow
async def test_nobody_ever_sees_a_hole_and_every_answer_is_true(postgres_dsn: str) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(PostgresStore(postgres_dsn, lock_timeout=30)) for _ in range(3)]
        others = [
            await stack.enter_async_context(python(rush.__file__, postgres_dsn, str(number), str(SECONDS)))
            for number in (11, 12)
        ]
        assert [await other.line() for other in others] == ["ready"] * 2
        async with observed(postgres_dsn), asyncio.TaskGroup() as group:
            for other in others:
                other.say("go")
            here = [group.create_task(rush.rush(store, number, SECONDS)) for number, store in enumerate(stores)]
            there = [group.create_task(kept_by(other)) for other in others]
        seen = sum((task.result()[1] for task in here), Counter[str]())
        assert min(seen["Appended"], seen["Conflict"], seen["DuplicateCommand"]) > 0, seen
        kept = [each for task in here for each in task.result()[0]] + [each for task in there for each in task.result()]
        assert all(len(task.result()) > 20 for task in there)
        assert_kept(kept, await log(stores[0]))
        found = await stores[1].find_commands([f"id {number}" for number in range(rush.IDS)])
    assert found.keys() == {each.command_id for each in kept if each.command_id}
    for each in kept:
        if each.command_id:
            assert found[each.command_id].aggregate_id == each.aggregate_id
            assert found[each.command_id].last_sequence == each.sequence


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
async def test_the_isolation_that_a_database_is_given_changes_nothing(
    postgres_server: PostgresServer, level: str
) -> None:
    dsn = postgres_server.new_database()
    postgres_server.execute(f"ALTER DATABASE {dsn.rpartition('/')[2]} SET default_transaction_isolation = '{level}'")
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(PostgresStore(dsn)) for _ in range(3)]
        async with observed(dsn):
            each = await asyncio.gather(*(rush.rush(store, number, 0.7) for number, store in enumerate(stores)))
        assert_kept([kept for some, _ in each for kept in some], await log(stores[0]))
    postgres_server.drop_database(dsn)


async def test_appends_wait_for_the_head_and_then_say_that_it_is_busy(postgres_dsn: str) -> None:
    async with PostgresStore(postgres_dsn, timeout=0.5) as store:
        await append(store, request("a", events=3))
        async with held_head(postgres_dsn), asyncio.timeout(5):
            started = asyncio.get_running_loop().time()
            with pytest.raises(StoreBusy, match="nothing was stored, try again"):
                await append(store, request("a", after=3, commands=["c"]))
            assert 0.4 < asyncio.get_running_loop().time() - started < 2.5
            # Who only reads or checks does not wait.
            assert await store.head() == 3
            assert positions(await log(store)) == [1, 2, 3]
            assert await append(store, request("a", after=3, events=0)) == [Appended(3, 3)]
            assert await append(store, request("a", events=0), request("b", events=0)) == [Conflict(3), Appended(0, 0)]
            assert (await store.claim_checkpoint("query", 1)).fencing_token == 1
        assert await store.find_commands(["c"]) == {}
        assert await append(store, request("a", after=3, commands=["c"])) == [Appended(4, 4)]


async def test_an_append_that_waited_is_stored_when_the_head_is_free(store: PostgresStore, postgres_dsn: str) -> None:
    async with held_head(postgres_dsn) as holder, psql(postgres_dsn) as db:
        waiting = asyncio.create_task(append(store, request("a", events=2)))
        await wait_for_locks(db)
        await holder.execute("UPDATE head SET position = position")
        await holder.execute("COMMIT")
        assert await waiting == [Appended(2, 2)]


async def test_a_head_that_moved_while_an_append_waited_is_read_again(postgres_dsn: str) -> None:
    """Two transactions that waited for the same lock must not be given the same positions."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(PostgresStore(postgres_dsn, lock_timeout=30)) for _ in range(5)]
        holder = await stack.enter_async_context(held_head(postgres_dsn))
        db = await stack.enter_async_context(psql(postgres_dsn))
        waiting = [asyncio.create_task(append(store, request("a"), request(f"b{n}"))) for n, store in enumerate(stores)]
        await wait_for_locks(db, len(stores))
        await holder.execute("COMMIT")
        outcomes = await asyncio.gather(*waiting)
        assert sorted(b.position for _, b in outcomes if isinstance(b, Appended)) == [2, 3, 4, 5, 6]
        assert sorted(str(a) for a, _ in outcomes) == sorted(map(str, [Appended(1, 1)] + [Conflict(1)] * 4))
        assert positions(await log(stores[0])) == [1, 2, 3, 4, 5, 6]
        assert (await stream(stores[1], "a")).sequence == 1
