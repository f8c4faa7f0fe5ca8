"""A query that has nothing to do, or can do nothing, asks its store now and then, and does not spin."""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from eventree import Backoff, EventSourcing, MemoryStore, QueryStopped, StoreUnavailable
from eventree.errors import LogRolledBack
from eventree.sourcing import QueryHandle, QueryStatus
from eventree.sourcing.queries.worker import QueryWorker
from eventree.stores.contract import AppendRequest, CheckpointUpdate, LeaseRequest, NewEvent
from eventree.testing import FailingStore
from sourcing.ledger import LedgerSystem, add, ledger
from sourcing.reading import AT_ONCE, Contexts, Seen, patient
from sourcing.waiting import becomes, until

WINDOW = 0.4
"""Seconds; a query that spins makes tens of thousands of turns in them."""

MOST = 40
"""Turns, and calls of the store, in a window; every look makes at most four, and there is one every 0.1 s."""

ACTIVE = [status for status in QueryStatus if status not in {QueryStatus.NOT_RUNNING, QueryStatus.STARTING}]


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[QueryStatus]:
    """Return a list that gets longer with every turn of a query."""
    made: list[QueryStatus] = []
    turn = QueryWorker.turn

    async def counted(self: QueryWorker, *, save: bool) -> float | None:
        made.append(self.state.status)
        return await turn(self, save=save)

    monkeypatch.setattr(QueryWorker, "turn", counted)
    return made


async def rests(store: FailingStore, turns: list[QueryStatus]) -> None:
    await asyncio.sleep(0.1)  # what is under way may end
    turns.clear()
    store.calls.clear()
    await asyncio.sleep(WINDOW)
    assert store.calls.total() <= MOST, store.calls
    assert len(turns) <= MOST


class Unready(MemoryStore):
    """A store where another version is always a little further than the one that wants to go live."""

    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        return False


async def a_query_that_is(
    status: QueryStatus, store: FailingStore, system: LedgerSystem, stack: AsyncExitStack
) -> QueryHandle:
    """Bring a query to a state."""
    seen, version = Contexts(), 1
    if status in {QueryStatus.STOPPED, QueryStatus.RETRYING}:
        seen.poison.add(1)
    backoff = Backoff(initial=60, maximum=60) if status is QueryStatus.RETRYING else AT_ONCE
    await system.register_queries([patient(seen, poll_interval=0.1, lease=3, backoff=backoff)])
    handle = system.query("q")
    await system.execute("a", add(1))
    if status in {QueryStatus.BUILDING, QueryStatus.SUPERSEDED}:
        await handle.caught_up()
        await system.register_queries([patient(Seen(), version=2, poll_interval=0.1, lease=3)])
        version = 2 if status is QueryStatus.BUILDING else 1
    if status is QueryStatus.WAITING:
        other = await stack.enter_async_context(
            EventSourcing(ledger, store, queries=[patient(Seen(), poll_interval=0.1)])
        )
        handle = other.query("q")
    if status is QueryStatus.OUTDATED:
        event = NewEvent("OfNewerCode", 1, "{}", "{}", uuid4())
        await store.append([AppendRequest("ledger", "b", 0, [event])])
    if status is QueryStatus.PAUSED:
        await handle.pause()
        await system.execute("a", add(2))
    return handle if version == 1 else system.query("q", version)


@pytest.mark.parametrize("status", ACTIVE, ids=lambda status: str(status.value))
async def test_a_query_does_not_spin_whatever_it_is_doing(status: QueryStatus, turns: list[QueryStatus]) -> None:
    store = FailingStore(Unready() if status is QueryStatus.BUILDING else MemoryStore())
    async with store, EventSourcing(ledger, store) as system, AsyncExitStack() as stack:
        handle = await a_query_that_is(status, store, system, stack)
        await becomes(handle, status)
        await rests(store, turns)
        assert handle.status is status


async def test_a_query_with_something_unsaved_does_not_spin_while_its_store_is_away(turns: list[QueryStatus]) -> None:
    seen = Seen()
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.query("q").caught_up()
        await system.execute("a", add(1))
        await seen.reaches(1)
        with store.unavailable():
            await becomes(system.query("q"), QueryStatus.RETRYING)
            await rests(store, turns)
            assert system.query("q").position == 0
        await system.query("q").caught_up()
        assert system.query("q").status is QueryStatus.RUNNING


async def test_a_query_with_something_unsaved_does_not_spin_when_another_worker_has_taken_it(
    turns: list[QueryStatus],
) -> None:
    seen = Seen()
    watching, memory = patient(seen, poll_interval=0.1), MemoryStore()
    async with FailingStore(memory) as store, EventSourcing(ledger, store, queries=[watching]) as system:
        await system.query("q").caught_up()
        await system.execute("a", add(1))
        await seen.reaches(1)
        memory._checkpoints["q", 1].lease_until = 0.0
        await store.claim_checkpoint("q", 1, LeaseRequest("another", 60))
        await becomes(system.query("q"), QueryStatus.WAITING)
        await rests(store, turns)
        assert system.query("q").status is QueryStatus.WAITING


async def test_a_query_with_something_unsaved_does_not_spin_when_the_log_is_rolled_back(
    turns: list[QueryStatus],
) -> None:
    seen = Seen()
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        handle = system.query("q")
        await handle.caught_up()
        await system.execute("a", add(1))
        await seen.reaches(1)
        store.fail("read", LogRolledBack("a reader", 1, 0))
        await system.execute("a", add(2))
        await becomes(handle, QueryStatus.STOPPED)
        await rests(store, turns)
        with pytest.raises(QueryStopped):
            await handle.caught_up()
        assert (handle.incarnation, handle.status) == (1, QueryStatus.STOPPED)


class Unsaving(MemoryStore):
    """A store that moves no checkpoint, as its disk is full."""

    is_full = False

    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        if self.is_full:
            raise StoreUnavailable("disk full")
        await super().save_checkpoint(name, version, update)


async def test_a_query_whose_checkpoint_cannot_be_saved_for_a_while_does_not_spin(turns: list[QueryStatus]) -> None:
    """Everything else of the store works, so the same is handled and not saved again and again."""
    seen, disk = Seen(), Unsaving()
    async with FailingStore(disk) as store, EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.query("q").caught_up()
        store.calls.clear()
        disk.is_full = True
        await system.execute("a", add(1))
        await until(lambda: store.calls["save_checkpoint"] >= 2)
        await rests(store, turns)
        disk.is_full = False
        await system.query("q").caught_up(timeout=20)
        assert system.query("q").last_error is None
    assert seen.amounts == [("a", [1])] * len(seen.commits)
