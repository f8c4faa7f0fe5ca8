"""What a tail must not hold: events of which the store is not sure, or from before its connection was lost."""

import asyncio
from collections.abc import Callable

import pytest

from eventree.errors import EventStoreError
from eventree.stores.postgres import PostgresStore
from eventree.stores.postgres import append as appends
from eventree.testing.store_values import append, log, positions, request
from postgres.backends import backends, psql, terminate, within
from postgres.test_postgres_lost_answers import lost_answers


def held(store: PostgresStore, head: int) -> list[int]:
    """Return the positions that a tail serves."""
    pages = (store._tail.read(after, 1_000, None) for after in range(head))
    return next((positions(page.events) for page in pages if page is not None), [])


@pytest.fixture(autouse=True)
def watched(store: PostgresStore) -> Callable[[], None]:
    return store.watch(lambda _: None)


async def test_an_append_whose_answer_was_lost_does_not_come_in(store: PostgresStore) -> None:
    await append(store, request("a", events=2))
    assert held(store, 2) == [1, 2]

    async def it_is_empty() -> None:
        assert held(store, 3) == [1, 2]

    with lost_answers(store, 1, it_is_empty):
        await append(store, request("b"))
    assert held(store, 3) == []
    await append(store, request("c"))
    assert held(store, 4) == [4]
    assert positions(await log(store)) == [1, 2, 3, 4]


async def test_an_append_that_is_sent_again_and_lands_then_does_not_come_in_either(
    store: PostgresStore, postgres_dsn: str
) -> None:
    async with PostgresStore(postgres_dsn) as other:
        with lost_answers(store, 1, lambda: append(other, request("a", after=1))):
            await append(store, request("a"), request("b"))
    assert held(store, 3) == []
    assert positions(await log(store)) == [1, 2, 3]


async def test_what_one_of_several_statements_stored_comes_in(store: PostgresStore) -> None:
    """The second request repeats a command's id, so it is sent by itself, when that id is recorded."""
    await append(store, request("a", commands=["c"]), request("b", commands=["c"]), request("d", events=2))
    assert held(store, 3) == [1, 2, 3]
    assert [event.aggregate_id for event in (await store.read(0, 10)).events] == ["a", "d", "d"]


async def test_what_came_before_an_error_is_forgotten(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first statement of the append stored something, and the second one never came to an end."""
    await append(store, request("old"))
    monkeypatch.setattr(appends, "_KNOWN", "SELECT 1/0")
    with pytest.raises(EventStoreError):
        await append(store, request("a", commands=["c"]), request("b", commands=["c"]))
    assert held(store, 2) == []
    assert positions(await log(store)) == [1, 2]


async def test_with_its_connection_the_store_loses_its_tail(store: PostgresStore, postgres_dsn: str) -> None:
    """Also if nobody appends: the server may have been restored meanwhile."""
    await append(store, request("a", events=2))
    assert held(store, 2) == [1, 2]
    assert store._writer is not None
    gone = asyncio.Event()
    [connection] = store._writer._idle
    connection.add_termination_listener(lambda _: gone.set())
    async with psql(postgres_dsn) as db:
        await terminate(db, [process for process, *_ in await backends(db)])
    await within(10, gone)
    assert held(store, 2) == []
    await append(store, request("b"))
    assert held(store, 3) == [3]


async def test_a_cancelled_append_comes_in_too(store: PostgresStore) -> None:
    cancelled = asyncio.create_task(append(store, request("a")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    cancelled.cancel()
    await append(store, request("b"))
    assert await store.head() == len(held(store, 2))


async def test_all_events_of_an_append_have_one_time(store: PostgresStore) -> None:
    await append(store, request("a", events=50), request("b", events=50))
    await append(store, request("c"))
    times = [event.recorded_at for event in await log(store)]
    assert len(set(times[:100])) == 1
    assert times[100] > times[0]
