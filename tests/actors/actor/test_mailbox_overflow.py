"""What becomes of messages there is no room for, and of those that wait when an actor crashes or stops."""

import asyncio
from typing import Literal

import pytest

from actors.crew import Crew, Worker, idle, until
from eventree import (
    ActorRef,
    ActorStopped,
    ChildSpec,
    InvalidArgument,
    MailboxFull,
    Restart,
    Supervisor,
)
from eventree.actors import DeadLetter, MailboxSpec, SupervisorEvent


class Watched:
    """A supervised worker with a mailbox of its own kind, and the dead letters of its tree."""

    def __init__(self, crew: Crew, mailbox: MailboxSpec) -> None:
        self.crew = crew
        self.letters: list[DeadLetter] = []
        self.ref = crew.refs["a"] = ActorRef("a", mailbox=mailbox)
        spec = ChildSpec(id="a", start=lambda: Worker("a", crew), ref=self.ref)
        self.tree = Supervisor([spec], on_event=self.note)

    def note(self, event: SupervisorEvent) -> None:
        if isinstance(event, DeadLetter):
            self.letters.append(event)

    async def keep_busy(self) -> None:
        self.ref.tell("wait")
        await until(lambda: "a wait" in self.crew.log)

    def handled(self) -> list[str]:
        return [line.removeprefix("a ") for line in self.crew.log if line.startswith("a m")]


def letter(reason: str) -> DeadLetter:
    return DeadLetter("supervisor", "a", "str", reason)


FULL = str(MailboxFull("a", 2))
STOPPED = str(ActorStopped("a"))


async def test_by_default_the_sender_is_told_that_there_is_no_room(crew: Crew) -> None:
    watched = Watched(crew, MailboxSpec(maxsize=2))
    async with watched.tree:
        await watched.keep_busy()
        for message in ("m1", "m2"):
            watched.ref.tell(message)
        with pytest.raises(MailboxFull):
            watched.ref.tell("m3")
        with pytest.raises(MailboxFull):
            watched.ref.ask_nowait("m3")
        crew.gate.set()
        await until(lambda: len(watched.handled()) == 2)
    assert watched.handled() == ["m1", "m2"]
    assert watched.letters == []


@pytest.mark.parametrize(
    ("overflow", "kept", "lost"), [("drop_new", ["m1", "m2"], "m3"), ("drop_old", ["m2", "m3"], "m1")]
)
async def test_a_mailbox_may_drop_instead_and_tells_who_asked(
    crew: Crew, overflow: Literal["drop_new", "drop_old"], kept: list[str], lost: str
) -> None:
    watched = Watched(crew, MailboxSpec(maxsize=2, overflow=overflow))
    async with watched.tree:
        await watched.keep_busy()
        answers = {message: watched.ref.ask_nowait(message) for message in ("m1", "m2", "m3")}
        with pytest.raises(MailboxFull):
            await answers[lost]
        crew.gate.set()
        for message in kept:
            assert await answers[message] == f"{message} by 1"
    assert watched.handled() == kept
    assert watched.letters == []


@pytest.mark.parametrize(("overflow", "kept"), [("drop_new", ["m1", "m2"]), ("drop_old", ["m3", "m4"])])
async def test_a_dropped_message_that_nobody_waits_for_is_a_dead_letter(
    crew: Crew, overflow: Literal["drop_new", "drop_old"], kept: list[str]
) -> None:
    watched = Watched(crew, MailboxSpec(maxsize=2, overflow=overflow))
    async with watched.tree:
        await watched.keep_busy()
        watched.ref.tell("m1")
        await watched.ref.send("m2")
        watched.ref.tell("m3")
        await watched.ref.send("m4", timeout=1)  # finds its way without waiting for room
        crew.gate.set()
        await until(lambda: len(watched.handled()) == 2)
    assert watched.handled() == kept
    assert watched.letters == [letter(FULL)] * 2


async def test_what_waits_is_handled_after_a_crash(crew: Crew) -> None:
    watched = Watched(crew, MailboxSpec())
    async with watched.tree:
        for message in ("crash", "m1"):
            watched.ref.tell(message)
        assert await watched.ref.ask("m2") == "m2 by 2"
    assert watched.handled() == ["m1", "m2"]
    assert watched.letters == []


async def test_a_mailbox_may_be_emptied_at_a_crash(crew: Crew) -> None:
    watched = Watched(crew, MailboxSpec(on_restart="discard"))
    async with watched.tree as supervisor:
        watched.ref.tell("crash")
        watched.ref.tell("m1")
        asked = watched.ref.ask_nowait("m2")
        with pytest.raises(ActorStopped):
            await asked
        await idle(supervisor)
        assert await watched.ref.ask("m3") == "m3 by 2"
    assert watched.handled() == ["m3"]
    assert watched.letters == [letter(STOPPED)]


async def test_emptying_makes_room_for_those_who_wait_for_it(crew: Crew) -> None:
    watched = Watched(crew, MailboxSpec(maxsize=1, on_restart="discard"))
    async with watched.tree:
        await watched.keep_busy()
        watched.ref.tell("m1")
        waiting = asyncio.ensure_future(watched.ref.ask("m2"))
        crew.tasks["a"].cancel()
        assert await waiting == "m2 by 2"
    assert watched.handled() == ["m2"]


async def test_what_waits_when_an_actor_stops_is_a_dead_letter_unless_somebody_asked(crew: Crew) -> None:
    watched = Watched(crew, MailboxSpec())
    async with watched.tree as supervisor:
        await watched.keep_busy()
        watched.ref.tell("m1")
        asked = watched.ref.ask_nowait("m2")
        given_up = watched.ref.ask_nowait("m3")
        given_up.cancel()
        stopping = asyncio.ensure_future(supervisor.terminate_child("a"))
        await until(lambda: crew.refs["a"].status.value == "stopping")
        crew.gate.set()
        await stopping
        with pytest.raises(ActorStopped):
            await asked
    assert watched.handled() == []
    assert watched.letters == [letter(STOPPED)]


async def test_what_waits_for_a_temporary_actor_that_crashes_is_a_dead_letter(crew: Crew) -> None:
    watched = Watched(crew, MailboxSpec())
    async with watched.tree as supervisor:
        ref = await supervisor.start_child(crew.spec("t", restart=Restart.TEMPORARY))
        for message in ("crash", "one", "two"):
            ref.tell(message)
        await until(lambda: len(watched.letters) == 2)
    assert watched.letters == [DeadLetter("supervisor", "t", "str", str(ActorStopped("t")))] * 2


@pytest.mark.parametrize(
    ("options", "argument"),
    [({"maxsize": 0}, "maxsize"), ({"overflow": "grow"}, "overflow"), ({"on_restart": "?"}, "on_restart")],
)
def test_what_is_no_mailbox_is_refused(options: dict[str, str], argument: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        MailboxSpec(**options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert caught.value.name == argument
