"""Queries that look whether the log has grown ask their store once for all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from eventree import AggregateType, EventSourcing, MemoryStore, Query, SQLiteStore, StoreUnavailable
from eventree.errors import LogRolledBack
from eventree.sourcing import QueryStatus
from eventree.sourcing.queries.looks import shared_look
from eventree.testing import FailingStore
from sourcing.ledger import Added, Ledger, LedgerType, add, apply, handle, ledger
from sourcing.reading import Seen
from sourcing.waiting import becomes, until

other: LedgerType = AggregateType("other", handle=handle, apply=apply, empty_state=Ledger)


def following(name: str, seen: Seen, *types: LedgerType, poll_interval: float = 0.01) -> Query[Added]:
    return Query(name, seen, follows=types, poll_interval=poll_interval)


@pytest.fixture(params=["memory", "sqlite"])
async def counted(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FailingStore]:
    inner = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "events.db")
    async with FailingStore(inner) as store:
        yield store


async def test_queries_without_news_ask_the_store_once_for_all(counted: FailingStore) -> None:
    """The looks of twenty queries in two systems cost what those of one do."""
    interval = 0.1
    names = [f"q{number}" for number in range(20)]
    async with AsyncExitStack() as stack:
        for kind in (ledger, other):
            queries = [following(name + kind.name, Seen(), kind, poll_interval=interval) for name in names]
            system = await stack.enter_async_context(EventSourcing(kind, counted, queries=queries))
            for query in queries:
                await system.query(query.name).caught_up()
        loop = asyncio.get_running_loop()
        counted.calls.clear()
        began = loop.time()
        await until(lambda: counted.calls["read"] >= 5)
        rounds = (loop.time() - began) / interval
        assert counted.calls["head"] == 0
        assert counted.calls["read"] <= rounds + 2


async def test_events_of_another_store_object_are_found_by_looking(tmp_path: Path) -> None:
    seen = [Seen() for _ in range(3)]
    async with SQLiteStore(tmp_path / "events.db") as here, SQLiteStore(tmp_path / "events.db") as there:
        queries = [following(f"q{number}", each, ledger) for number, each in enumerate(seen)]
        async with EventSourcing(ledger, here, queries=queries), EventSourcing(ledger, there) as elsewhere:
            await elsewhere.execute("a", add(7))
            for each in seen:
                await each.reaches(1)
    assert [each.amounts for each in seen] == [[("a", [7])]] * 3


async def test_a_failed_look_is_shared_and_tried_again(counted: FailingStore) -> None:
    queries = [following(f"q{number}", Seen(), ledger) for number in range(3)]
    async with EventSourcing(ledger, counted, queries=queries) as system:
        for query in queries:
            await system.query(query.name).caught_up()
        with counted.unavailable(StoreUnavailable("away")):
            for query in queries:
                await becomes(system.query(query.name), QueryStatus.RETRYING)
        (await system.execute("a", add(1), wait_for=[query.name for query in queries])).unwrap()


async def test_whoever_comes_while_somebody_looks_shares_the_answer_if_that_is_new_enough() -> None:
    async with FailingStore() as store:
        look = shared_look(store)
        assert shared_look(store) is look
        began = asyncio.get_running_loop().time() - 1
        gate = store.hold("read")
        looks = [asyncio.ensure_future(look.at(store, 0, None, began)) for _ in range(4)]
        await gate.reached()
        gate.open()
        answers = [await each for each in looks]
        assert [position for position, _ in answers] == [0] * 4
        assert store.calls["read"] == 1
        await look.at(store, 0, None, answers[0][1])  # this one wants a newer answer
        assert store.calls["read"] == 2


async def test_an_answer_for_another_position_counts_if_the_log_goes_on_there() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        look, began = shared_look(store), asyncio.get_running_loop().time() - 1
        for amount in (1, 2, 3):
            await system.execute("a", add(amount))
        first = await store.read(0, 1)
        last = await store.read(0, 10)
        store.calls.clear()
        assert (await look.at(store, 3, last.stamp, began))[0] == 3
        assert (await look.at(store, 1, first.stamp, began))[0] == 3
        assert store.calls["read"] == 1
        with pytest.raises(LogRolledBack):  # another event was there
            await look.at(store, 3, first.stamp, began)
        assert (await look.at(store, 3, last.stamp, began))[0] == 3
        assert store.calls["read"] == 3


async def test_one_that_gives_up_while_it_looks_leaves_it_to_the_next() -> None:
    async with FailingStore() as store:
        look = shared_look(store)
        gate = store.hold("read")
        first, second = (asyncio.ensure_future(look.at(store, 0, None, 0)) for _ in range(2))
        await gate.reached()
        first.cancel()
        assert (await second)[0] == 0
        gate.open()


def test_another_event_loop_shares_nothing_with_the_last_one() -> None:
    store = MemoryStore()

    async def look() -> object:
        async with store:
            shared = shared_look(store)
            await shared.at(store, 0, None, 0)
            return shared

    assert asyncio.run(look()) is not asyncio.run(look())
