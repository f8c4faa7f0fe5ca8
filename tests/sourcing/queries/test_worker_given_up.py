"""What is parked or skipped is stored with the checkpoint, also when that crashes first: nothing vanishes."""

import pytest

from eventree import ActorCrashed, EventSourcing, MemoryStore
from eventree.stores.contract import CheckpointUpdate
from eventree.testing import FailingStore
from sourcing.ledger import add, ledger
from sourcing.reading import Contexts, patient
from sourcing.waiting import caught_up_after_a_crash


@pytest.mark.parametrize("policy", ["park", "skip"])
async def test_a_crash_while_a_commit_is_given_up_does_not_move_the_checkpoint_past_it_unrecorded(policy: str) -> None:
    seen = Contexts()
    seen.poison.add(2)
    query = patient(seen, on_failure=policy)  # type: ignore[arg-type]
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        store.fail("save_checkpoint", RuntimeError("bug"))
        await system.execute("b", add(2))
        await caught_up_after_a_crash(system.query("q"))
        stored = await store.load_checkpoint("q", 1)
        assert stored is not None
        assert (stored.checkpoint.position, stored.parked + stored.skipped) == (2, 1)


class Crashing(MemoryStore):
    """A store that crashes after the move that resets a query took place."""

    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await super().save_checkpoint(name, version, update)
        if update.replay_until:
            raise RuntimeError("bug")


async def test_a_reset_that_crashes_after_it_took_place_is_not_undone_in_part() -> None:
    """What was parked is forgotten by it, so it has to be handed over again."""
    seen = Contexts()
    seen.poison.add(1)
    query = patient(seen, on_failure="park")
    async with Crashing() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        seen.poison.clear()
        await system.execute("b", add(2))
        await seen.reaches(1)  # not saved yet
        with pytest.raises(ActorCrashed):
            await system.query("q").reset()
        await caught_up_after_a_crash(system.query("q"))
        assert ("a", [1]) in seen.amounts or await system.query("q").parked()
