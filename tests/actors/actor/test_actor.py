"""The life of one actor: init, messages and batches, answers, the end."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from actors.crew import Boom, Crew, Worker, current_task, ticks, until
from eventree import (
    Actor,
    ActorContext,
    ActorCrashed,
    ActorRef,
    ActorStopped,
    ActorTimeout,
    ChildSpec,
    Restart,
    Supervisor,
)
from eventree.actors import ExitKind, ExitReason, Request, StopActor
from eventree.actors.actor.mailbox import BATCHES_PER_TURN
from eventree.errors import UnexpectedCancellation


class Recorder(Actor[str, str]):
    """Collect batches and keep what is to be answered later; all instances share what the test looks at."""

    max_batch = 3

    def __init__(self, batches: list[list[str]], kept: list[Request[str, str]], ends: list[ExitReason]) -> None:
        self.batches, self.kept, self.ends = batches, kept, ends

    async def receive_batch(self, requests: Sequence[Request[str, str]], ctx: ActorContext[str, str]) -> None:
        self.batches.append([request.message for request in requests])
        for request in requests:
            match request.message:
                case "crash":
                    raise Boom
                case "stop":
                    raise StopActor
                case "keep":
                    self.kept.append(request)
                case "release":
                    for number, waiting in enumerate(self.kept):
                        waiting.reply(f"kept {number}")
                    request.reply("released")
                case "refuse":
                    request.fail(Boom("refused"))
                case message:
                    request.reply(f"{message} by {ctx.incarnation}")

    async def on_stop(self, reason: ExitReason) -> None:
        self.ends.append(reason)


class Recording:
    """A supervised recorder and all that it recorded."""

    def __init__(self, **options: Any) -> None:
        self.ref = ActorRef[str, str]("recorder")
        self.batches: list[list[str]] = []
        self.kept: list[Request[str, str]] = []
        self.ends: list[ExitReason] = []
        self.spec = ChildSpec(
            id="recorder", start=lambda: Recorder(self.batches, self.kept, self.ends), ref=self.ref, **options
        )


async def test_an_actor_is_prepared_in_its_own_task_before_its_first_message() -> None:
    seen: list[object] = []

    class Prepared(Actor[str, str]):
        async def init(self, ctx: ActorContext[str, str]) -> None:
            seen.append(current_task())
            ctx.ref.tell("told in init")
            await ticks(3)
            seen.append("init done")

        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            seen.extend((message, current_task()))
            return message

    async with Supervisor([ChildSpec(id="a", start=Prepared)]):
        await until(lambda: len(seen) == 4)
    task = seen[0]
    assert seen == [task, "init done", "told in init", task]
    assert task is not current_task()


async def test_an_actor_that_wants_all_that_waits_gets_batches_up_to_its_limit() -> None:
    it = Recording()
    async with Supervisor([it.spec]):
        answers = await it.ref.ask_many(list("abcdefg"))
    assert answers == [f"{letter} by 1" for letter in "abcdefg"]
    assert it.batches == [["a", "b", "c"], ["d", "e", "f"], ["g"]]


async def test_a_crash_in_a_batch_fails_what_is_unanswered_in_it_and_nothing_else() -> None:
    it = Recording()
    async with Supervisor([it.spec]):
        answers = await it.ref.ask_many(["a", "crash", "b", "c"])
    assert (answers[0], answers[3]) == ("a by 1", "c by 2")
    for lost in answers[1:3]:
        assert isinstance(lost, ActorCrashed)
        assert (lost.actor, type(lost.__cause__)) == ("recorder", Boom)
    assert it.batches == [["a", "crash", "b"], ["c"]]


async def test_a_request_can_be_refused_without_a_crash() -> None:
    it = Recording()
    async with Supervisor([it.spec]):
        with pytest.raises(Boom, match="refused"):
            await it.ref.ask("refuse")
        assert await it.ref.ask("a") == "a by 1"


async def test_kept_requests_are_answered_later() -> None:
    it = Recording()
    async with Supervisor([it.spec]):
        waiting = [it.ref.ask_nowait("keep"), it.ref.ask_nowait("keep")]
        assert await it.ref.ask("meanwhile") == "meanwhile by 1"
        assert not any(answer.done() for answer in waiting)
        assert await it.ref.ask("release") == "released"
        assert await asyncio.gather(*waiting) == ["kept 0", "kept 1"]


@pytest.mark.parametrize(
    ("message", "error"),
    [("crash", ActorCrashed), ("stop", ActorStopped)],
)
async def test_kept_requests_are_answered_when_their_actor_ends(message: str, error: type[Exception]) -> None:
    it = Recording(restart=Restart.TEMPORARY)
    async with Supervisor([it.spec]):
        waiting = it.ref.ask_nowait("keep")
        assert await it.ref.ask("meanwhile") == "meanwhile by 1"
        it.ref.tell(message)
        async with asyncio.timeout(5):
            with pytest.raises(error):
                await waiting


async def test_kept_requests_are_answered_when_their_supervisor_stops() -> None:
    it = Recording()
    async with Supervisor([it.spec]):
        waiting = it.ref.ask_nowait("keep")
        await it.ref.ask("meanwhile")
    with pytest.raises(ActorStopped):
        await waiting


async def test_a_kept_request_whose_sender_gave_up_is_abandoned_and_may_still_be_answered() -> None:
    it = Recording()
    async with Supervisor([it.spec]):
        with pytest.raises(ActorTimeout) as caught:
            await it.ref.ask("keep", timeout=0.01)
        assert caught.value.outcome == "unknown"
        assert it.kept[0].abandoned
        assert await it.ref.ask("release") == "released"


async def test_answers_kept_for_ever_are_not_held_in_memory_once_given() -> None:
    it = Recording()
    async with Supervisor([it.spec]):
        for _ in range(5):
            waiting = it.ref.ask_nowait("keep")
            await it.ref.ask("release")
            await waiting
            it.kept.clear()
        assert await it.ref.ask("last") == "last by 1"
        assert it.ref.mailbox._in_progress == []


async def test_an_actor_can_end_by_its_own_wish(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", restart=Restart.TRANSIENT)]):
        answers = await crew.refs["a"].ask_many(["hello", "stop", "queued"])
        assert answers[0] == "hello by 1"
        assert [type(answer) for answer in answers[1:]] == [ActorStopped, ActorStopped]
    assert crew.log == ["a starts", "a up", "a hello", "a stop", "a down normal"]


@pytest.mark.parametrize(
    ("message", "kind"),
    [("crash", ExitKind.CRASH), ("stop", ExitKind.NORMAL), ("a", ExitKind.SHUTDOWN)],
)
async def test_an_actor_is_told_why_it_ends(message: str, kind: ExitKind) -> None:
    it = Recording(restart=Restart.TEMPORARY)
    async with Supervisor([it.spec]):
        await it.ref.ask_many([message])
    assert [end.kind for end in it.ends] == [kind]
    assert isinstance(it.ends[0].error, Boom) == (kind is ExitKind.CRASH)


async def test_whoever_asked_hears_of_the_crash_before_the_cleanup(crew: Crew) -> None:
    crew.on_stop["a"] = crew.gate.wait
    async with Supervisor([crew.spec("a")]), asyncio.timeout(5):
        await crew.crash("a")
        assert "a down crash" not in crew.log
        crew.gate.set()
        assert await crew.ask("a", "hello") == "hello by 2"


async def test_an_exception_in_the_cleanup_is_a_crash(crew: Crew) -> None:
    async def fail() -> None:
        raise Boom("cleanup")

    crew.on_stop["a"] = fail
    async with Supervisor([crew.spec("a", restart=Restart.TRANSIENT)]) as supervisor:
        with pytest.raises(ActorCrashed) as caught:
            await crew.ask("a", "stop")
        assert str(caught.value.__cause__) == "cleanup"
        assert await crew.ask("a", "hello") == "hello by 2"
        assert str(supervisor.which_children()[0].last_crash) == "cleanup"


async def test_a_cancelled_actor_lets_go_instead_of_cleaning_up() -> None:
    ends: list[str] = []
    ref = ActorRef[str, str]("holder")
    spec = ChildSpec(id="holder", start=lambda: Holder(ends), ref=ref, restart=Restart.TEMPORARY)
    async with Supervisor([spec]):
        with pytest.raises(ActorCrashed, match="was killed") as caught:
            await ref.ask("killed")
    assert caught.value.__cause__ is None
    assert ends == ["kill"]


async def test_a_stray_cancellation_is_a_crash() -> None:
    """Hazard X5: a task that awaits what somebody cancelled ends as if it had been cancelled itself."""
    ends: list[str] = []
    ref = ActorRef[str, str]("holder")
    async with Supervisor([ChildSpec(id="holder", start=lambda: Holder(ends), ref=ref)]):
        with pytest.raises(ActorCrashed, match="crashed with UnexpectedCancellation") as caught:
            await ref.ask("stray")
        assert isinstance(caught.value.__cause__, UnexpectedCancellation)
        assert await ref.ask("hello") == "hello"
    assert ends == ["stop", "stop"]


class Holder(Actor[str, str]):
    """Await what was cancelled, or be cancelled."""

    def __init__(self, ends: list[str]) -> None:
        self.ends = ends

    async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        if message == "killed":
            current_task().cancel()
            await asyncio.sleep(0)
        if message == "stray":
            await future
        return message

    async def on_stop(self, reason: ExitReason) -> None:
        self.ends.append("stop")

    async def on_kill(self) -> None:
        self.ends.append("kill")


async def test_an_actor_must_say_what_it_does_with_messages() -> None:
    ref = ActorRef[str, str]("mute")
    async with Supervisor([ChildSpec(id="mute", start=Actor[str, str], ref=ref)]):
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask("hello")
    assert str(caught.value.__cause__) == "Actor must override receive or receive_batch"


async def test_a_batch_is_never_empty() -> None:
    it = Recording()
    async with Supervisor([it.spec]):
        it.ref.ask_nowait("withdrawn").cancel()
        await ticks()
        await it.ref.ask("next")
    assert it.batches == [["next"]]


async def test_an_exception_while_letting_go_does_not_lose_the_actor() -> None:
    class Clumsy(Actor[str, str]):
        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            if message == "killed":
                current_task().cancel()
                await asyncio.sleep(0)
            return f"{message} by {ctx.incarnation}"

        async def on_kill(self) -> None:
            raise Boom

    ref = ActorRef[str, str]("clumsy")
    async with Supervisor([ChildSpec(id="clumsy", start=Clumsy, ref=ref)]):
        with pytest.raises(ActorCrashed):
            await ref.ask("killed", timeout=0.05)
        assert await ref.ask("hello", timeout=0.05) == "hello by 2"


async def test_a_clean_up_after_a_crash_that_never_ends_does_not_keep_the_actor_from_coming_back() -> None:
    class Untidy(Actor[str, str]):
        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            if message == "crash":
                raise ValueError(message)
            return message

        async def on_stop(self, reason: ExitReason) -> None:
            if reason.abnormal:
                await asyncio.Event().wait()

    ref = ActorRef[str, str]("untidy")
    untidy = ChildSpec(id="untidy", start=Untidy, ref=ref, shutdown=0.01)
    async with (
        asyncio.timeout(5),
        Supervisor([untidy], kill_grace=0.01),
    ):
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask("crash")
        assert isinstance(caught.value.__cause__, ValueError)
        assert await ref.ask("hello") == "hello"
    assert ref.incarnation == 2


@pytest.mark.parametrize("max_batch", [1, 2])
async def test_an_actor_with_a_backlog_gives_way_to_other_tasks(crew: Crew, max_batch: int) -> None:
    class Busy(Worker):
        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            self.handled += 1
            return str(self.handled)

    Busy.max_batch = max_batch
    ref: ActorRef[str, str] = ActorRef("busy")
    async with Supervisor([ChildSpec(id="busy", start=lambda: Busy("busy", crew), ref=ref)]):
        for _ in range(900):
            ref.tell("go")
        turns = 0
        while len(ref.mailbox):
            turns += 1
            await asyncio.sleep(0)
    assert turns >= 900 / (BATCHES_PER_TURN * max_batch)
