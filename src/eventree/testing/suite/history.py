"""Promises about stamps, which show that a database has gone back in time and its places hold other commits now."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from eventree.errors import LogRolledBack
from eventree.stores.contract import (
    Appended,
    Checkpoint,
    CheckpointUpdate,
    CommitStamp,
    Conflict,
    EventStore,
    StreamRead,
)
from eventree.testing.store_values import TYPE, append, log, positions, request, snapshot, stream


def others(stamp: CommitStamp) -> list[CommitStamp]:
    """Return stamps of other commits: with another id, and with the same id at another time."""
    return [replace_stamp(stamp, same_id=False), replace_stamp(stamp, same_id=True)]


def replace_stamp(stamp: CommitStamp, *, same_id: bool) -> CommitStamp:
    """Return a stamp that differs in its time, or in its id."""
    if same_id:
        return stamp._replace(recorded_at=stamp.recorded_at - timedelta(microseconds=1))
    return stamp._replace(commit_id=uuid4())


class HistoryPromises:
    """What is given with a stamp is refused if the commit there is another one; without a stamp nothing is compared."""

    async def test_an_outcome_has_the_stamp_of_the_last_event(self, store: EventStore) -> None:
        first, checked, other = await append(store, request("a", events=2), request("none", events=0), request("b"))
        [again] = await append(store, request("a", after=2, events=0))
        [recorded] = await append(store, request("a", after=2, events=0, commands=["c"]))
        events = await log(store)
        assert isinstance(first, Appended)
        assert isinstance(checked, Appended)
        assert isinstance(other, Appended)
        assert isinstance(again, Appended)
        assert isinstance(recorded, Appended)
        assert (first.stamp, checked.stamp, other.stamp) == (events[1].stamp, None, events[2].stamp)
        assert again.stamp == recorded.stamp == first.stamp
        assert events[0].stamp == first.stamp == CommitStamp(events[1].commit_id, events[1].recorded_at)

    @pytest.mark.parametrize("events", [0, 1])
    async def test_a_request_whose_last_event_is_another_one_is_a_conflict(
        self, store: EventStore, events: int
    ) -> None:
        await append(store, request("a", events=2), request("b"))
        stamp = (await log(store))[1].stamp
        new = request("a", after=2, events=events, commands=["c"] if events else [])
        for other in others(stamp):
            assert await append(store, replace(new, expected_stamp=other)) == [Conflict(2)]
        assert await store.head() == 3
        assert await store.find_commands(["c"]) == {}
        [kept] = await append(store, replace(new, expected_stamp=stamp))
        assert isinstance(kept, Appended)
        assert kept.sequence == 2 + events

    async def test_a_stamp_expected_of_an_aggregate_without_events_is_a_conflict(self, store: EventStore) -> None:
        await append(store, request("a"))
        stamp = (await log(store))[0].stamp
        assert await append(store, replace(request("new"), expected_stamp=stamp)) == [Conflict(0)]
        assert await append(store, replace(request("new", events=0), expected_stamp=stamp)) == [Conflict(0)]

    async def test_a_request_with_another_stamp_does_not_affect_the_others(self, store: EventStore) -> None:
        await append(store, request("a"), request("b"))
        stamp = (await log(store))[0].stamp
        outcomes = await append(
            store,
            replace(request("a", after=1), expected_stamp=others(stamp)[0]),
            replace(request("b", after=1), expected_stamp=(await log(store))[1].stamp),
        )
        assert outcomes == [Conflict(1), Appended(2, 3)]

    @pytest.mark.parametrize("limit", [0, 10])
    async def test_a_stream_is_diverged_if_the_event_before_the_page_is_another_one(
        self, store: EventStore, limit: int
    ) -> None:
        await append(store, request("b"), request("a", events=1))
        await append(store, request("a", after=1, events=2))
        events = (await stream(store, "a")).events
        for after in (1, 2, 3):
            stamp = events[after - 1].stamp
            read = StreamRead(TYPE, "a", after, limit, after_stamp=stamp)
            pages = await store.read_streams(
                [read, *(replace(read, after_stamp=other) for other in others(stamp)), replace(read, after_stamp=None)]
            )
            assert [page.is_diverged for page in pages] == [False, True, True, False]
            assert [page.sequence for page in pages] == [3] * 4
            assert [len(page.events) for page in pages] == [min(3 - after, limit), 0, 0, min(3 - after, limit)]

    async def test_a_stream_is_diverged_if_there_is_no_event_before_the_page(self, store: EventStore) -> None:
        await append(store, request("a"))
        stamp = (await log(store))[0].stamp
        reads = [StreamRead(TYPE, id, after, after_stamp=stamp) for id, after in [("a", 2), ("a", 0), ("unknown", 1)]]
        assert [page.is_diverged for page in await store.read_streams(reads)] == [True] * 3

    @pytest.mark.parametrize("live", [False, True])
    async def test_a_page_has_the_stamp_of_its_last_position(self, store: EventStore, live: bool) -> None:  # noqa: FBT001
        stop = store.watch(lambda _: None)
        await append(store, request("a", events=2))
        await append(store, request("b", type="other"))
        events = await log(store)
        page = await store.read(0, 1, live=live)
        assert (page.position, page.stamp) == (2, events[1].stamp)
        page = await store.read(0, 10, [TYPE], live=live)
        assert (page.position, positions(page.events), page.stamp) == (3, [1, 2], events[2].stamp)
        stop()

    @pytest.mark.parametrize("live", [False, True])
    async def test_a_log_with_another_event_before_the_page_is_rolled_back(
        self,
        store: EventStore,
        live: bool,  # noqa: FBT001
    ) -> None:
        stop = store.watch(lambda _: None)
        for after in range(3):
            await append(store, request("a", after=after))
        events = await log(store)
        for event in events:
            page = await store.read(event.position, 10, live=live, after_stamp=event.stamp)
            assert positions(page.events) == [*range(event.position + 1, 4)]
            for other in others(event.stamp):
                with pytest.raises(LogRolledBack) as caught:
                    await store.read(event.position, 10, live=live, after_stamp=other)
                assert caught.value.known == event.position
        with pytest.raises(LogRolledBack):
            await store.read(0, 10, live=live, after_stamp=events[0].stamp)
        stop()

    async def test_a_claim_returns_the_stamp_that_was_stored(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        stamp = (await log(store))[1].stamp
        held = await store.claim_checkpoint("query", 1)
        assert held.stamp is None
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(2, held.fencing_token, stamp)))
        assert (await store.claim_checkpoint("query", 1)).stamp == stamp

    async def test_a_checkpoint_does_not_move_to_an_event_that_is_another_one(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        stamp = (await log(store))[1].stamp
        held = await store.claim_checkpoint("query", 1)
        for position, other in [(2, other) for other in others(stamp)] + [(3, stamp), (0, stamp)]:
            with pytest.raises(LogRolledBack):
                update = CheckpointUpdate(Checkpoint(position, held.fencing_token, other), skipped=1)
                await store.save_checkpoint("query", 1, update)
        stored = await store.load_checkpoint("query", 1)
        assert stored is not None
        assert (stored.checkpoint.position, stored.skipped) == (0, 0)

    async def test_a_checkpoint_moves_only_from_where_it_was_stored(self, store: EventStore) -> None:
        await append(store, request("a", events=4))
        token = (await store.claim_checkpoint("query", 1)).fencing_token
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(2, token), moved_from=0))
        for wrong in (0, 1, 3):
            with pytest.raises(LogRolledBack) as caught:
                await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(4, token), moved_from=wrong))
            assert (caught.value.known, caught.value.found) == (wrong, 2)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(3, token), moved_from=2))
        stored = await store.load_checkpoint("query", 1)
        assert stored is not None
        assert stored.checkpoint.position == 3

    async def test_a_snapshot_is_kept_only_while_its_last_event_is_the_same(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        stamp = (await log(store))[1].stamp
        for other in others(stamp):
            await store.save_snapshots([replace(snapshot("a", 2), stamp=other)])
        assert await store.load_snapshots(TYPE, ["a"], "v1") == {}
        kept = replace(snapshot("a", 2), stamp=stamp)
        await store.save_snapshots([kept])
        assert await store.load_snapshots(TYPE, ["a"], "v1") == {"a": kept}
