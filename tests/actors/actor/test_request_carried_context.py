"""What a sender carries goes along with its messages, and is there while they are handled, and no longer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from actors.crew import Boom, until
from eventree import (
    Actor,
    ActorContext,
    ActorCrashed,
    ActorRef,
    ActorStopped,
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    Supervisor,
)
from eventree.actors import ExitReason, MailboxSpec, Reject, Request, StopActor
from eventree.instrumentation.context import CARRIED, Carried, propagate

NOTE: Carried[str] = Carried("note")

SOON = Backoff(initial=0.001, maximum=0.001)

Seen = list[tuple[str, object]]


class Witness(Actor[str, object]):
    """Note what is carried, wherever it looks."""

    def __init__(self, seen: Seen, name: str = "") -> None:
        self.seen = seen
        self.name = name

    async def init(self, ctx: ActorContext[str, object]) -> None:
        self.note("init")

    async def receive(self, message: str, ctx: ActorContext[str, object]) -> object:
        await asyncio.sleep(0)
        self.note(message)
        match message:
            case "crash":
                raise Boom
            case "reject":
                raise Reject
            case "stop":
                raise StopActor
        return NOTE.get()

    async def on_stop(self, reason: ExitReason) -> None:
        self.note("on_stop")

    def note(self, what: str) -> None:
        self.seen.append((self.name + what, NOTE.get()))


class Batches(Witness):
    """Take several at a time, each with what was carried."""

    max_batch = 10


class OwnBatches(Witness):
    """Take several at a time, in an own way."""

    max_batch = 10

    async def receive_batch(self, requests: Sequence[Request[str, object]], ctx: ActorContext[str, object]) -> None:
        for request in requests:
            self.note("beside " + request.message)
            with request.propagate():
                request.reply(await self.receive(request.message, ctx))


KINDS: dict[str, Callable[[Seen], ChildSpec[str, object]]] = {
    "one by one": lambda seen: ChildSpec(id="a", start=lambda: Witness(seen)),
    "with a timeout": lambda seen: ChildSpec(id="a", start=lambda: Witness(seen), handler_timeout=5),
    "in batches": lambda seen: ChildSpec(id="a", start=lambda: Batches(seen)),
    "in own batches": lambda seen: ChildSpec(id="a", start=lambda: OwnBatches(seen)),
}


@pytest.fixture
def seen() -> Seen:
    return []


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
async def ref(request: pytest.FixtureRequest, seen: Seen) -> AsyncIterator[ActorRef[str, object]]:
    spec: ChildSpec[str, object] = request.param(seen)
    async with Supervisor([spec]) as supervisor:
        yield supervisor.ref(spec)


async def test_what_is_carried_is_there_while_a_message_is_handled_and_gone_at_the_next(
    ref: ActorRef[str, object], seen: Seen
) -> None:
    with NOTE.propagate("x"):
        ref.tell("1")
    with NOTE.propagate("y"):
        ref.tell("2")
    ref.tell("3")
    with NOTE.propagate("z"):
        ref.tell("4")
    assert await ref.ask("5") is None
    handled = [each for each in seen if each[0].isdecimal()]
    assert handled == [("1", "x"), ("2", "y"), ("3", None), ("4", "z"), ("5", None)]
    assert {carried for what, carried in seen if what.startswith("beside")} <= {None}


async def tell_from_a_thread(ref: ActorRef[str, object]) -> None:
    await asyncio.to_thread(ref.tell_threadsafe, "hello")


async def wait_for_room(ref: ActorRef[str, object]) -> None:
    await ref.suspend()
    with NOTE.propagate("other"):
        ref.tell("fills the mailbox")
    asyncio.get_running_loop().call_soon(ref.resume)
    await ref.send("hello")


async def ask_and_wait_for_room(ref: ActorRef[str, object]) -> None:
    await ref.suspend()
    with NOTE.propagate("other"):
        ref.tell("fills the mailbox")
    asyncio.get_running_loop().call_soon(ref.resume)
    await ref.ask("hello")


async def tell(ref: ActorRef[str, object]) -> None:
    ref.tell("hello")


async def ask_nowait(ref: ActorRef[str, object]) -> None:
    await ref.ask_nowait("hello")


async def tell_later(ref: ActorRef[str, object]) -> None:
    asyncio.get_running_loop().call_later(0.001, ref.tell, "hello")
    await asyncio.sleep(0)


WAYS: dict[str, Callable[[ActorRef[str, object]], Awaitable[object]]] = {
    "tell": tell,
    "tell_threadsafe": tell_from_a_thread,
    "send": lambda ref: ref.send("hello"),
    "send, without room": wait_for_room,
    "ask": lambda ref: ref.ask("hello"),
    "ask, without room": ask_and_wait_for_room,
    "ask_nowait": ask_nowait,
    "ask_many": lambda ref: ref.ask_many(["hello"]),
    "a timer": tell_later,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_it_goes_along_whichever_way_a_message_is_sent(
    seen: Seen, way: Callable[[ActorRef[str, object]], Awaitable[object]]
) -> None:
    ref: ActorRef[str, object] = ActorRef("a", mailbox=MailboxSpec(maxsize=1))
    async with Supervisor([ChildSpec(id="a", start=lambda: Witness(seen), ref=ref)]):
        with NOTE.propagate("x"):
            await way(ref)
        await until(lambda: "hello" in dict(seen))
    assert ("hello", "x") in seen
    assert CARRIED.get() is None


async def test_an_actor_passes_it_on_to_the_actors_it_writes_to(seen: Seen) -> None:
    last: ActorRef[str, object] = ActorRef("last")

    class Middle(Witness):
        async def receive(self, message: str, ctx: ActorContext[str, object]) -> object:
            last.tell("told")
            return await last.ask("asked")

    middle = ChildSpec(id="middle", start=lambda: Middle(seen, "middle "))
    async with Supervisor([ChildSpec(id="last", start=lambda: Witness(seen), ref=last), middle]) as supervisor:
        with NOTE.propagate("x"):
            assert await supervisor.ref(middle).ask("go") == "x"
        assert await supervisor.ref(middle).ask("go") is None
    handled = [each for each in seen if each[0] in {"told", "asked"}]
    assert handled == [("told", "x"), ("asked", "x"), ("told", None), ("asked", None)]


@pytest.mark.parametrize("end", ["crash", "reject", "stop"])
async def test_it_is_gone_however_a_message_ends(ref: ActorRef[str, object], seen: Seen, end: str) -> None:
    with NOTE.propagate("x"), pytest.raises((ActorCrashed, ActorStopped, Reject)):
        await ref.ask(end)
    with NOTE.propagate("y"):
        assert await ref.ask("next") == "y"
    assert await ref.ask("last") is None
    assert (end, "x") in seen
    hooks = [each for each in seen if each[0] in {"init", "on_stop"}]
    assert hooks == [("init", None), ("on_stop", None), ("init", None)][: 2 * ref.incarnation - 1]
    assert ref.incarnation == 2 or end == "reject"


async def test_what_waits_over_a_restart_keeps_it(seen: Seen) -> None:
    ref: ActorRef[str, object] = ActorRef("a")
    async with Supervisor([ChildSpec(id="a", start=lambda: Witness(seen), ref=ref)]):
        with NOTE.propagate("x"):
            crash = ref.ask_nowait("crash")
            answer = ref.ask_nowait("hello")
        with pytest.raises(ActorCrashed):
            await crash
        assert await answer == "x"
        assert ref.incarnation == 2
        assert await ref.ask("hello") is None


async def test_an_actor_that_is_started_while_something_is_carried_does_not_keep_it(seen: Seen) -> None:
    static = ChildSpec(id="static", start=lambda: Witness(seen, "static "))
    late = ChildSpec(id="late", start=lambda: Witness(seen, "late "))
    pool: DynamicSupervisor[str, str, object] = DynamicSupervisor(
        lambda key: ChildSpec(id=key, start=lambda: Witness(seen, f"{key} "))
    )
    with NOTE.propagate("x"):
        async with Supervisor([static, ChildSpec(id="pool", start=lambda: pool)]) as supervisor:
            refs = [
                supervisor.ref(static),
                await supervisor.start_child(late),
                await pool.get_or_start("keyed"),
            ]
            with propagate(None):
                for ref in refs:
                    ref.tell("crash")
                    assert await ref.ask("hello") is None
                    assert ref.incarnation == 2
    assert {what for what, _ in seen if what.endswith("init")} == {"static init", "late init", "keyed init"}
    assert {carried for _, carried in seen} == {None}


async def test_actors_that_are_restarted_after_a_while_do_not_keep_it_either(seen: Seen) -> None:
    ref: ActorRef[str, object] = ActorRef("a")
    with NOTE.propagate("x"):
        async with Supervisor([ChildSpec(id="a", start=lambda: Witness(seen), ref=ref, backoff=SOON)]):
            with pytest.raises(ActorCrashed):
                await ref.ask("crash")
            with propagate(None):
                assert await ref.ask("hello") is None
    assert seen == [
        ("init", None), ("crash", "x"), ("on_stop", None), ("init", None), ("hello", None), ("on_stop", None)
    ]  # fmt: skip


async def test_a_request_can_be_handled_later_as_its_sender_would(seen: Seen) -> None:
    class Keeps(Witness):
        def __init__(self, seen: Seen) -> None:
            super().__init__(seen)
            self.kept: list[Request[str, object]] = []

        async def receive_batch(self, requests: Sequence[Request[str, object]], ctx: ActorContext[str, object]) -> None:
            self.kept += requests
            if requests[-1].message == "now":
                for request in self.kept:
                    with request.propagate():
                        request.reply(NOTE.get())
                self.note("after")

    spec = ChildSpec(id="a", start=lambda: Keeps(seen))
    async with Supervisor([spec]) as supervisor:
        ref = supervisor.ref(spec)
        with NOTE.propagate("x"):
            early = ref.ask_nowait("early")
        with NOTE.propagate("y"):
            late = ref.ask_nowait("late")
        assert await ref.ask("now") is None
        assert (await early, await late) == ("x", "y")
    assert ("after", None) in seen
