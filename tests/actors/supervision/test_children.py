"""Children added, stopped, started again and looked at while the tree runs."""

import asyncio

import pytest

from actors.crew import Boom, Crew, Worker, ticks
from eventree import Actor, ActorContext, ActorStopped, ActorTimeout, ChildSpec, Restart, Supervisor
from eventree.actors import ChildInfo, Status
from eventree.errors import (
    ChildAlreadyExists,
    ChildNotFound,
    ChildRunning,
    ChildStartError,
    WouldDeadlock,
)


async def fail() -> None:
    raise Boom("init")


async def test_a_supervisor_is_asked_in_vain_before_it_runs_and_after(crew: Crew) -> None:
    supervisor = Supervisor(crew.specs("a"), name="boss")
    for _ in range(2):
        with pytest.raises(ActorStopped) as caught:
            await supervisor.start_child(crew.spec("b"))
        assert caught.value.actor == "boss"
        with pytest.raises(ActorStopped):
            await supervisor.terminate_child("a")
        with pytest.raises(ActorStopped):
            await supervisor.restart_child("a")
        assert [child.status for child in supervisor.which_children()] == [Status.STOPPED]
        async with supervisor:
            assert [child.status for child in supervisor.which_children()] == [Status.RUNNING]


async def test_a_new_child_comes_last_and_its_reference_is_ready(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        crew.init["b"] = ticks
        ref = await supervisor.start_child(crew.spec("b"))
        assert crew.log[-1] == "b up"
        assert await ref.ask("hello") == "hello by 1"
        assert [child.id for child in supervisor.which_children()] == ["a", "b"]
    assert crew.log[-2:] == ["b down shutdown", "a down shutdown"]


async def test_a_new_child_is_supervised_like_any_other(crew: Crew) -> None:
    async with Supervisor() as supervisor:
        ref = await supervisor.start_child(ChildSpec(id=("any", "key"), start=lambda: Worker("b", crew)))
        crew.refs["b"] = ref
        await crew.crash("b")
        assert await crew.ask("b", "hello") == "hello by 2"


async def test_an_id_is_taken_as_long_as_its_spec_is_kept(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        for _ in range(2):
            with pytest.raises(ChildAlreadyExists) as caught:
                await supervisor.start_child(ChildSpec(id="a", start=lambda: Worker("imposter", crew)))
            assert caught.value.child == "a"
            await supervisor.terminate_child("a")
        assert not any("imposter" in line for line in crew.log)


async def test_a_new_child_that_does_not_start_is_forgotten(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        crew.init["b"] = fail
        with pytest.raises(ChildStartError, match="Boom: init"):
            await supervisor.start_child(crew.spec("b"))
        assert [child.id for child in supervisor.which_children()] == ["a"]
        with pytest.raises(ActorStopped):
            await crew.ask("b", "hello")
        del crew.init["b"]
        ref = await supervisor.start_child(crew.spec("b"))
        assert await ref.ask("hello") == "hello by 2"


async def test_a_terminated_child_stays_down_until_it_is_started_again(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b")) as supervisor:
        await crew.ask("a", "count")
        await supervisor.terminate_child("a")
        assert crew.log[-1] == "a down shutdown"
        assert supervisor.which_children()[0] == ChildInfo("a", Status.STOPPED, 1, 0, None)
        with pytest.raises(ActorStopped):
            await crew.ask("a", "hello")
        await supervisor.terminate_child("a")
        await supervisor.restart_child("a")
        assert await crew.ask("a", "count") == "1"
        assert supervisor.which_children()[0] == ChildInfo("a", Status.RUNNING, 2, 0, None)


async def test_terminating_a_child_answers_what_waits_for_it(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        working = crew.refs["a"].ask_nowait("wait")
        waiting = crew.refs["a"].ask_nowait("queued")
        await ticks()
        crew.refs["a"].mailbox.stop_requested.add_done_callback(lambda _: crew.gate.set())
        await supervisor.terminate_child("a")
        assert await working == "wait by 1"
        with pytest.raises(ActorStopped):
            await waiting


async def test_a_terminated_temporary_child_is_forgotten(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", restart=Restart.TEMPORARY)]) as supervisor:
        await supervisor.terminate_child("a")
        assert supervisor.which_children() == []
        with pytest.raises(ChildNotFound):
            await supervisor.restart_child("a")
        ref = await supervisor.start_child(crew.spec("a"))
        assert await ref.ask("hello") == "hello by 2"


async def test_a_running_child_is_not_started_again(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        with pytest.raises(ChildRunning) as caught:
            await supervisor.restart_child("a")
        assert caught.value.child == "a"
        assert await crew.ask("a", "hello") == "hello by 1"


async def test_a_child_that_ended_normally_can_be_started_again(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", restart=Restart.TRANSIENT)]) as supervisor:
        with pytest.raises(ActorStopped):
            await crew.ask("a", "stop")
        await supervisor.restart_child("a")
        assert await crew.ask("a", "hello") == "hello by 2"


async def test_an_unknown_child_is_named_in_the_error(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        for call in (supervisor.terminate_child, supervisor.restart_child):
            with pytest.raises(ChildNotFound) as caught:
                await call("nobody")
            assert caught.value.child == "nobody"
        assert await crew.ask("a", "hello") == "hello by 1"


async def test_a_child_that_failed_to_start_again_can_be_started_later(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        await supervisor.terminate_child("a")
        crew.init["a"] = fail
        with pytest.raises(ChildStartError, match="Boom: init"):
            await supervisor.restart_child("a")
        assert supervisor.which_children()[0].status is Status.STOPPED
        del crew.init["a"]
        await supervisor.restart_child("a")
        assert await crew.ask("a", "hello") == "hello by 3"


async def test_a_child_that_failed_to_start_again_refuses_messages_at_once(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        await supervisor.terminate_child("a")
        crew.init["a"] = fail
        with pytest.raises(ChildStartError):
            await supervisor.restart_child("a")
        try:
            await crew.refs["a"].ask("hello", timeout=0.02)
        except (ActorStopped, ActorTimeout) as error:
            assert isinstance(error, ActorStopped)  # noqa: PT017 - it is always one of the two


async def test_a_caller_with_an_impossible_id_harms_nobody_else(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        with pytest.raises((TypeError, ValueError, ChildNotFound)):
            await supervisor.terminate_child(["a"])  # type: ignore[arg-type]
        assert await crew.ask("a", "hello") == "hello by 1"


async def test_a_child_that_would_wait_for_its_own_termination_is_refused(crew: Crew) -> None:
    supervisor = Supervisor(crew.specs("b"))

    class Tired(Actor[str, str]):
        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            with pytest.raises(WouldDeadlock) as caught:
                await supervisor.terminate_child("tired")
            assert (caught.value.awaited, caught.value.caller) == ("tired", "tired")
            return message

    async with asyncio.timeout(5), supervisor:
        ref = await supervisor.start_child(ChildSpec(id="tired", start=Tired, shutdown=0.02))
        assert await ref.ask("bye") == "bye"
        assert [child.status for child in supervisor.which_children()] == [Status.RUNNING, Status.RUNNING]


async def test_calls_from_many_tasks_are_carried_out_one_after_the_other(crew: Crew) -> None:
    async with Supervisor() as supervisor:
        names = [f"w{n}" for n in range(20)]
        await asyncio.gather(*(supervisor.start_child(crew.spec(name)) for name in names))
        assert [child.id for child in supervisor.which_children()] == names
        assert crew.log == [f"{name} {step}" for name in names for step in ("starts", "up")]
        await asyncio.gather(*(supervisor.terminate_child(name) for name in names))
        assert {child.status for child in supervisor.which_children()} == {Status.STOPPED}
