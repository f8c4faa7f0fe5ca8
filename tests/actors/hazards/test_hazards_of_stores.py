"""What a store does after the actor that wanted it is gone."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest

from actors.crew import Crew, until
from eventree import ActorCrashed, ChildSpec, Err, EventSourcing, MemoryStore, Ok, Supervisor
from eventree.actors import BRUTAL_KILL, ExitReason
from eventree.errors import StaleIncarnation
from eventree.sourcing.commands.requests import CommandEnvelope
from eventree.sourcing.tree import Tree
from eventree.stores.contract import AppendRequest, Outcome
from eventree.testing import FailingStore, Gate
from sourcing.ledger import add, add_length, entries, ledger


class LateStore(MemoryStore):
    """A store whose first append is not stopped by a cancellation, and takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.late = Gate()
        self.appends = 0

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        self.appends += 1
        return await asyncio.shield(asyncio.ensure_future(self._append_late(requests, first=self.appends == 1)))

    async def _append_late(self, requests: Sequence[AppendRequest], *, first: bool) -> Sequence[Outcome]:
        if first:
            await self.late()
        return await super().append(requests)


@pytest.mark.parametrize("when", ["before the next load", "between load and append"])
async def test_x17_an_append_that_commits_after_its_actor_was_killed_is_seen_by_the_next(when: str) -> None:
    inner = LateStore()
    async with FailingStore(inner) as store, EventSourcing(ledger, store) as system:
        first = asyncio.ensure_future(system.execute("a", add_length))
        await inner.late.reached()
        (worker,) = (task for task in asyncio.all_tasks() if task.get_name() == "eventree commands")
        worker.cancel()
        lost = await first
        assert isinstance(lost, Err)
        assert isinstance(lost.error, ActorCrashed)
        if when == "before the next load":
            inner.late.open()
            await asyncio.sleep(0)
            second = await system.execute("a", add_length)
        else:
            between = store.hold("append")
            running = asyncio.ensure_future(system.execute("a", add_length))
            await between.reached()
            inner.late.open()
            await until(lambda: len(inner._log) == 1)
            between.open()
            second = await running
        assert isinstance(second, Ok)
        assert await entries(system, "a") == [0, 1]


async def test_x04_an_actor_left_behind_appends_nothing_any_more(crew: Crew) -> None:
    """It swallowed its cancellation while it loaded, and was replaced meanwhile."""
    store = FailingStore()
    loading = Gate()

    async def cling() -> None:
        while not crew.gate.is_set():
            try:
                await loading()
                await crew.gate.wait()
            except asyncio.CancelledError:
                continue

    store.intercept("read_streams", cling)
    tree = Tree(ledger, store, [], snapshots=None, cache_size=10, mailbox_size=10)
    spec = ChildSpec(id="commands", start=tree.command_actor, ref=tree.commands, shutdown=BRUTAL_KILL)
    async with asyncio.timeout(5), store, Supervisor([spec], kill_grace=0.01) as supervisor:
        asking = tree.commands.ask_nowait(CommandEnvelope("a", add(1), "{}", None, uuid4()))
        await loading.reached()
        loading.open()
        orphan = tree.commands.task
        assert orphan is not None
        await supervisor.terminate_child("commands")
        with pytest.raises(ActorCrashed, match="was killed"):
            await asking
        await supervisor.restart_child("commands")
        crew.gate.set()
        end = await orphan
        assert isinstance(end, ExitReason)
        assert isinstance(end.error, StaleIncarnation)
        assert store.calls["append"] == 0
        assert isinstance(await tree.commands.ask(CommandEnvelope("a", add(2), "{}", None, uuid4())), Ok)
