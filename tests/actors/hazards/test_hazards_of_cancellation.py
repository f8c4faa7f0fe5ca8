"""What cancellation does to bare tasks, and not to actors."""

import asyncio
import contextvars
import gc
import random
import weakref
from typing import Any

import pytest

from actors.crew import Boom, Clock, Crew, Worker, cling, current_task, forever, idle, raised_by_the_tree, ticks, until
from eventree import ActorCrashed, ActorStopped, ChildSpec, Restart, Supervisor
from eventree.actors import ChildAbandoned, Status, SupervisorEvent
from eventree.errors import ChildStartError, UnexpectedCancellation

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("REQUEST", default="none")


async def test_x03_a_task_that_swallows_cancellation_is_left_behind_with_a_report(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[SupervisorEvent] = []
    crew.on_stop["a"] = lambda: cling(crew.gate)
    specs = [crew.spec("a", shutdown=0.01), crew.spec("b")]
    async with asyncio.timeout(5), Supervisor(specs, kill_grace=0.01, on_event=events.append):
        pass
    assert ChildAbandoned("supervisor", "a", 1) in events
    assert "ignored its cancellation" in caplog.text
    assert not crew.tasks["a"].done()
    assert crew.refs["a"].status is Status.STOPPED


async def test_x04_a_task_left_behind_takes_nothing_from_the_next_incarnation(crew: Crew) -> None:
    """Closing its coroutine would cut its clean-up short; it is shut out of its mailbox instead."""
    crew.on_stop["a"] = lambda: cling(crew.gate)
    async with asyncio.timeout(5), Supervisor([crew.spec("a", shutdown=0.01)], kill_grace=0.01) as supervisor:
        await supervisor.terminate_child("a")
        left_behind = crew.tasks["a"]
        del crew.on_stop["a"]
        await supervisor.restart_child("a")
        answers = [crew.refs["a"].ask_nowait("count") for _ in range(3)]
        crew.gate.set()
        await asyncio.wait({left_behind})
        assert [await answer for answer in answers] == ["1", "2", "3"]
        assert crew.refs["a"].status is Status.RUNNING


async def test_x05_awaiting_what_somebody_cancelled_is_a_crash_and_not_a_silent_end(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        with pytest.raises(ActorCrashed) as caught:
            await crew.ask("a", "stray")
        assert isinstance(caught.value.__cause__, UnexpectedCancellation)
        await idle(supervisor)
        assert await crew.ask("a", "hello") == "hello by 2"


async def test_x12_a_child_that_ends_without_ever_waiting_is_seen(crew: Crew) -> None:
    """An eager task may be over before `create_task` returns."""

    async def fail() -> None:
        raise Boom

    crew.init["c"] = fail
    async with Supervisor(crew.specs("a", "b", restart=Restart.TRANSIENT)) as supervisor:
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(crew.spec("c"))
        assert isinstance(caught.value.__cause__, Boom)
        crew.refs["a"].tell("crash")
        crew.refs["b"].tell("stop")
        await until(lambda: crew.refs["a"].incarnation == 2)
        await idle(supervisor)
        assert [child.status for child in supervisor.which_children()] == [Status.RUNNING, Status.STOPPED]


async def test_x14_an_actor_does_not_see_the_context_of_whoever_had_it_started(crew: Crew) -> None:
    seen: list[str] = []

    async def look() -> None:
        seen.append(REQUEST.get())

    crew.init["a"] = look
    async with Supervisor() as supervisor:
        token = REQUEST.set("a request's secret")
        await supervisor.start_child(crew.spec("a"))
        await crew.crash("a")
        await idle(supervisor)
        await supervisor.terminate_child("a")
        await supervisor.restart_child("a")
        REQUEST.reset(token)
    assert seen == ["none"] * 3


async def test_x15_a_crash_keeps_nothing_of_the_actor_alive(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    """Only as long as it counts against the supervisor is it kept whole, for the history of a failure."""
    clock = Clock()
    caplog.set_level("CRITICAL", "eventree")  # a record of the crash would keep it
    made: list[weakref.ref[Worker]] = []

    def make() -> Worker:
        worker = Worker("a", crew)
        made.append(weakref.ref(worker))
        return worker

    crew.spec("a")
    async with Supervisor([ChildSpec(id="a", start=make, ref=crew.refs["a"])], clock=clock) as supervisor:
        crew.refs["a"].tell("crash")
        await until(lambda: crew.refs["a"].incarnation == 2)
        await idle(supervisor)
        clock.now += 6
        assert supervisor.tree().endswith("a running, 1 restart, last crash Boom")
        gc.collect()
        assert [worker() is None for worker in made] == [True, False]


async def test_x16_a_second_wish_to_stop_does_not_cut_the_clean_up_short(crew: Crew) -> None:
    """A second `cancel` strikes inside `finally`."""
    crew.on_stop["a"] = crew.gate.wait
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as supervisor:
        stopping = [asyncio.ensure_future(supervisor.terminate_child("a")) for _ in range(3)]
        await until(lambda: crew.refs["a"].status is Status.STOPPING)
        leaving = asyncio.ensure_future(supervisor.stop())
        await ticks()
        crew.gate.set()
        await asyncio.gather(*stopping, leaving, return_exceptions=True)
    assert crew.log == ["a starts", "a up", "a down shutdown"]


async def test_x18_a_child_cancelled_before_its_first_step_is_a_failed_start(crew: Crew) -> None:
    """Its coroutine is never entered, so nothing in it can say what became of it."""
    async with asyncio.timeout(5), Supervisor() as supervisor:
        starting = asyncio.ensure_future(supervisor.start_child(crew.spec("a")))
        await until(lambda: starting.done() or bool(tasks_of("a")))
        for task in tasks_of("a"):
            task.cancel()
        await asyncio.wait({starting})
        if starting.exception() is None:  # an eager task is entered at once, and was killed after its start
            await until(lambda: crew.refs["a"].incarnation == 2)
        else:
            assert isinstance(starting.exception(), ChildStartError)
            await supervisor.start_child(crew.spec("a"))
        assert (await crew.ask("a", "hello")).startswith("hello")


def tasks_of(name: str) -> "set[asyncio.Task[Any]]":
    return {task for task in asyncio.all_tasks() if task.get_name() == f"eventree {name}"}


@pytest.mark.parametrize("seed", range(10))
async def test_x10_a_tree_whose_tasks_are_all_cancelled_at_once_ends(crew: Crew, seed: int) -> None:
    """That is what `asyncio.run` does with what is left, in whatever order."""
    before = asyncio.all_tasks()
    branch = ChildSpec(id="branch", start=lambda: Supervisor(crew.specs("c", "d"), name="branch"))
    with raised_by_the_tree(ActorStopped):
        async with asyncio.timeout(5), Supervisor([*crew.specs("a", "b"), branch]):
            answers = [crew.refs[name].ask_nowait("hang") for name in "abcd"]
            await until(lambda: sum("hang" in line for line in crew.log) == 4)
            tasks = sorted(asyncio.all_tasks() - before, key=lambda task: task.get_name())
            random.Random(seed).shuffle(tasks)  # noqa: S311 - not a secret
            for task in tasks:
                task.cancel()
            await forever()
    ends = await asyncio.gather(*answers, return_exceptions=True)
    assert {type(end) for end in ends} <= {ActorCrashed, ActorStopped}
    assert all(task.done() for task in tasks)


async def test_x11_the_first_cancellation_stops_in_order_and_the_second_at_once(crew: Crew) -> None:
    crew.on_stop["b"] = crew.gate.wait

    async def program() -> None:
        async with Supervisor(crew.specs("a", "b", shutdown=3_600)):
            entered.set()
            await forever()

    entered = asyncio.Event()
    running = asyncio.ensure_future(program())
    async with asyncio.timeout(5):
        await entered.wait()
        running.cancel()
        await until(lambda: crew.refs["b"].status is Status.STOPPING)
        await ticks()
        assert crew.refs["a"].status is Status.RUNNING
        running.cancel()
        await asyncio.wait({running})
    assert running.cancelled()
    assert all(task.done() for task in crew.tasks.values())
    assert current_task().cancelling() == 0
