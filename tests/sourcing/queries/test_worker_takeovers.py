"""Workers that crash, pause, stop or lose their store: the checkpoint goes forward, and one of them has the lease."""

import asyncio
from collections.abc import Callable

import pytest

from eventree import (
    ActorCrashed,
    EventSourcing,
    EventStore,
    MemoryStore,
    Projection,
    Query,
    StoreUnavailable,
)
from eventree.sourcing import QueryHandle, QueryStatus
from eventree.stores.contract import LeaseRequest
from eventree.testing import FailingStore
from eventree.testing.failing_store import StoreMethod
from sourcing.ledger import Added, add, ledger
from sourcing.reading import AT_ONCE, Contexts, Events, Seen, patient
from sourcing.recording_store import RecordingStore
from sourcing.teller import open_store
from sourcing.totals import project, setup, totals
from sourcing.waiting import becomes, caught_up_after_a_crash, until

PAUSED, STOPPED, WAITING = QueryStatus.PAUSED, QueryStatus.STOPPED, QueryStatus.WAITING
LEASE = 0.3


@pytest.mark.parametrize("step", ["load_checkpoint", "load_parked"])
async def test_a_crash_right_after_a_claim_moves_no_checkpoint_back(step: StoreMethod) -> None:
    seen = Contexts()
    seen.poison.add(7)
    recording = RecordingStore()
    async with FailingStore(recording) as store:
        async with EventSourcing(ledger, store, queries=[patient(seen, on_failure="park")]) as system:
            await system.execute_many([("b", add(7)), *[("a", add(number)) for number in range(4)]])
            await system.query("q").caught_up()
        recording.moved.clear()
        store.fail(step, RuntimeError("bug"))
        async with EventSourcing(ledger, store, queries=[patient(seen, on_failure="park")]) as system:
            await system.execute("a", add(4))
            await caught_up_after_a_crash(system.query("q"))
            assert [commit.position for commit in await system.query("q").parked()] == [1]
    assert [move.checkpoint.position for move in recording.moved] == [6]
    assert seen.amounts == [("a", [number]) for number in range(5)]


async def test_a_projection_counts_nothing_twice_after_a_crash_right_after_a_claim(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counting() -> Projection[Added]:
        return Projection("q", project, setup=setup, poll_interval=0.01)

    def crash(*_: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("bug")

    async with open_store(place) as store:
        async with EventSourcing(ledger, store, queries=[counting()]) as system:
            await system.execute_many([("a", add(1))] * 5)
            await system.query("q").caught_up()
        monkeypatch.setattr(store, "load_checkpoint", crash)
        async with EventSourcing(ledger, store, queries=[counting()]) as system:
            await caught_up_after_a_crash(system.query("q"))
            await system.execute("a", add(1), wait_for=["q"])
    assert await totals(place) == {"a": (6, 6)}


async def crash_its_actor(store: FailingStore, handle: QueryHandle) -> None:
    store.fail("load_parked", RuntimeError("bug"))
    with pytest.raises(ActorCrashed):
        await handle.retry_parked()
    await until(lambda: handle.incarnation == 2)


async def lose_its_store(store: FailingStore, handle: QueryHandle) -> None:
    with store.unavailable(away := StoreUnavailable("away")):
        await until(lambda: handle.last_error is away)


@pytest.mark.parametrize("meanwhile", [crash_its_actor, lose_its_store])
async def test_a_paused_query_keeps_its_lease(meanwhile: Callable[[FailingStore, QueryHandle], object]) -> None:
    """Nobody else takes over, so nothing is handed over anywhere."""
    paused, other = Seen(), Seen()
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[patient(paused, lease=0.6)]) as system:
        handle = system.query("q")
        await handle.caught_up()
        await handle.pause()
        async with EventSourcing(ledger, store, queries=[patient(other, lease=0.6)]) as second:
            await becomes(second.query("q"), WAITING)
            outcome = meanwhile(store, handle)
            assert asyncio.iscoroutine(outcome)
            await outcome
            await second.execute("a", add(1))
            await asyncio.sleep(1.3)  # two leases
            assert (handle.status, second.query("q").status) == (PAUSED, WAITING)
            assert (paused.amounts, other.amounts) == ([], [])
            await handle.resume()
            await handle.caught_up()
    assert (paused.amounts, other.amounts) == ([("a", [1])], [])


@pytest.mark.durable
async def test_a_worker_that_stopped_gives_its_lease_up_at_once(store: EventStore) -> None:
    stuck, other = Contexts(), Seen()
    stuck.poison.add(1)
    async with EventSourcing(ledger, store, queries=[patient(stuck, lease=3600)]) as first:
        await first.execute_many([("a", add(number)) for number in range(3)])
        await becomes(first.query("q"), STOPPED)
        async with EventSourcing(ledger, store, queries=[patient(other, lease=LEASE)]) as second:
            await second.query("q").caught_up()
            assert (first.query("q").status, second.query("q").status) == (STOPPED, QueryStatus.RUNNING)
    assert (stuck.amounts, other.amounts) == ([("a", [0])], [("a", [1]), ("a", [2])])


@pytest.mark.durable
async def test_a_worker_that_is_resumed_hands_nothing_over_that_another_has_handled(store: EventStore) -> None:
    stuck, other = Contexts(), Seen()
    stuck.poison.add(1)
    async with EventSourcing(ledger, store, queries=[patient(stuck, lease=LEASE)]) as first:
        await first.execute_many([("a", add(number)) for number in range(3)])
        handle = first.query("q")
        await becomes(handle, STOPPED)
        stuck.poison.clear()
        tried = len(stuck.contexts)
        async with EventSourcing(ledger, store, queries=[patient(other, lease=LEASE)]) as second:
            await second.query("q").caught_up()
            await handle.resume()
            await becomes(handle, WAITING)
            await second.execute("a", add(3), wait_for=["q"])
        await first.execute("a", add(4), wait_for=["q"])
        assert (len(stuck.contexts), handle.status) == (tried + 1, QueryStatus.RUNNING)
    assert stuck.amounts == [("a", [0]), ("a", [4])]
    assert other.amounts == [("a", [1]), ("a", [2]), ("a", [3])]


async def test_a_commit_that_was_given_up_is_tried_again_where_another_worker_was_in_between() -> None:
    """It had not been stored that it is skipped, and whoever worked meanwhile knew nothing of it."""
    seen = Contexts()
    seen.poison.add(0)
    skipping = patient(seen, on_failure="skip", max_attempts=1, lease=LEASE)
    memory = MemoryStore()
    async with FailingStore(memory) as store, EventSourcing(ledger, store, queries=[skipping]) as system:
        await system.query("q").caught_up()
        gate = store.hold("save_checkpoint")
        await system.execute("a", add(0))
        await gate.reached()
        memory._checkpoints["q", 1].lease_until = 0.0
        await memory.claim_checkpoint("q", 1, LeaseRequest("another", LEASE))
        seen.poison.clear()
        gate.open()
        await system.query("q").caught_up()
        stored = await store.load_checkpoint("q", 1)
        assert stored is not None
        assert (stored.skipped, stored.parked) == (0, 0)
    assert seen.amounts == [("a", [0])]


async def test_a_worker_that_is_cancelled_while_it_parks_does_not_pass_what_it_parks() -> None:
    seen = Contexts()
    seen.poison.add(2)
    parking = patient(seen, on_failure="park")
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[parking]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        gate = store.hold("save_checkpoint")
        await system.execute("b", add(2))
        await gate.reached()
        (worker,) = (task for task in asyncio.all_tasks() if task.get_name() == "eventree q")
        worker.cancel()
        await caught_up_after_a_crash(system.query("q"))
        assert [commit.position for commit in await system.query("q").parked()] == [2]


async def test_a_lease_that_cannot_be_kept_beside_a_handler_crashes_nobody() -> None:
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))

    async def until_renewed(_: str, __: Events) -> None:
        await until(lambda: store.calls["renew_checkpoint"] >= 2)

    slow: Query[Added] = Query("q", until_renewed, lease=LEASE, backoff=AT_ONCE, poll_interval=0.01)
    async with FailingStore() as store:
        store.fail("renew_checkpoint", StoreUnavailable("away"))
        async with EventSourcing(ledger, store, queries=[slow]) as system:
            await system.execute("a", add(1), wait_for=["q"])
            assert (system.query("q").incarnation, system.query("q").last_error) == (1, None)
    assert unseen == []
