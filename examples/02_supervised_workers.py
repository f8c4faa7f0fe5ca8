"""Actors without any event sourcing: a worker that crashes and comes back, and callers that never hang.

Run it: python examples/02_supervised_workers.py
"""

import asyncio
import logging
from dataclasses import dataclass

from eventree import (
    Actor,
    ActorContext,
    ActorCrashed,
    ActorTimeout,
    ChildSpec,
    DynamicSupervisor,
    Restart,
    Supervisor,
)
from eventree.actors import Reject, Restarted


@dataclass(frozen=True, slots=True)
class Resize:
    """Ask for a picture's thumbnail."""

    picture: str
    width: int


class Resizer(Actor[Resize, str]):
    """Resize pictures, one at a time; one of them is its undoing."""

    def __init__(self) -> None:
        self.done = 0

    async def receive(self, message: Resize, ctx: ActorContext[Resize, str]) -> str:
        match message:
            case Resize(width=width) if width <= 0:
                raise Reject(f"no picture is {width} pixels wide")  # an answer, not a crash
            case Resize(picture="broken.png"):
                raise ZeroDivisionError("the picture has no pixels")  # a bug: let it crash
            case Resize(picture="huge.png"):
                await asyncio.Event().wait()
        self.done += 1
        return f"{message.picture} at {message.width}, number {self.done} of incarnation {ctx.incarnation}"


class Session(Actor[str, str]):
    """Greet one user."""

    def __init__(self, user: str) -> None:
        self.user = user

    async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
        return f"{message}, {self.user}"


def session(user: str) -> ChildSpec[str, str]:
    """Describe the actor of one user."""
    return ChildSpec(id=user, start=lambda: Session(user), restart=Restart.TRANSIENT)


async def main() -> None:
    """Let one worker crash, ask it what it cannot answer, and look at the tree meanwhile."""
    sessions = DynamicSupervisor(session, name="sessions")
    resizer = ChildSpec(id="resizer", start=Resizer, shutdown=0.1)
    branch = ChildSpec(id="sessions", start=lambda: sessions)
    async with Supervisor([resizer, branch], name="workers") as tree:
        resize = tree.ref(resizer)
        greet = await sessions.get_or_start("ann")
        print(await greet.ask("hello"))
        print(await resize.ask(Resize("cat.png", 80)))
        print(f"\nbefore:\n{tree.tree()}\n")

        async with resize.monitor() as sightings:
            waiting = [resize.ask_nowait(Resize(picture, 80)) for picture in ("broken.png", "dog.png", "emu.png")]
            for answer in await asyncio.gather(*waiting, return_exceptions=True):
                print(f"! {answer}" if isinstance(answer, ActorCrashed) else answer)
            async for sighting in sightings:
                if isinstance(sighting, Restarted):
                    print(f"restarted as incarnation {sighting.incarnation}")
                    break

        for message in (Resize("cat.png", 0), Resize("huge.png", 80)):
            try:
                await resize.ask(message, timeout=0.2)
            except (Reject, ActorTimeout) as error:
                print(f"! {type(error).__name__}: {error}")
        print(f"\nafter:\n{tree.tree()}\n")
    print(f"stopped: {resize}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)  # the crash is on purpose, and would be logged with its traceback
    asyncio.run(main())
