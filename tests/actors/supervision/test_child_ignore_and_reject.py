"""What an actor says to the runtime by raising: `Ignore` in `init`, `Reject` in `receive`."""

import asyncio

import pytest

from actors.crew import Crew, idle
from eventree import (
    Actor,
    ActorContext,
    ActorCrashed,
    ActorStopped,
    ChildSpec,
    DynamicSupervisor,
    Restart,
    Supervisor,
)
from eventree.actors import Ignore, Reject, Status


async def ignore() -> None:
    raise Ignore


async def test_a_child_that_wants_to_be_ignored_keeps_its_place_and_does_not_run(crew: Crew) -> None:
    crew.init["a"] = ignore
    async with Supervisor(crew.specs("a", "b")) as supervisor:
        assert [child.status for child in supervisor.which_children()] == [Status.STOPPED, Status.RUNNING]
        counts = supervisor.count_children()
        assert (counts.specs, counts.active) == (2, 1)
        with pytest.raises(ActorStopped):
            crew.refs["a"].tell("hello")
        del crew.init["a"]
        await supervisor.restart_child("a")
        assert await crew.ask("a", "hello") == "hello by 2"


@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TEMPORARY])
async def test_a_temporary_child_that_wants_to_be_ignored_is_forgotten(crew: Crew, restart: Restart) -> None:
    crew.init["a"] = ignore
    async with Supervisor() as supervisor:
        ref = await supervisor.start_child(crew.spec("a", restart=restart))
        assert ref.status is Status.STOPPED
        assert len(supervisor.which_children()) == (restart is Restart.PERMANENT)


async def test_a_dynamic_child_that_wants_to_be_ignored_is_forgotten(crew: Crew) -> None:
    crew.init["a"] = ignore
    pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(crew.spec)
    async with pool:
        assert (await pool.get_or_start("a")).status is Status.STOPPED
        assert pool.which_children() == []


async def test_a_child_that_wants_to_be_ignored_at_its_restart_is_not_tried_again(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        crew.init["a"] = ignore
        asked = [crew.refs["a"].ask_nowait(message) for message in ("crash", "queued")]
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(end) for end in ends] == [ActorCrashed, ActorStopped]
        await idle(supervisor)
        (child,) = supervisor.which_children()
        assert (child.status, child.restarts) == (Status.STOPPED, 1)


class Picky(Actor[int, int]):
    """Refuse what is negative, and crash with what is zero."""

    async def receive(self, message: int, ctx: ActorContext[int, int]) -> int:
        if message < 0:
            raise Reject("no negative numbers")
        return 100 // message


async def test_a_refusal_goes_to_the_asker_as_it_is_and_the_actor_lives_on() -> None:
    async with Supervisor() as supervisor:
        ref = await supervisor.start_child(ChildSpec(id="picky", start=Picky))
        with pytest.raises(Reject, match="no negative numbers"):
            await ref.ask(-1)
        ref.tell(-1)
        assert await ref.ask(5) == 20
        assert ref.incarnation == 1
        with pytest.raises(ActorCrashed):
            await ref.ask(0)
        assert (await ref.ask(5), ref.incarnation) == (20, 2)
