"""Which errors tear bare tasks and loops down, and what they do to a tree."""

import asyncio
import signal
import subprocess
import sys
from typing import Any

import pytest

from actors.crew import Boom, Crew, forever, idle, raised_by_the_tree
from eventree import Actor, ActorContext, ActorCrashed, ActorRef, ChildSpec, Supervisor
from eventree.actors import Status
from eventree.errors import RestartIntensityExceeded

LEAVING: list[type[BaseException]] = [SystemExit, KeyboardInterrupt]


@pytest.mark.parametrize("error", LEAVING)
async def test_x08_a_wish_to_leave_the_program_stops_the_tree_in_order_first(
    crew: Crew, error: type[BaseException]
) -> None:
    """In a bare task it aborts the event loop, and nobody cleans up."""
    ref: ActorRef[str, None] = ActorRef("leaver")
    leaver = ChildSpec(id="leaver", start=lambda: Raiser(error("bye")), ref=ref)
    specs: list[ChildSpec[Any, Any]] = [*crew.specs("a"), leaver, *crew.specs("c")]
    with raised_by_the_tree(error):
        async with Supervisor(specs):
            with pytest.raises(ActorCrashed):
                await ref.ask("go")
            await forever()
    assert crew.log[-2:] == ["c down shutdown", "a down shutdown"]


class Raiser(Actor[str, None]):
    """Raise what it was made with."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def receive(self, message: str, ctx: ActorContext[str, None]) -> None:
        await asyncio.sleep(0)
        raise self.error


@pytest.mark.parametrize("error", [GeneratorExit("bye"), BaseException("odd")])
async def test_x08_any_other_error_is_a_crash_like_the_rest(error: BaseException) -> None:
    ref: ActorRef[str, None] = ActorRef("odd")
    async with Supervisor([ChildSpec(id="odd", start=lambda: Raiser(error), ref=ref)]) as supervisor:
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask("go")
        await idle(supervisor)
        assert caught.value.__cause__ is error
        assert ref.incarnation == 2


PROGRAM = """
import asyncio
import signal
from eventree import Actor, ChildSpec, Supervisor

class Worker(Actor):
    def __init__(self, name):
        self.name = name

    async def receive(self, message, ctx):
        pass

    async def on_stop(self, reason):
        await asyncio.sleep(0)
        print("down", self.name, flush=True)

async def main():
    async with Supervisor([ChildSpec(id=name, start=lambda name=name: Worker(name)) for name in "abc"]):
        print("up", flush=True)
        await asyncio.Event().wait()

signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_x11_one_interrupt_of_a_plain_program_stops_the_tree_in_order() -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "up\n"
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert output.split("\n") == ["down c", "down b", "down a", "interrupted", ""]
    assert errors == ""


class ApiError(Exception):
    """A usual slip: `KeyError` where `AttributeError` is due."""

    def __init__(self, payload: dict[str, object]) -> None:
        super().__init__("api error")
        self.payload = payload

    def __getattr__(self, name: str) -> object:
        return self.payload[name]


class Undecided(Exception):
    def __bool__(self) -> bool:
        raise Panic


class Panic(BaseException):
    """What `except Exception` misses, though it is no wish to leave."""


class Secretive(ExceptionGroup[Exception]):
    exceptions = None  # type: ignore[assignment]


CARELESS: dict[str, Exception] = {
    "attributes": ApiError({}),
    "truth": Undecided(),
    "members": Secretive("hidden", [ValueError()]),
}


@pytest.mark.parametrize("error", CARELESS.values(), ids=CARELESS.keys())
async def test_an_error_that_fails_when_it_is_shown_is_a_crash_like_the_rest(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    ref: ActorRef[str, None] = ActorRef("odd")
    async with Supervisor([ChildSpec(id="odd", start=lambda: Raiser(error), ref=ref)], name="odds") as supervisor:
        for _ in range(3):
            with pytest.raises(ActorCrashed) as caught:
                await ref.ask("go")
            assert caught.value.__cause__ is error
        await idle(supervisor)
        assert (ref.incarnation, ref.status) == (4, Status.RUNNING)
        assert f"last crash {type(error).__name__}" in supervisor.tree()
    crashes = [record for record in caplog.records if "odd" in record.message]
    assert len(crashes) == 3
    assert all(record.exc_info is not None and "receive" in str(record.exc_text) for record in crashes)


async def test_x20_what_the_body_raises_comes_out_as_it_is(crew: Crew) -> None:
    """A task group would wrap it, and `except ValueError` would miss it."""
    with pytest.raises(ValueError, match="as it is"):
        async with Supervisor(crew.specs("a")):
            int("as it is")
    with raised_by_the_tree(RestartIntensityExceeded):
        async with Supervisor(crew.specs("b"), max_restarts=0):
            await crew.crash("b")
            await forever()


async def test_x20_a_group_of_errors_is_one_crash_and_a_wish_to_leave_is_found_in_it() -> None:
    ref: ActorRef[str, None] = ActorRef("grouped")
    error = ExceptionGroup("two", [Boom("one"), ValueError("two")])
    async with Supervisor([ChildSpec(id="grouped", start=lambda: Raiser(error), ref=ref)]) as supervisor:
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask("go")
        await idle(supervisor)
        assert caught.value.__cause__ is error
        assert ref.incarnation == 2
    leaving = BaseExceptionGroup("left", [Boom(), SystemExit(3)])
    with raised_by_the_tree(SystemExit) as left:
        async with Supervisor([ChildSpec(id="grouped", start=lambda: Raiser(leaving), ref=ref)]):
            ref.tell("go")
            await forever()
    assert left.value.code == 3
