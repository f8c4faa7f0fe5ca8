"""Restarts that wait, longer each time."""

import asyncio
from typing import Any

import pytest

from actors.crew import Clock, Crew, forever, idle, raised_by_the_tree, ticks, until
from eventree import ActorStopped, Backoff, ChildSpec, Supervisor
from eventree.actors import Status
from eventree.errors import ChildRestarting, RestartIntensityExceeded

LONG = Backoff(initial=600, maximum=600, jitter=0)
SHORT = Backoff(initial=0.001, maximum=0.001, jitter=0, reset_after=60)


def patient(crew: Crew, name: str, backoff: Backoff) -> ChildSpec[str, str]:
    return crew.spec(name, backoff=backoff)


async def test_a_child_waits_for_its_restart_and_nobody_else_does(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def at_once(delay: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        delays.append(delay)
        return call_later(0, callback, *args, **options)

    backoff = Backoff(initial=100, maximum=300, jitter=0)
    async with Supervisor([patient(crew, "a", backoff), crew.spec("b")], max_restarts=4) as supervisor:
        for crash in range(4):
            await idle(supervisor)
            with monkeypatch.context() as patched:
                patched.setattr(loop, "call_later", at_once)
                await crew.crash("a")
                await until(lambda expected=crash + 2: crew.refs["a"].incarnation == expected)  # type: ignore[misc]
        assert [delay for delay in delays if delay >= 100] == [100, 200, 300, 300]
        assert crew.refs["b"].incarnation == 1


async def test_messages_wait_for_a_child_that_waits_for_its_restart(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor([patient(crew, "a", SHORT)]):
        await crew.crash("a")
        assert await crew.ask("a", "hello") == "hello by 2"


async def test_terminating_it_ends_the_wait(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor([patient(crew, "a", LONG), crew.spec("b")]) as supervisor:
        await crew.crash("a")
        await idle(supervisor)
        assert crew.refs["a"].status is Status.RESTARTING
        waiting = crew.refs["a"].ask_nowait("hello")
        with pytest.raises(ChildRestarting):
            await supervisor.restart_child("a")
        await crew.crash("b")
        assert await crew.ask("b", "hello") == "hello by 2"
        await supervisor.terminate_child("a")
        with pytest.raises(ActorStopped):
            await waiting
        assert supervisor.children.find("a")._restart_timer is None
        await supervisor.restart_child("a")
        assert await crew.ask("a", "hello") == "hello by 2"


async def test_a_tree_stops_at_once_while_a_child_waits_for_its_restart(crew: Crew) -> None:
    async with asyncio.timeout(5):
        async with Supervisor([patient(crew, "a", LONG)]) as supervisor:
            await crew.crash("a")
            await until(lambda: supervisor.children.find("a")._restart_timer is not None)
        assert crew.refs["a"].status is Status.STOPPED
        assert [child._restart_timer for child in supervisor.children] == [None]


async def test_slow_crashes_count_until_it_has_run_well_for_a_while(crew: Crew) -> None:
    clock = Clock()
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor([patient(crew, "a", SHORT)], max_restarts=2, clock=clock) as supervisor:
            for crashes, pause in [(1, 59.0), (2, 60.0), (3, 59.0), (4, 59.0)]:
                await crew.crash("a")
                await until(lambda expected=crashes + 1: crew.refs["a"].incarnation == expected)  # type: ignore[misc]
                await idle(supervisor)
                clock.now += pause
            await crew.crash("a")
            await forever()
    assert crew.refs["a"].incarnation == 5
    assert len(caught.value.crashes) == 3


async def test_a_child_that_crashes_while_it_is_to_be_terminated_is_not_restarted(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        async with supervisor.children.find("a").lock:  # so that it crashes before it is its turn to be stopped
            terminating = asyncio.ensure_future(supervisor.terminate_child("a"))
            await ticks()
            await crew.crash("a")
            await ticks()
        await terminating
        await idle(supervisor)
        assert (crew.refs["a"].incarnation, crew.refs["a"].status) == (1, Status.STOPPED)
        assert supervisor.children.restarts.recent == 0
