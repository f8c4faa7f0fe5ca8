"""A limit on the time for one message: past it the actor crashes, and whoever asked knows."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from actors.crew import Crew, forever, idle, until
from eventree import (
    Actor,
    ActorContext,
    ActorCrashed,
    ActorRef,
    ChildSpec,
    InvalidArgument,
    Supervisor,
)
from eventree.actors import Request
from eventree.errors import HandlerTimeout


async def test_an_actor_that_waits_too_long_in_a_message_crashes_and_comes_back(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", handler_timeout=0.01)]) as supervisor:
        with pytest.raises(ActorCrashed) as caught:
            await crew.ask("a", "hang")
        assert isinstance(caught.value.__cause__, HandlerTimeout)
        assert (caught.value.__cause__.actor, caught.value.__cause__.seconds) == ("a", 0.01)
        await idle(supervisor)
        assert await crew.ask("a", "hello") == "hello by 2"


async def test_time_between_messages_does_not_count(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", handler_timeout=0.01)]):
        assert await crew.ask("a", "hello") == "hello by 1"
        await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=0.03)
        assert await crew.ask("a", "count") == "2"


async def test_a_timeout_of_its_own_is_an_error_like_any_other() -> None:
    class Impatient(Actor[str, None]):
        async def receive(self, message: str, ctx: ActorContext[str, None]) -> None:
            async with asyncio.timeout(0.001):
                await forever()

    ref: ActorRef[str, None] = ActorRef("a")
    async with Supervisor([ChildSpec(id="a", start=Impatient, ref=ref, handler_timeout=5)]):
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask("go")
        assert type(caught.value.__cause__) is TimeoutError


async def test_a_batch_has_one_limit() -> None:
    class Batches(Actor[str, str]):
        max_batch = 10

        async def receive_batch(self, requests: Sequence[Request[str, str]], ctx: ActorContext[str, str]) -> None:
            requests[0].reply("first")
            await forever()

    ref: ActorRef[str, str] = ActorRef("a")
    async with Supervisor([ChildSpec(id="a", start=Batches, ref=ref, handler_timeout=0.01)]):
        first, second = ref.ask_nowait("1"), ref.ask_nowait("2")
        assert await first == "first"
        with pytest.raises(ActorCrashed):
            await second
        await until(lambda: ref.incarnation == 2)


async def test_a_stop_while_the_limit_runs_is_a_stop(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", handler_timeout=60, shutdown=0.01)]):
        crew.refs["a"].tell("hang")
        await until(lambda: "a hang" in crew.log)
    assert crew.tasks["a"].done()
    assert crew.refs["a"].incarnation == 1


@pytest.mark.parametrize("limit", [0, -1, "1"])
def test_the_limit_is_a_number_above_zero(crew: Crew, limit: Any) -> None:
    with pytest.raises(InvalidArgument):
        crew.spec("a", handler_timeout=limit)
