"""What a tail must not hold: events of which the store is not sure, or from before its connection was lost."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from eventree.errors import TransactionFailed
from eventree.stores.contract import Outcome
from eventree.stores.postgres import PostgresStore, append as appends
from eventree.stores.postgres.append import AppendAttempt
from eventree.stores.postgres.driver import Row
from eventree.stores.postgres.schema import SchemaConnection
from eventree.testing.store_values import append, log, positions, request
from stores.postgres.backends import backends, psql, terminate, within
from stores.postgres.test_append_lost_answers import lost_answers


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


class BreaksAtAnAppend:
    """A connection that breaks when so many appends were answered: the next one never comes to the server."""

    def __init__(self, connection: SchemaConnection, left: list[int]) -> None:
        self._connection = connection
        self._left = left

    async def fetch(self, query: str, *values: object) -> list[Row]:
        if "INSERT" in query:
            self._left[0] -= 1
            if self._left[0] == -1:
                raise ConnectionResetError
        return await self._connection.fetch(query, *values)


@pytest.mark.parametrize("answers", [0, 1])
async def test_an_append_that_is_sent_again_and_lands_then_does_not_come_in_either(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    """Nor does what its first attempt stored before, which nobody asks for."""
    attempt, left = AppendAttempt.run, [answers]

    async def breaking(call: AppendAttempt, connection: SchemaConnection) -> list[Outcome]:
        return await attempt(call, cast("SchemaConnection", BreaksAtAnAppend(connection, left)))

    monkeypatch.setattr(AppendAttempt, "run", breaking)
    await append(store, request("a", commands=["c"]), request("b", after=1, commands=["c"]), request("d", events=2))
    assert left[0] < 0
    assert held(store, 3) == []
    assert positions(await log(store)) == [1, 2, 3]


async def test_what_one_of_several_statements_stored_comes_in(store: PostgresStore) -> None:
    """The second request repeats a command's id, so it is sent by itself, when that id is recorded."""
    await append(store, request("a", commands=["c"]), request("b", commands=["c"]), request("d", events=2))
    assert held(store, 3) == [1, 2, 3]
    assert [event.aggregate_id for event in (await store.read(0, 10, live=True)).events] == ["a", "d", "d"]


async def test_what_came_before_an_error_is_forgotten(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first statement of the append stored something, and the second one never came to an end."""
    await append(store, request("old"))
    monkeypatch.setattr(appends, "_KNOWN", "SELECT 1/0 WHERE $1::text[] IS NOT NULL")
    with pytest.raises(TransactionFailed):
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
