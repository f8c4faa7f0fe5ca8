"""Promises about checkpoints, their leases and fencing tokens."""

import asyncio

import pytest

from eventree.errors import CheckpointFenced, CheckpointHeld
from eventree.stores.contract import (
    Checkpoint,
    CheckpointUpdate,
    EventStore,
    LeaseRequest,
    StoredCheckpoint,
    StoredFailure,
    StoredStop,
)
from eventree.testing.store_values import append, failure, parked, request


class CheckpointPromises:
    """Only the worker with the newest fencing token can move a checkpoint."""

    async def test_the_first_claim_creates_a_checkpoint_at_position_0(self, store: EventStore) -> None:
        assert (await store.claim_checkpoint("query", 1)).position == 0

    async def test_a_claim_returns_the_saved_position_and_a_higher_fencing_token(self, store: EventStore) -> None:
        first = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(7, first.fencing_token)))
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(9, first.fencing_token)))
        second = await store.claim_checkpoint("query", 1)
        assert second == Checkpoint(9, first.fencing_token + 1)
        assert await store.claim_checkpoint("query", 1) == Checkpoint(9, first.fencing_token + 2)

    async def test_a_checkpoint_can_be_moved_back(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(9, held.fencing_token)))
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(2, held.fencing_token)))
        assert (await store.claim_checkpoint("query", 1)).position == 2

    async def test_an_old_fencing_token_cannot_move_the_checkpoint(self, store: EventStore) -> None:
        old = await store.claim_checkpoint("query", 1)
        new = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(5, new.fencing_token)))
        with pytest.raises(CheckpointFenced) as caught:
            await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(8, old.fencing_token)))
        assert (caught.value.name, caught.value.fencing_token) == ("query", old.fencing_token)
        assert (await store.claim_checkpoint("query", 1)).position == 5

    async def test_a_fencing_token_that_was_never_issued_cannot_move_the_checkpoint(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(8, held.fencing_token + 1)))
        assert (await store.claim_checkpoint("query", 1)).position == 0

    async def test_a_checkpoint_that_was_never_claimed_cannot_be_moved(self, store: EventStore) -> None:
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(8, 1)))
        assert (await store.claim_checkpoint("query", 1)).position == 0

    async def test_each_name_and_version_has_its_own_checkpoint(self, store: EventStore) -> None:
        keys = [("query", 1), ("query", 2), ("Query", 1), ("quéry", 1), ("query ", 2**31 - 1)]
        for position, key in enumerate(keys, 3):
            held = await store.claim_checkpoint(*key)
            await store.save_checkpoint(*key, CheckpointUpdate(Checkpoint(position, held.fencing_token)))
        assert [(await store.claim_checkpoint(*key)).position for key in keys] == [3, 4, 5, 6, 7]

    async def test_a_new_checkpoint_begins_at_the_given_start(self, store: EventStore) -> None:
        await append(store, request("a", events=3))
        assert (await store.claim_checkpoint("end", 1, LeaseRequest(start=None))).position == 3
        assert (await store.claim_checkpoint("middle", 1, LeaseRequest(start=2))).position == 2
        await append(store, request("b", events=2))
        assert (await store.claim_checkpoint("end", 1, LeaseRequest(start=None))).position == 3

    async def test_a_lease_that_has_not_expired_keeps_other_owners_out(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        with pytest.raises(CheckpointHeld) as caught:
            await store.claim_checkpoint("query", 1, LeaseRequest("two", 60))
        assert (caught.value.name, caught.value.owner) == ("query", "one")
        assert 50 < caught.value.seconds <= 60
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(7, held.fencing_token)))
        with pytest.raises(CheckpointHeld):
            await store.claim_checkpoint("query", 1)
        assert (await store.claim_checkpoint("other", 1, LeaseRequest("two", 60))).position == 0

    async def test_an_owner_can_claim_its_own_lease_again(self, store: EventStore) -> None:
        first = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        second = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        assert second.fencing_token == first.fencing_token + 1

    async def test_a_released_lease_can_be_claimed_at_once(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        assert await store.renew_checkpoint("query", 1, held.fencing_token, 0)
        assert (
            await store.claim_checkpoint("query", 1, LeaseRequest("two", 60))
        ).fencing_token == held.fencing_token + 1

    async def test_only_the_holder_can_release_a_lease(self, store: EventStore) -> None:
        old = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        assert not await store.renew_checkpoint("query", 1, old.fencing_token, 0)
        assert not await store.renew_checkpoint("never claimed", 1, 1, 0)
        with pytest.raises(CheckpointHeld):
            await store.claim_checkpoint("query", 1, LeaseRequest("two", 60))

    async def test_an_expired_lease_can_be_claimed_and_its_old_holder_is_fenced(self, store: EventStore) -> None:
        old = await store.claim_checkpoint("query", 1, LeaseRequest("one", 0.05))
        new = await _claimed(store, LeaseRequest("two", 60))
        assert new.fencing_token == old.fencing_token + 1
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(8, old.fencing_token), 60))
        assert await store.load_checkpoint("query", 1) == StoredCheckpoint(new, "two", 0, 0, 0, 1, 0)

    async def test_renewing_extends_the_lease_and_keeps_the_position(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1, LeaseRequest("one", 0.0))
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(7, held.fencing_token)))
        assert await store.renew_checkpoint("query", 1, held.fencing_token, 60)
        with pytest.raises(CheckpointHeld) as caught:
            await store.claim_checkpoint("query", 1, LeaseRequest("two", 60))
        assert caught.value.seconds > 50
        stored = await store.load_checkpoint("query", 1)
        assert stored is not None
        assert stored.checkpoint == Checkpoint(7, held.fencing_token)

    async def test_saving_extends_the_lease(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1, LeaseRequest("one", 0.0))
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, 60))
        with pytest.raises(CheckpointHeld) as caught:
            await store.claim_checkpoint("query", 1, LeaseRequest("two", 60))
        assert caught.value.seconds > 50

    async def test_a_query_that_was_never_claimed_has_no_checkpoint(self, store: EventStore) -> None:
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

    async def test_a_parked_commit_can_be_unparked_or_replaced(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        one, two = parked("a", 2), parked("b", 5)
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, park=[one, two]))
        again = parked("c", 5, 6, reason="again")
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, unpark=[2, 77], park=[again]))
        assert await store.load_parked("query", 1) == [again]

    async def test_a_fenced_worker_cannot_park_or_skip(self, store: EventStore) -> None:
        old = await store.claim_checkpoint("query", 1)
        new = await store.claim_checkpoint("query", 1)
        kept = parked("a", 2)
        await store.save_checkpoint("query", 1, CheckpointUpdate(new, park=[kept]))
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(old, park=[parked("b", 3)], unpark=[2], skipped=1))
        assert await store.load_parked("query", 1) == [kept]
        assert await store.load_checkpoint("query", 1) == StoredCheckpoint(new, "worker", 1, 0, 0, 1, 0)

    async def test_replay_until_is_kept_by_later_saves(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(0, held.fencing_token), replay_until=9))
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(4, held.fencing_token)))
        stored = await store.load_checkpoint("query", 1)
        assert stored == StoredCheckpoint(Checkpoint(4, held.fencing_token), "worker", 0, 0, 9, 1, 4)

    async def test_a_newer_version_goes_live_only_after_reaching_the_position_of_the_live_one(
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

    async def test_the_superseded_version_is_fenced_and_never_goes_live_again(self, store: EventStore) -> None:
        one = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        two = await store.claim_checkpoint("query", 2)
        await store.claim_checkpoint("other", 1)
        assert not await store.make_live("query", 2, two.fencing_token)  # the old one may have handled more
        assert await store.renew_checkpoint("query", 1, one.fencing_token, 0)
        assert await store.make_live("query", 2, two.fencing_token)
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(8, one.fencing_token)))
        again = await store.claim_checkpoint("query", 1, LeaseRequest("another", 60))
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(9, again.fencing_token)))
        assert not await store.make_live("query", 1, again.fencing_token)
        stored = await store.load_checkpoint("query", 1)
        assert stored == StoredCheckpoint(Checkpoint(9, again.fencing_token), "another", 0, 0, 0, 2, 0)
        assert (await store.load_checkpoint("other", 1)) == StoredCheckpoint(Checkpoint(0, 1), "worker", 0, 0, 0, 1, 0)

    async def test_a_newer_version_that_is_leased_and_has_read_nearly_as_far_is_named(self, store: EventStore) -> None:
        one = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(2_000, one.fencing_token)))
        two = await store.claim_checkpoint("query", 2, LeaseRequest("two", 60))
        await store.claim_checkpoint("query", 3)
        for position, found in ((999, 0), (1_000, 2), (3_000, 2)):
            await store.save_checkpoint("query", 2, CheckpointUpdate(Checkpoint(position, two.fencing_token)))
            stored = await store.load_checkpoint("query", 1)
            assert stored is not None
            assert stored.next_version == found
        newest = await store.load_checkpoint("query", 2)
        assert newest is not None
        assert newest.next_version == 0

    async def test_replay_until_is_passed_on_to_the_next_live_version(self, store: EventStore) -> None:
        one = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(0, one.fencing_token), replay_until=9))
        two = await store.claim_checkpoint("query", 2)
        assert await store.make_live("query", 2, two.fencing_token)
        assert await store.load_checkpoint("query", 2) == StoredCheckpoint(two, "worker", 0, 0, 9, 2, 0)

    @pytest.mark.parametrize("start", [None, 3, 2])
    async def test_a_newer_version_begins_no_later_than_the_live_one(
        self, store: EventStore, start: int | None
    ) -> None:
        await append(store, request("a", events=3))
        one = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(2, one.fencing_token)))
        assert (await store.claim_checkpoint("query", 2, LeaseRequest(start=start))).position == 2
        assert (await store.claim_checkpoint("query", 3, LeaseRequest(start=1))).position == 1

    async def test_a_fenced_worker_cannot_make_a_version_live(self, store: EventStore) -> None:
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

    async def test_one_of_several_first_versions_claimed_concurrently_is_live(self, store: EventStore) -> None:
        await asyncio.gather(*(store.claim_checkpoint("query", version) for version in range(1, 6)))
        found = [await store.load_checkpoint("query", version) for version in range(1, 6)]
        assert len({stored.live_version for stored in found if stored is not None}) == 1

    async def test_a_failure_is_kept_until_an_update_without_it(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        other = await store.claim_checkpoint("other", 1)
        await store.save_checkpoint("other", 1, CheckpointUpdate(other, failure=failure(2)))
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, failure=failure(1)))
        again = failure(1, 2**31 - 1, reason="ä" * 2_000)
        await store.save_checkpoint("query", 1, CheckpointUpdate(held, failure=again))
        held = await store.claim_checkpoint("query", 1, LeaseRequest("another"))
        assert await _failure(store) == again
        await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(1, held.fencing_token)))
        assert await _failure(store) is None
        assert await _failure(store, "other") == failure(2)

    async def test_a_fenced_worker_cannot_store_a_failure_or_a_pause(self, store: EventStore) -> None:
        old = await store.claim_checkpoint("query", 1)
        new = await store.claim_checkpoint("query", 1)
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, CheckpointUpdate(old, failure=failure(1), paused=True))
        assert await store.load_checkpoint("query", 1) == StoredCheckpoint(new, "worker", 0, 0, 0, 1, 0)

    async def test_a_pause_lasts_until_an_update_ends_it(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        await store.claim_checkpoint("query", 2)
        for paused, expected in ((None, False), (True, True), (None, True), (False, False), (None, False)):
            await store.save_checkpoint("query", 1, CheckpointUpdate(held, paused=paused))
            held = await store.claim_checkpoint("query", 1)
            stored = [await store.load_checkpoint("query", version) for version in (1, 2)]
            assert [one.is_paused for one in stored if one is not None] == [expected, False]

    async def test_whoever_claimed_last_reports_a_stop_and_releases_the_lease(self, store: EventStore) -> None:
        stop, newer = StoredStop("stopped", "because"), StoredStop("outdated", "é" * 2_000)
        assert not await store.stop_checkpoint("query", 1, "one", stop)
        await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        assert not await store.stop_checkpoint("query", 1, "two", stop)
        stored = await store.load_checkpoint("query", 1)
        assert stored is not None
        assert (stored.stop, 50 < stored.lease_seconds <= 60) == (None, True)
        for reported in (stop, newer):
            assert await store.stop_checkpoint("query", 1, "one", reported)
            stored = await store.load_checkpoint("query", 1)
            assert stored is not None
            assert (stored.stop, stored.lease_seconds) == (reported, 0)

    async def test_a_claim_deletes_the_report_of_a_stop(self, store: EventStore) -> None:
        await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        assert await store.stop_checkpoint("query", 1, "one", StoredStop("stopped", ""))
        claimed = await store.claim_checkpoint("query", 1, LeaseRequest("two", 60))
        assert await store.load_checkpoint("query", 1) == StoredCheckpoint(claimed, "two", 0, 0, 0, 1, 0)
        assert not await store.stop_checkpoint("query", 1, "one", StoredStop("stopped", ""))


async def _failure(store: EventStore, name: str = "query") -> StoredFailure | None:
    stored = await store.load_checkpoint(name, 1)
    return stored.failure if stored is not None else None


async def _claimed(store: EventStore, lease: LeaseRequest) -> Checkpoint:
    """Claim a checkpoint as soon as its lease has expired."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await store.claim_checkpoint("query", 1, lease)
            except CheckpointHeld as held:
                await asyncio.sleep(held.seconds)
