"""What a store promises about the checkpoints of queries."""

import pytest

from eventree.errors import CheckpointFenced
from eventree.stores.contract import Checkpoint, EventStore


class CheckpointPromises:
    """Only the newest holder of a checkpoint moves it."""

    async def test_a_claim_creates_a_checkpoint_at_the_beginning(self, store: EventStore) -> None:
        assert (await store.claim_checkpoint("query", 1)).position == 0

    async def test_a_saved_checkpoint_is_found_by_the_next_claim_with_a_higher_fence(self, store: EventStore) -> None:
        first = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, Checkpoint(7, first.fence))
        await store.save_checkpoint("query", 1, Checkpoint(9, first.fence))
        second = await store.claim_checkpoint("query", 1)
        assert second == Checkpoint(9, first.fence + 1)
        assert await store.claim_checkpoint("query", 1) == Checkpoint(9, first.fence + 2)

    async def test_a_checkpoint_may_be_moved_back(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, Checkpoint(9, held.fence))
        await store.save_checkpoint("query", 1, Checkpoint(2, held.fence))
        assert (await store.claim_checkpoint("query", 1)).position == 2

    async def test_the_holder_of_an_old_fence_cannot_move_the_checkpoint(self, store: EventStore) -> None:
        old = await store.claim_checkpoint("query", 1)
        new = await store.claim_checkpoint("query", 1)
        await store.save_checkpoint("query", 1, Checkpoint(5, new.fence))
        with pytest.raises(CheckpointFenced) as caught:
            await store.save_checkpoint("query", 1, Checkpoint(8, old.fence))
        assert (caught.value.name, caught.value.fence) == ("query", old.fence)
        assert (await store.claim_checkpoint("query", 1)).position == 5

    async def test_a_fence_that_was_never_given_cannot_move_the_checkpoint(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, Checkpoint(8, held.fence + 1))
        assert (await store.claim_checkpoint("query", 1)).position == 0

    async def test_a_checkpoint_that_was_never_claimed_cannot_be_moved(self, store: EventStore) -> None:
        with pytest.raises(CheckpointFenced):
            await store.save_checkpoint("query", 1, Checkpoint(8, 1))
        assert (await store.claim_checkpoint("query", 1)).position == 0

    async def test_names_and_versions_have_checkpoints_of_their_own(self, store: EventStore) -> None:
        keys = [("query", 1), ("query", 2), ("Query", 1), ("quéry", 1), ("query ", 2**31 - 1)]
        for position, key in enumerate(keys, 3):
            held = await store.claim_checkpoint(*key)
            await store.save_checkpoint(*key, Checkpoint(position, held.fence))
        assert [(await store.claim_checkpoint(*key)).position for key in keys] == [3, 4, 5, 6, 7]
