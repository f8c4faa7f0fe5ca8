"""OTP's `supervisor_SUITE`, case by case under its names: what callers do with children, and when those come back."""

import pytest

from actors.crew import Boom, Clock, Crew, forever, idle, raised_by_the_tree
from eventree import ActorStopped, DynamicSupervisor, Restart, Strategy, Supervisor
from eventree.actors import ChildCounts, Status
from eventree.errors import (
    ChildAlreadyExists,
    ChildNotFound,
    ChildRunning,
    RestartIntensityExceeded,
)

PERMANENT, TRANSIENT, TEMPORARY = Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY


async def test_child_adm(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        with pytest.raises(ChildAlreadyExists):
            await supervisor.start_child(crew.spec("a"))
        with pytest.raises(ChildRunning):
            supervisor.delete_child("a")
        with pytest.raises(ChildRunning):
            await supervisor.restart_child("a")
        await supervisor.terminate_child("a")
        assert supervisor.count_children() == ChildCounts(specs=1, active=0, supervisors=0, workers=1)
        await supervisor.terminate_child("a")
        ref = await supervisor.restart_child("a")
        assert ref is crew.refs["a"]
        assert await crew.ask("a", "hello") == "hello by 2"
        await supervisor.terminate_child("a")
        supervisor.delete_child("a")
        assert supervisor.which_children() == []
        for refused in (supervisor.restart_child, supervisor.terminate_child):
            with pytest.raises(ChildNotFound):
                await refused("a")
        with pytest.raises(ChildNotFound):
            supervisor.delete_child("a")
        with pytest.raises(ChildNotFound):
            supervisor.get_childspec("a")
        with pytest.raises(ChildNotFound):
            supervisor.ref("a")
        await supervisor.start_child(crew.spec("a"))
        assert [(child.id, child.status) for child in supervisor.which_children()] == [("a", Status.RUNNING)]


async def test_child_adm_simple(crew: Crew) -> None:
    async with DynamicSupervisor[str, str, str](crew.spec) as pool:
        assert pool.count_children() == ChildCounts(specs=0, active=0, supervisors=0, workers=0)
        assert await pool.get_or_start("a") is await pool.get_or_start("a")
        with pytest.raises(ChildRunning):
            await pool.restart_child("a")
        with pytest.raises(ChildRunning):
            pool.delete_child("a")
        await pool.terminate_child("a")
        assert pool.which_children() == []
        with pytest.raises(ChildNotFound):
            await pool.terminate_child("a")
        with pytest.raises(ChildNotFound):
            await pool.restart_child("a")
        assert await (await pool.get_or_start("a")).ask("hello") == "hello by 2"


async def after(crew: Crew, restart: Restart, message: str) -> list[tuple[Status, int]]:
    """Return status and incarnation of the children after one was told to end so."""
    async with Supervisor(crew.specs("a", restart=restart)) as supervisor:
        crew.refs["a"].tell(message)
        await idle(supervisor)
        return [(child.status, child.incarnation) for child in supervisor.which_children()]


BACK = [(Status.RUNNING, 2)]
ENDED = [(Status.STOPPED, 1)]
GONE: list[tuple[Status, int]] = []


async def test_permanent_normal(crew: Crew) -> None:
    assert await after(crew, PERMANENT, "stop") == BACK


async def test_permanent_shutdown(crew: Crew) -> None:
    assert await after(crew, PERMANENT, "shutdown") == BACK


@pytest.mark.parametrize("end", ["crash", "killed", "stray"])
async def test_permanent_abnormal(crew: Crew, end: str) -> None:
    assert await after(crew, PERMANENT, end) == BACK


async def test_transient_normal(crew: Crew) -> None:
    assert await after(crew, TRANSIENT, "stop") == ENDED


async def test_transient_shutdown(crew: Crew) -> None:
    assert await after(crew, TRANSIENT, "shutdown") == ENDED


@pytest.mark.parametrize("end", ["crash", "killed", "stray"])
async def test_transient_abnormal(crew: Crew, end: str) -> None:
    assert await after(crew, TRANSIENT, end) == BACK


async def test_temporary_normal(crew: Crew) -> None:
    assert await after(crew, TEMPORARY, "stop") == GONE


async def test_temporary_shutdown(crew: Crew) -> None:
    assert await after(crew, TEMPORARY, "shutdown") == GONE


@pytest.mark.parametrize("end", ["crash", "killed", "stray"])
async def test_temporary_abnormal(crew: Crew, end: str) -> None:
    assert await after(crew, TEMPORARY, end) == GONE


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_temporary_bystander(crew: Crew, strategy: Strategy) -> None:
    specs = [crew.spec("a"), crew.spec("b", restart=TEMPORARY), crew.spec("c", restart=TRANSIENT)]
    async with Supervisor(specs, strategy=strategy) as supervisor:
        await crew.crash("a")
        await idle(supervisor)
        assert [(child.id, child.incarnation) for child in supervisor.which_children()] == [("a", 2), ("c", 2)]
        with pytest.raises(ActorStopped):
            await crew.ask("b", "hello")


async def test_multiple_restarts(crew: Crew) -> None:
    clock = Clock()
    async with Supervisor(crew.specs("a"), max_restarts=1, max_seconds=1, clock=clock) as supervisor:
        for _ in range(10):
            await crew.crash("a")
            await idle(supervisor)
            clock.now += 1.1
        assert await crew.ask("a", "hello") == "hello by 11"


async def test_multiple_restarts_too_close_together_end_it(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor(crew.specs("a"), max_restarts=1, max_seconds=1, clock=Clock()) as supervisor:
            await crew.crash("a")
            await idle(supervisor)
            await crew.crash("a")
            await forever()
    assert [type(crash) for crash in caught.value.crashes] == [Boom, Boom]
