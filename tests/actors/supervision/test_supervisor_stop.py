"""How a tree goes down: in reverse order, each child within its time, whatever else happens."""

import asyncio
import logging
import math

import pytest

from actors.crew import Boom, Crew, Worker, current_task, forever, idle, ticks, until
from eventree import (
    Actor,
    ActorContext,
    ActorCrashed,
    ActorRef,
    ActorStopped,
    ChildSpec,
    Supervisor,
)
from eventree.actors import BRUTAL_KILL, ExitKind, ExitReason
from eventree.errors import ChildRunning, StaleIncarnation


class Clinger(Actor[str, str]):
    """Swallow cancellation until it is released."""

    def __init__(self, crew: Crew, name: str = "clinger") -> None:
        self.crew, self.name = crew, name

    async def init(self, ctx: ActorContext[str, str]) -> None:
        self.crew.tasks[self.name] = current_task()

    async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
        while message == "cling" and not self.crew.gate.is_set():
            try:
                await self.crew.gate.wait()
            except asyncio.CancelledError:
                self.crew.log.append(f"{self.name} clings")
        return f"{message} by {ctx.incarnation}"


async def test_children_stop_in_reverse_order(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b", "c")):
        crew.log.clear()
    assert crew.log == ["c down shutdown", "b down shutdown", "a down shutdown"]


async def test_a_child_stops_only_after_the_one_started_after_it_has_ended(crew: Crew) -> None:
    async def look() -> None:
        crew.log.append(f"b done: {crew.tasks['b'].done()}")

    crew.on_stop["a"] = look
    async with Supervisor(crew.specs("a", "b")):
        crew.log.clear()
    assert crew.log == ["b down shutdown", "b done: True", "a down shutdown"]


async def test_a_child_finishes_the_message_in_work_and_leaves_those_that_wait(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        working = crew.refs["a"].ask_nowait("wait")
        waiting = crew.refs["a"].ask_nowait("queued")
        await until(lambda: "a wait" in crew.log)
        crew.refs["a"].mailbox.stop_requested.add_done_callback(lambda _: crew.gate.set())
    assert await working == "wait by 1"
    with pytest.raises(ActorStopped):
        await waiting
    assert "a queued" not in crew.log


async def test_a_child_that_does_not_stop_in_time_is_cancelled_and_the_stop_goes_on(crew: Crew) -> None:
    specs = [crew.spec("a"), crew.spec("b", shutdown=0.02), crew.spec("c")]
    async with Supervisor(specs):
        working = crew.refs["b"].ask_nowait("hang")
        await until(lambda: "b hang" in crew.log)
        crew.log.clear()
        started = asyncio.get_running_loop().time()
    assert 0.02 <= asyncio.get_running_loop().time() - started < 1
    assert crew.log == ["c down shutdown", "a down shutdown"]
    assert crew.tasks["b"].done()
    with pytest.raises(ActorCrashed, match="was killed"):
        await working


async def test_a_brutal_kill_does_not_ask(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", shutdown=BRUTAL_KILL), crew.spec("b", shutdown=BRUTAL_KILL)]):
        crew.refs["a"].tell("hang")
        await until(lambda: "a hang" in crew.log)
        crew.log.clear()
    assert crew.log == []
    assert crew.tasks["a"].done()
    assert crew.tasks["b"].done()


async def test_a_child_may_have_all_the_time_it_wants(crew: Crew) -> None:
    crew.on_stop["a"] = crew.gate.wait
    async with Supervisor([crew.spec("a", shutdown=math.inf)]):
        asyncio.get_running_loop().call_later(0.02, crew.gate.set)
    assert crew.log[-1] == "a down shutdown"


@pytest.mark.parametrize("shutdown", [BRUTAL_KILL, 0.01])
async def test_a_task_that_swallows_its_cancellation_is_left_behind_and_the_stop_goes_on(
    crew: Crew, caplog: pytest.LogCaptureFixture, shutdown: float
) -> None:
    ref = ActorRef[str, str]("clinger")
    clinger = ChildSpec(id="clinger", start=lambda: Clinger(crew), shutdown=shutdown, ref=ref)
    with caplog.at_level(logging.ERROR, "eventree"):
        async with asyncio.timeout(5), Supervisor([crew.spec("a"), clinger], kill_grace=0.01):
            clinging = ref.ask_nowait("cling")
            await until(lambda: bool(ref.mailbox._in_progress))
    assert [record.message for record in caplog.records] == [
        "actor 'clinger' ignored its cancellation and was abandoned"
    ]
    assert crew.log[-1] == "a down shutdown"
    assert not crew.tasks["clinger"].done()
    with pytest.raises(ActorCrashed, match="was killed"):
        await clinging
    crew.gate.set()
    await crew.tasks["clinger"]


async def test_one_left_behind_takes_no_message_from_its_next_incarnation(
    crew: Crew,
) -> None:
    ref = ActorRef[str, str]("clinger")
    spec = ChildSpec(id="clinger", start=lambda: Clinger(crew), shutdown=BRUTAL_KILL, ref=ref)
    async with asyncio.timeout(5), Supervisor([spec], kill_grace=0.01) as supervisor:
        ref.tell("cling")
        await until(lambda: bool(ref.mailbox._in_progress))
        orphan = crew.tasks["clinger"]
        await supervisor.terminate_child("clinger")
        await supervisor.restart_child("clinger")
        await ticks()
        crew.gate.set()
        asked = [ref.ask_nowait("hello") for _ in range(4)]  # it wakes up before the next one does
        try:
            assert await asyncio.gather(*asked) == ["hello by 2"] * 4
            await idle(supervisor)
            answers = [await ref.ask("hello", timeout=0.2) for _ in range(4)]
            assert answers == ["hello by 2"] * 4
            assert orphan.done()
        finally:
            orphan.cancel()
            await asyncio.wait({orphan})


@pytest.mark.parametrize("place", ["receive", "on_stop"])
async def test_the_end_of_one_left_behind_leaves_the_work_of_its_next_incarnation_alone(crew: Crew, place: str) -> None:
    released = asyncio.Event()

    class Unruly(Worker):
        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            if message == "receive":
                await self.cling()
            return await super().receive("crash" if message == "on_stop" else message, ctx)

        async def on_stop(self, reason: ExitReason) -> None:
            if reason.kind is ExitKind.CRASH:
                await self.cling()

        async def cling(self) -> None:
            while not (released.is_set() or crew.gate.is_set()):
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    crew.log.append("clings")
            raise Boom

    ref = ActorRef[str, str]("a")
    spec = ChildSpec(id="a", start=lambda: Unruly("a", crew), shutdown=BRUTAL_KILL, ref=ref)
    async with asyncio.timeout(5), Supervisor([spec], kill_grace=0.01) as supervisor:
        ref.tell(place)
        await until(lambda: len(ref.mailbox) == 0)
        orphan = crew.tasks["a"]
        await supervisor.terminate_child("a")
        await supervisor.restart_child("a")
        working = ref.ask_nowait("wait")
        await until(lambda: "a wait" in crew.log)
        released.set()
        await asyncio.wait({orphan})
        crew.gate.set()
        assert await working == "wait by 2"
    assert "clings" in crew.log


async def test_a_crash_while_stopping_does_not_stop_the_stop(crew: Crew) -> None:
    async def fail() -> None:
        raise Boom

    crew.on_stop["b"] = fail
    async with Supervisor(crew.specs("a", "b", "c")):
        crew.log.clear()
    assert crew.log == ["c down shutdown", "a down shutdown"]
    assert crew.refs["b"].incarnation == 1


async def test_a_crash_while_stopping_is_reported(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise Boom("could not flush")

    crew.on_stop["a"] = fail
    with caplog.at_level(logging.WARNING, "eventree"):
        async with Supervisor(crew.specs("a")):
            pass
    assert "could not flush" in caplog.text


async def test_a_stop_ends_a_start_that_is_going_on(crew: Crew) -> None:
    crew.init["b"] = forever
    async with asyncio.timeout(5):
        async with Supervisor(crew.specs("a")) as supervisor:
            starting = asyncio.ensure_future(supervisor.start_child(crew.spec("b")))
            await until(lambda: "b starts" in crew.log)
        with pytest.raises(Exception, match="child 'b' did not start"):
            await starting
    assert crew.tasks["b"].done()
    assert crew.log[-1] == "a down shutdown"


async def test_a_stop_comes_through_while_a_child_is_restarted_again_and_again(crew: Crew) -> None:
    async def fail() -> None:
        crew.log.append("fails")
        raise Boom

    async with asyncio.timeout(5):
        async with Supervisor(crew.specs("a", "b"), max_restarts=1_000_000_000):
            crew.init["b"] = fail
            await crew.crash("b")
            await until(lambda: "fails" in crew.log)
    assert crew.log[-1] == "a down shutdown"


async def test_calls_that_wait_for_a_supervisor_that_stops_are_answered(crew: Crew) -> None:
    crew.on_stop["a"] = crew.gate.wait
    async with asyncio.timeout(5):
        async with Supervisor(crew.specs("a")) as supervisor:
            stopping = asyncio.ensure_future(supervisor.terminate_child("a"))
            calls = [asyncio.ensure_future(supervisor.restart_child("a")) for _ in range(3)]
            await until(lambda: len(supervisor._operations._tasks) == 2)
            asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, crew.gate.set)
        ends = await asyncio.gather(*calls, return_exceptions=True)
        await stopping
    assert [type(end) for end in ends] == [ActorStopped, ChildRunning, ChildRunning]
    with pytest.raises(ActorStopped):
        await supervisor.start_child(crew.spec("b"))


async def test_a_message_told_during_the_stop_is_refused_once_the_child_is_gone(crew: Crew) -> None:
    crew.on_stop["a"] = lambda: asyncio.gather(*(crew.ask("b", "hello") for _ in range(3)), return_exceptions=True)
    async with asyncio.timeout(5), Supervisor(crew.specs("a", "b")):
        pass
    assert crew.log[-2:] == ["b down shutdown", "a down shutdown"]
    assert "b hello" not in crew.log


@pytest.mark.parametrize("restarted", [False, True])
async def test_one_left_behind_can_find_out_that_it_is_over(crew: Crew, *, restarted: bool) -> None:
    seen: list[bool] = []

    class Careful(Worker):
        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            seen.append(ctx.is_current)
            while not crew.gate.is_set():
                try:
                    await crew.gate.wait()
                except asyncio.CancelledError:
                    continue
            seen.append(ctx.is_current)
            ctx.check_current()
            return "unreachable"

    ref = ActorRef[str, str]("a")
    spec = ChildSpec(id="a", start=lambda: Careful("a", crew), shutdown=BRUTAL_KILL, ref=ref)
    async with asyncio.timeout(5), Supervisor([spec], kill_grace=0.01) as supervisor:
        ref.tell("go")
        await until(lambda: seen == [True])
        orphan = crew.tasks["a"]
        await supervisor.terminate_child("a")
        if restarted:
            await supervisor.restart_child("a")
        crew.gate.set()
        end = await orphan
    assert seen == [True, False]
    assert isinstance(end.error, StaleIncarnation)
    assert (end.error.actor, end.error.incarnation) == ("a", 1)
