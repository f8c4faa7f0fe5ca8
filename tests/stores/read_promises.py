"""What a store promises about reads, watchers, checkpoints and snapshots."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from eventree.errors import CheckpointFenced
from eventree.stores.contract import Checkpoint, EventStore, StoredSnapshot, StreamRead
from stores.store_values import TYPE, append, log, positions, request, stream

NOON = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)


def snapshot(id: str, sequence: int, *, version: str = "v1", payload: str = "{}", type: str = TYPE) -> StoredSnapshot:
    return StoredSnapshot(type, id, version, sequence, "State", payload, NOON)


class StreamPromises:
    async def test_a_stream_is_read_from_its_beginning_in_order(self, store: EventStore) -> None:
        await append(store, request("a", events=2), request("b"))
        await append(store, request("a", after=2))
        page = await stream(store, "a")
        assert (page.sequence, page.position) == (3, 4)
        assert [(event.sequence, event.position) for event in page.events] == [(1, 1), (2, 2), (3, 4)]

    async def test_a_stream_is_read_after_a_sequence(self, store: EventStore) -> None:
        await append(store, request("b"), request("a", events=5))
        page = await stream(store, "a", after=2, limit=2)
        assert [event.sequence for event in page.events] == [3, 4]
        assert (page.sequence, page.position) == (5, 6)

    @pytest.mark.parametrize("after", [5, 6])
    async def test_a_stream_read_after_its_end_tells_where_it_stands(self, store: EventStore, after: int) -> None:
        await append(store, request("a", events=5))
        page = await stream(store, "a", after=after)
        assert (page.sequence, page.position, list(page.events)) == (5, 5, [])

    async def test_a_limit_of_zero_tells_only_where_the_stream_stands(self, store: EventStore) -> None:
        await append(store, request("b"), request("a", events=2))
        page = await stream(store, "a", limit=0)
        assert (page.sequence, page.position, list(page.events)) == (2, 3, [])

    async def test_an_unknown_stream_is_an_empty_page(self, store: EventStore) -> None:
        await append(store, request("a"))
        for page in (await stream(store, "unknown"), await stream(store, "a", type="unknown")):
            assert (page.sequence, page.position, list(page.events)) == (0, 0, [])

    async def test_several_streams_are_read_in_the_order_of_the_reads(self, store: EventStore) -> None:
        await append(store, request("a", events=2), request("b"))
        reads = [StreamRead(TYPE, "b"), StreamRead(TYPE, "?"), StreamRead(TYPE, "a", 1), StreamRead(TYPE, "b", 0, 0)]
        pages = await store.read_streams(reads)
        assert [(page.sequence, positions(page.events)) for page in pages] == [(1, [3]), (0, []), (2, [2]), (1, [])]
        assert list(await store.read_streams([])) == []

    async def test_a_stream_and_the_log_show_the_same_events(self, store: EventStore) -> None:
        await append(store, request("a", events=2), request("b"))
        assert [*(await stream(store, "a")).events, *(await stream(store, "b")).events] == await log(store)


class LogPromises:
    async def test_the_log_is_read_in_pages_to_its_end(self, store: EventStore) -> None:
        await append(store, *(request(f"a{number}") for number in range(5)))
        first, second = await store.read(0, 3), await store.read(3, 3)
        assert (first.position, positions(first.events)) == (3, [1, 2, 3])
        assert (second.position, positions(second.events)) == (5, [4, 5])

    @pytest.mark.parametrize("after", [2, 3, 100])
    async def test_the_page_at_the_end_of_the_log_is_empty_and_stays_there(self, store: EventStore, after: int) -> None:
        await append(store, request("a", events=2))
        page = await store.read(after, 10)
        assert (page.position, list(page.events)) == (after, [])

    async def test_an_empty_log_is_an_empty_page(self, store: EventStore) -> None:
        page = await store.read(0, 10)
        assert (page.position, list(page.events)) == (0, [])

    async def test_events_of_other_types_are_left_out_and_the_position_moves_past_them(self, store: EventStore) -> None:
        await append(store, request("a", type="x"), request("a", type="y"), request("a", type="z", events=2))
        page = await store.read(0, 2, ["x"])
        assert (page.position, positions(page.events)) == (2, [1])
        page = await store.read(2, 10, ["x"])
        assert (page.position, list(page.events)) == (4, [])
        page = await store.read(0, 10, {"z", "x", "unknown"})
        assert (page.position, positions(page.events)) == (4, [1, 3, 4])

    async def test_no_types_are_no_events(self, store: EventStore) -> None:
        await append(store, request("a"))
        page = await store.read(0, 10, [])
        assert (page.position, list(page.events)) == (1, [])

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 8])
    async def test_a_page_never_ends_inside_a_commit(self, store: EventStore, limit: int) -> None:
        await append(store, request("a", events=3), request("b", events=1))
        await append(store, request("a", after=3, events=4))
        ends, position = [], 0
        while (page := await store.read(position, limit)).events:
            assert positions(page.events) == list(range(position + 1, page.position + 1))
            position = page.position
            ends.append(position)
        assert set(ends) <= {3, 4, 8}
        assert ends[-1] == 8

    async def test_a_commit_larger_than_the_limit_comes_whole(self, store: EventStore) -> None:
        await append(store, request("a", events=50), request("b"))
        page = await store.read(0, 7)
        assert (page.position, len(page.events)) == (50, 50)

    async def test_a_page_of_one_type_does_not_end_inside_a_commit_of_another(self, store: EventStore) -> None:
        await append(store, request("a", type="x"), request("a", type="y", events=3), request("b", type="x"))
        page = await store.read(0, 2, ["x"])
        assert page.position in {1, 4}
        assert positions(page.events) == [1]

    async def test_the_head_is_the_newest_position(self, store: EventStore) -> None:
        assert await store.head() == 0
        await append(store, request("a", events=3), request("b"))
        assert await store.head() == 4


class WatchPromises:
    async def test_watchers_hear_the_newest_position_after_each_append(self, store: EventStore) -> None:
        first: list[int] = []
        second: list[int] = []
        store.watch(first.append)
        await append(store, request("a", events=3), request("b"))
        store.watch(second.append)
        await append(store, request("b"), request("c"))
        assert first == [4, 5]
        assert second == [5]

    async def test_watchers_do_not_hear_of_what_stored_no_event(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c"]))
        heard: list[int] = []
        store.watch(heard.append)
        await append(store, request("a", after=1, events=0), request("b", after=1), request("d", commands=["c"]))
        await append(store, request("a", after=1, events=0, commands=["nothing"]))
        assert heard == []

    async def test_a_watcher_that_left_hears_no_more(self, store: EventStore) -> None:
        left: list[int] = []
        stayed: list[int] = []
        leave = store.watch(left.append)
        store.watch(stayed.append)
        await append(store, request("a"))
        leave()
        leave()
        await append(store, request("b"))
        assert (left, stayed) == ([1], [1, 2])

    async def test_a_function_that_watches_twice_is_called_twice_and_leaves_once(self, store: EventStore) -> None:
        heard: list[int] = []
        store.watch(heard.append)
        leave = store.watch(heard.append)
        await append(store, request("a"))
        leave()
        await append(store, request("b"))
        assert heard == [1, 1, 2]


class CheckpointPromises:
    async def test_a_claim_creates_a_checkpoint_at_the_beginning(self, store: EventStore) -> None:
        assert (await store.claim_checkpoint("query", 1)).position == 0

    async def test_a_saved_checkpoint_is_found_by_the_next_claim_with_a_higher_fence(self, store: EventStore) -> None:
        first = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, Checkpoint(7, first.fence))
        await store.save_checkpoint("query", 1, Checkpoint(9, first.fence))
        second = await store.claim_checkpoint("query", 1)
        assert second.position == 9
        assert second.fence > first.fence
        assert (await store.claim_checkpoint("query", 1)).fence > second.fence

    async def test_the_holder_of_an_old_fence_cannot_move_the_checkpoint(self, store: EventStore) -> None:
        old = await store.claim_checkpoint("query", 1)
        new = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, Checkpoint(5, new.fence))
        with pytest.raises(CheckpointFenced) as caught:
            await store.save_checkpoint("query", 1, Checkpoint(8, old.fence))
        assert (caught.value.name, caught.value.fence) == ("query", old.fence)
        assert (await store.claim_checkpoint("query", 1)).position == 5

    async def test_a_checkpoint_that_was_never_claimed_cannot_be_moved(self, store: EventStore) -> None:
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, Checkpoint(8, 1))
        assert (await store.claim_checkpoint("query", 1)).position == 0

    async def test_names_and_versions_have_checkpoints_of_their_own(self, store: EventStore) -> None:
        one, two = await store.claim_checkpoint("query", 1), await store.claim_checkpoint("query", 2)
        other = await store.claim_checkpoint("other", 1)
        await store.save_checkpoint("query", 1, Checkpoint(3, one.fence))
        await store.save_checkpoint("query", 2, Checkpoint(4, two.fence))
        await store.save_checkpoint("other", 1, Checkpoint(5, other.fence))
        keys = [("query", 1), ("query", 2), ("other", 1)]
        assert [(await store.claim_checkpoint(name, version)).position for name, version in keys] == [3, 4, 5]


class SnapshotPromises:
    async def test_a_snapshot_comes_back_as_it_was_given(self, store: EventStore) -> None:
        await append(store, request("ä", events=3))
        kept = snapshot("ä", 3, payload='{"tëxt": "\\u0000😀"}')
        await store.save_snapshots([kept])
        assert await store.load_snapshots(TYPE, ["ä"], "v1") == {"ä": kept}

    async def test_when_a_snapshot_was_taken_comes_back_in_utc(self, store: EventStore) -> None:
        await append(store, request("a"))
        there = NOON.astimezone(timezone(timedelta(hours=5)))
        await store.save_snapshots([StoredSnapshot(TYPE, "a", "v1", 1, "State", "{}", there)])
        loaded = (await store.load_snapshots(TYPE, ["a"], "v1"))["a"]
        assert loaded.taken_at == NOON

    async def test_the_newest_snapshot_is_kept_in_whatever_order_they_come(self, store: EventStore) -> None:
        await append(store, request("a", events=9), request("b", events=9))
        await store.save_snapshots([snapshot("a", 3), snapshot("b", 6)])
        await store.save_snapshots([snapshot("a", 6), snapshot("b", 3)])
        loaded = await store.load_snapshots(TYPE, ["a", "b"], "v1")
        assert {id: kept.sequence for id, kept in loaded.items()} == {"a": 6, "b": 6}

    async def test_the_newest_of_several_snapshots_of_one_call_is_kept(self, store: EventStore) -> None:
        await append(store, request("a", events=9))
        await store.save_snapshots([snapshot("a", 6, payload="6"), snapshot("a", 3, payload="3")])
        assert (await store.load_snapshots(TYPE, ["a"], "v1"))["a"].payload == "6"

    async def test_a_snapshot_of_another_state_version_is_invisible(self, store: EventStore) -> None:
        await append(store, request("a", events=9))
        await store.save_snapshots([snapshot("a", 6), snapshot("a", 3, version="v2")])
        assert await store.load_snapshots(TYPE, ["a"], "v3") == {}
        assert (await store.load_snapshots(TYPE, ["a"], "v1"))["a"].sequence == 6
        assert (await store.load_snapshots(TYPE, ["a"], "v2"))["a"].sequence == 3

    async def test_a_snapshot_of_another_type_is_invisible(self, store: EventStore) -> None:
        await append(store, request("a", events=3), request("a", type="other", events=3))
        await store.save_snapshots([snapshot("a", 1), snapshot("a", 2, type="other")])
        assert (await store.load_snapshots(TYPE, ["a"], "v1"))["a"].sequence == 1
        assert (await store.load_snapshots("other", ["a"], "v1"))["a"].sequence == 2

    async def test_aggregates_without_a_snapshot_are_left_out(self, store: EventStore) -> None:
        await append(store, request("a"), request("b"))
        await store.save_snapshots([snapshot("a", 1)])
        await store.save_snapshots([])
        assert set(await store.load_snapshots(TYPE, ["b", "a", "unknown"], "v1")) == {"a"}
        assert await store.load_snapshots(TYPE, [], "v1") == {}
