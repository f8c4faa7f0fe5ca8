"""Actors that would wait for each other for ever are told so at once."""

import asyncio
from collections.abc import Callable

import pytest

from actors.crew import until
from eventree import (
    Actor,
    ActorContext,
    ActorCrashed,
    ActorRef,
    ActorTimeout,
    ChildSpec,
    Supervisor,
)
from eventree.errors import AskCycle, WouldDeadlock

Refs = dict[str, ActorRef[str, str]]


class Asker(Actor[str, str]):
    """Ask whoever comes next in the message, and answer what he answered."""

    def __init__(self, refs: Refs) -> None:
        self.refs = refs

    async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
        name, _, rest = message.partition(" ")
        if not name:
            return "end"
        if name == "beside":
            return await asyncio.create_task(self.refs[rest].ask("", timeout=0.05))
        return await self.refs[name].ask(rest, timeout=5)


def ring(*names: str) -> tuple[Refs, list[ChildSpec[str, str]]]:
    refs: Refs = {name: ActorRef(name) for name in names}
    return refs, [ChildSpec(id=name, start=lambda: Asker(refs), ref=ref) for name, ref in refs.items()]


def cycle_in(crash: ActorCrashed) -> tuple[object, ...]:
    cause: BaseException | None = crash
    while isinstance(cause, ActorCrashed):
        cause = cause.__cause__
    assert isinstance(cause, AskCycle)
    return cause.actors


@pytest.mark.parametrize(
    ("message", "cycle"), [("a", ("a", "a")), ("b a", ("b", "a", "b")), ("b c a", ("c", "a", "b", "c"))]
)
async def test_who_closes_a_ring_of_asks_is_told_at_once(message: str, cycle: tuple[str, ...]) -> None:
    refs, specs = ring("a", "b", "c")
    async with asyncio.timeout(2), Supervisor(specs, max_restarts=9):
        with pytest.raises(ActorCrashed) as caught:
            await refs["a"].ask(message)
        assert cycle_in(caught.value) == cycle


async def test_a_chain_is_no_ring() -> None:
    refs, specs = ring("a", "b", "c")
    async with asyncio.timeout(2), Supervisor(specs):
        assert await asyncio.gather(*(refs["a"].ask("b c ") for _ in range(3)), refs["b"].ask("c ")) == ["end"] * 4
        assert [ref.waits_for for ref in refs.values()] == [None] * 3


async def test_a_task_made_by_an_actor_may_ask_anybody() -> None:
    refs, specs = ring("a")
    async with asyncio.timeout(2), Supervisor(specs):
        with pytest.raises(ActorCrashed) as caught:
            await refs["a"].ask("beside a")
        assert isinstance(caught.value.__cause__, ActorTimeout)  # nobody can know that the task is waited for


@pytest.mark.parametrize("place", ["branch", "leaf", "tree"])
async def test_nobody_can_wait_for_the_end_of_what_he_is_part_of(place: str) -> None:
    branch = Supervisor(name="branch")
    found: list[tuple[object, object]] = []

    class Leaf(Actor[str, str]):
        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            ends: dict[str, Callable[[], object]] = {
                "branch": lambda: tree.terminate_child("branch"),
                "leaf": lambda: branch.terminate_child("leaf"),
                "tree": tree.stop,
            }
            with pytest.raises(WouldDeadlock) as caught:
                await ends[place]()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
            found.append((caught.value.awaited, caught.value.caller))
            return message

    async with asyncio.timeout(5), Supervisor([ChildSpec(id="branch", start=lambda: branch)], name="tree") as tree:
        ref = await branch.start_child(ChildSpec(id="leaf", start=Leaf))
        assert await ref.ask("hello") == "hello"
        assert found == [(place, "leaf")]
        await tree.terminate_child("branch")
        await until(lambda: ref.status.value == "stopped")
