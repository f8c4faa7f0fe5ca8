"""A tree as a whole program, with real signals."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from actors.crew import Crew, until
from eventree import Supervisor, run
from eventree.actors import ExitKind
from eventree.errors import RestartIntensityExceeded

PROGRAM = """
import asyncio, sys
from eventree import Actor, ActorRef, ChildSpec, Supervisor, run
from eventree.actors import Status

class Worker(Actor):
    async def init(self, ctx):
        print("up", flush=True)
        ctx.ref.tell("one"); ctx.ref.tell("two")

    async def receive(self, message, ctx):
        print("got", message, flush=True)
        while message == "one" and ctx.ref.status is Status.RUNNING:
            await asyncio.sleep(0.01)
        print("stopping" if message == "one" else "done", flush=True)
        if "hang" in sys.argv:
            await asyncio.Event().wait()

    async def on_stop(self, reason):
        print("down", reason.kind.value, flush=True)

    async def on_kill(self):
        print("killed", flush=True)

async def main():
    tree = Supervisor([ChildSpec(id="worker", start=Worker, shutdown=60)])
    reason = await run(tree, drain="drain" in sys.argv)
    print("ended", reason.kind.value, flush=True)

asyncio.run(main())
"""


@contextmanager
def program(*arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """Run the program until its worker is at work on its first message."""
    command = [sys.executable, "-X", "dev", "-c", PROGRAM, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == ["up\n", "got one\n"]
            yield process
        finally:
            process.kill()


def finish(process: "subprocess.Popen[str]") -> list[str]:
    output, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors
    assert process.returncode == 0
    return output.splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_tree_in_order_and_the_program_ends_well(number: int) -> None:
    with program() as process:
        process.send_signal(number)
        assert finish(process) == ["stopping", "down shutdown", "ended shutdown"]


def test_a_first_signal_may_let_the_actors_handle_what_waits() -> None:
    with program("drain") as process:
        process.send_signal(signal.SIGTERM)
        assert finish(process) == ["stopping", "got two", "done", "down shutdown", "ended shutdown"]


def test_a_second_signal_cancels_what_does_not_stop() -> None:
    with program("hang") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        assert finish(process) == ["killed", "ended shutdown"]


async def test_it_ends_when_the_tree_does_and_gives_the_signals_back(crew: Crew) -> None:
    before = signal.getsignal(signal.SIGTERM)
    supervisor = Supervisor(crew.specs("a"))
    running = asyncio.ensure_future(run(supervisor, signals=[signal.SIGTERM]))
    await until(lambda: "a up" in crew.log)
    assert signal.getsignal(signal.SIGTERM) is not before
    await supervisor.stop()
    assert (await running).kind is ExitKind.SHUTDOWN
    assert signal.getsignal(signal.SIGTERM) is before


async def test_it_raises_what_ends_the_tree_and_gives_the_signals_back(crew: Crew) -> None:
    before = signal.getsignal(signal.SIGTERM)
    running = asyncio.ensure_future(run(Supervisor(crew.specs("a"), max_restarts=0)))
    await until(lambda: "a up" in crew.log)
    await crew.crash("a")
    with pytest.raises(RestartIntensityExceeded):
        await running
    assert signal.getsignal(signal.SIGTERM) is before


async def test_a_signal_during_the_start_gives_the_start_up(crew: Crew) -> None:
    crew.init["b"] = crew.gate.wait
    running = asyncio.ensure_future(run(Supervisor(crew.specs("a", "b"))))
    await until(lambda: "b starts" in crew.log)
    os.kill(os.getpid(), signal.SIGTERM)
    assert (await running).kind is ExitKind.SHUTDOWN
    assert crew.log[-1] == "a down shutdown"


async def test_signals_are_left_alone_on_request(crew: Crew) -> None:
    before = signal.getsignal(signal.SIGINT)
    supervisor = Supervisor(crew.specs("a"))
    running = asyncio.ensure_future(run(supervisor, signals=[]))
    await until(lambda: "a up" in crew.log)
    assert signal.getsignal(signal.SIGINT) is before
    await supervisor.stop()
    await running
