"""What waits for a restart of its group is not forgotten when that restart does not take place, or not as it began."""

import asyncio
from contextlib import suppress

import pytest

from actors.crew import Boom, Crew, idle, ticks, until
from eventree import ActorStopped, Backoff, Restart, Strategy, Supervisor
from eventree.actors import ChildEnded, Status, SupervisorEvent
from eventree.errors import ChildNotFound, ChildRestarting, ChildRunning, ChildStartError

ONE_FOR_ALL, REST_FOR_ONE = Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE
LATER = Backoff(initial=3_600, maximum=3_600, jitter=0)


async def fail() -> None:
    raise Boom("init")


def statuses(supervisor: Supervisor) -> dict[object, tuple[str, int]]:
    return {child.id: (child.status.value, child.incarnation) for child in supervisor.which_children()}


@pytest.mark.parametrize("strategy", [ONE_FOR_ALL, REST_FOR_ONE])
async def test_a_sibling_of_one_that_is_terminated_in_its_backoff_is_restarted_as_ever(
    crew: Crew, strategy: Strategy
) -> None:
    async with (
        asyncio.timeout(5),
        Supervisor([crew.spec("a", backoff=LATER), crew.spec("b")], strategy=strategy) as tree,
    ):
        await crew.crash("a")
        await idle(tree)
        await tree.terminate_child("a")
        await crew.crash("b")
        await idle(tree)
        assert statuses(tree)["b"] == ("running", 2)


async def test_a_sibling_that_crashed_meanwhile_is_restarted_when_the_other_is_terminated(crew: Crew) -> None:
    events: list[SupervisorEvent] = []
    specs = [crew.spec("a", backoff=LATER), crew.spec("b"), crew.spec("c", restart=Restart.TEMPORARY)]
    async with asyncio.timeout(5), Supervisor(specs, strategy=ONE_FOR_ALL, on_event=events.append) as tree:
        await crew.crash("a")
        await crew.crash("b")
        await crew.crash("c")
        await idle(tree)
        with pytest.raises(ChildRestarting):
            await tree.restart_child("b")
        await tree.terminate_child("a")
        await idle(tree)
        assert statuses(tree) == {"a": ("running", 2), "b": ("running", 2)}  # a restart of the group revives all
    ended = [event.child for event in events if isinstance(event, ChildEnded)]
    assert ended == ["a", "b", "c"]


async def test_a_new_strategy_lets_siblings_go_that_waited(crew: Crew) -> None:
    specs = [crew.spec("a", backoff=LATER), *crew.specs("b", "c")]
    async with asyncio.timeout(5), Supervisor(specs, strategy=ONE_FOR_ALL) as tree:
        await crew.crash("a")
        await crew.crash("b")
        await idle(tree)
        tree.reconfigure(strategy=Strategy.ONE_FOR_ONE)
        await idle(tree)
        await crew.crash("c")
        await idle(tree)
        assert statuses(tree) == {"a": ("restarting", 1), "b": ("running", 2), "c": ("running", 2)}


async def test_a_sibling_that_crashes_while_another_restart_waits_for_its_turn_comes_back(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a", "b"), strategy=ONE_FOR_ALL) as tree:
        crew.init["slow"] = crew.gate.wait
        starting = asyncio.ensure_future(tree.start_child(crew.spec("slow")))
        await until(lambda: crew.refs["slow"].status is Status.STARTING)
        await crew.crash("a")
        await crew.crash("b")
        await ticks()
        terminating = asyncio.ensure_future(tree.terminate_child("a"))
        await ticks()
        crew.gate.set()
        await asyncio.gather(starting, terminating)
        await idle(tree)
        assert statuses(tree)["b"] == ("running", 2)


@pytest.mark.parametrize("strategy", [ONE_FOR_ALL, REST_FOR_ONE])
async def test_the_rest_of_a_group_starts_though_one_is_terminated_in_its_start(crew: Crew, strategy: Strategy) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a", "b", "c"), strategy=strategy) as tree:
        crew.init["b"] = crew.gate.wait
        await crew.crash("a")
        await until(lambda: crew.refs["b"].status is Status.STARTING)
        waiting = crew.refs["c"].ask_nowait("hello")
        await tree.terminate_child("b")
        assert await waiting == "hello by 2"
        assert statuses(tree) == {"a": ("running", 2), "b": ("stopped", 2), "c": ("running", 2)}


async def test_the_rest_of_a_group_starts_though_one_that_fails_to_start_is_terminated(crew: Crew) -> None:
    specs = [crew.spec("a"), crew.spec("b", backoff=LATER), crew.spec("c")]
    async with asyncio.timeout(5), Supervisor(specs, strategy=REST_FOR_ONE) as tree:
        crew.init["b"] = fail
        await crew.crash("a")
        await idle(tree)
        assert statuses(tree) == {"a": ("running", 2), "b": ("restarting", 2), "c": ("restarting", 1)}
        await tree.terminate_child("b")
        await idle(tree)
        assert statuses(tree) == {"a": ("running", 2), "b": ("stopped", 2), "c": ("running", 2)}


@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize("pause", range(12))
async def test_the_rest_of_a_group_starts_though_one_that_fails_to_start_is_forgotten(
    crew: Crew, pause: int, *, terminated: bool
) -> None:
    """It has become temporary meanwhile, so that its next failure, or its termination, is the end of it."""
    async with (
        asyncio.timeout(5),
        Supervisor(crew.specs("a", "b", "c"), strategy=REST_FOR_ONE, max_restarts=999) as tree,
    ):
        crew.init["b"] = fail
        await crew.crash("b")
        await ticks(20 + pause)
        tree.reconfigure([crew.spec("b", restart=Restart.TEMPORARY)])
        if terminated:
            with suppress(ChildNotFound):  # it may be gone by then
                await tree.terminate_child("b")
        await until(lambda: "b" not in tree.children)
        await idle(tree)
        assert statuses(tree) == {"a": ("running", 1), "c": ("running", 2)}


async def test_jobs_take_turns_across_a_change_of_strategy(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a", "b"), strategy=ONE_FOR_ALL) as tree:
        crew.on_stop["b"] = crew.gate.wait
        await crew.crash("a")
        await until(lambda: crew.refs["b"].status is Status.STOPPING)
        tree.reconfigure(strategy=Strategy.ONE_FOR_ONE)
        terminating = asyncio.ensure_future(tree.terminate_child("b"))
        await ticks()
        crew.gate.set()
        await terminating
        await idle(tree)
        assert statuses(tree) == {"a": ("running", 2), "b": ("stopped", 1)}


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_child_whose_start_waits_for_its_turn_cannot_be_deleted(crew: Crew, strategy: Strategy) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a"), strategy=strategy) as tree:
        crew.init["slow"] = crew.gate.wait
        slow = asyncio.ensure_future(tree.start_child(crew.spec("slow")))
        starting = asyncio.ensure_future(tree.start_child(crew.spec("new")))
        for _ in range(6):
            await asyncio.sleep(0)
            if "new" in tree.children and crew.refs["new"].incarnation == 0:
                with pytest.raises(ChildRestarting):
                    tree.delete_child("new")
        crew.gate.set()
        await asyncio.gather(slow, starting)
        assert await crew.ask("new", "hello") == "hello by 1"
    assert all(task.done() for task in crew.tasks.values())


async def test_a_child_that_has_just_crashed_cannot_be_deleted(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as tree:
        crew.refs["a"].tell("crash")
        for _ in range(8):
            await asyncio.sleep(0)
            with pytest.raises((ChildRestarting, ChildRunning)):
                tree.delete_child("a")
        await idle(tree)
        assert await crew.ask("a", "hello") == "hello by 2"


async def test_of_two_who_restart_a_child_one_is_told_that_it_is_starting(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as tree:
        await tree.terminate_child("a")
        ends = await asyncio.gather(tree.restart_child("a"), tree.restart_child("a"), return_exceptions=True)
        assert [type(end).__name__ for end in ends] == ["ActorRef", "ChildRestarting"]


async def test_who_starts_a_child_that_is_terminated_before_its_turn_is_told(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a"), strategy=ONE_FOR_ALL) as tree:
        crew.init["slow"] = crew.gate.wait
        slow = asyncio.ensure_future(tree.start_child(crew.spec("slow")))
        starting = asyncio.ensure_future(tree.start_child(crew.spec("new")))
        await until(lambda: "new" in tree.children)
        terminating = asyncio.ensure_future(tree.terminate_child("new"))
        await ticks()
        crew.gate.set()
        await slow
        with pytest.raises(ChildStartError) as caught:
            await starting
        assert isinstance(caught.value.__cause__, ActorStopped)
        await asyncio.wait({terminating})
        assert crew.refs["new"].incarnation == 0


@pytest.mark.parametrize("ends", [False, True])
async def test_a_child_whose_first_start_waits_for_its_turn_is_no_part_of_the_restart_before(
    crew: Crew, *, ends: bool
) -> None:
    async with asyncio.timeout(5):
        async with Supervisor(crew.specs("a", "b"), strategy=ONE_FOR_ALL) as tree:
            crew.on_stop["b"] = crew.gate.wait
            await crew.crash("a")
            await until(lambda: crew.refs["b"].status is Status.STOPPING)
            starting = asyncio.ensure_future(tree.start_child(crew.spec("new")))
            await until(lambda: "new" in tree.children)
            asyncio.get_running_loop().call_soon(crew.gate.set)
            if not ends:
                await starting
                assert [(child.id, child.incarnation, child.restarts) for child in tree.which_children()] == [
                    ("a", 2, 1),
                    ("b", 2, 1),
                    ("new", 1, 0),
                ]
        await asyncio.wait({starting})
        assert starting.exception() is None or isinstance(starting.exception(), ActorStopped)
    assert all(task.done() for task in crew.tasks.values())
    assert crew.log.count("new starts") <= 1


async def test_who_became_temporary_while_it_was_stopped_with_its_group_comes_back_once_more(crew: Crew) -> None:
    """And the other way round: what its spec said when the restart began counts."""
    specs = [crew.spec("a"), crew.spec("t", restart=Restart.TEMPORARY), crew.spec("b")]
    async with asyncio.timeout(5), Supervisor(specs, strategy=ONE_FOR_ALL) as tree:
        crew.on_stop["b"] = crew.gate.wait
        await crew.crash("a")
        await until(lambda: crew.refs["b"].status is Status.STOPPING)
        tree.reconfigure([crew.spec("t"), crew.spec("b", restart=Restart.TEMPORARY)])
        crew.gate.set()
        await idle(tree)
        assert statuses(tree) == {"a": ("running", 2), "t": ("stopped", 1), "b": ("running", 2)}


async def test_a_crash_while_a_restart_waits_does_not_call_that_restart_off(crew: Crew) -> None:
    """One whose restart waits was started with its group by another's crash, and crashes again meanwhile."""
    soon = Backoff(initial=0.02, maximum=0.02, jitter=0)
    specs = [crew.spec("a"), crew.spec("b", backoff=soon)]
    async with asyncio.timeout(5), Supervisor(specs, strategy=REST_FOR_ONE) as tree:
        await crew.crash("b")
        await crew.crash("a")
        await until(lambda: crew.refs["b"].incarnation == 2)
        await crew.crash("b")
        await until(lambda: crew.refs["b"].incarnation == 3)
        await idle(tree)
        assert statuses(tree) == {"a": ("running", 2), "b": ("running", 3)}
