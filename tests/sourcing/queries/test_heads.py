"""Queries that look whether the log has grown ask their store once for all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from eventree import AggregateType, EventSourcing, MemoryStore, Query, SQLiteStore, StoreUnavailable
from eventree.sourcing import QueryStatus
from eventree.sourcing.queries.heads import shared_head
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
        await until(lambda: counted.calls["head"] >= 5)
        rounds = (loop.time() - began) / interval
        assert counted.calls["read"] == 0
        assert counted.calls["head"] <= rounds + 2


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
        head = shared_head(store)
        assert shared_head(store) is head
        now = asyncio.get_running_loop().time
        began = now() - 1
        gate = store.hold("head")
        first = asyncio.ensure_future(head.after(began, store))
        others = [asyncio.ensure_future(head.after(began, store)) for _ in range(3)]
        await gate.reached()
        gate.open()
        answers = [await each for each in (first, *others)]
        assert [head for head, _ in answers] == [0] * 4
        assert store.calls["head"] == 1
        await head.after(answers[0][1], store)  # one that wants a newer one
        assert store.calls["head"] == 2


async def test_one_that_gives_up_while_it_looks_leaves_it_to_the_next() -> None:
    async with FailingStore() as store:
        head = shared_head(store)
        gate = store.hold("head")
        first = asyncio.ensure_future(head.after(0, store))
        second = asyncio.ensure_future(head.after(0, store))
        await gate.reached()
        first.cancel()
        assert (await second)[0] == 0
        gate.open()


def test_another_event_loop_shares_nothing_with_the_last_one() -> None:
    store = MemoryStore()

    async def look() -> object:
        async with store:
            head = shared_head(store)
            await head.after(0, store)
            return head

    assert asyncio.run(look()) is not asyncio.run(look())
