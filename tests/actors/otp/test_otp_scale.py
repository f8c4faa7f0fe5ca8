"""OTP's `supervisor_SUITE`, case by case under its names: many children, and nothing kept of those that are gone."""

import asyncio
import gc
import logging
import sys
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from actors.crew import Crew, Worker, idle, until
from eventree import ChildSpec, DynamicSupervisor, Restart, Supervisor
from eventree.actors import ChildCounts, ChildStarted, Status, SupervisorEvent

TEMPORARY = Restart.TEMPORARY


async def work_of(case: Callable[[int], Awaitable[None]], size: int) -> int:
    """Return how many functions were called."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    gc.disable()
    sys.setprofile(count)
    try:
        await case(size)
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


async def check_near_linear(case: Callable[[int], Awaitable[None]]) -> None:
    """OTP allows ten times the ratio of the sizes, in time; counted calls allow a sharper bound."""
    await case(10)
    assert await work_of(case, 1_000) < 1.2 * 10 * await work_of(case, 100)


async def test_simple_one_for_one_scale_many_temporary_children() -> None:
    async def start_and_end(size: int) -> None:
        crew = Crew()
        pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(lambda key: crew.spec(key, restart=TEMPORARY))
        async with pool:
            await asyncio.gather(*(pool.get_or_start(str(key)) for key in range(size)))
            for ref in crew.refs.values():
                ref.tell("stop")
            await until(lambda: not len(pool.children))

    await check_near_linear(start_and_end)


async def test_scale_start_stop_many_children() -> None:
    async def start_and_stop(size: int) -> None:
        crew = Crew()
        async with Supervisor() as supervisor:
            for key in range(size):
                await supervisor.start_child(crew.spec(str(key)))
            for key in range(size):
                await supervisor.terminate_child(str(key))
                supervisor.delete_child(str(key))

    await check_near_linear(start_and_stop)


@pytest.mark.parametrize("size", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_scale_start_crash_and_stop_many_children(size: int) -> None:
    """Ours: each child crashes once and comes back."""

    async def start_crash_and_stop(size: int) -> None:
        crew = Crew()
        restarted = asyncio.Event()
        left = size

        def count(event: SupervisorEvent) -> None:
            nonlocal left
            left -= isinstance(event, ChildStarted) and event.incarnation == 2
            if not left:
                restarted.set()

        pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(crew.spec, max_restarts=size, on_event=count)
        async with pool:
            await asyncio.gather(*(pool.get_or_start(str(key)) for key in range(size)))
            for ref in crew.refs.values():
                ref.tell("crash")
            await restarted.wait()
            assert set(crew.incarnations().values()) == {2}
            assert pool.count_children().active == size
        assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}

    if size == 1_000:
        await check_near_linear(start_crash_and_stop)
    else:
        await start_crash_and_stop(size)


async def test_count_children() -> None:
    crew = Crew()
    async with DynamicSupervisor[str, str, str](crew.spec) as pool:
        await asyncio.gather(*(pool.get_or_start(str(key)) for key in range(1_000)))
        assert pool.count_children() == ChildCounts(specs=1_000, active=1_000, supervisors=0, workers=1_000)
        await asyncio.gather(*(pool.terminate_child(str(key)) for key in range(400)))
        assert pool.count_children() == ChildCounts(specs=600, active=600, supervisors=0, workers=600)


async def test_count_children_supervisor(crew: Crew) -> None:
    branches: list[ChildSpec[Any, Any]] = [ChildSpec(id=number, start=Supervisor) for number in range(50)]
    async with Supervisor([*branches, *crew.specs("a", "b")]) as supervisor:
        assert supervisor.count_children() == ChildCounts(specs=52, active=52, supervisors=50, workers=2)
        await supervisor.terminate_child(0)
        assert supervisor.count_children() == ChildCounts(specs=52, active=51, supervisors=50, workers=2)


async def test_count_restarting_children(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b", "c")) as supervisor:
        crew.init["a"] = crew.gate.wait
        await crew.crash("a")
        await until(lambda: crew.refs["a"].status is Status.STARTING)
        assert supervisor.count_children().specs == 3
        crew.gate.set()
        await idle(supervisor)
        assert supervisor.count_children() == ChildCounts(specs=3, active=3, supervisors=0, workers=3)


async def test_do_not_save_start_parameters_for_temporary_children(caplog: pytest.LogCaptureFixture) -> None:
    """What a temporary child was made from is let go when it has ended, though somebody keeps its reference."""
    caplog.set_level(logging.CRITICAL, "eventree")  # a record of the crash would keep it
    async with Supervisor() as supervisor:
        for end in ("stop", "crash", "killed", "terminate"):
            parameter = Crew()
            alive = weakref.ref(parameter)
            make = partial(Worker, "t", parameter)
            ref = await supervisor.start_child(ChildSpec(id="t", start=make, restart=TEMPORARY))
            if end == "terminate":
                await supervisor.terminate_child("t")
            else:
                ref.tell(end)
            await until(lambda: supervisor.count_children().specs == 0)
            await idle(supervisor)
            del parameter, make
            gc.collect()
            assert alive() is None, end


async def test_do_not_save_child_specs_for_temporary_children(crew: Crew) -> None:
    async with Supervisor(crew.specs("t", restart=TEMPORARY)) as supervisor:
        spec = weakref.ref(supervisor.children.find("t"))
        crew.refs["t"].tell("stop")
        await idle(supervisor)
        del crew.tasks["t"]
        gc.collect()
        assert spec() is None
        assert supervisor.which_children() == []
