"""OTP's `supervisor_SUITE`, case by case under its names: who is restarted together, and when it is too much."""

import asyncio
from typing import Any

import pytest

from actors.crew import Boom, Clock, Crew, forever, idle, raised_by_the_tree, ticks
from eventree import ActorStopped, DynamicSupervisor, Restart, Strategy, Supervisor
from eventree.actors import Status
from eventree.errors import ChildNotFound, ChildStartError, RestartIntensityExceeded

NAMES = ("a", "b", "c", "d")


async def fail() -> None:
    raise Boom


async def check_base_case(crew: Crew, strategy: Strategy, restarted: str) -> None:
    """Let the second of four crash once, and then once more than is allowed."""
    with raised_by_the_tree(RestartIntensityExceeded):
        async with Supervisor(crew.specs(*NAMES), strategy=strategy, max_restarts=1, clock=Clock()) as supervisor:
            await crew.crash("b")
            await idle(supervisor)
            assert crew.incarnations() == {name: 2 if name in restarted else 1 for name in NAMES}
            assert [child.id for child in supervisor.which_children()] == list(NAMES)
            await crew.crash("b")
            await forever()
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}


async def test_one_for_one(crew: Crew) -> None:
    await check_base_case(crew, Strategy.ONE_FOR_ONE, "b")


async def test_one_for_all(crew: Crew) -> None:
    await check_base_case(crew, Strategy.ONE_FOR_ALL, "abcd")


async def test_rest_for_one(crew: Crew) -> None:
    await check_base_case(crew, Strategy.REST_FOR_ONE, "bcd")


async def test_simple_one_for_one(crew: Crew) -> None:
    pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(crew.spec, max_restarts=1, clock=Clock())
    with raised_by_the_tree(RestartIntensityExceeded):
        async with pool:
            for name in NAMES:
                await pool.get_or_start(name)
            await crew.crash("b")
            await idle(pool)
            assert crew.incarnations() == {"a": 1, "b": 2, "c": 1, "d": 1}
            await crew.crash("b")
            await forever()
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}


async def check_escalation(crew: Crew, strategy: Strategy) -> None:
    """The second child crashes and cannot start again: the supervisor gives up and stops the others."""
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor(crew.specs(*NAMES), strategy=strategy, max_restarts=4, clock=Clock()):
            crew.init["b"] = fail
            await crew.crash("b")
            await forever()
    assert [type(crash) for crash in caught.value.crashes] == [Boom] + [ChildStartError] * 4
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}
    assert sum(line == "b starts" for line in crew.log) == 1 + 4
    assert all(task.done() for task in crew.tasks.values())


async def test_one_for_one_escalation(crew: Crew) -> None:
    await check_escalation(crew, Strategy.ONE_FOR_ONE)
    assert crew.log[-3:] == ["d down shutdown", "c down shutdown", "a down shutdown"]


async def test_one_for_all_escalation(crew: Crew) -> None:
    await check_escalation(crew, Strategy.ONE_FOR_ALL)


async def test_rest_for_one_escalation(crew: Crew) -> None:
    await check_escalation(crew, Strategy.REST_FOR_ONE)
    assert crew.log[-1] == "a down shutdown"


async def test_simple_one_for_one_escalation(crew: Crew) -> None:
    pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(crew.spec, max_restarts=4, clock=Clock())
    with raised_by_the_tree(RestartIntensityExceeded):
        async with pool:
            for name in ("a", "b"):
                await pool.get_or_start(name)
            crew.init["b"] = fail
            await crew.crash("b")
            await forever()
    assert crew.log[-1] == "a down shutdown"
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}


async def check_other_child_fails_restart(crew: Crew, strategy: Strategy) -> list[str]:
    """The first crashes and starts again, but the third, restarted with it, fails once; return what was started."""
    tries: list[str] = []

    async def fail_once() -> None:
        tries.append("c")
        if len(tries) == 1:
            raise Boom

    async with Supervisor(crew.specs("a", "b", "c", "d"), strategy=strategy, clock=Clock()) as supervisor:
        crew.init["c"] = fail_once
        crew.log.clear()
        await crew.crash("a")
        await idle(supervisor)
        assert {child.status for child in supervisor.which_children()} == {Status.RUNNING}
        assert supervisor.tree().startswith(f"supervisor [{strategy.value}, 2 of 3 restarts")
        return [line.removesuffix(" starts") for line in crew.log if line.endswith(" starts")]


async def test_one_for_all_other_child_fails_restart(crew: Crew) -> None:
    started = await check_other_child_fails_restart(crew, Strategy.ONE_FOR_ALL)
    assert started == ["a", "b", "c", "a", "b", "c", "d"]


async def test_rest_for_one_other_child_fails_restart(crew: Crew) -> None:
    started = await check_other_child_fails_restart(crew, Strategy.REST_FOR_ONE)
    assert started == ["a", "b", "c", "c", "d"]


async def test_simple_one_for_one_shutdown(crew: Crew) -> None:
    """All stop at the same time: each waits here until every other has begun to stop."""
    barrier = asyncio.Barrier(20)
    crew.on_stop = {str(number): barrier.wait for number in range(20)}
    async with asyncio.timeout(5), DynamicSupervisor[str, str, str](crew.spec) as pool:
        for number in range(20):
            await pool.get_or_start(str(number))
    assert sum(line.endswith("down shutdown") for line in crew.log) == 20


async def test_simple_one_for_one_corruption(crew: Crew) -> None:
    """What strangers send to a supervisor, or ask of it under a wrong name, harms none of its children."""
    async with DynamicSupervisor[str, str, str](crew.spec) as pool:
        await pool.get_or_start("a")
        strangers: list[Any] = [object(), (), ["no key"]]
        for stranger in strangers:
            with pytest.raises(ChildNotFound):
                await pool.terminate_child(stranger)
        assert await crew.ask("a", "hello") == "hello by 1"


async def test_order_of_children_in_a_restart(crew: Crew) -> None:
    """OTP's `order_of_children`, inside a restart of the rest."""
    async with Supervisor(crew.specs(*NAMES), strategy=Strategy.REST_FOR_ONE) as supervisor:
        crew.log.clear()
        await crew.crash("b")
        await idle(supervisor)
        assert [line for line in crew.log if not line.endswith(" up")] == [
            *("b crash", "b down crash", "d down shutdown", "c down shutdown"),
            *("b starts", "c starts", "d starts"),
        ]


async def test_simple_global_supervisor(crew: Crew) -> None:
    """A name outlives its bearers: the references of worker and supervisor reach whoever runs now."""
    for end in ("crash", "killed", "stop", "stray"):
        crew = Crew()
        async with Supervisor(crew.specs("a", restart=Restart.PERMANENT)) as supervisor:
            ref = supervisor.ref("a")
            crew.refs["a"].tell(end)
            await idle(supervisor)
            await ticks()
            assert supervisor.ref("a") is ref
            assert await crew.ask("a", "hello") == "hello by 2"
        with pytest.raises(ActorStopped):
            await crew.ask("a", "hello")
