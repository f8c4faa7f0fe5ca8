"""What bare queues and futures lose, and actors do not."""

import asyncio
import gc
from typing import Any

import pytest

from actors.crew import Crew, idle, ticks, until
from eventree import ActorCrashed, ActorRef, ActorStopped, Supervisor
from eventree.actors import Status
from eventree.errors import ActorError

POINTS = range(12)
"""More ticks than it takes from a message's arrival to its answer."""


@pytest.mark.parametrize("point", POINTS)
async def test_x01_a_cancellation_in_the_very_tick_a_message_arrives_is_never_swallowed(crew: Crew, point: int) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as supervisor:
        await ticks()
        crew.refs["a"].tell("hello")
        await ticks(point)
        crew.tasks["a"].cancel()
        await until(lambda: crew.refs["a"].incarnation == 2)
        await idle(supervisor)
        assert crew.log.count("a hello") == 1


@pytest.mark.parametrize("point", POINTS)
async def test_x02_a_message_that_arrives_as_its_actor_is_cancelled_is_answered_or_handled_by_the_next(
    crew: Crew, point: int
) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")):
        await ticks()
        answer = crew.refs["a"].ask_nowait("hello")
        await ticks(point)
        crew.tasks["a"].cancel()
        assert await answer in {"hello by 1", "hello by 2"}
        assert crew.log.count("a hello") == 1


async def test_x06_no_answer_is_awaited_for_ever(crew: Crew) -> None:
    """A future in a queue that is dropped would never be resolved."""
    async with asyncio.timeout(5):
        async with Supervisor(crew.specs("crashed", "ended", "stopped")) as supervisor:
            answers = [ref.ask_nowait("wait") for ref in crew.refs.values() for _ in range(3)]
            await until(lambda: sum("wait" in line for line in crew.log) == 3)
            crew.tasks["crashed"].cancel()
            terminating = asyncio.ensure_future(supervisor.terminate_child("ended"))
            await until(lambda: crew.refs["ended"].status is Status.STOPPING)
            opening = asyncio.ensure_future(open_when_stopping(crew, supervisor.children.address))
        await asyncio.gather(terminating, opening)
        ends = await asyncio.gather(*answers, return_exceptions=True)
    assert isinstance(ends[0], ActorCrashed)
    assert ends[3] == "wait by 1"
    assert {type(end) for end in ends[1:]} == {str, ActorStopped}


async def open_when_stopping(crew: Crew, ref: ActorRef[Any, Any] | None) -> None:
    assert ref is not None
    await until(lambda: ref.status is Status.STOPPING)
    crew.gate.set()


async def test_x07_a_late_answer_harms_nobody(crew: Crew) -> None:
    """Setting the result of a future twice would raise, in the actor."""
    async with Supervisor(crew.specs("a")):
        answer = crew.refs["a"].ask_nowait("wait")
        await until(lambda: "a wait" in crew.log)
        answer.cancel()
        crew.gate.set()
        assert await crew.ask("a", "count") == "2"
        assert crew.refs["a"].incarnation == 1


async def test_x09_no_task_is_collected_while_it_runs(crew: Crew) -> None:
    """A task that nothing refers to can vanish in the middle; actors, starts and restarts are referred to."""
    async with asyncio.timeout(5), Supervisor(crew.specs("a", "b")) as supervisor:
        crew.init["b"] = crew.gate.wait
        await crew.crash("b")
        await until(lambda: crew.refs["b"].status is Status.STARTING)
        starting = asyncio.ensure_future(supervisor.start_child(crew.spec("c")))
        crew.tasks.clear()
        for _ in range(5):
            gc.collect()
            await asyncio.sleep(0)
        crew.gate.set()
        await starting
        assert [await crew.ask(name, "hello") for name in "abc"] == ["hello by 1", "hello by 2", "hello by 1"]


async def test_x13_closing_wakes_whoever_waits_on_any_version_of_python(crew: Crew) -> None:
    """`asyncio.Queue.shutdown` is of 3.13, and its `immediate` drops what waits."""
    async with asyncio.timeout(5):
        async with Supervisor([crew.spec("a", mailbox_size=1)]):
            crew.refs["a"].tell("wait")
            await until(lambda: "a wait" in crew.log)
            waiting = crew.refs["a"].ask_nowait("hello")
            for_room = [asyncio.ensure_future(crew.refs["a"].send("hello")) for _ in range(3)]
            await ticks()
            opening = asyncio.ensure_future(open_when_stopping(crew, crew.refs["a"]))
        await opening
        ends = await asyncio.gather(waiting, *for_room, return_exceptions=True)
    assert [type(end) for end in ends] == [ActorStopped] * 4
    assert crew.log[-1] == "a down shutdown"


async def test_x19_nobody_waits_for_room_at_an_actor_that_is_gone(crew: Crew) -> None:
    """`put` on a full queue whose reader is dead blocks for ever."""

    async def send() -> None:
        with pytest.raises(ActorError):
            await crew.refs["a"].send("hello")

    async with asyncio.timeout(5), Supervisor([crew.spec("a", mailbox_size=1)]) as supervisor:
        crew.refs["a"].tell("hang")
        await until(lambda: "a hang" in crew.log)
        crew.refs["a"].tell("hello")
        sending = [asyncio.ensure_future(send()) for _ in range(3)]
        await ticks()
        terminating = asyncio.ensure_future(supervisor.terminate_child("a"))
        await until(lambda: crew.refs["a"].status is Status.STOPPING)
        crew.tasks["a"].cancel()
        await terminating
        await asyncio.gather(*sending)
        await asyncio.wait_for(send(), 5)
