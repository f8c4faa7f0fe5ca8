"""What a projection does to its transaction on SQLite: it counts right once the cause is gone, and blocks nobody."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
import pytest

from eventree import Backoff, EventSourcing, Ok, Projection, QueryStopped, SQLiteStore
from eventree.errors import TransactionEnded
from eventree.sourcing import QueryStatus
from sourcing.ledger import Added, Boom, LedgerSystem, add, ledger
from sourcing.reading import AT_ONCE
from sourcing.totals import Events, project, rows, setup, totals

Project = Callable[[aiosqlite.Connection, Events], Awaitable[None]]

SWALLOWED: dict[str, str] = {
    "ON CONFLICT ROLLBACK": "CREATE TABLE strict (x INTEGER UNIQUE ON CONFLICT ROLLBACK)",
    "RAISE(ROLLBACK)": "CREATE TRIGGER refused BEFORE INSERT ON strict WHEN EXISTS (SELECT 1 FROM strict) "
    "BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
}


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "events.db")


def projection(
    project: Project,
    setup: Callable[[aiosqlite.Connection], Awaitable[None]] = setup,
    *,
    max_attempts: int = 3,
    backoff: Backoff = AT_ONCE,
) -> Projection[Added]:
    return Projection(
        "totals", project, setup=setup, max_attempts=max_attempts, backoff=backoff, poll_interval=0.01, lease=60
    )


@asynccontextmanager
async def opened(place: str, projection: Projection[Added]) -> AsyncIterator[LedgerSystem]:
    store = SQLiteStore(place, busy_timeout=1.0)
    async with store, EventSourcing(ledger, store, queries=[projection]) as system:
        yield system


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("how", SWALLOWED)
async def test_a_projection_that_swallows_a_rollback_stops_at_once_and_counts_right_when_it_does_no_more(
    place: str, how: str, *, later: bool
) -> None:
    is_broken = True
    calls: list[int] = []

    async def make(connection: aiosqlite.Connection) -> None:
        await setup(connection)
        if how == "RAISE(ROLLBACK)":
            await connection.execute("CREATE TABLE strict (x INTEGER)")
        await connection.execute(SWALLOWED[how])

    async def swallows(connection: aiosqlite.Connection, events: Events) -> None:
        calls.append(len(events))
        await project(connection, events)
        if is_broken:
            await connection.execute("INSERT INTO strict VALUES (1)")
            with pytest.raises(sqlite3.IntegrityError):
                await connection.execute("INSERT INTO strict VALUES (1)")
            if later:
                with pytest.raises(TransactionEnded):
                    await project(connection, events)

    async with opened(place, projection(swallows, make)) as system:
        handle = system.query("totals")
        await handle.caught_up()
        await handle.pause()
        await system.execute_many([("a", add(1)), ("b", add(2, 3)), ("a", add(4))])
        await handle.resume()
        with pytest.raises(QueryStopped) as stopped:
            await handle.caught_up()
        assert isinstance(stopped.value.__cause__, TransactionEnded)
        assert (len(calls), handle.position, handle.status) == (1, 0, QueryStatus.STOPPED)
        assert await totals(place) == {}
        assert await rows(place, "SELECT * FROM strict") == []
        assert await rows(place, "SELECT position FROM checkpoints") == [(0,)]
        is_broken = False
        await handle.resume()
        await handle.caught_up()
        assert await totals(place) == {"a": (5, 2), "b": (5, 2)}
        assert isinstance(await system.execute("a", add(6), wait_for=["totals"]), Ok)
        assert await totals(place) == {"a": (11, 3), "b": (5, 2)}


async def test_a_rollback_that_is_not_swallowed_is_tried_again(place: str) -> None:
    calls = 0

    async def make(connection: aiosqlite.Connection) -> None:
        await setup(connection)
        await connection.execute(SWALLOWED["ON CONFLICT ROLLBACK"])

    async def rolls_back_twice(connection: aiosqlite.Connection, events: Events) -> None:
        nonlocal calls
        calls += 1
        await project(connection, events)
        for _ in range(2 if calls < 3 else 1):
            await connection.execute("INSERT INTO strict VALUES (1)")

    async with opened(place, projection(rolls_back_twice, make)) as system:
        await system.execute("a", add(1), wait_for=["totals"])
        assert calls == 3
        assert await totals(place) == {"a": (1, 1)}
        assert await rows(place, "SELECT * FROM strict") == [(1,)]


async def test_a_setup_that_swallows_a_rollback_stops_and_leaves_nothing(place: str) -> None:
    is_broken = True

    async def make(connection: aiosqlite.Connection) -> None:
        await setup(connection)
        if is_broken:
            await connection.execute(SWALLOWED["ON CONFLICT ROLLBACK"])
            await connection.execute("INSERT INTO strict VALUES (1)")
            with pytest.raises(sqlite3.IntegrityError):
                await connection.execute("INSERT INTO strict VALUES (1)")

    async with opened(place, projection(project, make)) as system:
        await system.execute("a", add(1))
        with pytest.raises(QueryStopped) as stopped:
            await system.query("totals").caught_up()
        assert isinstance(stopped.value.__cause__, TransactionEnded)
        assert await rows(place, "SELECT * FROM checkpoints") == []
        assert await rows(place, "SELECT name FROM sqlite_schema WHERE name IN ('totals', 'strict')") == []
        is_broken = False
        await system.query("totals").resume()
        await system.query("totals").caught_up()
        assert await totals(place) == {"a": (1, 1)}


async def test_a_projection_that_fails_while_it_reads_keeps_nobody_from_writing(place: str) -> None:
    is_broken = True

    async def fails(connection: aiosqlite.Connection, events: Events) -> None:
        await project(connection, events)
        cursor = await connection.execute("SELECT id FROM totals")  # in the traceback of the error, half read
        await cursor.fetchone()
        if is_broken and any(event.payload.amount == 7 for event in events):
            raise Boom
        await cursor.close()

    failing = projection(fails, max_attempts=1_000, backoff=Backoff(initial=0.02, maximum=0.02))
    clock = asyncio.get_running_loop().time
    async with opened(place, failing) as system:
        await system.execute_many([(f"x{number}", add(1)) for number in range(5)])
        await system.query("totals").caught_up()
        await system.execute("a", add(7))
        waits: list[float] = []
        while not isinstance(system.query("totals").last_error, Boom):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        for number in range(20):
            began = clock()
            assert isinstance(await system.execute(f"b{number}", add(1)), Ok)
            waits.append(clock() - began)
            await asyncio.sleep(0.02)  # it is tried again
        assert max(waits) < 0.5  # half of the busy timeout
        is_broken = False
        await system.query("totals").caught_up()
        expected = {f"x{number}": (1, 1) for number in range(5)} | {f"b{number}": (1, 1) for number in range(20)}
        assert await totals(place) == expected | {"a": (7, 1)}


async def test_a_projection_that_leaves_its_reading_unfinished_keeps_nobody_from_writing(place: str) -> None:
    kept: list[aiosqlite.Cursor] = []

    async def reads_a_little(connection: aiosqlite.Connection, events: Events) -> None:
        await project(connection, events)
        kept.append(await connection.execute("SELECT id FROM totals"))
        await kept[-1].fetchone()

    async with opened(place, projection(reads_a_little)) as system:
        for number in range(10):
            async with asyncio.timeout(0.5):  # half of the busy timeout
                answer = await system.execute(f"a{number % 3}", add(1), wait_for=["totals"])
            assert isinstance(answer, Ok)
        assert len(kept) == 10
        assert await totals(place) == {"a0": (4, 4), "a1": (3, 3), "a2": (3, 3)}


async def test_a_projection_that_locks_its_own_table_stops_after_its_attempts(place: str) -> None:
    is_broken, calls = True, 0

    async def drops(connection: aiosqlite.Connection, events: Events) -> None:
        nonlocal calls
        calls += 1
        await project(connection, events)
        await connection.execute("CREATE TABLE scratch (x)")
        if is_broken:
            cursor = await connection.execute("SELECT id FROM totals, (VALUES (1), (2), (3))")
            await cursor.fetchone()
            await connection.execute("DROP TABLE scratch")
            await cursor.close()
        else:
            await connection.execute("DROP TABLE scratch")

    async with opened(place, projection(drops)) as system:
        await system.execute("a", add(1, 2))
        with pytest.raises(QueryStopped) as stopped:
            await system.query("totals").caught_up()
        assert isinstance(stopped.value.__cause__, sqlite3.OperationalError)
        assert stopped.value.__cause__.sqlite_errorcode == sqlite3.SQLITE_LOCKED
        assert calls == 3
        assert await totals(place) == {}
        is_broken = False
        await system.query("totals").resume()
        await system.query("totals").caught_up()
        assert await totals(place) == {"a": (3, 2)}


@pytest.mark.parametrize(
    "refused", ["PRAGMA query_only = ON", "PRAGMA synchronous = OFF", "CREATE TEMP TABLE checkpoints (name)"]
)
async def test_a_projection_that_would_change_the_connection_fails_and_harms_no_other(place: str, refused: str) -> None:
    async def changes(connection: aiosqlite.Connection, _: Events) -> None:
        await connection.execute("CREATE TABLE never (x)")
        await connection.execute(refused)

    changing: Projection[Added] = Projection("changing", changes, max_attempts=2, backoff=AT_ONCE, poll_interval=0.01)
    async with opened(place, projection(project)) as system:
        await system.register_queries([changing])
        for amount in (1, 2, 3):
            await system.execute("a", add(amount), wait_for=["totals"])
        with pytest.raises(QueryStopped) as stopped:
            await system.query("changing").caught_up()
        assert "not authorized" in str(stopped.value.__cause__)
        await system.execute("a", add(4), wait_for=["totals"])
        assert await totals(place) == {"a": (10, 4)}
        assert await rows(place, "SELECT name FROM sqlite_schema WHERE name = 'never'") == []


async def test_the_helpers_of_a_projection_write_with_its_checkpoint_or_not_at_all(place: str) -> None:
    helpers: list[asyncio.Task[int]] = []

    async def make(connection: aiosqlite.Connection) -> None:
        await setup(connection)
        await connection.execute("CREATE TABLE extra (x INTEGER)")

    async def keep_inserting(connection: aiosqlite.Connection, x: int, begun: asyncio.Event) -> int:
        done = 0
        with pytest.raises(TransactionEnded):
            while True:
                await connection.execute("INSERT INTO extra VALUES (?)", (x,))
                begun.set()
                done += 1
        return done

    async def helped(connection: aiosqlite.Connection, events: Events) -> None:
        begun = asyncio.Event()
        is_failing = len(helpers) % 2 == 0
        helper = keep_inserting(connection, -1 if is_failing else 1, begun)
        helpers.append(asyncio.create_task(helper))
        await project(connection, events)
        await begun.wait()
        if is_failing:
            raise Boom

    async with opened(place, projection(helped, make)) as system:
        for number in range(10):
            assert isinstance(await system.execute(f"a{number}", add(1), wait_for=["totals"]), Ok)
        done = await asyncio.gather(*helpers)
    assert len(helpers) == 20
    assert await totals(place) == {f"a{number}": (1, 1) for number in range(10)}
    [(stored,)] = await rows(place, "SELECT count(*) FROM extra WHERE x = 1")
    assert stored >= sum(done[1::2]) > 0
    assert await rows(place, "SELECT count(*) FROM extra WHERE x = -1") == [(0,)]


async def test_a_slow_projection_begins_with_short_transactions(place: str) -> None:
    sizes: list[int] = []
    begun = asyncio.Event()

    async def slow(connection: aiosqlite.Connection, events: Events) -> None:
        begun.set()
        sizes.append(len(events))
        await project(connection, events)
        await asyncio.sleep(0.02 * len(events))

    async with SQLiteStore(place) as store, EventSourcing(ledger, store) as system:
        await system.execute_many([(f"a{number % 10}", add(number)) for number in range(400)])
    clock = asyncio.get_running_loop().time
    async with opened(place, projection(slow)) as system:
        await begun.wait()
        waits: list[float] = []
        for _ in range(5):
            began = clock()
            assert isinstance(await system.execute("b", add(1)), Ok)
            waits.append(clock() - began)
    assert max(waits) < 0.5
    assert sizes[0] == 1
    assert max(sizes) <= 6
