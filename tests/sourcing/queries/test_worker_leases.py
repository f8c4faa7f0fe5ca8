"""Of several workers with one query, in one process or many, one works on it; another takes over when that one ends."""

import asyncio
import os
import signal
import socket
import sys

import pytest

from eventree import EventSourcing, EventStore, InvalidArgument, Query
from eventree.sourcing import QueryStatus
from eventree.stores.contract import LeaseRequest
from servers.processes import Child, python
from sourcing import follower
from sourcing.ledger import add, ledger
from sourcing.reading import Seen
from sourcing.teller import open_store
from sourcing.waiting import becomes, until

RUNNING, WAITING = QueryStatus.RUNNING, QueryStatus.WAITING
LEASE = 1.2
"""Seconds; a worker renews it every third of them, so that a busy machine may hold it up for the rest."""


def query(seen: Seen, lease: float = 60.0) -> Query[object]:
    return Query("q", seen, poll_interval=0.01, lease=lease)  # type: ignore[arg-type]


@pytest.mark.durable
async def test_of_two_workers_one_works_the_other_sees_how_far_and_takes_over_when_it_stops(store: EventStore) -> None:
    old, new = Seen(), Seen()
    async with EventSourcing(ledger, store, queries=[query(new, lease=3)]) as second:
        await second.query("q").caught_up()
        async with EventSourcing(ledger, store, queries=[query(old)]) as first:
            await becomes(first.query("q"), WAITING)
            await first.execute("a", add(1))
            await first.query("q").caught_up()
            assert first.query("q").position == 1
            await until(lambda: second.query("q").position == 1)  # the store was told before it heard so itself
            assert (first.query("q").status, second.query("q").status) == (WAITING, RUNNING)
        async with EventSourcing(ledger, store, queries=[query(old, lease=0.3)]) as first:
            await second.__aexit__(None, None, None)
            await becomes(first.query("q"), RUNNING)
            await first.execute("a", add(2))
            await first.query("q").caught_up()
    assert new.amounts == [("a", [1])]
    assert old.amounts == [("a", [2])]


async def test_a_worker_with_nothing_to_do_keeps_its_query(store: EventStore) -> None:
    async with EventSourcing(ledger, store, queries=[query(Seen(), lease=LEASE)]) as first:
        await first.query("q").caught_up()
        async with EventSourcing(ledger, store, queries=[query(Seen(), lease=LEASE)]) as second:
            await becomes(second.query("q"), WAITING)
            before = await store.load_checkpoint("q", 1)
            await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=1.5 * LEASE)
            assert await store.load_checkpoint("q", 1) == before
            assert (first.query("q").status, second.query("q").status) == (RUNNING, WAITING)


async def test_a_worker_that_waits_to_try_again_keeps_its_query(store: EventStore) -> None:
    async def fail(_: str, __: object) -> None:
        raise ValueError("not yet")

    failing: Query[object] = Query("q", fail, poll_interval=0.01, lease=LEASE)
    async with EventSourcing(ledger, store, queries=[failing]) as first:
        await first.execute("a", add(1))
        await becomes(first.query("q"), QueryStatus.RETRYING)
        before = await store.load_checkpoint("q", 1)
        async with EventSourcing(ledger, store, queries=[query(Seen(), lease=LEASE)]) as second:
            await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=1.5 * LEASE)
            assert second.query("q").status is WAITING
            after = await store.load_checkpoint("q", 1)
            assert before is not None
            assert after is not None
            assert (after.checkpoint, after.owner) == (before.checkpoint, before.owner)


@pytest.mark.durable
async def test_a_restarted_actor_takes_over_from_itself_at_once(store: EventStore) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store, queries=[query(seen)]) as system:
        await system.query("q").caught_up()
        (worker,) = (task for task in asyncio.all_tasks() if task.get_name() == "eventree q")
        worker.cancel()
        await until(lambda: system.query("q").incarnation == 2)
        await system.execute("a", add(1))
        await seen.reaches(1)


@pytest.mark.durable
async def test_a_worker_whose_query_was_taken_claims_it_again_and_goes_on_where_the_checkpoint_is(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store, queries=[query(seen)]) as system:
        await system.execute("a", add(1))
        await system.query("q").caught_up()
        stored = await store.load_checkpoint("q", 1)
        assert stored is not None
        await store.claim_checkpoint("q", 1, LeaseRequest(stored.owner))
        await system.execute("a", add(2))
        await system.query("q").caught_up()
        assert system.query("q").status is RUNNING
    assert "was taken over by another worker" in caplog.text
    assert [amounts for _, amounts in seen.amounts] == [[1], [2], [2]]  # what was not saved comes again


async def started(other: Child) -> None:
    assert await other.line() == "running"


async def test_the_query_of_a_process_that_is_killed_is_taken_over_when_its_lease_has_run_out(place: str) -> None:
    async with open_store(place) as store, python(follower.__file__, place, "0.5") as other:
        seen = Seen()
        async with EventSourcing(ledger, store) as system:
            await started(other)
            await system.register_queries([query(seen, lease=0.5)])  # it looks again every third of that
            await becomes(system.query("q"), WAITING)
            await system.execute("a", add(1))
            assert await other.line() == "1"
            os.kill(other.pid, signal.SIGKILL)
            await system.execute("a", add(2))
            await seen.reaches(1)
    assert [amounts for _, amounts in seen.amounts][-1] == [2]


async def test_a_lease_counts_whether_or_not_its_owner_can_be_seen(store: EventStore) -> None:
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await gone.wait()
    await store.claim_checkpoint("q", 1, LeaseRequest(f"{socket.gethostname()}/{gone.pid}/of another user", 60))
    async with EventSourcing(ledger, store, queries=[query(Seen(), lease=0.1)]) as system:
        await becomes(system.query("q"), WAITING)
        await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=0.3)
        assert system.query("q").status is WAITING
    stored = await store.load_checkpoint("q", 1)
    assert stored is not None
    assert stored.checkpoint.fencing_token == 1


async def test_a_worker_that_is_stopped_past_its_lease_writes_nothing_when_it_wakes_up(place: str) -> None:
    seen = Seen()
    async with (
        open_store(place) as store,
        EventSourcing(ledger, store) as system,
        python(follower.__file__, place, "0.5") as other,
    ):
        await started(other)
        await system.register_queries([query(seen, lease=1.5)])
        await becomes(system.query("q"), WAITING)
        os.kill(other.pid, signal.SIGSTOP)
        await system.execute("a", add(1))
        await seen.reaches(1)
        fence = await store.load_checkpoint("q", 1)
        os.kill(other.pid, signal.SIGCONT)
        await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=0.5)
        await system.execute("a", add(2))
        await system.query("q").caught_up()
        after = await store.load_checkpoint("q", 1)
    assert fence is not None
    assert after is not None
    assert after.checkpoint.fencing_token == fence.checkpoint.fencing_token
    assert seen.amounts == [("a", [1]), ("a", [2])]


@pytest.mark.parametrize("lease", [0, -1, 86_401, "1"])
def test_a_lease_is_a_number_of_seconds_up_to_a_day(lease: float) -> None:
    with pytest.raises(InvalidArgument, match="lease"):
        query(Seen(), lease)
