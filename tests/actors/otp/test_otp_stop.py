"""OTP's `supervisor_SUITE`, case by case under its names: how supervisors stop their children."""

import asyncio

import pytest

from actors.crew import Crew, idle, ticks, until
from eventree import DynamicSupervisor, Restart, Supervisor
from eventree.actors import BRUTAL_KILL, Status

ENDS = ["stop", "shutdown", "crash", "killed"]


async def test_sup_stop_infinity(crew: Crew) -> None:
    crew.on_stop["a"] = crew.gate.wait
    async with Supervisor([crew.spec("a", shutdown=float("inf"))]) as supervisor:
        stopping = asyncio.ensure_future(supervisor.terminate_child("a"))
        await until(lambda: crew.refs["a"].status is Status.STOPPING)
        await ticks(100)
        assert not stopping.done()
        crew.gate.set()
        await stopping
    assert crew.log[-1] == "a down shutdown"


async def test_sup_stop_timeout(crew: Crew) -> None:
    """Only the late one is cancelled at its deadline."""
    crew.on_stop["late"] = crew.gate.wait
    specs = [crew.spec("swift", shutdown=3_600), crew.spec("late", shutdown=0.01)]
    async with asyncio.timeout(5), Supervisor(specs):
        pass
    assert crew.log[-1] == "swift down shutdown"
    assert "late down shutdown" not in crew.log
    assert crew.tasks["late"].done()


async def test_sup_stop_timeout_dynamic(crew: Crew) -> None:
    crew.on_stop = {"late": crew.gate.wait, "later": crew.gate.wait}
    pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(lambda key: crew.spec(key, shutdown=0.01))
    async with asyncio.timeout(5), pool:
        for key in ("swift", "late", "later"):
            await pool.get_or_start(key)
    assert [line for line in crew.log if "down" in line] == ["swift down shutdown"]
    assert all(task.done() for task in crew.tasks.values())


async def test_sup_stop_brutal_kill(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor([crew.spec("a"), crew.spec("b", shutdown=BRUTAL_KILL)]):
        crew.refs["b"].tell("hang")
        await until(lambda: "b hang" in crew.log)
    assert [line for line in crew.log if "down" in line] == ["a down shutdown"]


async def test_sup_stop_brutal_kill_dynamic(crew: Crew) -> None:
    pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(lambda key: crew.spec(key, shutdown=BRUTAL_KILL))
    async with asyncio.timeout(5), pool:
        for key in ("a", "b"):
            (await pool.get_or_start(key)).tell("hang")
        await until(lambda: {"a hang", "b hang"} <= set(crew.log))
    assert not [line for line in crew.log if "down" in line]
    assert all(task.done() for task in crew.tasks.values())


@pytest.mark.parametrize("restart", list(Restart))
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("pause", range(6))
async def test_sup_stop_race(crew: Crew, restart: Restart, end: str, pause: int) -> None:
    """A child ends by itself while all are being stopped, however close together the two are."""
    async with asyncio.timeout(5), Supervisor(crew.specs("a", "b", "c", restart=restart)):
        crew.refs["b"].tell(end)
        await ticks(pause)
    starts = sum(line == "b starts" for line in crew.log)
    assert crew.refs["b"].incarnation == starts <= 2
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}
    assert all(task.done() for task in crew.tasks.values())


@pytest.mark.parametrize("restart", list(Restart))
@pytest.mark.parametrize("end", ENDS)
async def test_sup_stop_non_shutdown_exit_dynamic(crew: Crew, restart: Restart, end: str) -> None:
    """A child of a pool ends in another way than by the stop, during the stop."""
    pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(lambda key: crew.spec(key, restart=restart))
    async with asyncio.timeout(5):
        async with pool:
            for key in ("a", "b"):
                await pool.get_or_start(key)
            crew.refs["a"].tell("wait")
            crew.refs["b"].tell("wait")
            await until(lambda: {"a wait", "b wait"} <= set(crew.log))
            asyncio.get_running_loop().call_soon(crew.gate.set)
            if end == "killed":
                crew.tasks["b"].cancel()
            else:
                crew.refs["b"].tell(end)
    assert crew.incarnations() == {"a": 1, "b": 1}
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}


async def test_child_unlink(crew: Crew) -> None:
    """A naughty child cannot hang its supervisor; here it is one that swallows every cancellation."""

    async def cling() -> None:
        while not crew.gate.is_set():
            try:
                await crew.gate.wait()
            except asyncio.CancelledError:
                continue

    crew.on_stop["a"] = cling
    async with asyncio.timeout(5), Supervisor([crew.spec("a", shutdown=0.01)], kill_grace=0.01) as supervisor:
        await supervisor.terminate_child("a")
        await idle(supervisor)
        assert [child.status for child in supervisor.which_children()] == [Status.STOPPED]
        assert not crew.tasks["a"].done()
        await supervisor.start_child(crew.spec("b"))
        assert await crew.ask("b", "hello") == "hello by 1"


async def test_order_of_children(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b", "c")):
        pass
    assert crew.log == [
        *("a starts", "a up", "b starts", "b up", "c starts", "c up"),
        *("c down shutdown", "b down shutdown", "a down shutdown"),
    ]
