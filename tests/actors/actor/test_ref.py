"""The address of an actor: tell, send, ask and ask_many."""

import asyncio
from collections.abc import Sequence

import pytest

from actors.crew import Boom, Crew, ticks, until
from eventree import (
    Actor,
    ActorContext,
    ActorCrashed,
    ActorRef,
    ActorStopped,
    ActorTimeout,
    ChildSpec,
    MailboxFull,
    Supervisor,
)
from eventree.actors import BRUTAL_KILL, MailboxSpec, Request, Status
from eventree.errors import NonPositiveArgument


async def test_an_answer_comes_back_to_whoever_asked(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        assert await asyncio.gather(*(crew.ask("a", str(n)) for n in range(50))) == [f"{n} by 1" for n in range(50)]


async def test_messages_of_one_sender_are_handled_in_order(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        crew.refs["a"].tell("1")
        await crew.refs["a"].send("2")
        crew.refs["a"].tell("3")
        await crew.ask("a", "4")
    assert crew.log[2:-1] == ["a 1", "a 2", "a 3", "a 4"]


async def test_nothing_can_be_sent_before_the_start_nor_after_the_stop(crew: Crew) -> None:
    spec = crew.spec("a")
    ref = crew.refs["a"]
    for _ in range(2):
        with pytest.raises(ActorStopped):
            ref.tell("x")
        with pytest.raises(ActorStopped):
            await ref.send("x")
        with pytest.raises(ActorStopped):
            ref.ask_nowait("x")
        with pytest.raises(ActorStopped) as caught:
            await ref.ask("x")
        assert caught.value.actor == "a"
        assert [type(end) for end in await ref.ask_many(["x", "y"])] == [ActorStopped, ActorStopped]
        async with Supervisor([spec]):
            await ref.ask("hello")


async def test_a_reference_shows_what_its_actor_is_doing(crew: Crew) -> None:
    spec = crew.spec("a")
    ref = crew.refs["a"]
    assert (ref.status, ref.incarnation) == (Status.STOPPED, 0)
    seen: list[Status] = []

    async def look() -> None:
        seen.append(ref.status)

    crew.init["a"] = crew.on_stop["a"] = look
    async with Supervisor([spec]):
        assert (ref.status, ref.incarnation) == (Status.RUNNING, 1)
        assert repr(ref) == "<ActorRef 'a' running, incarnation 1, 0 queued>"
    assert seen == [Status.STARTING, Status.STOPPING]
    assert (ref.status, ref.incarnation) == (Status.STOPPED, 1)


async def test_a_message_that_was_never_taken_up_times_out_as_not_started_and_is_skipped(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        waiting = crew.refs["a"].ask_nowait("wait")
        with pytest.raises(ActorTimeout) as caught:
            await crew.refs["a"].ask("late", timeout=0.01)
        assert (caught.value.operation, caught.value.seconds) == ("str", 0.01)
        assert caught.value.outcome == "not_started"
        assert isinstance(caught.value, TimeoutError)
        crew.gate.set()
        await waiting
        await crew.ask("a", "next")
    assert "a late" not in crew.log


async def test_a_message_in_work_times_out_as_unknown_and_its_late_answer_is_harmless(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        with pytest.raises(ActorTimeout) as caught:
            await crew.refs["a"].ask("wait", timeout=0.01, operation="open the door")
        assert (caught.value.outcome, caught.value.operation) == ("unknown", "open the door")
        crew.gate.set()
        assert await crew.ask("a", "next") == "next by 1"


async def test_a_caller_who_is_cancelled_takes_its_message_back(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        waiting = crew.refs["a"].ask_nowait("wait")
        asking = asyncio.ensure_future(crew.ask("a", "withdrawn"))
        await ticks(2)
        asking.cancel()
        await ticks(2)
        crew.gate.set()
        await waiting
        await crew.ask("a", "next")
    assert "a withdrawn" not in crew.log


@pytest.mark.parametrize("steps", range(8))
async def test_a_caller_who_is_cancelled_as_the_error_arrives_leaves_no_error_unseen(crew: Crew, steps: int) -> None:
    async with Supervisor(crew.specs("a")):
        asking = asyncio.ensure_future(crew.ask("a", "crash"))
        await ticks(steps)
        asking.cancel()
        with pytest.raises((asyncio.CancelledError, ActorCrashed)):
            await asking
        del asking
        await crew.ask("a", "next")


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
async def test_a_timeout_is_positive(crew: Crew, timeout: float) -> None:
    async with Supervisor(crew.specs("a")):
        with pytest.raises(NonPositiveArgument):
            await crew.refs["a"].ask("x", timeout=timeout)
        with pytest.raises(NonPositiveArgument):
            await crew.refs["a"].ask_many(["x"], timeout=timeout)
        with pytest.raises(NonPositiveArgument):
            await crew.refs["a"].send("x", timeout=timeout)
    with pytest.raises(NonPositiveArgument):
        ActorRef("a", mailbox=MailboxSpec(maxsize=0))


async def busy(crew: Crew) -> "asyncio.Future[str]":
    """Have the actor work on one message while one more fills its mailbox."""
    working = crew.refs["a"].ask_nowait("wait")
    await until(lambda: "a wait" in crew.log)
    crew.refs["a"].tell("fills it")
    return working


async def test_a_full_mailbox_refuses_who_does_not_wait_and_who_waited_long_enough(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", mailbox_size=1)]):
        await busy(crew)
        with pytest.raises(MailboxFull):
            crew.refs["a"].tell("x")
        with pytest.raises(MailboxFull):
            crew.refs["a"].ask_nowait("x")
        with pytest.raises(MailboxFull):
            await crew.refs["a"].send("x", timeout=0.01)
        with pytest.raises(MailboxFull) as caught:
            await crew.refs["a"].ask("x", timeout=0.01)
        assert (caught.value.actor, caught.value.size) == ("a", 1)
        crew.gate.set()
        assert await crew.ask("a", "after") == "after by 1"
    assert "a x" not in crew.log


async def test_who_waits_for_room_is_woken_by_room(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", mailbox_size=1)]):
        await busy(crew)
        senders = [asyncio.ensure_future(crew.refs["a"].send(f"s{n}")) for n in range(5)]
        askers = [asyncio.ensure_future(crew.refs["a"].ask(f"a{n}")) for n in range(5)]
        await ticks(3)
        assert not any(task.done() for task in senders + askers)
        crew.gate.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*senders)
            assert await asyncio.gather(*askers) == [f"a{n} by 1" for n in range(5)]


async def test_who_waits_for_room_is_woken_when_the_actor_stops(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", mailbox_size=1, shutdown=BRUTAL_KILL)]):
        working = await busy(crew)
        waiting = [asyncio.ensure_future(crew.refs["a"].send("s")), asyncio.ensure_future(crew.ask("a", "q"))]
        await ticks(3)
    async with asyncio.timeout(5):
        ends = await asyncio.gather(working, *waiting, return_exceptions=True)
    assert [type(end) for end in ends] == [ActorCrashed, ActorStopped, ActorStopped]


async def test_ask_many_answers_each_message_in_order_with_its_value_or_its_error(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", mailbox=MailboxSpec(maxsize=2))]):
        answers = await crew.refs["a"].ask_many(["1", "2", "3", "4", "crash", "6", "7"])
    assert [answer for answer in answers if isinstance(answer, str)] == [
        "1 by 1", "2 by 1", "3 by 1", "4 by 1", "6 by 2", "7 by 2",
    ]  # fmt: skip
    assert isinstance(answers[4], ActorCrashed)
    assert isinstance(answers[4].__cause__, Boom)
    assert await crew.refs["a"].ask_many([]) == []


async def test_ask_many_ends_at_its_timeout_for_every_message(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", mailbox_size=1)]):
        answers = await crew.refs["a"].ask_many(["wait", "queued", "no room", "no room"], timeout=0.02)
        assert all(isinstance(answer, ActorTimeout | MailboxFull) for answer in answers)
        first, second = answers[:2]
        assert isinstance(first, ActorTimeout)
        assert first.outcome == "unknown"
        assert isinstance(second, ActorTimeout)
        assert second.outcome == "not_started"
        crew.gate.set()
        await crew.ask("a", "next")
    assert [line for line in crew.log if "queued" in line or "room" in line] == []


async def test_ask_many_ends_also_for_messages_that_find_room_at_the_last_moment() -> None:
    class Polite(Actor[str, str]):
        async def receive_batch(self, requests: Sequence[Request[str, str]], ctx: ActorContext[str, str]) -> None:
            for request in requests:
                while not request.abandoned:  # noqa: ASYNC110 - as an actor would that works in small steps
                    await asyncio.sleep(0)

    ref = ActorRef[str, str]("polite", mailbox=MailboxSpec(maxsize=3))
    async with Supervisor([ChildSpec(id="polite", start=Polite, ref=ref, shutdown=0.01)]), asyncio.timeout(0.5):
        answers = await ref.ask_many([str(n) for n in range(12)], timeout=0.02)
    assert all(isinstance(answer, ActorTimeout | MailboxFull) for answer in answers)


async def test_asking_another_actor_from_an_actor_works_and_its_failure_is_an_ordinary_exception(crew: Crew) -> None:
    class Relay(Actor[str, str]):
        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            try:
                return await crew.ask("a", message)
            except ActorCrashed as error:
                return f"it {type(error.__cause__).__name__}"

    relay = ActorRef[str, str]("relay")
    async with Supervisor([crew.spec("a"), ChildSpec(id="relay", start=Relay, ref=relay)]):
        assert await relay.ask("hello") == "hello by 1"
        assert await relay.ask("crash") == "it Boom"
        assert relay.incarnation == 1
