"""A query is steered from any process: what is asked is stored, done once by whoever has the lease, and answered."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from uuid import uuid4

import pytest

from eventree import EventSourcing, EventStore, InvalidArgument, MemoryStore, Projection, QueryStopped, StoreUnavailable
from eventree.errors import QueryRequestFailed, QueryRequestPending, QuerySuperseded, TooManyRequests
from eventree.sourcing import QueryHandle, QueryStatus
from eventree.stores.contract import MAX_REQUESTS, AppendRequest, LeaseRequest, NewEvent, QueryRequest
from eventree.testing import FailingStore
from sourcing.ledger import Boom, add, ledger
from sourcing.reading import AT_ONCE, Contexts, Seen, patient
from sourcing.teller import open_store
from sourcing.totals import Connection, Events, clear, project, setup, totals
from sourcing.waiting import becomes, until

LEASE = 0.6

Steer = Callable[[QueryHandle], Coroutine[Any, Any, object]]


@pytest.fixture(params=["script", "standby"])
async def remote(request: pytest.FixtureRequest, place: str) -> AsyncIterator[Callable[[], Any]]:
    """Return how to get a handle in another process: one that does not run the query, or one that stands by."""
    async with open_store(place) as store:
        if request.param == "script":
            yield lambda: asyncio.sleep(0, script(store))
            return
        system = EventSourcing(ledger, store, queries=[patient(Seen(), lease=LEASE)])

        async def standby() -> QueryHandle:
            await system.__aenter__()
            await becomes(system.query("q"), QueryStatus.WAITING)
            return system.query("q")

        yield standby
        if system.query("q").incarnation:
            await system.__aexit__(None, None, None)


def script(store: EventStore, **options: Any) -> QueryHandle:
    return patient(Seen(), lease=LEASE, **options).handle(store, follows=[ledger])


async def test_a_pause_and_its_end_reach_the_holder(place: str, remote: Callable[[], Any]) -> None:
    seen = Seen()
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[patient(seen, lease=LEASE)]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        handle = await remote()
        assert await handle.pause() == 1
        assert system.query("q").status is QueryStatus.PAUSED
        await system.execute("a", add(2))
        assert await handle.resume() == 1
        await system.query("q").caught_up()
    assert seen.amounts == [("a", [1]), ("a", [2])]


async def test_parked_commits_are_retried_and_dropped_by_the_holder(place: str, remote: Callable[[], Any]) -> None:
    seen = Contexts()
    seen.poison |= {1, 2, 3}
    query = patient(seen, lease=LEASE, on_failure="park")
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2)), ("c", add(3))])
        await system.query("q").caught_up()
        handle = await remote()
        seen.poison -= {2}
        retried = await handle.retry_parked()
        assert (retried, retried.reason) == (1, "position 1: Boom: ")
        assert [parked.position for parked in await handle.parked()] == [1, 3]
        seen.poison.clear()
        assert await handle.retry_parked("c") == 1
        await handle.drop_parked(1)
        assert await handle.parked() == []
        with pytest.raises(InvalidArgument, match=r"^position: no commit is parked at 7"):
            await handle.drop_parked(7)
    assert sorted(seen.amounts) == [("b", [2]), ("c", [3])]


@pytest.mark.parametrize("steer", ["resume", "skip"])
async def test_a_query_that_stopped_is_steered_from_elsewhere(place: str, steer: str) -> None:
    seen = Contexts()
    seen.poison.add(2)
    query = patient(seen, lease=LEASE)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2)), ("c", add(3))])
        with pytest.raises(QueryStopped):
            await system.query("q").caught_up()
        handle = script(store)
        if steer == "skip":
            with pytest.raises(InvalidArgument, match="the failing commit is at position 2"):
                await handle.skip(1)
            assert await handle.skip(2) == 2
        else:
            seen.poison.clear()
            assert await handle.resume() == 1
        await system.query("q").caught_up(timeout=20)
        stats = await handle.stats()
        assert (stats.status, stats.skipped, stats.failure) == (QueryStatus.RUNNING, int(steer == "skip"), None)
    assert seen.amounts == [("a", [1]), *([("b", [2])] * (steer == "resume")), ("c", [3])]


async def test_a_projection_is_reset_and_what_it_parked_is_retried_from_elsewhere(place: str) -> None:
    fails = {"b"}

    async def project_but(connection: Connection, events: Events) -> None:
        if fails & {event.aggregate_id for event in events}:
            raise Boom("why")
        await project(connection, events)

    query: Projection[Any] = Projection(
        "q",
        project_but,
        setup=setup,
        clear=clear,
        on_failure="park",
        max_attempts=1,
        backoff=AT_ONCE,
        lease=LEASE,
        poll_interval=0.01,
    )
    async with (
        open_store(place) as store,
        open_store(place) as ops,
        EventSourcing(ledger, store, queries=[query]) as system,
    ):
        await system.execute_many([("a", add(1)), ("b", add(2))])
        await system.query("q").caught_up()
        handle = query.handle(ops, follows=[ledger])
        retried = await handle.retry_parked()
        assert (retried, retried.reason) == (0, "position 2: Boom: why")
        fails.clear()
        assert await handle.retry_parked() == 1
        assert await totals(place) == {"a": (1, 1), "b": (2, 1)}
        assert await handle.reset() == 0
        await system.query("q").caught_up()
        assert await totals(place) == {"a": (1, 1), "b": (2, 1)}


async def test_what_the_holder_cannot_do_is_told_with_its_error(place: str) -> None:
    query: Projection[Any] = Projection("q", project, setup=setup, lease=LEASE)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        handle = query.handle(store, follows=[ledger])
        with pytest.raises(InvalidArgument, match=r"^clear: a projection without it"):
            await handle.reset()
        assert (system.query("q").incarnation, system.query("q").status) == (1, QueryStatus.RUNNING)


async def test_a_bug_while_it_is_done_is_told_and_met_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with MemoryStore() as store:
        query = patient(Seen(), lease=LEASE)
        async with EventSourcing(ledger, store, queries=[query]) as system:
            await system.query("q").caught_up()

            async def crash(*_: object, **__: object) -> None:
                monkeypatch.undo()
                raise Boom("a bug")

            monkeypatch.setattr(store, "load_parked", crash)
            with pytest.raises(QueryRequestFailed) as failed:
                await script(store).drop_parked(1)
            assert (failed.value.action, failed.value.error, failed.value.reason) == ("drop_parked", "Boom", "a bug")
            await until(lambda: system.query("q").incarnation == 2)
            assert await store.load_requests("q", 1) == []


async def test_where_nobody_works_on_it_the_asker_is_told_and_it_is_done_at_the_next_claim(place: str) -> None:
    seen = Contexts()
    seen.poison.add(1)
    async with open_store(place) as store:
        async with EventSourcing(ledger, store, queries=[patient(seen, on_failure="park")]) as system:
            await system.execute("a", add(1), wait_for=["q"])
        handle = script(store)
        with pytest.raises(QueryRequestPending) as pending:
            await handle.retry_parked(timeout=0.1)
        assert (pending.value.holder, pending.value.action, pending.value.seconds) == (None, "retry_parked", 0.1)
        with pytest.raises(QueryRequestPending):
            await handle.pause(timeout=0.1)
        seen.poison.clear()
        async with EventSourcing(ledger, store, queries=[patient(seen, on_failure="park")]) as system:
            await becomes(system.query("q"), QueryStatus.PAUSED)
            async with asyncio.timeout(20):
                while await handle.parked():  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(0.01)
        assert await store.load_requests("q", 1) == []
    assert seen.amounts == [("a", [1])]


async def test_a_holder_that_is_busy_is_named_and_does_it_later(place: str) -> None:
    entered, free = asyncio.Event(), asyncio.Event()

    async def slow(_: str, __: Any) -> None:
        entered.set()
        await free.wait()

    query = patient(slow, lease=LEASE)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.query("q").caught_up()
        await system.execute("a", add(1))
        await entered.wait()
        with pytest.raises(QueryRequestPending, match="has not answered yet") as pending:
            await script(store).pause(timeout=0.1)
        assert pending.value.holder == system.query("q").parts[0].state.owner
        free.set()
        await becomes(system.query("q"), QueryStatus.PAUSED)


async def test_a_request_is_done_once_although_the_first_holder_dies_in_the_middle(place: str) -> None:
    """The lease of the first is over before it begins, and ends before its answer is stored."""
    seen = Contexts()
    seen.poison.add(1)
    async with open_store(place) as inner:
        async with FailingStore(inner) as store:
            query = patient(seen, lease=LEASE, max_attempts=1)
            async with EventSourcing(ledger, store, queries=[query]) as system:
                await system.execute("a", add(1))
                with pytest.raises(QueryStopped):
                    await system.query("q").caught_up()
                save = FailingStore.save_checkpoint

                async def dies(self: FailingStore, name: str, version: int, update: Any) -> None:
                    if update.answers:
                        raise StoreUnavailable("away")
                    await save(self, name, version, update)

                store.save_checkpoint = dies.__get__(store)  # type: ignore[method-assign]
                with pytest.raises(QueryRequestPending):
                    await script(inner).skip(1, timeout=1)
                [waiting] = await inner.load_requests("q", 1)
        stored = await inner.load_checkpoint("q", 1)
        assert stored is not None
        assert (stored.skipped, waiting.action) == (0, "skip")
        async with EventSourcing(ledger, inner, queries=[patient(seen, lease=LEASE, max_attempts=1)]) as system:
            await system.query("q").caught_up(1, timeout=20)
            stored = await inner.load_checkpoint("q", 1)
            assert stored is not None
            assert (stored.skipped, stored.requests) == (1, 0)
    assert seen.amounts == []


async def test_what_another_holder_has_answered_is_not_done_again() -> None:
    seen = Seen()
    async with FailingStore() as store:
        query = patient(seen, lease=0.3)
        async with EventSourcing(ledger, store, queries=[query]) as system:
            await system.execute("a", add(1), wait_for=["q"])
            request = QueryRequest(uuid4(), "q", 1, "reset")
            gate = store.hold("load_requests", after=True)
            await store.inner.put_request(request)
            await gate.reached()
            inner: Any = store.inner
            inner._requests.clear()  # as if it had been answered while this process was frozen
            gate.open()
            await system.execute("a", add(2), wait_for=["q"])
            await asyncio.sleep(0.3)
    assert seen.amounts == [("a", [1]), ("a", [2])]


async def test_what_the_holder_does_not_know_is_refused() -> None:
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[patient(Seen(), lease=LEASE)]) as system:
        await system.query("q").caught_up()
        for action, argument in (("fly", ""), ("skip", "x")):
            request = QueryRequest(uuid4(), "q", 1, action, argument)
            await store.put_request(request)
            async with asyncio.timeout(20):
                while (answer := await store.take_answer(request.id)) is None:  # noqa: ASYNC110 - no event for it
                    await asyncio.sleep(0.01)
            assert answer.error == "InvalidArgument"
        assert system.query("q").incarnation == 1


async def test_no_more_requests_are_queued_than_may_wait() -> None:
    async with MemoryStore() as store:
        for _ in range(MAX_REQUESTS):
            await store.put_request(QueryRequest(uuid4(), "q", 1, "pause"))
        with pytest.raises(TooManyRequests):
            await script(store).pause()


async def test_a_superseded_version_is_not_asked() -> None:
    async with MemoryStore() as store:
        query = patient(Seen(), version=2)
        async with EventSourcing(ledger, store, queries=[patient(Seen()), query]) as system:
            await until(lambda: system.query("q", 2).is_live)
            with pytest.raises(QuerySuperseded):
                await script(store).pause()


async def test_what_is_newer_than_the_code_is_skipped_from_elsewhere(place: str) -> None:
    async with (
        open_store(place) as store,
        EventSourcing(ledger, store, queries=[patient(Seen(), lease=LEASE)]) as system,
    ):
        await system.query("q").caught_up()
        await store.append([AppendRequest("ledger", "a", 0, [NewEvent("OfNewerCode", 1, "{}", "{}", uuid4())])])
        await becomes(system.query("q"), QueryStatus.OUTDATED)
        assert await script(store).skip(1) == 1
        await becomes(system.query("q"), QueryStatus.RUNNING)


async def test_nothing_is_asked_per_commit() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[patient(Seen(), lease=60)]) as system:
        await system.query("q").caught_up()
        store.calls.clear()
        for number in range(50):
            await system.execute("a", add(number), wait_for=["q"])
        assert (store.calls["load_requests"], store.calls["load_checkpoint"]) == (0, store.calls["load_checkpoint"])
        assert store.calls["load_checkpoint"] < 50


async def test_a_pause_while_the_store_is_away_is_stored_later() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[patient(Seen(), lease=LEASE)]) as system:
        await system.query("q").caught_up()
        with store.unavailable():
            await system.query("q").pause()
        async with asyncio.timeout(20):
            while (stored := await store.inner.load_checkpoint("q", 1)) is None or not stored.is_paused:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await store.claim_checkpoint("other", 1, LeaseRequest("x"))
        assert system.query("q").status is QueryStatus.PAUSED
