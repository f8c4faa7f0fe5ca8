"""Supervisors under supervisors: giving up is a crash for the one above, and so on up to the root."""

import asyncio

import pytest

from actors.crew import Boom, Crew, forever, idle, raised_by_the_tree, until
from eventree import ActorCrashed, ActorStopped, ChildSpec, Restart, Supervisor
from eventree.actors import BRUTAL_KILL
from eventree.errors import ChildStartError, RestartIntensityExceeded


class Branch:
    """A supervised supervisor, and the object of its newest incarnation."""

    def __init__(self, crew: Crew, *names: str, max_restarts: int = 0) -> None:
        self.crew, self.names, self.max_restarts = crew, names, max_restarts
        self.made: list[Supervisor] = []

    def make(self) -> Supervisor:
        self.made.append(Supervisor(self.crew.specs(*self.names), max_restarts=self.max_restarts, name="branch"))
        return self.made[-1]

    def spec(self, restart: Restart = Restart.PERMANENT, shutdown: float | None = None) -> ChildSpec[object, object]:
        return ChildSpec(id="branch", start=self.make, restart=restart, shutdown=shutdown)  # type: ignore[arg-type]


async def test_a_tree_starts_depth_first_and_stops_the_other_way_round(crew: Crew) -> None:
    async with Supervisor([crew.spec("a"), Branch(crew, "b", "c").spec(), crew.spec("d")]):
        assert crew.log == [f"{name} {step}" for name in "abcd" for step in ("starts", "up")]
        crew.log.clear()
    assert crew.log == [f"{name} down shutdown" for name in "dcba"]


@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TRANSIENT])
async def test_a_branch_that_gives_up_is_restarted_whole_by_the_supervisor_above(crew: Crew, restart: Restart) -> None:
    branch = Branch(crew, "b", "c")
    async with Supervisor([crew.spec("a"), branch.spec(restart)]) as top:
        await crew.crash("b")
        await idle(top)
        assert crew.incarnations() == {"a": 1, "b": 2, "c": 2}
        assert await crew.ask("c", "hello") == "hello by 2"
        info = top.which_children()[1]
        assert (info.restarts, str(info.last_crash).split(" ")[:3]) == (1, ["supervisor", "'branch'", "gave"])
        assert len(branch.made) == 2


async def test_a_temporary_branch_that_gives_up_is_forgotten_and_the_rest_goes_on(crew: Crew) -> None:
    async with Supervisor([crew.spec("a"), Branch(crew, "b", "c").spec(Restart.TEMPORARY)]) as top:
        await crew.crash("b")
        await idle(top)
        assert [child.id for child in top.which_children()] == ["a"]
        assert await crew.ask("a", "hello") == "hello by 1"
        with pytest.raises(ActorStopped):
            await crew.ask("c", "hello")


async def test_levels_multiply_until_the_top_gives_up(crew: Crew) -> None:
    branch = Branch(crew, "b", max_restarts=1)
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor([branch.spec()], max_restarts=2, name="top") as top:
            for crashes in range(1, 7):
                await crew.crash("b")
                if crashes < 6:
                    await until(lambda expected=crashes + 1: crew.refs["b"].incarnation == expected)  # type: ignore[misc]
                    await idle(top)
                    await idle(branch.made[-1])
            await forever()
    assert caught.value.supervisor == "top"
    assert [type(crash) for crash in caught.value.crashes] == [RestartIntensityExceeded] * 3
    assert crew.refs["b"].incarnation == 6


async def test_a_branch_that_does_not_start_fails_the_start_of_the_tree_with_both_names(crew: Crew) -> None:
    async def fail() -> None:
        raise Boom("init")

    crew.init["c"] = fail
    with pytest.raises(ChildStartError, match="child 'branch' did not start: ChildStartError: child 'c' did not start"):
        async with Supervisor([crew.spec("a"), Branch(crew, "b", "c").spec()]):
            pass
    assert crew.log[-2:] == ["b down shutdown", "a down shutdown"]


async def test_a_branch_whose_task_is_cancelled_takes_its_children_along_and_is_restarted(crew: Crew) -> None:
    async with Supervisor([crew.spec("a"), Branch(crew, "b", "c").spec()]) as top:
        old = {name: crew.tasks[name] for name in "bc"}
        (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "eventree branch")
        working = crew.refs["b"].ask_nowait("hang")
        await until(lambda: "b hang" in crew.log)
        task.cancel()
        with pytest.raises((ActorCrashed, ActorStopped)):
            await working
        await idle(top)
        assert all(task.done() for task in old.values())
        assert crew.incarnations() == {"a": 1, "b": 2, "c": 2}
        assert await crew.ask("b", "hello") == "hello by 2"


async def test_a_branch_that_is_killed_at_the_stop_leaves_no_task(crew: Crew) -> None:
    async with Supervisor([Branch(crew, "b", "c").spec(shutdown=BRUTAL_KILL)]):
        crew.refs["b"].tell("linger")
        await until(lambda: "b linger" in crew.log)
    assert crew.tasks["b"].done()
    assert crew.tasks["c"].done()


@pytest.mark.parametrize("depth", [0, 1])
async def test_a_wish_to_leave_the_program_stops_the_tree_in_order_and_is_raised_at_the_root(
    crew: Crew, depth: int
) -> None:
    inner = [Branch(crew, "b", "c", max_restarts=5).spec()] if depth else crew.specs("b", "c")
    with raised_by_the_tree(SystemExit) as caught:
        async with Supervisor([crew.spec("a"), *inner, crew.spec("d")]):
            crew.log.clear()
            crew.refs["b"].tell("exit")
            await forever()
    assert caught.value.code == 3
    downs = "cda" if depth else "dca"
    assert crew.log == ["b exit", "b down crash", *(f"{name} down shutdown" for name in downs)]


async def test_whoever_asked_a_worker_that_leaves_the_program_is_answered(crew: Crew) -> None:
    with raised_by_the_tree(SystemExit):
        async with Supervisor(crew.specs("a")):
            asking = asyncio.ensure_future(crew.refs["a"].ask_many(["exit", "queued"]))
            await forever()
    assert [type(answer) for answer in await asking] == [ActorCrashed, ActorStopped]


async def test_a_wish_to_leave_the_program_during_a_restart_is_raised_at_the_root_too(crew: Crew) -> None:
    async def leave() -> None:
        raise SystemExit(4)

    with raised_by_the_tree(SystemExit) as caught:
        async with Supervisor(crew.specs("a", "b")):
            crew.init["b"] = leave
            await crew.crash("b")
            await forever()
    assert caught.value.code == 4
    assert crew.refs["b"].incarnation == 2
    assert crew.log[-1] == "a down shutdown"
