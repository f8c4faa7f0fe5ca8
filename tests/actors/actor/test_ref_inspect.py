"""What can be seen of an actor from outside, and how its messages are held back."""

import asyncio
import threading

import pytest

from actors.crew import Crew, idle, ticks, until
from eventree import ActorStopped, ActorTimeout, Supervisor
from eventree.actors import ActorInfo, Status


async def test_an_actor_at_work_with_a_backlog_is_seen_without_waiting_for_it(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        crew.refs["a"].tell("wait")
        await until(lambda: "a wait" in crew.log)
        for _ in range(3):
            crew.refs["a"].tell("hello")
        assert await crew.refs["a"].inspect() == ActorInfo("a", Status.RUNNING, 1, 3, ("str",), False, handled=1)
        crew.gate.set()


async def test_its_state_is_read_between_two_messages_before_those_that_wait(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        crew.refs["a"].tell("wait")
        await until(lambda: "a wait" in crew.log)
        crew.refs["a"].tell("hello")
        looking = asyncio.ensure_future(crew.refs["a"].inspect(state=True))
        await ticks()
        assert not looking.done()
        crew.gate.set()
        info = await looking
    assert info.state == {"name": "a", "crew": crew, "handled": 1}


async def test_the_state_that_was_read_is_a_copy(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        info = await crew.refs["a"].inspect(state=True)
        await crew.ask("a", "hello")
        assert info.state is not None
        assert info.state["handled"] == 0


async def test_what_does_not_run_has_no_state(crew: Crew) -> None:
    spec = crew.spec("a")
    assert await crew.refs["a"].inspect(state=True) == ActorInfo("a", Status.STOPPED, 0, 0, (), False)
    async with Supervisor([spec]):
        pass
    assert await crew.refs["a"].inspect(state=True) == ActorInfo("a", Status.STOPPED, 1, 0, (), False)


async def test_who_asks_for_the_state_of_what_ends_meanwhile_is_answered(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        crew.refs["a"].tell("wait")
        await until(lambda: "a wait" in crew.log)
        looking = asyncio.ensure_future(crew.refs["a"].inspect(state=True))
        await ticks()
        asyncio.get_running_loop().call_soon(crew.gate.set)
    assert (await looking).state is None


async def test_messages_wait_while_an_actor_is_suspended_and_it_can_still_be_seen(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        await crew.refs["a"].suspend()
        answer = crew.refs["a"].ask_nowait("hello")
        await ticks()
        info = await crew.refs["a"].inspect(state=True)
        assert (info.suspended, info.queued, crew.log) == (True, 1, ["a starts", "a up"])
        crew.refs["a"].resume()
        assert await answer == "hello by 1"


async def test_suspending_waits_for_the_present_message(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        crew.refs["a"].tell("wait")
        await until(lambda: "a wait" in crew.log)
        suspending = asyncio.ensure_future(crew.refs["a"].suspend())
        await ticks()
        assert not suspending.done()
        crew.gate.set()
        await suspending


async def test_a_suspended_actor_stops_like_any_other_and_answers_what_waits(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        await crew.refs["a"].suspend()
        answer = crew.refs["a"].ask_nowait("hello")
    with pytest.raises(ActorStopped):
        await answer
    assert crew.log[-1] == "a down shutdown"


async def test_a_suspended_actor_that_is_killed_comes_back_suspended(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        await crew.refs["a"].suspend()
        answer = crew.refs["a"].ask_nowait("hello")
        crew.tasks["a"].cancel()
        await until(lambda: crew.refs["a"].incarnation == 2)
        await idle(supervisor)
        assert (await crew.refs["a"].inspect()).suspended
        crew.refs["a"].resume()
        assert await answer == "hello by 2"


async def test_what_does_not_run_cannot_be_suspended(crew: Crew) -> None:
    crew.spec("a")
    with pytest.raises(ActorStopped):
        await crew.refs["a"].suspend()


async def test_messages_from_another_thread_arrive_in_order(crew: Crew) -> None:
    def tell_three() -> None:
        for message in ("one", "two", "three"):
            crew.refs["a"].tell_threadsafe(message)

    async with Supervisor(crew.specs("a")):
        await asyncio.to_thread(tell_three)
        await until(lambda: "a three" in crew.log)
    assert crew.log[2:5] == ["a one", "a two", "a three"]


async def test_an_idle_loop_is_woken_by_another_thread(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        arrived = asyncio.get_running_loop().create_future()
        crew.refs["a"].mailbox.call_in_actor(lambda _: arrived.set_result(None))
        await arrived
        thread = threading.Timer(0.05, crew.refs["a"].tell_threadsafe, ["stop"])
        async with asyncio.timeout(5), crew.refs["a"].monitor() as sightings:
            thread.start()
            async for _ in sightings:
                break
    assert "a stop" in crew.log


async def test_another_thread_is_told_that_nothing_runs(crew: Crew) -> None:
    crew.spec("a")
    with pytest.raises(ActorStopped):
        await asyncio.to_thread(crew.refs["a"].tell_threadsafe, "hello")


async def test_a_message_from_another_thread_without_room_is_logged_by_its_type(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    async with Supervisor([crew.spec("a", mailbox_size=1)]):
        await crew.refs["a"].suspend()
        crew.refs["a"].tell("first")
        await asyncio.to_thread(crew.refs["a"].tell_threadsafe, "secret")
        await ticks()
    (record,) = (record for record in caplog.records if "thread" in record.getMessage())
    assert record.getMessage().startswith("lost a str sent from another thread: the mailbox of actor 'a'")
    assert "secret" not in caplog.text


@pytest.mark.parametrize("operation", ["inspect", "suspend"])
async def test_who_waits_for_an_actor_that_is_never_done_gets_a_timeout_and_changes_nothing(
    crew: Crew, operation: str
) -> None:
    async with Supervisor(crew.specs("a")):
        crew.refs["a"].tell("wait")
        await until(lambda: "a wait" in crew.log)
        with pytest.raises(ActorTimeout, match=f"{operation} timed out after 0.01 s"):
            await (
                crew.refs["a"].suspend(timeout=0.01)
                if operation == "suspend"
                else crew.refs["a"].inspect(state=True, timeout=0.01)
            )
        crew.gate.set()
        assert await crew.ask("a", "hello") == "hello by 1"


async def test_it_counts_what_it_took_up_what_it_skipped_and_what_was_too_late(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        working = asyncio.ensure_future(crew.refs["a"].ask("wait", timeout=0.02))
        await until(lambda: "a wait" in crew.log)
        waiting = [asyncio.ensure_future(crew.refs["a"].ask("hello", timeout=0.01)) for _ in range(3)]
        ends = await asyncio.gather(*waiting, working, return_exceptions=True)
        assert [end.outcome for end in ends if isinstance(end, ActorTimeout)] == ["not_started"] * 3 + ["unknown"]
        crew.gate.set()
        assert await crew.ask("a", "hello") == "hello by 1"
        info = await crew.refs["a"].inspect()
        assert (info.handled, info.skipped, info.late) == (2, 3, 1)
