"""Promises about several stores on the same data."""

import asyncio
from collections.abc import Callable
from typing import TypeAlias

import pytest

from eventree.errors import CheckpointFenced
from eventree.stores.contract import (
    Appended,
    Checkpoint,
    CheckpointUpdate,
    Conflict,
    DuplicateCommand,
    EventStore,
    Outcome,
)
from eventree.testing.store_values import TYPE, append, log, positions, request, snapshot, stream
from eventree.testing.suite.lifecycle import assert_closed

NewStore: TypeAlias = Callable[[], EventStore]
"""Returns a new store that is not open; all of them are on the same data."""


class SharedStoreSuite:
    """Test every promise about several stores on the same data, as in processes that share it or follow each other.

    Derive a class from it and from `EventStoreSuite`, and give it a fixture `new_store`: a function that returns a new
    store that is not open. All stores of a test are on the same data, which is empty when the test begins.
    """

    async def test_a_store_is_unavailable_before_it_is_entered(self, new_store: NewStore) -> None:
        await assert_closed(new_store())

    async def test_a_reopened_store_has_everything_that_was_stored(self, new_store: NewStore) -> None:
        async with new_store() as store:
            await append(store, request("a", events=3, commands=["c"]), request("b"))
            await store.save_snapshots([snapshot("a", 3)])
            held = await store.claim_checkpoint("query", 1)
            await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(4, held.fencing_token)))
            before = await log(store), await store.find_commands(["c"]), await store.load_snapshots(TYPE, ["a"], "v1")
        async with new_store() as store:
            after = await log(store), await store.find_commands(["c"]), await store.load_snapshots(TYPE, ["a"], "v1")
            assert after == before
            assert await store.claim_checkpoint("query", 1) == Checkpoint(4, held.fencing_token + 1)
            assert await append(store, request("b", after=1)) == [Appended(2, 5)]

    async def test_stores_can_be_opened_concurrently_on_empty_data(self, new_store: NewStore) -> None:
        async def use(id: str) -> None:
            async with new_store() as store:
                assert isinstance((await append(store, request(id)))[0], Appended)

        async with asyncio.timeout(60):
            await asyncio.gather(*(use(f"{number}") for number in range(4)))
        async with new_store() as store:
            assert positions(await log(store)) == [1, 2, 3, 4]

    async def test_each_store_sees_at_once_what_the_other_has_stored(self, new_store: NewStore) -> None:
        async with new_store() as one, new_store() as two:
            for number in range(10):
                assert await append(one, request("a", after=2 * number, commands=[f"one {number}"])) == [
                    Appended(2 * number + 1, 2 * number + 1)
                ]
                assert (await two.read(2 * number, 10)).position == await two.head() == 2 * number + 1
                assert set(await two.find_commands([f"one {number}"])) == {f"one {number}"}
                assert await append(two, request("a", after=2 * number)) == [Conflict(2 * number + 1)]
                assert await append(two, request("a", after=2 * number + 1)) == [
                    Appended(2 * number + 2, 2 * number + 2)
                ]
            assert await stream(one, "a") == await stream(two, "a")
            assert await log(one) == await log(two)

    async def test_one_of_two_racing_stores_wins_each_sequence(self, new_store: NewStore) -> None:
        async def push(store: EventStore, name: str) -> list[tuple[int, str]]:
            won: list[tuple[int, str]] = []
            after = 0
            while after < 50:
                [outcome] = await append(store, request("a", after, commands=[f"{name} {after}"]))
                assert not isinstance(outcome, DuplicateCommand)
                if isinstance(outcome, Appended):
                    won.append((outcome.sequence, f"{name} {after}"))
                assert outcome.sequence > after
                after = outcome.sequence
            return won

        async with asyncio.timeout(60), new_store() as one, new_store() as two:
            first, second = await asyncio.gather(push(one, "one"), push(two, "two"))
            won = dict(sorted(first + second))
            assert list(won) == list(range(1, 51))
            found = await one.find_commands(won.values())
            assert {command.last_sequence: id for id, command in found.items()} == won
            assert (await stream(two, "a")).sequence == await two.head() == 50

    async def test_one_of_two_racing_stores_keeps_a_command_id(self, new_store: NewStore) -> None:
        async def send(store: EventStore, name: str) -> list[Outcome]:
            return [(await append(store, request(f"{name}{n}", commands=[f"{n}"])))[0] for n in range(30)]

        async with asyncio.timeout(60), new_store() as one, new_store() as two:
            first, second = await asyncio.gather(send(one, "one"), send(two, "two"))
            for number, pair in enumerate(zip(first, second, strict=True)):
                kept, refused = sorted(pair, key=lambda outcome: isinstance(outcome, DuplicateCommand))
                assert isinstance(kept, Appended)
                assert refused == DuplicateCommand(frozenset({f"{number}"}))
            assert len(await one.find_commands([f"{number}" for number in range(30)])) == await one.head() == 30

    async def test_a_reader_beside_writers_in_other_stores_sees_no_gap_and_no_partial_commit(
        self, new_store: NewStore
    ) -> None:
        async def write(store: EventStore, name: str) -> None:
            for number in range(20):
                await append(store, *(request(f"{name} {number} {id}", events=3) for id in range(3)))

        async with asyncio.timeout(60), new_store() as one, new_store() as two, new_store() as reader:
            writers = [asyncio.create_task(write(store, name)) for store, name in ((one, "1"), (two, "2"), (one, "3"))]
            position = 0
            while position < 540:
                page = await reader.read(position, 7)
                assert positions(page.events) == list(range(position + 1, page.position + 1))
                assert page.position % 3 == 0
                position = page.position
                await asyncio.sleep(0)  # a store may answer without yielding to the writers
            await asyncio.gather(*writers)
            assert await reader.head() == position == 540

    async def test_a_claim_in_one_store_fences_the_holder_in_the_other(self, new_store: NewStore) -> None:
        async with new_store() as one, new_store() as two:
            old = await one.claim_checkpoint("query", 1)
            await one.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(3, old.fencing_token)))
            new = await two.claim_checkpoint("query", 1)
            assert new == Checkpoint(3, old.fencing_token + 1)
            with pytest.raises(CheckpointFenced):
                await one.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(9, old.fencing_token)))
            await two.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(5, new.fencing_token)))
            assert await one.claim_checkpoint("query", 1) == Checkpoint(5, new.fencing_token + 1)

    async def test_racing_claims_get_different_fencing_tokens(self, new_store: NewStore) -> None:
        async with asyncio.timeout(60), new_store() as one, new_store() as two:
            claims = await asyncio.gather(*(store.claim_checkpoint("query", 1) for store in [one, two] * 10))
            assert len({claim.fencing_token for claim in claims}) == 20

    async def test_the_newest_snapshot_of_two_stores_is_kept(self, new_store: NewStore) -> None:
        async with new_store() as one, new_store() as two:
            await append(one, request("a", events=9))
            await one.save_snapshots([snapshot("a", 6)])
            await two.save_snapshots([snapshot("a", 3)])
            assert (await one.load_snapshots(TYPE, ["a"], "v1"))["a"].sequence == 6
            await two.save_snapshots([snapshot("a", 9)])
            assert (await one.load_snapshots(TYPE, ["a"], "v1"))["a"].sequence == 9
