"""What a store promises about the checkpoints of queries."""

import asyncio

import pytest

from eventree.errors import CheckpointFenced, CheckpointHeld
from eventree.stores.contract import Checkpoint, CheckpointUpdate, EventStore, LeaseRequest, StoredCheckpoint
from eventree.testing.store_values import append, parked, request


class CheckpointPromises:
    """Only the newest holder of a checkpoint moves it."""

    async def test_a_claim_creates_a_checkpoint_at_the_beginning(self, store: EventStore) -> None:
        assert (await store.claim_checkpoint("query", 1)).position == 0

    async def test_a_saved_checkpoint_is_found_by_the_next_claim_with_a_higher_fence(self, store: EventStore) -> None:
        first = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(7, first.fencing_token)))
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(9, first.fencing_token)))
        second = await store.claim_checkpoint("query", 1)
        assert second == Checkpoint(9, first.fencing_token + 1)
        assert await store.claim_checkpoint("query", 1) == Checkpoint(9, first.fencing_token + 2)

    async def test_a_checkpoint_may_be_moved_back(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(9, held.fencing_token)))
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(2, held.fencing_token)))
        assert (await store.claim_checkpoint("query", 1)).position == 2

    async def test_the_holder_of_an_old_fence_cannot_move_the_checkpoint(self, store: EventStore) -> None:
        old = await store.claim_checkpoint("query", 1)
        new = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(5, new.fencing_token)))
        with pytest.raises(CheckpointFenced) as caught:
            await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(8, old.fencing_token)))
        assert (caught.value.name, caught.value.fencing_token) == ("query", old.fencing_token)
        assert (await store.claim_checkpoint("query", 1)).position == 5

    async def test_a_fence_that_was_never_given_cannot_move_the_checkpoint(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(8, held.fencing_token + 1)))
        assert (await store.claim_checkpoint("query", 1)).position == 0

    async def test_a_checkpoint_that_was_never_claimed_cannot_be_moved(self, store: EventStore) -> None:
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(8, 1)))
        assert (await store.claim_checkpoint("query", 1)).position == 0

    async def test_names_and_versions_have_checkpoints_of_their_own(self, store: EventStore) -> None:
        keys = [("query", 1), ("query", 2), ("Query", 1), ("quéry", 1), ("query ", 2**31 - 1)]
        for position, key in enumerate(keys, 3):
            held = await store.claim_checkpoint(*key)
            await store.save_checkpoint(*key, CheckpointUpdate(Checkpoint(position, held.fencing_token)))
        assert [(await store.claim_checkpoint(*key)).position for key in keys] == [3, 4, 5, 6, 7]

    async def test_a_new_checkpoint_begins_where_it_is_asked_to(self, store: EventStore) -> None:
        await append(store, request("a", events=3))
        assert (await store.claim_checkpoint("end", 1, LeaseRequest(start=None))).position == 3
        assert (await store.claim_checkpoint("middle", 1, LeaseRequest(start=2))).position == 2
        await append(store, request("b", events=2))
        assert (await store.claim_checkpoint("end", 1, LeaseRequest(start=None))).position == 3

    async def test_a_worker_that_is_heard_of_keeps_its_checkpoint(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        with pytest.raises(CheckpointHeld) as caught:
            await store.claim_checkpoint("query", 1, LeaseRequest("two", 60))
        assert (caught.value.name, caught.value.owner) == ("query", "one")
        assert 50 < caught.value.seconds <= 60
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(7, held.fencing_token)))
        with pytest.raises(CheckpointHeld):
            await store.claim_checkpoint("query", 1)
        assert (await store.claim_checkpoint("other", 1, LeaseRequest("two", 60))).position == 0

    async def test_a_worker_takes_over_from_itself_at_once(self, store: EventStore) -> None:
        first = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        second = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        assert second.fencing_token == first.fencing_token + 1

    async def test_a_checkpoint_that_was_released_is_free_at_once(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        assert await store.renew_checkpoint("query", 1, held.fencing_token, 0)
        assert (
            await store.claim_checkpoint("query", 1, LeaseRequest("two", 60))
        ).fencing_token == held.fencing_token + 1

    async def test_only_its_holder_releases_a_checkpoint(self, store: EventStore) -> None:
        old = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        assert not await store.renew_checkpoint("query", 1, old.fencing_token, 0)
        assert not await store.renew_checkpoint("nobody's", 1, 1, 0)
        with pytest.raises(CheckpointHeld):
            await store.claim_checkpoint("query", 1, LeaseRequest("two", 60))

    async def test_a_worker_that_is_not_heard_of_loses_its_checkpoint(self, store: EventStore) -> None:
        old = await store.claim_checkpoint("query", 1, LeaseRequest("one", 0.05))
        new = await _claimed(store, LeaseRequest("two", 60))
        assert new.fencing_token == old.fencing_token + 1
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(8, old.fencing_token), 60))
        assert await store.load_checkpoint("query", 1) == StoredCheckpoint(new, "two", 0, 0, 0, 1, 0)

    async def test_renewing_makes_a_claim_longer_and_moves_nothing(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1, LeaseRequest("one", 0.0))
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(7, held.fencing_token)))
        assert await store.renew_checkpoint("query", 1, held.fencing_token, 60)
        with pytest.raises(CheckpointHeld) as caught:
            await store.claim_checkpoint("query", 1, LeaseRequest("two", 60))
        assert caught.value.seconds > 50
        stored = await store.load_checkpoint("query", 1)
        assert stored is not None
        assert stored.checkpoint == Checkpoint(7, held.fencing_token)

    async def test_saving_makes_a_claim_longer(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1, LeaseRequest("one", 0.0))
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, 60))
        with pytest.raises(CheckpointHeld) as caught:
            await store.claim_checkpoint("query", 1, LeaseRequest("two", 60))
        assert caught.value.seconds > 50

    async def test_what_was_never_claimed_has_no_checkpoint(self, store: EventStore) -> None:
        assert await store.load_checkpoint("query", 1) is None
        assert await store.load_parked("query", 1) == []

    async def test_commits_are_parked_and_counted_with_the_checkpoint(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        first, second, third = parked("a", 2, 3), parked("b", 5), parked("a", 9, 11, reason="")
        await store.save_checkpoint(
            "query", 1, CheckpointUpdate(Checkpoint(5, held.fencing_token), park=[second, first])
        )
        await store.save_checkpoint(
            "query", 1, CheckpointUpdate(Checkpoint(11, held.fencing_token), park=[third], skipped=2)
        )
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(12, held.fencing_token), skipped=1))
        assert await store.load_parked("query", 1) == [first, second, third]
        assert await store.load_parked("query", 1, after=2, limit=1) == [second]
        assert await store.load_parked("query", 2) == []
        stored = StoredCheckpoint(Checkpoint(12, held.fencing_token), "one", 3, 3, 0, 1, 12)
        assert await store.load_checkpoint("query", 1) == stored

    async def test_a_parked_commit_is_forgotten_or_replaced(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        one, two = parked("a", 2), parked("b", 5)
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, park=[one, two]))
        again = parked("c", 5, 6, reason="again")
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, unpark=[2, 77], park=[again]))
        assert await store.load_parked("query", 1) == [again]

    async def test_who_is_fenced_parks_and_skips_nothing(self, store: EventStore) -> None:
        old = await store.claim_checkpoint("query", 1)
        new = await store.claim_checkpoint("query", 1)
        kept = parked("a", 2)
        await store.save_checkpoint("query", 1, CheckpointUpdate(new, park=[kept]))
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(old, park=[parked("b", 3)], unpark=[2], skipped=1))
        assert await store.load_parked("query", 1) == [kept]
        assert await store.load_checkpoint("query", 1) == StoredCheckpoint(new, "worker", 1, 0, 0, 1, 0)

    async def test_a_reset_remembers_up_to_where_events_are_handled_again(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(0, held.fencing_token), replay_until=9))
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(4, held.fencing_token)))
        stored = await store.load_checkpoint("query", 1)
        assert stored == StoredCheckpoint(Checkpoint(4, held.fencing_token), "worker", 0, 0, 9, 1, 4)

    async def test_the_first_version_is_live_and_a_newer_one_only_when_it_has_read_as_far(
        self, store: EventStore
    ) -> None:
        one = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(7, one.fencing_token)))
        two = await store.claim_checkpoint("query", 2)
        assert await store.make_live("query", 1, one.fencing_token)
        for position, is_live in ((0, False), (6, False), (7, True)):
            await store.save_checkpoint("query", 2, CheckpointUpdate(Checkpoint(position, two.fencing_token)))
            assert await store.make_live("query", 2, two.fencing_token) is is_live
            stored = await store.load_checkpoint("query", 2)
            rest = (7, 2, 7) if is_live else (0, 1, 7)
            assert stored == StoredCheckpoint(Checkpoint(position, two.fencing_token), "worker", 0, 0, *rest)
        assert await store.make_live("query", 2, two.fencing_token)

    async def test_the_version_that_was_live_is_fenced_and_never_comes_back(self, store: EventStore) -> None:
        one = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        two = await store.claim_checkpoint("query", 2)
        await store.claim_checkpoint("other", 1)
        assert await store.make_live("query", 2, two.fencing_token)
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(8, one.fencing_token)))
        again = await store.claim_checkpoint("query", 1, LeaseRequest("another", 60))
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(9, again.fencing_token)))
        assert not await store.make_live("query", 1, again.fencing_token)
        stored = await store.load_checkpoint("query", 1)
        assert stored == StoredCheckpoint(Checkpoint(9, again.fencing_token), "another", 0, 0, 0, 2, 0)
        assert (await store.load_checkpoint("other", 1)) == StoredCheckpoint(Checkpoint(0, 1), "worker", 0, 0, 0, 1, 0)

    async def test_what_was_handled_before_a_reset_is_a_replay_for_the_next_version_too(
        self, store: EventStore
    ) -> None:
        one = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(0, one.fencing_token), replay_until=9))
        two = await store.claim_checkpoint("query", 2)
        assert await store.make_live("query", 2, two.fencing_token)
        assert await store.load_checkpoint("query", 2) == StoredCheckpoint(two, "worker", 0, 0, 9, 2, 0)

    @pytest.mark.parametrize("start", [None, 3, 2])
    async def test_a_newer_version_begins_no_later_than_where_the_live_one_is(
        self, store: EventStore, start: int | None
    ) -> None:
        await append(store, request("a", events=3))
        one = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(2, one.fencing_token)))
        assert (await store.claim_checkpoint("query", 2, LeaseRequest(start=start))).position == 2
        assert (await store.claim_checkpoint("query", 3, LeaseRequest(start=1))).position == 1

    async def test_who_is_fenced_goes_live_with_nothing(self, store: EventStore) -> None:
        await store.claim_checkpoint("query", 1)
        old = await store.claim_checkpoint("query", 2)
        new = await store.claim_checkpoint("query", 2)
        for fencing_token in (old.fencing_token, new.fencing_token + 1):
            with pytest.raises(CheckpointFenced):
                await store.make_live("query", 2, fencing_token)
        with pytest.raises(CheckpointFenced):
            await store.make_live("query", 3, 1)
        stored = await store.load_checkpoint("query", 2)
        assert stored == StoredCheckpoint(new, "worker", 0, 0, 0, 1, 0)

    async def test_of_versions_that_are_the_first_at_once_one_is_live(self, store: EventStore) -> None:
        await asyncio.gather(*(store.claim_checkpoint("query", version) for version in range(1, 6)))
        found = [await store.load_checkpoint("query", version) for version in range(1, 6)]
        assert len({stored.live_version for stored in found if stored is not None}) == 1


async def _claimed(store: EventStore, lease: LeaseRequest) -> Checkpoint:
    """Claim a checkpoint as soon as that is possible."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await store.claim_checkpoint("query", 1, lease)
            except CheckpointHeld as held:
                await asyncio.sleep(held.seconds)
