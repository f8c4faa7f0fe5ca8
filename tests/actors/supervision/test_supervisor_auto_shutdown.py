"""Supervisors that end with their significant children."""

import asyncio

import pytest

from actors.crew import Crew, current_task, forever, idle, ticks, until
from eventree import (
    ActorStopped,
    AutoShutdown,
    ChildSpec,
    InvalidArgument,
    Restart,
    Strategy,
    Supervisor,
)
from eventree.actors import ExitKind, ExitReason, Status

ANY, ALL = AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT


async def end(crew: Crew, name: str) -> None:
    with pytest.raises(ActorStopped):
        await crew.ask(name, "stop")


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_the_first_significant_child_that_ends_ends_the_supervisor_in_order(crew: Crew, restart: Restart) -> None:
    specs = [crew.spec("a"), crew.spec("b", restart=restart, significant=True), crew.spec("c")]
    async with asyncio.timeout(5), Supervisor(specs, auto_shutdown=ANY) as supervisor:
        await end(crew, "b")
        assert await supervisor.wait() == ExitReason(ExitKind.SHUTDOWN)
    assert crew.log[-2:] == ["c down shutdown", "a down shutdown"]
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}


async def test_the_last_significant_child_that_ends_ends_the_supervisor(crew: Crew) -> None:
    specs = crew.specs("a", "b", restart=Restart.TRANSIENT, significant=True) + crew.specs("c")
    async with asyncio.timeout(5), Supervisor(specs, auto_shutdown=ALL) as supervisor:
        await end(crew, "a")
        await idle(supervisor)
        assert await crew.ask("c", "hello") == "hello by 1"
        await end(crew, "b")
        assert await supervisor.wait() == ExitReason(ExitKind.SHUTDOWN)


async def test_a_body_that_does_not_wait_for_it_is_cancelled_without_an_error(crew: Crew) -> None:
    reached: list[str] = []
    async with Supervisor([crew.spec("a", restart=Restart.TRANSIENT, significant=True)], auto_shutdown=ANY):
        crew.refs["a"].tell("stop")
        await forever()
        reached.append("the end")
    assert reached == []
    assert current_task().cancelling() == 0


@pytest.mark.parametrize("rule", [ANY, ALL])
async def test_what_does_not_count_as_an_end(crew: Crew, rule: AutoShutdown) -> None:
    specs = [crew.spec("a", restart=Restart.TRANSIENT, significant=True), crew.spec("b", restart=Restart.TRANSIENT)]
    async with Supervisor(specs, auto_shutdown=rule, strategy=Strategy.ONE_FOR_ALL) as supervisor:
        await end(crew, "b")  # it is not significant
        await crew.crash("a")  # it is restarted
        await idle(supervisor)
        await crew.crash("b")  # and takes it along
        await idle(supervisor)
        await supervisor.terminate_child("a")  # somebody wanted it so
        await idle(supervisor)
        assert await crew.ask("b", "hello") == "hello by 3"


async def test_a_branch_that_ended_so_is_no_crash_for_the_supervisor_above(crew: Crew) -> None:
    def branch() -> Supervisor:
        return Supervisor([crew.spec("a", restart=Restart.TEMPORARY, significant=True)], auto_shutdown=ANY)

    spec = ChildSpec(id="branch", start=branch, restart=Restart.TRANSIENT)
    async with Supervisor([spec, crew.spec("b")]) as top:
        await end(crew, "a")
        await until(lambda: top.which_children()[0].status is Status.STOPPED)
        await ticks()
        assert top.which_children()[0].restarts == 0
        assert await crew.ask("b", "hello") == "hello by 1"


async def test_a_chain_of_significant_branches_ends_from_below(crew: Crew) -> None:
    def branch() -> Supervisor:
        return Supervisor([crew.spec("a", restart=Restart.TRANSIENT, significant=True)], auto_shutdown=ANY)

    spec = ChildSpec(id="branch", start=branch, restart=Restart.TRANSIENT, significant=True)
    async with asyncio.timeout(5), Supervisor([crew.spec("b"), spec], auto_shutdown=ALL) as top:
        await end(crew, "a")
        assert await top.wait() == ExitReason(ExitKind.SHUTDOWN)
    assert crew.log[-1] == "b down shutdown"


async def test_what_makes_no_sense_is_refused(crew: Crew) -> None:
    with pytest.raises(InvalidArgument, match="significant: a permanent child is always restarted"):
        crew.spec("a", significant=True)
    significant = crew.spec("a", restart=Restart.TRANSIENT, significant=True)
    with pytest.raises(InvalidArgument, match="auto_shutdown is NEVER"):
        Supervisor([significant])
    async with Supervisor() as supervisor:
        with pytest.raises(InvalidArgument, match="auto_shutdown is NEVER"):
            supervisor.reconfigure([significant])
        assert supervisor.which_children() == []
