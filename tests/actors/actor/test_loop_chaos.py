"""Whatever happens to an actor: every ask ends, nothing is handled twice, what waits keeps its order."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given, settings, strategies as st

from actors.crew import Boom, current_task, until
from eventree import Actor, ActorContext, ActorCrashed, ActorRef, ChildSpec, Supervisor
from eventree.actors import MailboxSpec, Request, Status
from eventree.errors import ActorError

ASKS = 200
Trouble = Literal["crash", "kill", "stray"]


@dataclass
class Record:
    """What all incarnations of an actor did together."""

    task: "asyncio.Task[object] | None" = None
    begun: list[int] = field(default_factory=list)
    finished: set[int] = field(default_factory=set)


class Fragile(Actor[int, int]):
    """Work for some ticks on each message; some messages crash it."""

    max_batch = 7

    def __init__(self, record: Record, troubles: dict[int, Trouble]) -> None:
        self.record, self.troubles = record, troubles

    async def init(self, ctx: ActorContext[int, int]) -> None:
        self.record.task = current_task()
        await asyncio.sleep(0)

    async def receive_batch(self, requests: Sequence[Request[int, int]], ctx: ActorContext[int, int]) -> None:
        for request in requests:
            self.record.begun.append(request.message)
            for _ in range(request.message % 3):
                await asyncio.sleep(0)
            match self.troubles.get(request.message):
                case "crash":
                    raise Boom(request.message)
                case "kill":
                    current_task().cancel()
                    await asyncio.sleep(0)
                case "stray":
                    future = asyncio.get_running_loop().create_future()
                    future.cancel()
                    await future
            self.record.finished.add(request.message)
            request.reply(request.message)


async def kill_at_random(record: Record, seed: int) -> None:
    """Cancel the actor's task again and again, as a third party would."""
    chance = random.Random(seed)  # noqa: S311 - not a secret
    while True:
        for _ in range(chance.randrange(1, 60)):
            await asyncio.sleep(0)
        if record.task is not None:
            record.task.cancel()


async def run(seed: int, troubles: dict[int, Trouble], mailbox_size: int) -> None:
    record = Record()
    ref = ActorRef[int, int]("fragile", mailbox=MailboxSpec(maxsize=mailbox_size))
    spec = ChildSpec(id="fragile", start=lambda: Fragile(record, troubles), ref=ref)
    async with asyncio.timeout(20), Supervisor([spec], max_restarts=1_000) as supervisor:
        killing = asyncio.ensure_future(kill_at_random(record, seed))
        asks = [asyncio.ensure_future(ref.ask(number, timeout=15)) for number in range(ASKS)]
        ends = await asyncio.gather(*asks, return_exceptions=True)
        killing.cancel()
        await until(lambda: ref.status is Status.RUNNING)
        assert await ref.ask(ASKS) == ASKS
        assert supervisor.which_children()[0].restarts <= ref.incarnation - 1
    values = {end for end in ends if isinstance(end, int)}
    errors = [end for end in ends if not isinstance(end, int)]
    assert all(ends[number] == number for number in values)
    assert {type(error) for error in errors} <= {ActorCrashed}
    assert not values & troubles.keys()
    assert max(Counter(record.begun).values()) == 1
    assert values <= record.finished
    if mailbox_size >= ASKS:
        assert record.begun == sorted(record.begun)


@pytest.mark.parametrize("mailbox_size", [3, 1_000])
@pytest.mark.parametrize("seed", range(5))
async def test_every_ask_ends_and_nothing_is_handled_twice_while_the_actor_is_killed_at_random(
    seed: int, mailbox_size: int
) -> None:
    await run(seed, {}, mailbox_size)


def test_every_ask_ends_and_nothing_is_handled_twice_whatever_crashes_the_actor() -> None:
    troubles = st.dictionaries(st.integers(0, ASKS - 1), st.sampled_from(["crash", "kill", "stray"]), max_size=40)

    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    @given(seed=st.integers(0, 2**16), troubles=troubles, mailbox_size=st.sampled_from([1, 5, 1_000]))
    def check(seed: int, troubles: dict[int, Trouble], mailbox_size: int) -> None:
        asyncio.run(run(seed, troubles, mailbox_size))

    check()


@pytest.mark.parametrize("seed", range(5))
async def test_every_ask_ends_when_the_tree_stops_in_the_middle(seed: int) -> None:
    record = Record()
    ref = ActorRef[int, int]("fragile", mailbox=MailboxSpec(maxsize=5))
    spec = ChildSpec(id="fragile", start=lambda: Fragile(record, {}), ref=ref)
    async with asyncio.timeout(20):
        async with Supervisor([spec]):
            asks = [asyncio.ensure_future(ref.ask(number)) for number in range(ASKS)]
            await until(lambda: len(record.begun) >= 20 * seed)
        ends = await asyncio.gather(*asks, return_exceptions=True)
    assert all(end == number or isinstance(end, ActorError) for number, end in enumerate(ends))
    assert max(Counter(record.begun).values(), default=1) == 1
    assert {end for end in ends if isinstance(end, int)} == record.finished
