"""Stopping a tree from inside its body, at once or when what waits is done."""

import asyncio

import pytest

from actors.crew import Crew, current_task, ticks, until
from eventree import ActorCrashed, ActorStopped, ChildSpec, Supervisor
from eventree.actors import ExitKind, ExitReason, Status


async def test_a_drained_actor_handles_what_waits_and_takes_nothing_new(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as supervisor:
        asked = [crew.refs["a"].ask_nowait(message) for message in ("wait", "x", "y")]
        await until(lambda: "a wait" in crew.log)
        stopping = asyncio.ensure_future(supervisor.stop(drain=True))
        await until(lambda: crew.refs["a"].status is Status.STOPPING)
        with pytest.raises(ActorStopped):
            crew.refs["a"].tell("new")
        crew.gate.set()
        await stopping
        assert [await answer for answer in asked] == ["wait by 1", "x by 1", "y by 1"]
        assert crew.log[-1] == "a down shutdown"


async def test_a_stop_without_draining_leaves_what_waits(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as supervisor:
        asked = [crew.refs["a"].ask_nowait(message) for message in ("wait", "x")]
        await until(lambda: "a wait" in crew.log)
        crew.refs["a"].mailbox.stop_requested.add_done_callback(lambda _: crew.gate.set())
        await supervisor.stop()
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert ends[0] == "wait by 1"
        assert isinstance(ends[1], ActorStopped)


async def test_what_is_left_at_the_end_of_the_time_is_answered(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a", shutdown=0.01)) as supervisor:
        asked = [crew.refs["a"].ask_nowait(message) for message in ("wait", "x")]
        await until(lambda: "a wait" in crew.log)
        await supervisor.stop(drain=True, timeout=0.01)
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(end) for end in ends] == [ActorCrashed, ActorStopped]


async def test_draining_goes_down_into_branches(crew: Crew) -> None:
    branch = ChildSpec(id="branch", start=lambda: Supervisor(crew.specs("b"), name="branch"))
    async with asyncio.timeout(5), Supervisor([crew.spec("a"), branch]) as supervisor:
        asked = [crew.refs["b"].ask_nowait(f"{number}") for number in range(50)]
        await supervisor.stop(drain=True, timeout=5)
        assert [await answer for answer in asked] == [f"{number} by 1" for number in range(50)]


async def test_a_body_that_waits_goes_on_when_somebody_else_has_stopped_the_tree(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as supervisor:
        stopping = asyncio.ensure_future(supervisor.stop())
        assert await supervisor.wait() == ExitReason(ExitKind.SHUTDOWN)
        assert crew.log[-1] == "a down shutdown"
        await stopping
    assert current_task().cancelling() == 0


async def test_who_waits_for_the_end_learns_why(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as supervisor:
        waiting = [asyncio.ensure_future(supervisor.wait()) for _ in range(2)]
        await ticks()
        await asyncio.gather(supervisor.stop(), supervisor.stop())
        assert await asyncio.gather(*waiting) == [ExitReason(ExitKind.SHUTDOWN)] * 2
        assert await supervisor.wait() == ExitReason(ExitKind.SHUTDOWN)
    with pytest.raises(ActorStopped):
        await Supervisor().wait()
