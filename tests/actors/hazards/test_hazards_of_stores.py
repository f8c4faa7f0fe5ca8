"""What a store does after the actor that wanted it is gone."""

import asyncio
from collections.abc import Sequence

import pytest

from actors.crew import until
from eventree import ActorCrashed, Err, EventSourcing, Ok
from eventree.stores.contract import AppendRequest, Outcome
from sourcing.failing_store import FailingStore, Gate
from sourcing.ledger import add_length, entries, ledger


class LateStore(FailingStore):
    """A store whose first append is not stopped by a cancellation, and takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.late = Gate()
        self.appends = 0

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        self.appends += 1
        return await asyncio.shield(asyncio.ensure_future(self._append(requests, first=self.appends == 1)))

    async def _append(self, requests: Sequence[AppendRequest], *, first: bool) -> Sequence[Outcome]:
        if first:
            await self.late()
        return await super().append(requests)


@pytest.mark.parametrize("when", ["before the next load", "between load and append"])
async def test_x17_an_append_that_commits_after_its_actor_was_killed_is_seen_by_the_next(when: str) -> None:
    async with LateStore() as store, EventSourcing(ledger, store) as system:
        first = asyncio.ensure_future(system.execute("a", add_length))
        await store.late.reached()
        (worker,) = (task for task in asyncio.all_tasks() if task.get_name() == "eventree commands")
        worker.cancel()
        lost = await first
        assert isinstance(lost, Err)
        assert isinstance(lost.error, ActorCrashed)
        if when == "before the next load":
            store.late.open()
            await asyncio.sleep(0)
            second = await system.execute("a", add_length)
        else:
            between = store.hold("append")
            running = asyncio.ensure_future(system.execute("a", add_length))
            await between.reached()
            store.late.open()
            await until(lambda: len(store.appended) == 2)
            between.open()
            second = await running
        assert isinstance(second, Ok)
        assert await entries(system, "a") == [0, 1]
