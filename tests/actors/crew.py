"""The actors that the tests of the runtime run, and how the tests wait for them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from eventree import Actor, ActorContext, ActorCrashed, ActorRef, ChildSpec, Supervisor
from eventree.actors import ExitKind, ExitReason, MailboxSpec, StopActor

ErrorT = TypeVar("ErrorT", bound=BaseException)


class Boom(Exception):
    """What a worker crashes with."""


class Shutdown(StopActor):
    """How an actor ends by itself as if it had been told to (OTP's `exit(shutdown)`)."""

    kind = ExitKind.SHUTDOWN


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Crew:
    """Workers by name, and all that happened to them, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.refs: dict[str, ActorRef[str, str]] = {}
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.init: dict[str, Callable[[], Awaitable[object]]] = {}
        self.on_stop: dict[str, Callable[[], Awaitable[object]]] = {}
        self.gate = asyncio.Event()

    def spec(self, name: str, *, mailbox_size: int = 1_000, **options: Any) -> ChildSpec[str, str]:
        ref = self.refs.setdefault(name, ActorRef(name, mailbox=MailboxSpec(maxsize=mailbox_size)))
        return ChildSpec(id=name, start=lambda: Worker(name, self), ref=ref, **options)

    def specs(self, *names: str, **options: Any) -> list[ChildSpec[str, str]]:
        return [self.spec(name, **options) for name in names]

    async def crash(self, name: str) -> None:
        """Return as soon as the worker has crashed; its supervisor does not know it yet."""
        with pytest.raises(ActorCrashed):
            await self.refs[name].ask("crash")

    async def ask(self, name: str, message: str) -> str:
        return await self.refs[name].ask(message)

    def incarnations(self) -> dict[str, int]:
        return {name: ref.incarnation for name, ref in self.refs.items()}


class Worker(Actor[str, str]):
    """Do what the message says and note it."""

    def __init__(self, name: str, crew: Crew) -> None:
        self.name = name
        self.crew = crew
        self.handled = 0

    async def init(self, ctx: ActorContext[str, str]) -> None:
        self.crew.tasks[self.name] = current_task()
        self.crew.log.append(f"{self.name} starts")
        if self.name in self.crew.init:
            await self.crew.init[self.name]()
        self.crew.log.append(f"{self.name} up")

    async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
        self.crew.log.append(f"{self.name} {message}")
        self.handled += 1
        match message:
            case "crash":
                raise Boom(self.name)
            case "stop" | "shutdown":
                raise StopActor if message == "stop" else Shutdown
            case "exit":
                raise SystemExit(3)
            case "killed":
                current_task().cancel()
                await asyncio.sleep(0)
            case "stray":
                future = asyncio.get_running_loop().create_future()
                future.cancel()
                await future
            case "wait":
                await self.crew.gate.wait()
            case "hang":
                await forever()
            case "linger":
                try:
                    await forever()
                finally:
                    await ticks(100)
            case "count":
                return str(self.handled)
        return f"{message} by {ctx.incarnation}"

    async def on_stop(self, reason: ExitReason) -> None:
        if self.name in self.crew.on_stop:
            await self.crew.on_stop[self.name]()
        self.crew.log.append(f"{self.name} down {reason.kind.value}")


def current_task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None
    return task


async def forever() -> None:
    """Wait until somebody cancels this, or the test is a failure."""
    async with asyncio.timeout(5):
        await asyncio.Event().wait()


async def cling(gate: asyncio.Event) -> None:
    """Swallow every cancellation."""
    while not gate.is_set():
        try:
            await gate.wait()
        except asyncio.CancelledError:
            continue


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until the condition holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is no event for everything
            await asyncio.sleep(0)


@contextmanager
def raised_by_the_tree(error: type[ErrorT]) -> Iterator[pytest.ExceptionInfo[ErrorT]]:
    """Expect the tree in the body of this `with` to end in the error and to leave no cancellation behind."""
    with pytest.raises(error) as caught:
        yield caught
    assert current_task().cancelling() == 0


async def ticks(count: int = 20) -> None:
    """Let the other tasks run until nothing that does not wait is left to do."""
    for _ in range(count):
        await asyncio.sleep(0)


async def idle(supervisor: Supervisor) -> None:
    """Return once the supervisor has dealt with every end of a child that it was told of."""
    await ticks()
    ref = supervisor.children.address
    await until(lambda: supervisor._operations.idle and (ref is None or not ref.mailbox._control))
