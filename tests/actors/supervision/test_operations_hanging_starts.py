"""A supervisor goes on listening while a child starts, restarts or stops (OTP's `hanging_restart_loop`)."""

import asyncio

import pytest

from actors.crew import Boom, Crew, idle, ticks, until
from eventree import ActorStopped, DynamicSupervisor, Strategy, Supervisor
from eventree.actors import Status
from eventree.errors import ChildRestarting, ChildStartError

ONE_FOR_ALL, REST_FOR_ONE = Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE


async def fail() -> None:
    raise Boom


async def hang_in_restart(crew: Crew, name: str) -> None:
    crew.init[name] = crew.gate.wait
    await crew.crash(name)
    await until(lambda: crew.refs[name].status is Status.STARTING)


async def test_siblings_are_restarted_started_and_stopped_while_one_hangs_in_its_restart(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a", "b")) as supervisor:
        await hang_in_restart(crew, "a")
        await crew.crash("b")
        assert await crew.ask("b", "hello") == "hello by 2"
        assert await (await supervisor.start_child(crew.spec("c"))).ask("hello") == "hello by 1"
        await supervisor.terminate_child("b")
        waiting = crew.refs["a"].ask_nowait("hello")
        crew.gate.set()
        assert await waiting == "hello by 2"


async def test_a_child_that_hangs_in_its_restart_answers_so_and_can_be_terminated(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as supervisor:
        await hang_in_restart(crew, "a")
        with pytest.raises(ChildRestarting):
            await supervisor.restart_child("a")
        with pytest.raises(ChildRestarting):
            supervisor.delete_child("a")
        await supervisor.terminate_child("a")
        assert [child.status for child in supervisor.which_children()] == [Status.STOPPED]
        crew.gate.set()
        await supervisor.restart_child("a")
        assert await crew.ask("a", "hello") == "hello by 3"


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_restart_loop_can_be_ended(crew: Crew, strategy: Strategy) -> None:
    async with asyncio.timeout(5):
        async with Supervisor(crew.specs("a", "b", "c"), strategy=strategy, max_restarts=10**9) as supervisor:
            crew.init["b"] = fail
            await crew.crash("b")
            await until(lambda: crew.refs["b"].incarnation > 9)
            with pytest.raises(ChildRestarting):
                await supervisor.restart_child("b")
            await supervisor.terminate_child("b")
            await idle(supervisor)
            ended = crew.refs["b"].incarnation
            await ticks()
            assert crew.refs["b"].incarnation == ended
            statuses = {child.id: child.status for child in supervisor.which_children()}
            assert statuses["b"] is Status.STOPPED
            assert (statuses["a"] is Status.RUNNING) or strategy is ONE_FOR_ALL
            crew.init.clear()
            for name, status in statuses.items():
                if status is not Status.RUNNING:
                    await supervisor.restart_child(name)
            assert [await crew.ask(name, "count") for name in "abc"] == ["1"] * 3


async def test_a_tree_stops_in_the_middle_of_a_restart_loop(crew: Crew) -> None:
    async with asyncio.timeout(5):
        async with Supervisor(crew.specs("a", "b"), max_restarts=10**9):
            crew.init["b"] = fail
            await crew.crash("b")
            await until(lambda: crew.refs["b"].incarnation > 9)
    assert crew.log[-1] == "a down shutdown"


async def test_terminating_a_child_that_hangs_in_its_first_start_gives_that_up(crew: Crew) -> None:
    crew.init["a"] = crew.gate.wait
    async with asyncio.timeout(5), Supervisor() as supervisor:
        starting = asyncio.ensure_future(supervisor.start_child(crew.spec("a")))
        await until(lambda: crew.refs["a"].status is Status.STARTING)
        await supervisor.terminate_child("a")
        with pytest.raises(ChildStartError) as caught:
            await starting
        assert isinstance(caught.value.__cause__, ActorStopped)
        assert supervisor.which_children() == []


async def test_children_of_a_pool_start_beside_each_other(crew: Crew) -> None:
    barrier = asyncio.Barrier(3)
    crew.init = dict.fromkeys("abc", barrier.wait)
    pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(crew.spec)
    async with asyncio.timeout(5), pool:
        refs = await asyncio.gather(*(pool.get_or_start(name) for name in "abc"))
        assert [ref.status for ref in refs] == [Status.RUNNING] * 3
