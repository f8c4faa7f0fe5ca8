"""A store that was restored from an older backup: what knows more than the log says so, and nobody hangs."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventree import (
    EntityNotFound,
    Err,
    EventSourcing,
    EventStore,
    Ok,
    Query,
    QueryStopped,
    SnapshotConfig,
    SQLiteStore,
)
from eventree.errors import EventMissing, LogRolledBack
from eventree.sourcing import QueryHandle, QueryStatus
from eventree.sourcing.snapshots.codec import SnapshotCodec
from sourcing.ledger import Added, Command, Ledger, LedgerType, add, add_length, crash, entries, ledger, ledger_in_place
from sourcing.reading import Seen, query

EVERY_TEN = SnapshotConfig(frequency=10)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def copy(source: Path, target: Path) -> None:
    """Copy a database into another one that may be in use, as `sqlite3 file '.backup'` and `.restore` do."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def rolled_back(answer: object) -> tuple[str, int, int]:
    assert isinstance(answer, Err)
    error: object = answer.error
    assert isinstance(error, LogRolledBack)
    return error.subject, error.known, error.found


def refuse(_: Ledger) -> Err[str]:
    return Err("no")


@pytest.mark.parametrize("kind", [ledger, ledger_in_place], ids=["pure", "in_place"])
@pytest.mark.parametrize("command", [add(9), add(), refuse, crash], ids=["events", "nothing", "refusal", "crash"])
async def test_a_state_ahead_of_the_store_is_an_answer_once(file: Path, command: Command, kind: LedgerType) -> None:
    backup = file.with_name("backup.db")
    async with SQLiteStore(file) as store, EventSourcing(kind, store) as system:
        await system.execute_many([("a", add(1, 2)), ("b", add(1))])
        copy(file, backup)
        await system.execute_many([("a", add(3)), ("a", add(4)), ("new", add(1))])
        copy(backup, file)
        got = await system.execute_many([("a", add(8)), ("a", command), ("b", add_length), ("new", command)])
        assert rolled_back(got[0]) == rolled_back(got[1]) == ("ledger 'a'", 4, 2)
        assert rolled_back(got[3]) == ("ledger 'new'", 1, 0)
        assert got[2].unwrap().events == (Added(1),)
        assert (await system.execute("a", add_length)).unwrap().events == (Added(2),)
        assert (await system.execute("new", add_length)).unwrap().events == (Added(0),)
        assert await entries(system, "a") == [1, 2, 2]
        assert (await system.system_stats()).actor_restarts == 0


async def test_what_comes_after_a_crash_is_decided_on_what_the_store_has(file: Path) -> None:
    backup = file.with_name("backup.db")
    async with SQLiteStore(file) as store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(1))
        copy(file, backup)
        await system.execute("a", add(2))
        copy(backup, file)
        got = await system.execute_many([("a", add(3)), ("a", crash), ("a", add_length)])
        assert rolled_back(got[0]) == rolled_back(got[1]) == ("ledger 'a'", 2, 1)
        assert got[2].unwrap().events == (Added(1),)


async def test_ids_that_the_backup_knows_are_answered_and_lost_ones_may_be_stored_again(file: Path) -> None:
    backup = file.with_name("backup.db")
    async with SQLiteStore(file) as store, EventSourcing(ledger, store) as system:
        kept = await system.execute("a", add(1), command_id="kept")
        copy(file, backup)
        await system.execute("a", add(2), command_id="lost")
        copy(backup, file)
        assert await system.execute("a", add(1), command_id="kept", expected_sequence=0) == kept
        again = await system.execute("a", add(2), command_id="lost")
        assert (again.unwrap().sequence, await entries(system, "a")) == (2, [1, 2])


async def test_a_running_query_ahead_of_the_store_stops_visibly(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    backup, seen = file.with_name("backup.db"), Seen()
    async with SQLiteStore(file) as store, EventSourcing(ledger, store, queries=[query("q", seen)]) as system:
        await system.execute("a", add(1, 2))
        await system.query("q").caught_up()
        copy(file, backup)
        await system.execute("a", add(3))
        await system.query("q").caught_up()
        copy(backup, file)
        await stops(system.query("q"), 3, 2, caplog)
        assert isinstance(await system.execute("b", add(1)), Ok)
        assert (await system.system_stats()).actor_restarts == 0
    assert seen.amounts == [("a", [1, 2]), ("a", [3])]


async def stops(handle: QueryHandle, known: int, found: int, caplog: pytest.LogCaptureFixture) -> None:
    """See that a query stopped because the log is shorter than it knew, for all who ask."""
    for position in (None, 0, known):
        with pytest.raises(QueryStopped) as stopped:
            await handle.caught_up(position)
        cause = stopped.value.__cause__
        assert isinstance(cause, LogRolledBack)
        assert (cause.subject, cause.known, cause.found) == ("query 'q'", known, found)
        assert handle.last_error is cause
        assert stopped.value.position == handle.position == known
    assert handle.status is QueryStatus.STOPPED
    assert [record.levelname for record in caplog.records if "query q stopped" in record.getMessage()] == ["ERROR"]


@pytest.mark.durable
async def test_a_checkpoint_in_front_of_the_log_stops_its_query_until_it_has_a_new_version(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The checkpoint is of a backup newer than the events'."""
    newer, seen = file.with_name("newer.db"), Seen()
    async with SQLiteStore(file) as store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(1))
    shutil.copy(file, newer)
    async with SQLiteStore(newer) as store, EventSourcing(ledger, store, queries=[query("q", Seen())]) as system:
        await system.execute("a", add(2, 3))
        await system.query("q").caught_up()
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("ATTACH ? AS newer", (str(newer),))
        db.execute("INSERT INTO checkpoints SELECT * FROM newer.checkpoints")
    async with SQLiteStore(file) as store:
        async with EventSourcing(ledger, store, queries=[query("q", seen)]) as system:
            await stops(system.query("q"), 3, 1, caplog)
            assert await entries(system, "a") == [1]
            assert seen.amounts == []
        async with EventSourcing(ledger, store, queries=[Query("q", seen, version=2)]) as system:
            await system.query("q").caught_up()
    assert seen.amounts == [("a", [1])]


@pytest.mark.durable
@pytest.mark.parametrize("count", [0, 1, 25])
@pytest.mark.parametrize("kind", [ledger, ledger_in_place], ids=["pure", "in_place"])
async def test_a_snapshot_from_a_lost_future_is_ignored(store: EventStore, count: int, kind: LedgerType) -> None:
    """It was taken before the restore and written after it."""
    future = SnapshotCodec(kind).encode("a", Ledger([77] * 30), 30)
    async with EventSourcing(kind, store) as system:
        await system.execute("a", add(*range(count)))
    await store.save_snapshots([future])
    async with EventSourcing(kind, store, snapshots=EVERY_TEN) as system:
        loaded = await system.load_aggregate("a")
        if count:
            assert loaded.unwrap().state == Ledger(list(range(count)))
        else:
            assert isinstance(loaded, Err)
            assert isinstance(loaded.error, EntityNotFound)
        commit = (await system.execute("a", add_length, expected_sequence=count)).unwrap()
        assert (commit.events, commit.sequence, commit.position) == ((Added(count),), count + 1, count + 1)


@pytest.mark.durable
async def test_a_snapshot_from_a_lost_future_is_not_believed_when_its_aggregate_has_grown(store: EventStore) -> None:
    future = SnapshotCodec(ledger).encode("a", Ledger([77] * 3), 3)
    async with EventSourcing(ledger, store) as system:
        await system.execute("a", add(1, 2))
        await store.save_snapshots([future])
        await system.execute("a", add(3, 4))
    async with EventSourcing(ledger, store, snapshots=EVERY_TEN) as system:
        assert await entries(system, "a") == [1, 2, 3, 4]


@pytest.mark.parametrize("lost", [1, 3, 5])
async def test_an_aggregate_that_has_lost_an_event_is_told_so_and_the_others_go_on(file: Path, lost: int) -> None:
    async with SQLiteStore(file) as store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(1, 2, 3, 4, 5), command_id="c")
        await system.execute("b", add(1))
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute("DELETE FROM events WHERE position = ?", (lost,))
    async with asyncio.timeout(10), SQLiteStore(file) as store, EventSourcing(ledger, store) as system:
        answers: list[object] = [
            await system.load_aggregate("a"),
            await system.load_events("a"),
            await system.execute("a", add_length),
            await system.execute("a", add(1), command_id="c"),
        ]
        for answer in answers:
            assert isinstance(answer, Err)
            assert isinstance(answer.error, EventMissing)
            assert (answer.error.aggregate_id, answer.error.sequence) == ("a", lost)
        assert (await system.execute("b", add_length)).unwrap().events == (Added(1),)
        assert (await system.system_stats()).actor_restarts == 0
