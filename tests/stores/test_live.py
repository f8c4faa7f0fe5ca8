"""The tail of a store: bounds, when it serves, and that nobody can tell it from the database."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eventree.errors import LogRolledBack
from eventree.stores import SQLiteStore, live
from eventree.stores.contract import Appended, AppendRequest, Conflict, LogPage, NewEvent, Outcome, RecordedEvent
from eventree.stores.live import Tail
from eventree.stores.sqlite import reads as sqlite_reads
from eventree.testing.store_values import NOON, append, event, log, positions, request
from eventree.testing.suite.log import EIGHTHS
from stores.followers import AnyStore, Reads, counted, tail_of


def answered(*requests: AppendRequest, after: int) -> list[tuple[AppendRequest, Outcome]]:
    """Return requests as they were kept from a position on."""
    kept: list[tuple[AppendRequest, Outcome]] = []
    for one in requests:
        after += len(one.events)
        kept.append((one, Appended(one.expected_sequence + len(one.events), after)))
    return kept


def held(tail: Tail, after: int, limit: int = 1_000_000) -> list[int] | None:
    page = tail.read(after, limit, None)
    return None if page is None else positions(page.events)


def start(tail: Tail, end: int) -> int:
    """Return the first position that a tail serves, as far as it ends there."""
    return next(first for first in range(1, end + 1) if tail.read(first - 1, 1, None) is not None)


def add(tail: Tail, stored: Iterable[tuple[AppendRequest, Outcome]]) -> None:
    """Add an append that followed the last one."""
    tail.add(stored, NOON, tail._chunks[-1].stamp if tail._chunks else None)


def test_a_new_tail_serves_nobody() -> None:
    assert Tail().read(0, 10, None) is None


def test_a_tail_serves_who_is_inside_of_it() -> None:
    tail = Tail()
    add(tail, answered(request("a", events=2), request("b"), after=10))
    add(tail, answered(request("c"), after=13))
    assert held(tail, 9) is None
    assert held(tail, 10) == [11, 12, 13, 14]
    assert held(tail, 13) == [14]
    assert held(tail, 14) is None
    assert held(tail, 15) is None


def test_what_it_serves_is_whole() -> None:
    tail = Tail()
    new = AppendRequest("x", "é", 7, [event('{"n": 1}', metadata='{"k":"é"}', event_version=3), event("[]")])
    add(tail, answered(new, after=20))
    assert tail.read(20, 1, None) == LogPage(21, [recorded(new, 0, 21)], more=True)
    assert tail.read(20, 9, ["x"]) == LogPage(22, [recorded(new, 0, 21), recorded(new, 1, 22)], more=False)
    assert tail.read(20, 9, ["y"]) == LogPage(22, [], more=False)


def recorded(request: AppendRequest, number: int, position: int) -> RecordedEvent:
    new: NewEvent = request.events[number]
    return RecordedEvent(
        position,
        request.aggregate_type,
        request.aggregate_id,
        request.expected_sequence + number + 1,
        new.event_type,
        new.event_version,
        new.payload,
        new.metadata,
        new.commit_id,
        NOON,
    )


def test_a_page_of_several_appends_ends_behind_a_whole_commit() -> None:
    tail = Tail()
    for number in range(5):
        add(tail, answered(request("a", after=3 * number, events=3), after=3 * number))
    assert [held(tail, after, 4) for after in (0, 1, 2, 3)] == [
        [1, 2, 3, 4, 5, 6],
        [2, 3, 4, 5, 6],
        [3, 4, 5, 6],
        [4, 5, 6, 7, 8, 9],
    ]


def test_events_are_made_once_for_all_readers() -> None:
    tail = Tail()
    add(tail, answered(request("a", events=2), after=0))
    one, two = tail.read(0, 10, None), tail.read(1, 10, None)
    assert one is not None
    assert two is not None
    assert one.events[1] is two.events[0]


def test_a_list_that_its_sender_changes_later_changes_nothing() -> None:
    tail, events = Tail(), [event("1"), event("2")]
    add(tail, answered(AppendRequest("x", "a", 0, events), after=0))
    events[:] = [event("3")]
    page = tail.read(0, 10, None)
    assert page is not None
    assert [event.payload for event in page.events] == ["1", "2"]


def test_requests_that_stored_nothing_are_left_out() -> None:
    tail = Tail()
    refused, command, kept = request("a"), request("b", events=0, commands=["c"]), request("c", events=2)
    add(tail, [(refused, Conflict(3)), (command, Appended(4, 2)), *answered(kept, after=6)])
    assert held(tail, 6) == [7, 8]
    add(tail, [(refused, Conflict(3)), (command, Appended(4, 2))])
    assert held(tail, 6) == [7, 8]


@pytest.mark.parametrize("after", [0, 3, 9, 10, 11, 12, 14, 30])
def test_an_append_that_does_not_follow_is_a_new_beginning(after: int) -> None:
    tail = Tail()
    add(tail, answered(request("a", events=2), after=10))
    add(tail, answered(request("b", events=1), after=12))
    add(tail, answered(request("c", events=2), after=after))
    assert [first for first in range(40) if held(tail, first) is not None] == [after, after + 1]
    assert held(tail, after) == [after + 1, after + 2]


def test_a_tail_that_was_cleared_begins_with_what_comes_next() -> None:
    tail = Tail()
    add(tail, answered(request("a"), after=0))
    tail.clear()
    assert held(tail, 0) is None
    add(tail, answered(request("b"), after=1))
    assert (held(tail, 0), held(tail, 1)) == (None, [2])


def test_a_tail_keeps_8192_events() -> None:
    tail = Tail()
    for number in range(8_192):
        add(tail, answered(request("a"), after=number))
    assert start(tail, 8_192) == 1
    add(tail, answered(request("a"), after=8_192))
    assert start(tail, 8_193) == 2
    add(tail, answered(request("a", events=1_000), after=8_193))
    assert start(tail, 9_193) == 1_002
    assert held(tail, 9_192) == [9_193]


def test_of_several_appends_the_oldest_is_dropped_whole() -> None:
    tail = Tail()
    add(tail, answered(request("a", events=100), after=0))
    add(tail, answered(request("a", events=8_092), after=100))
    assert start(tail, 8_192) == 1
    add(tail, answered(request("a"), after=8_192))
    assert start(tail, 8_193) == 101


@pytest.mark.parametrize("eighth", EIGHTHS)
def test_a_tail_keeps_8_mib(eighth: str) -> None:
    payload, metadata = EIGHTHS[eighth]
    tail = Tail()
    for number in range(8):
        add(tail, answered(AppendRequest("x", "a", 0, [event(payload, metadata=metadata)]), after=number))
    assert start(tail, 8) == 1
    add(tail, answered(request("a"), after=8))
    assert start(tail, 9) == 2
    add(tail, answered(request("a"), after=9))
    assert start(tail, 10) == 2


def test_a_tail_that_was_cleared_has_room_again() -> None:
    payload, metadata = EIGHTHS["payload of ASCII"]
    large = AppendRequest("x", "a", 0, [event(payload, metadata=metadata)] * 8)
    tail = Tail()
    for _ in range(2):
        add(tail, answered(large, after=0))
        assert held(tail, 0) == [1, 2, 3, 4, 5, 6, 7, 8]
        tail.clear()


@pytest.mark.parametrize("large", [[event()] * 8_193, [event('"' + "x" * 2**20 + '"')] * 8], ids=["many", "large"])
def test_of_an_append_beyond_the_bounds_nothing_is_kept(large: Sequence[NewEvent]) -> None:
    tail = Tail()
    add(tail, answered(request("a"), after=0))
    add(tail, answered(AppendRequest("x", "b", 0, large), after=1))
    head = 1 + len(large)
    assert [after for after in range(head + 1) if tail.read(after, 1, None) is not None] == []
    add(tail, answered(request("c"), after=head))
    assert start(tail, head + 1) == head + 1


# From here on: stores. `new_store` is a new object on the same data each time, of each kind of store.


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return counted(monkeypatch)


async def test_who_follows_live_reads_nothing_from_the_database(
    new_store: Callable[[], AnyStore], reads: Reads
) -> None:
    async with new_store() as store:
        await append(store, request("old", events=3))
        store.watch(lambda _: None)
        for number in range(20):
            await append(store, request(f"a{number}", events=2), request(f"b{number}"))
            for types in (None, ["thing"]):
                page = await store.read(3 + 3 * number, 500, types, live=True)
                assert (page.position, len(page.events)) == (6 + 3 * number, 3)
        assert reads.after == []
        assert (await store.read(63, 500, live=True)).position == 63
        assert reads.after == [63]


async def test_a_reader_that_does_not_follow_always_asks_the_database(
    new_store: Callable[[], AnyStore], reads: Reads
) -> None:
    async with new_store() as store, new_store() as other:
        store.watch(lambda _: None)
        await append(store, request("a"))
        await append(other, request("b"))
        live, page = await store.read(0, 10, live=True), await store.read(0, 10)
        assert (live.position, live.more) == (1, False)
        assert (page.position, page.more) == (2, False)
        assert (await store.read(0, 1)).more
        assert reads.after == [0, 0]


async def test_a_store_that_nobody_watches_keeps_nothing(new_store: Callable[[], AnyStore], reads: Reads) -> None:
    async with new_store() as store:
        await append(store, request("a"))
        await store.read(0, 10, live=True)
        unwatch, unwatch_too = store.watch(lambda _: None), store.watch(lambda _: None)
        await append(store, request("b"))
        unwatch()
        assert positions((await store.read(1, 10, live=True)).events) == [2]
        assert reads.after == [0]
        unwatch_too()
        assert tail_of(store).read(1, 1, None) is None
        await append(store, request("c"))
        assert positions((await store.read(2, 10, live=True)).events) == [3]
        assert reads.after == [0, 2]


async def test_a_closed_store_keeps_nothing(new_store: Callable[[], AnyStore], reads: Reads) -> None:
    store = new_store()
    store.watch(lambda _: None)
    async with store:
        await append(store, request("a"))
    assert tail_of(store).read(0, 1, None) is None
    async with store:
        assert positions((await store.read(0, 10, live=True)).events) == [1]
        assert reads.after == [0]


async def test_who_is_far_behind_reads_the_database_and_then_joins_the_tail(
    new_store: Callable[[], AnyStore], reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_EVENTS", 30)
    async with new_store() as store:
        store.watch(lambda _: None)
        for number in range(40):
            await append(store, request(f"a{number}", events=3))
        events, position = list[int](), 0
        while position < 120:
            page = await store.read(position, 7, live=True)
            events += positions(page.events)
            position = page.position
        assert events == list(range(1, 121))
        assert reads.after == list(range(0, 90, 9))


async def test_after_an_append_of_another_store_the_tail_starts_again(
    new_store: Callable[[], AnyStore], reads: Reads
) -> None:
    async with new_store() as store, new_store() as other:
        store.watch(lambda _: None)
        await append(store, request("a"))
        await append(other, request("b"))
        await append(store, request("c"))
        assert positions((await store.read(2, 10, live=True)).events) == [3]
        assert reads.after == []
        assert positions((await store.read(0, 10, live=True)).events) == [1, 2, 3]
        assert positions((await store.read(1, 1, live=True)).events) == [2]
        assert reads.after == [0, 1]
        await append(other, request("d"))
        assert positions((await store.read(3, 10, live=True)).events) == [4]
        assert reads.after == [0, 1, 3]


async def test_a_cancelled_append_is_no_gap(new_store: Callable[[], AnyStore]) -> None:
    async with new_store() as store:
        store.watch(lambda _: None)
        for number in range(20):
            await append(store, request(f"before {number}", events=2))
            before = await store.head()
            cancelled = asyncio.create_task(append(store, request(f"cancelled {number}")))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            cancelled.cancel()
            await append(store, request(f"after {number}"))
            page = await store.read(before, 10, live=True)
            while page.position < await store.head():
                more = await store.read(page.position, 10, live=True)
                page = LogPage(more.position, [*page.events, *more.events], more.more)
            assert positions(page.events) == list(range(before + 1, await store.head() + 1))
            assert page.events[-1].aggregate_id == f"after {number}"
        async with new_store() as fresh:
            assert await log(store) == await log(fresh)


async def test_what_is_seen_live_is_what_a_replay_shows(new_store: Callable[[], AnyStore], reads: Reads) -> None:
    """Times too, to the microsecond."""
    async with new_store() as store, new_store() as fresh:
        store.watch(lambda _: None)
        before = datetime.now(UTC)
        await append(store, request("a", events=3), AppendRequest("x", "é", 0, [event('{"é": "\\u0000"}')]))
        live = await store.read(0, 10, live=True)
        assert reads.after == []
        assert live == await fresh.read(0, 10)
        assert live.events[0].recorded_at.tzinfo == UTC
        assert abs((live.events[0].recorded_at - before).total_seconds()) < 60


@pytest.fixture
def backup(tmp_path: Path) -> Callable[[], Callable[[], None]]:
    """Copy the file, and return what copies it back into the database that is in use."""
    file, kept = tmp_path / "events.db", tmp_path / "backup.db"

    def copy(source: Path, target: Path) -> None:
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)

    def make() -> Callable[[], None]:
        copy(file, kept)
        return lambda: copy(kept, file)

    return make


async def test_after_a_restored_backup_the_next_append_ends_what_was_before(
    tmp_path: Path, backup: Callable[[], Callable[[], None]]
) -> None:
    async with SQLiteStore(tmp_path / "events.db") as store:
        store.watch(lambda _: None)
        await append(store, request("a", events=2))
        restore = backup()
        await append(store, request("b", events=5))
        restore()
        with pytest.raises(LogRolledBack):
            await store.read(7, 10, live=True)
        assert await append(store, request("c", events=2)) == [Appended(2, 4)]
        assert [event.aggregate_id for event in (await store.read(0, 10, live=True)).events] == ["a", "a", "c", "c"]
        for after in (5, 6, 7):
            with pytest.raises(LogRolledBack):
                await store.read(after, 10, live=True)


async def test_after_a_restored_backup_a_reader_that_is_behind_gets_what_is_there(
    tmp_path: Path, backup: Callable[[], Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CONFIRMED_FOR", 0.0, raising=False)
    async with SQLiteStore(tmp_path / "events.db") as store:
        store.watch(lambda _: None)
        await append(store, request("a", events=2))
        restore = backup()
        await append(store, request("gone", events=5))
        last = (await log(store))[1].stamp
        restore()
        async with SQLiteStore(tmp_path / "events.db") as other:
            await append(other, request("new", events=6))
        page = await store.read(2, 10, live=True, after_stamp=last)
        assert {event.aggregate_id for event in page.events} == {"new"}
        assert page.position == 8


async def test_a_tail_that_was_just_confirmed_asks_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "CONFIRMED_FOR", 60.0, raising=False)
    async with SQLiteStore(tmp_path / "events.db") as store:
        store.watch(lambda _: None)
        await append(store, request("a", events=5))
        reads = counted(monkeypatch)
        for after in range(5):
            assert (await store.read(after, 10, live=True)).position == 5
        assert reads.after == []
        monkeypatch.setattr(live, "CONFIRMED_FOR", 0.0, raising=False)
        assert (await store.read(1, 10, live=True)).position == 5
        assert reads.after == [5]


async def test_an_append_that_fails_empties_the_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SQLiteStore(tmp_path / "events.db", busy_timeout=0.01) as store:
        store.watch(lambda _: None)
        await append(store, request("a"))

        async def fail(*_: Any) -> None:
            raise LogRolledBack("a test", 1, 0)

        monkeypatch.setattr(store._writer, "run", fail)
        with pytest.raises(LogRolledBack):
            await append(store, request("b"))
        assert tail_of(store).read(0, 1, None) is None


async def test_the_pages_of_sqlite_end_where_their_bytes_do_not_fetch_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_reads, "MAX_PAGE_BYTES", 100)
    fetched: list[int] = []
    make = sqlite_reads._recorded

    def recorded(row: tuple[int, str, str, int, str, int, str, str, bytes, int]) -> RecordedEvent:
        fetched.append(row[0])
        return make(row)

    monkeypatch.setattr(sqlite_reads, "_recorded", recorded)
    async with SQLiteStore(tmp_path / "events.db") as store:
        for number in range(10):
            await append(store, AppendRequest("x", f"{number}", 0, [event('"' + "x" * 46 + '"')]))
        page = await store.read(0, 100)
        assert (positions(page.events), fetched) == ([1, 2], [1, 2, 3])
