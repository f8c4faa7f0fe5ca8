"""Parked commits are retried by themselves every now and then, if a query wants that."""

import asyncio
from typing import Any

import pytest

from eventree import EventSourcing, InvalidArgument, Projection
from eventree.sourcing import QueryStatus
from sourcing.ledger import Boom, add, ledger
from sourcing.reading import Contexts, Events, patient
from sourcing.teller import open_store
from sourcing.totals import project, setup, totals
from sourcing.waiting import becomes, until

EVERY = 0.1


@pytest.mark.parametrize("kind", ["query", "projection"])
async def test_what_is_parked_is_retried_until_it_is_handled(
    place: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[int] = []
    is_broken = True

    def handle(_: str, __: Events) -> None:
        tried.append(1)
        if is_broken:
            raise Boom("why")

    async def project_but(connection: Any, events: Any) -> None:
        handle("", events)
        await project(connection, events)

    options: Any = {"on_failure": "park", "max_attempts": 1, "poll_interval": 0.01, "retry_parked_every": EVERY}
    query: Any = patient(handle, **options) if kind == "query" else Projection("q", project_but, setup=setup, **options)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute_many([("a", add(1)), ("a", add(2))])
        await until(lambda: len(tried) >= 4)
        is_broken = False
        async with asyncio.timeout(20):
            while await system.query("q").parked():  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
    if kind == "projection":
        assert await totals(place) == {"a": (3, 2)}
    told = [record.getMessage() for record in caplog.records if "failed again" in record.getMessage()]
    assert told[0] == (
        "query q: the commit parked at position 1 (ledger 'a') failed again: Boom: why; drop_parked(1) discards it"
    )


async def test_a_query_that_is_paused_retries_nothing(place: str) -> None:
    seen = Contexts()
    seen.poison.add(1)
    query = patient(seen, on_failure="park", max_attempts=1, retry_parked_every=EVERY)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        await system.query("q").pause()
        await becomes(system.query("q"), QueryStatus.PAUSED)
        tried = len(seen.contexts)
        await asyncio.sleep(3 * EVERY)
        assert len(seen.contexts) == tried
        await system.query("q").resume()
        await until(lambda: len(seen.contexts) > tried)


async def test_only_the_holder_retries(place: str) -> None:
    one, two = Contexts(), Contexts()
    one.poison.add(1)
    options: Any = {"on_failure": "park", "max_attempts": 1, "retry_parked_every": EVERY}
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[patient(one, **options)]) as first:
        await first.execute("a", add(1), wait_for=["q"])
        async with EventSourcing(ledger, store, queries=[patient(two, **options)]) as second:
            await becomes(second.query("q"), QueryStatus.WAITING)
            tried = len(one.contexts)
            await until(lambda: len(one.contexts) > tried + 1)
    assert two.contexts == []


@pytest.mark.parametrize("every", [0, -1, "1"])
def test_the_time_between_two_retries_is_positive(every: Any) -> None:
    with pytest.raises(InvalidArgument, match="retry_parked_every"):
        patient(Contexts(), retry_parked_every=every)


async def test_by_itself_nothing_is_retried(place: str) -> None:
    seen = Contexts()
    seen.poison.add(1)
    query: Any = patient(seen, on_failure="park", max_attempts=1)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        await asyncio.sleep(0.3)
    assert len(seen.contexts) == 1
