"""An actor is used in its own event loop: from another one everything is refused at once, and nothing happened."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from actors.crew import Crew
from eventree import ActorRef, Supervisor
from eventree.errors import ActorStopped, WrongEventLoop
from harness.other_loops import in_another_loop

Use = Callable[[ActorRef[str, str]], Awaitable[object]]


async def tell(ref: ActorRef[str, str]) -> None:
    ref.tell("x")


async def ask_nowait(ref: ActorRef[str, str]) -> str:
    return await ref.ask_nowait("x")


async def monitor(ref: ActorRef[str, str]) -> None:
    async with ref.monitor() as events:
        await anext(events)


async def resume(ref: ActorRef[str, str]) -> None:
    ref.resume()


USES: dict[str, Use] = {
    "tell": tell,
    "send": lambda ref: ref.send("x"),
    "ask": lambda ref: ref.ask("x"),
    "ask_nowait": ask_nowait,
    "ask_many": lambda ref: ref.ask_many(["x", "y"]),
    "ask nobody": lambda ref: ref.ask_many([]),
    "monitor": monitor,
    "inspect": lambda ref: ref.inspect(),
    "inspect state": lambda ref: ref.inspect(state=True),
    "suspend": lambda ref: ref.suspend(),
    "resume": resume,
}


@pytest.mark.parametrize("use", USES)
async def test_from_another_loop_an_actor_is_not_reached(crew: Crew, use: str) -> None:
    async with Supervisor(crew.specs("a")):
        ref = crew.refs["a"]
        with pytest.raises(WrongEventLoop, match=r"'a'.*another event loop.*run_coroutine_threadsafe"):
            await in_another_loop(lambda: USES[use](ref))
        assert (await ref.inspect()).handled == 0
        assert await ref.ask("still here") == "still here by 1"


@pytest.mark.parametrize("use", USES)
async def test_an_actor_that_does_not_run_belongs_to_no_loop(crew: Crew, use: str) -> None:
    async with Supervisor(crew.specs("a")):
        pass
    ref = crew.refs["a"]
    if use in {"monitor", "inspect", "inspect state", "resume", "ask nobody"}:
        await in_another_loop(lambda: USES[use](ref))
    elif use == "ask_many":
        answers = await in_another_loop(lambda: ref.ask_many(["x"]))
        assert [type(answer) for answer in answers] == [ActorStopped]
    else:
        with pytest.raises(ActorStopped):
            await in_another_loop(lambda: USES[use](ref))


async def test_from_a_thread_without_a_loop_telling_is_refused_and_says_what_works(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        ref = crew.refs["a"]
        for refused in (lambda: ref.tell("x"), ref.resume):
            with pytest.raises(WrongEventLoop, match="tell_threadsafe"):
                await asyncio.to_thread(refused)
        await asyncio.to_thread(ref.tell_threadsafe, "y")
        assert await ref.ask("z") == "z by 1"
        assert (await ref.inspect()).handled == 2


def test_an_actor_whose_loop_stands_still_can_be_told_something(crew: Crew) -> None:
    async def started() -> Supervisor:
        return await Supervisor(crew.specs("a")).__aenter__()

    with asyncio.Runner() as runner:
        tree = runner.run(started())
        crew.refs["a"].tell("x")
        assert runner.run(crew.refs["a"].ask("y")) == "y by 1"
        assert runner.run(crew.refs["a"].inspect()).handled == 2
        runner.run(tree.stop())


async def test_a_full_mailbox_is_not_waited_for_from_another_loop(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", mailbox_size=1)]):
        ref = crew.refs["a"]
        await ref.suspend()
        ref.tell("x")
        with pytest.raises(WrongEventLoop):
            await in_another_loop(lambda: ref.send("y"))
        answer = ref.ask_many(["y", "z"])
        with pytest.raises(WrongEventLoop):
            await in_another_loop(lambda: answer)
        ref.resume()


async def test_the_way_in_from_a_thread_that_is_named_works(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        loop = asyncio.get_running_loop()
        asked = crew.refs["a"].ask("x")
        assert await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(asked, loop).result(20)) == "x by 1"
