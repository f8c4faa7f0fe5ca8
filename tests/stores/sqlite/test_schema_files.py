"""What the SQLite store does with files: good ones, bad ones, and somebody else's."""

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventree.errors import (
    InvalidArgument,
    NonPositiveArgument,
    StoreUnavailable,
    StoreUnusable,
)
from eventree.stores import SQLiteStore
from eventree.stores.contract import Appended, AppendRequest, StoredSnapshot
from stores.store_values import TYPE, append, event, log, positions, request, run_sql, snapshot, stream

MEBIBYTE = 2**20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


async def filled(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await append(store, request("a", events=2, commands=["c"]), request("b"))


async def pragma(store: SQLiteStore, name: str) -> object:
    assert store._writer is not None
    return await store._writer.run(lambda db: db.execute(f"PRAGMA {name}").fetchone()[0])


async def test_the_writer_keeps_a_wal_and_syncs_it_at_each_commit(file: Path) -> None:
    async with SQLiteStore(file) as store:
        assert await pragma(store, "journal_mode") == "wal"
        assert await pragma(store, "synchronous") == 2


async def test_the_reader_cannot_write(file: Path) -> None:
    async with SQLiteStore(file) as store:
        assert store._reader is not None
        with pytest.raises(StoreUnusable):
            await store._reader.run(lambda db: db.execute("DELETE FROM commands"))


async def test_a_file_has_the_same_content_after_it_was_closed_and_opened(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await append(store, request("a", events=3, commands=["c"]), request("b"))
        await store.save_snapshots([StoredSnapshot(TYPE, "a", "v1", 3, "State", "{}", 7, datetime.now(UTC))])
        claimed = await store.claim_checkpoint("query", 1)
        before = await log(store), await store.find_commands(["c"]), await store.load_snapshots(TYPE, ["a"], "v1")
    async with SQLiteStore(str(file)) as store:
        after = await log(store), await store.find_commands(["c"]), await store.load_snapshots(TYPE, ["a"], "v1")
        assert after == before
        assert (await store.claim_checkpoint("query", 1)).fencing_token > claimed.fencing_token
        assert await append(store, request("b", after=1)) == [Appended(2, 5)]


async def test_a_closed_store_leaves_one_file(file: Path) -> None:
    await filled(file)
    assert os.listdir(file.parent) == ["events.db"]  # noqa: PTH208 - pathlib is refused in coroutines


@pytest.mark.parametrize("path", ["", ":memory:", Path(":memory:"), "file:events.db", "file::memory:?cache=shared"])
def test_a_path_that_is_no_file_is_refused(path: str | Path) -> None:
    with pytest.raises(InvalidArgument, match="MemoryStore"):
        SQLiteStore(path)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_busy_timeout_that_is_not_positive_is_refused(timeout: float) -> None:
    with pytest.raises(NonPositiveArgument):
        SQLiteStore("events.db", busy_timeout=timeout)


@pytest.mark.parametrize(
    "statement", ["UPDATE events SET payload = '1'", "DELETE FROM events", "DELETE FROM events WHERE position = 2"]
)
async def test_events_cannot_be_changed_with_sql(file: Path, statement: str) -> None:
    await filled(file)
    before = run_sql(file, "SELECT * FROM events")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        run_sql(file, statement)
    assert run_sql(file, "SELECT * FROM events") == before


async def test_the_view_event_log_shows_events_to_people(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await append(store, request("a"), request("b", events=2))
        last = (await log(store))[-1]
    rows = run_sql(file, "SELECT * FROM event_log")
    assert [row[0] for row in rows] == [1, 2, 3]
    commit_id, recorded_at = last.commit_id.hex.upper(), str(rows[-1][8])
    assert rows[-1][:8] == (3, TYPE, "b", 2, "happened", 1, '{"number": 2}', "{}")
    assert rows[-1][9] == commit_id
    assert abs((datetime.fromisoformat(recorded_at) - last.recorded_at).total_seconds()) < 0.002


@pytest.mark.parametrize(
    "damage",
    [
        "payload = '[2]'",
        "payload = CAST(x'5bff5d' AS TEXT)",
        "state_type = CAST(x'ff' AS TEXT)",
        "sequence = 77",
        "checksum = -1",
        "taken_at = 9223372036854775807",
        "taken_at = -9223372036854775808",
    ],
)
async def test_a_damaged_snapshot_comes_back_as_something_else_and_harms_no_other(file: Path, damage: str) -> None:
    good = {id: snapshot(id, 1, payload="[1]") for id in ("a", "b")}
    async with SQLiteStore(file) as store:
        await append(store, request("a"), request("b"))
        await store.save_snapshots(list(good.values()))
        run_sql(file, f"UPDATE snapshots SET {damage} WHERE stream = 1")
        loaded = await store.load_snapshots(TYPE, ["a", "b"], "v1")
        assert loaded["b"] == good["b"]
        assert loaded["a"] != good["a"]


EVENT = "INSERT INTO events VALUES ({})"
COMMAND = "INSERT INTO commands (command_id, stream, first_sequence, last_sequence) VALUES ({})"
STREAM = "INSERT INTO streams (stream, aggregate_type, aggregate_id, sequence, position) VALUES ({})"


@pytest.mark.parametrize(
    "statement",
    [
        STREAM.format("9, '', 'id', 0, 0"),
        STREAM.format("9, 'type', '', 0, 0"),
        STREAM.format("9, 'type', printf('%.*c', 256, 'x'), 0, 0"),
        STREAM.format("9, 'type', printf('%.*c', 128, 'é'), 0, 0"),
        STREAM.format("9, 'type', 'id', -1, 0"),
        STREAM.format(f"9, '{TYPE}', 'a', 0, 0"),
        EVENT.format("0, 9, 1, 'e', 1, '', '', zeroblob(16), 0"),
        EVENT.format("1, 9, 1, 'e', 1, '', '', zeroblob(16), 0"),
        EVENT.format("9, 9, 0, 'e', 1, '', '', zeroblob(16), 0"),
        EVENT.format("9, 1, 1, 'e', 1, '', '', zeroblob(16), 0"),
        EVENT.format("9, 9, 1, '', 1, '', '', zeroblob(16), 0"),
        EVENT.format("9, 9, 1, 'e', 0, '', '', zeroblob(16), 0"),
        EVENT.format("9, 9, 1, 'e', 1, printf('%.*c', 1048577, 'x'), '', zeroblob(16), 0"),
        EVENT.format("9, 9, 1, 'e', 1, '', printf('%.*c', 65537, 'x'), zeroblob(16), 0"),
        EVENT.format("9, 9, 1, 'e', 1, '', '', zeroblob(15), 0"),
        EVENT.format("9, 9, 1, 'e', 1, x'00', '', zeroblob(16), 0"),
        COMMAND.format("'', 1, 1, 1"),
        COMMAND.format("'c', 1, 1, 1"),
        COMMAND.format("'x', 1, 0, 1"),
        COMMAND.format("'x', 1, 3, 1"),
        COMMAND.format("printf('%.*c', 256, 'x'), 1, 1, 1"),
    ],
)
async def test_the_database_itself_refuses_rows_that_break_a_promise(file: Path, statement: str) -> None:
    await filled(file)
    with pytest.raises(sqlite3.IntegrityError):
        run_sql(file, statement)


@pytest.mark.parametrize(
    "statement",
    [
        STREAM.format("9, 'type', printf('%.*c', 255, 'x'), 0, 0"),
        EVENT.format("9, 9, 1, 'e', 1, printf('%.*c', 1048576, 'x'), printf('%.*c', 65536, 'x'), zeroblob(16), 0"),
        COMMAND.format("printf('%.*c', 255, 'x'), 1, 1, 0"),
    ],
)
async def test_the_database_accepts_rows_at_the_limits(file: Path, statement: str) -> None:
    await filled(file)
    run_sql(file, statement)


async def test_an_event_over_the_limit_fails_the_whole_call_and_the_store_lives_on(file: Path) -> None:
    too_large = AppendRequest(TYPE, "large", 0, [event("x" * (MEBIBYTE + 1))])
    async with SQLiteStore(file) as store:
        await append(store, request("a", commands=["c"]))
        with pytest.raises(InvalidArgument, match="payload"):
            await append(store, request("b", commands=["c2"]), request("d", commands=["c"]), too_large)
        assert await store.head() == 1
        assert await store.find_commands(["c2"]) == {}
        assert await append(store, request("b")) == [Appended(1, 2)]
        assert positions((await stream(store, "b")).events) == [2]


async def test_a_text_that_cannot_be_stored_does_not_look_like_a_closed_store(file: Path) -> None:
    async with SQLiteStore(file) as store:
        with pytest.raises(Exception, match="surrogates") as caught:
            await append(store, AppendRequest(TYPE, "a", 0, [event('"\ud800"')]))
        assert not isinstance(caught.value, StoreUnavailable)
