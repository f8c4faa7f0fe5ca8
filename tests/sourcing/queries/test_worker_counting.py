"""The failures of a commit are counted in the store: whoever takes over goes on counting."""

import asyncio
from typing import Any

import pytest

from eventree import Backoff, EventSourcing, EventStore, Projection, QueryStopped, StoreUnavailable, query_context
from eventree.sourcing.queries.subscriptions import Subscription
from eventree.stores.contract import StoredFailure
from eventree.testing import FailingStore
from sourcing.ledger import Added, Boom, add, ledger
from sourcing.reading import AT_ONCE, Contexts, Events, patient
from sourcing.teller import open_store
from sourcing.waiting import until


async def stored_failure(store: EventStore) -> StoredFailure | None:
    stored = await store.load_checkpoint("q", 1)
    return stored.failure if stored is not None else None


def attempts(seen: Contexts) -> list[int]:
    return [context.attempt for context in seen.contexts]


async def fails_so_often(store: EventStore, count: int) -> None:
    async with asyncio.timeout(20):
        while (failure := await stored_failure(store)) is None or failure.attempts < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def failing(kind: str, tried: list[int], **options: Any) -> Subscription[Added]:
    """Return a query or a projection that fails at every event."""

    async def project(_: Any, __: Any) -> None:
        tried.append(query_context().attempt)
        raise Boom

    def handle(_: str, __: Events) -> None:
        tried.append(query_context().attempt)
        raise Boom

    options = {"poll_interval": 0.01, "lease": 0.5, **options}
    return patient(handle, **options) if kind == "query" else Projection("q", project, **options)


@pytest.mark.parametrize("kind", ["query", "projection"])
@pytest.mark.parametrize("policy", ["park", "skip"])
async def test_a_restart_of_the_process_goes_on_counting(place: str, kind: str, policy: Any) -> None:
    tried: list[int] = []
    slow = Backoff(initial=60, maximum=60)
    async with open_store(place) as store:
        first = failing(kind, tried, on_failure=policy, max_attempts=3, backoff=slow)
        async with EventSourcing(ledger, store, queries=[first]) as system:
            await system.execute("a", add(1))
            await fails_so_often(store, 1)
        second = failing(kind, tried, on_failure=policy, max_attempts=3, backoff=slow)
        async with EventSourcing(ledger, store, queries=[second]):
            await fails_so_often(store, 2)
        failure = await stored_failure(store)
        assert failure is not None
        assert (failure.position, failure.attempts, failure.reason) == (1, 2, "Boom: ")
        third = failing(kind, tried, on_failure=policy, max_attempts=3, backoff=slow)
        async with EventSourcing(ledger, store, queries=[third]) as system:
            await system.query("q").caught_up(timeout=20)
            assert len(await system.query("q").parked()) == (policy == "park")
        assert await stored_failure(store) is None
    assert tried == [1, 2, 3]


async def test_a_restart_of_the_actor_goes_on_counting() -> None:
    tried: list[int] = []
    query = failing("query", tried, on_failure="park", max_attempts=5, backoff=AT_ONCE, lease=5)
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        handle = system.query("q")
        await handle.caught_up()
        store.hold("save_checkpoint").open()
        store.fail("save_checkpoint", RuntimeError("bug"), after=True)
        await system.execute("a", add(1))
        await until(lambda: handle.incarnation == 2)
        await handle.caught_up(timeout=20)
    assert tried == [1, 2, 3, 4, 5]


@pytest.mark.durable
async def test_another_process_that_takes_over_goes_on_counting(store: EventStore) -> None:
    one, two = Contexts(), Contexts()
    one.poison.add(1)
    two.poison.add(1)
    options: Any = {"on_failure": "stop", "max_attempts": 3, "lease": 0.5}
    async with EventSourcing(ledger, store, queries=[patient(one, **options)]) as first:
        await first.execute("a", add(1))
        with pytest.raises(QueryStopped):
            await first.query("q").caught_up(timeout=20)
        async with EventSourcing(ledger, store, queries=[patient(two, **options)]) as second:
            with pytest.raises(QueryStopped):
                await second.query("q").caught_up(timeout=20)
    assert (attempts(one), attempts(two)) == ([1, 2, 3], [4])


async def test_what_is_handled_after_all_is_not_counted_any_more(store: EventStore) -> None:
    seen = Contexts()
    seen.poison.add(1)
    async with EventSourcing(ledger, store, queries=[patient(seen, max_attempts=10**6)]) as system:
        await system.execute("a", add(1))
        await until(lambda: len(seen.contexts) > 2)
        seen.poison.clear()
        await system.query("q").caught_up()
        assert await stored_failure(store) is None
        seen.poison.add(2)
        seen.contexts.clear()
        await system.execute("a", add(2))
        await until(lambda: len(seen.contexts) > 1)
    assert attempts(seen)[:2] == [1, 2]


async def test_a_query_that_is_resumed_counts_anew(store: EventStore) -> None:
    seen = Contexts()
    seen.poison.add(1)
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute("a", add(1))
        for _ in range(2):
            with pytest.raises(QueryStopped):
                await system.query("q").caught_up()
            await system.query("q").resume()
        with pytest.raises(QueryStopped):
            await system.query("q").caught_up()
    assert attempts(seen) == [1, 2] * 3


async def test_faults_of_the_store_are_not_counted() -> None:
    async with FailingStore() as store:
        seen = Contexts()
        async with EventSourcing(ledger, store, queries=[patient(seen, max_attempts=2)]) as system:
            await system.query("q").caught_up()
            for _ in range(5):
                store.fail("save_checkpoint", StoreUnavailable("away"))
            await system.execute("a", add(1))
            await system.query("q").caught_up(timeout=20)
            assert await stored_failure(store) is None
    assert set(attempts(seen)) == {1}
