"""Watching an actor from outside."""

import asyncio

from actors.crew import Crew, forever, idle
from eventree import Restart, Supervisor
from eventree.actors import Down, ExitKind, ExitReason, MonitorEvent, Restarted


def kinds(events: list[MonitorEvent]) -> list[tuple[str, int | ExitKind]]:
    return [
        ("restarted", seen.incarnation) if isinstance(seen, Restarted) else ("down", seen.reason.kind)
        for seen in events
    ]


async def test_each_restart_and_the_end_are_seen(crew: Crew) -> None:
    seen: list[MonitorEvent] = []
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as supervisor, crew.refs["a"].monitor() as events:
        for _ in range(2):
            await crew.crash("a")
            seen.append(await anext(events))
        await supervisor.terminate_child("a")
        seen.extend([event async for event in events])
    assert kinds(seen) == [("restarted", 2), ("restarted", 3), ("down", ExitKind.SHUTDOWN)]
    assert isinstance(seen[0], Restarted)
    assert seen[0].reason.kind is ExitKind.CRASH


async def test_restarts_that_nobody_has_read_are_one(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as supervisor, crew.refs["a"].monitor() as events:
        for _ in range(3):
            await crew.crash("a")
            await idle(supervisor)
        assert kinds([await anext(events)]) == [("restarted", 4)]


async def test_who_watches_a_dead_actor_knows_at_once(crew: Crew) -> None:
    async with asyncio.timeout(5):
        async with Supervisor([crew.spec("a", restart=Restart.TEMPORARY), crew.spec("b")]):
            await crew.crash("a")
            async with crew.refs["a"].monitor() as one, crew.refs["a"].monitor() as other:
                assert kinds([s async for s in one]) == kinds([s async for s in other]) == [("down", ExitKind.CRASH)]
        async with crew.refs["b"].monitor() as events:
            assert [event async for event in events] == [Down(ExitReason(ExitKind.SHUTDOWN))]
        unknown = crew.spec("never started").ref
        assert unknown is not None
        async with unknown.monitor() as events:
            assert [event async for event in events] == [Down(ExitReason(ExitKind.SHUTDOWN))]


async def test_who_waits_for_news_can_be_cancelled_and_hears_nothing_afterwards(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        monitor = crew.refs["a"].monitor()

        async def watch() -> None:
            async with monitor:
                await anext(monitor)
                await forever()

        watching = asyncio.ensure_future(watch())
        await idle(supervisor)
        watching.cancel()
        await asyncio.wait({watching})
        await crew.crash("a")
        await idle(supervisor)
        assert watching.cancelled()
        assert not monitor._events
