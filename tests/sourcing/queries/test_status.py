"""What a handle reports: statistics and progress."""

import asyncio

import pytest

from eventree import EventSourcing, EventStore, QueryStopped
from eventree.sourcing import QueryStatus
from sourcing.ledger import add, ledger
from sourcing.reading import Contexts, patient


async def test_the_stats_tell_how_far_a_query_is_behind(store: EventStore) -> None:
    seen = Contexts()
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        stats = await system.query("q").stats()
        assert (stats.position, stats.head, stats.lag_events, stats.lag_seconds) == (1, 1, 0, 0.0)
        await system.query("q").pause()
        await system.execute("a", add(2, 3))
        await asyncio.sleep(0.02)
        [stats] = (await system.system_stats()).queries
        assert (stats.name, stats.version, stats.status, stats.is_live) == ("q", 1, QueryStatus.PAUSED, True)
        assert (stats.position, stats.head, stats.lag_events) == (1, 3, 2)
        assert 0.02 <= stats.lag_seconds < 20


async def test_the_progress_of_a_query_can_be_watched(store: EventStore) -> None:
    seen = Contexts()
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.query("q").caught_up()
        await system.query("q").pause()
        await system.execute_many([("a", add(number)) for number in range(4)])
        fractions: list[float] = []
        async for progress in system.query("q").progress(interval=0.001):
            fractions.append(progress.fraction)
            if len(fractions) == 1:
                await system.query("q").resume()
        assert (fractions[0], fractions[-1], progress.position, progress.target) == (0.0, 1.0, 4, 4)
        assert [each.fraction async for each in system.query("q").progress()] == [1.0]


async def test_the_progress_of_a_new_version_ends_when_it_is_live(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []

    async def not_yet(*_: object) -> bool:
        looks.append(system.query("q", 2).is_live)
        if len(looks) == 3:
            monkeypatch.undo()
        return False

    async with EventSourcing(ledger, store, queries=[patient(Contexts())]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        monkeypatch.setattr(store, "make_live", not_yet)
        await system.register_queries([patient(Contexts(), version=2)])
        async for progress in system.query("q", 2).progress(interval=0.001):
            assert progress.target == 1
        assert looks == [False] * 3
        assert system.query("q").version == 2


async def test_whoever_watches_a_query_that_stops_is_told(store: EventStore) -> None:
    seen = Contexts()
    seen.poison.add(1)
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute("a", add(1))
        with pytest.raises(QueryStopped):
            async for _ in system.query("q").progress(interval=0.001):
                pass
