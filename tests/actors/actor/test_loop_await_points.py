"""A kill at every single point where the tasks of a tree can be, one run of the same story for each."""

import asyncio
import gc
from collections import Counter
from typing import Any, Literal

import pytest

from actors.crew import Boom, ticks
from eventree import (
    Actor,
    ActorContext,
    ActorCrashed,
    ActorRef,
    ActorStopped,
    ChildSpec,
    Strategy,
    Supervisor,
)
from eventree.actors import DeadLetter, MailboxSpec, SupervisorEvent
from eventree.errors import ActorError, ChildStartError

MESSAGES = 12
CRASHES = 5
"""The message that crashes the clerk, whoever else is killed."""

Victim = Literal["clerk", "helper", "branch", "root", "asker"]


class Story:
    """A clerk who asks a helper about each message; messages are sent and asked by turns."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()
        self.refused: list[int] = []
        self.letters = 0
        self.clerk = ActorRef[int, int]("clerk", mailbox=MailboxSpec(maxsize=4))
        self.helper = ActorRef[int, int]("helper")
        self.branch = ActorRef[Any, object]("branch")
        self.asker: asyncio.Task[Any] | None = None
        branch = ChildSpec(id="branch", start=self.make_branch, ref=self.branch)
        self.tree = Supervisor([branch], name="root", on_event=self.note)

    def make_branch(self) -> Supervisor:
        return Supervisor(
            [
                ChildSpec(id="helper", start=Helper, ref=self.helper),
                ChildSpec(id="clerk", start=lambda: Clerk(self), ref=self.clerk),
            ],
            strategy=Strategy.REST_FOR_ONE,
            name="branch",
        )

    def note(self, event: SupervisorEvent) -> None:
        self.letters += isinstance(event, DeadLetter)

    def task_of(self, victim: Victim) -> "asyncio.Task[Any] | None":
        root = self.tree.children.address
        tasks: dict[Victim, asyncio.Task[Any] | None] = {
            "asker": self.asker,
            "clerk": self.clerk.task,
            "helper": self.helper.task,
            "branch": self.branch.task,
            "root": None if root is None else root.task,
        }
        return tasks[victim]

    async def live(self, victim: Victim, point: int) -> bool:
        """Live through the story, killing at one point; return whether it was not over before."""
        killing = asyncio.ensure_future(self.kill(victim, point))
        try:
            async with self.tree:
                self.asker = asyncio.ensure_future(self.send_all())
                await asyncio.wait({self.asker})
        except (ActorStopped, ChildStartError):
            assert victim in {"root", "branch", "helper", "clerk"}
        struck = killing.done()
        killing.cancel()
        return struck

    async def kill(self, victim: Victim, point: int) -> None:
        await ticks(point)
        task = self.task_of(victim)
        if task is not None:
            task.cancel()

    async def send_all(self) -> None:
        asks: dict[int, asyncio.Future[int]] = {}
        try:
            for number in range(MESSAGES):
                if number % 3:
                    asks[number] = asyncio.ensure_future(self.clerk.ask(number))
                else:
                    await self.send(number)
                await asyncio.sleep(0)
            await asyncio.wait(asks.values())
        finally:
            for ask in asks.values():
                ask.cancel()
            ends = await asyncio.gather(*asks.values(), return_exceptions=True)
            for number, end in zip(asks, ends, strict=True):
                self.check(number, end)

    async def send(self, number: int) -> None:
        try:
            await self.clerk.send(number)
        except ActorStopped:
            self.refused.append(number)

    def check(self, number: int, end: int | BaseException) -> None:
        match end:
            case int():
                assert end == 2 * number
                assert self.begun[number] == 1
            case ActorStopped() if not self.begun[number]:
                self.refused.append(number)
            case ActorCrashed() | ActorStopped():
                assert self.begun[number] == 1
            case _:
                assert isinstance(end, asyncio.CancelledError)
                self.refused += [number] * (not self.begun[number])


class Helper(Actor[int, int]):
    """Double a number, after a while."""

    async def receive(self, message: int, ctx: ActorContext[int, int]) -> int:
        await asyncio.sleep(0)
        return 2 * message


class Clerk(Actor[int, int]):
    """Ask the helper, and note what was begun."""

    def __init__(self, story: Story) -> None:
        self.story = story

    async def init(self, ctx: ActorContext[int, int]) -> None:
        await asyncio.sleep(0)

    async def receive(self, message: int, ctx: ActorContext[int, int]) -> int:
        self.story.begun[message] += 1
        if message == CRASHES:
            raise Boom
        try:
            return await self.story.helper.ask(message)
        except ActorError:
            return 2 * message

    async def on_stop(self, reason: object) -> None:
        await asyncio.sleep(0)


async def tell(victim: Victim, point: int, task_factory: Any) -> bool:
    """Return whether the story was not over before that point."""
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    asyncio.get_running_loop().set_task_factory(task_factory)
    story = Story()
    async with asyncio.timeout(10):
        struck = await story.live(victim, point)
        if story.asker is not None:
            await asyncio.wait({story.asker})  # it has an answer to each of its questions, whatever ended
    left = [task for task in asyncio.all_tasks() - {asyncio.current_task()} if not task.done()]
    gc.collect()
    assert not left
    assert not unseen
    assert max(story.begun.values(), default=1) == 1
    if story.asker is not None and not story.asker.cancelled():
        story.asker.result()
        assert story.begun.total() + story.letters + len(story.refused) == MESSAGES
    if victim in {"clerk", "helper"} and story.asker is not None:
        assert story.begun.total() == MESSAGES
    return struck


FACTORIES = {"default": None, "eager": getattr(asyncio, "eager_task_factory", None)}


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("victim", ["clerk", "helper", "branch", "root", "asker"])
def test_wherever_a_task_is_killed_every_message_is_handled_once_or_accounted_for_and_no_task_is_left(
    victim: Victim, factory: str
) -> None:
    if factory == "eager" and FACTORIES[factory] is None:
        pytest.skip("asyncio has an eager task factory from Python 3.12 on")
    points = 0
    while asyncio.run(tell(victim, points, FACTORIES[factory])):
        points += 1
    assert points > 50
