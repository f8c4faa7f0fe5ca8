"""Exceptions that leave the program are raised at the root; all others end one child."""

import asyncio

import pytest

from actors.crew import Crew, forever, raised_by_the_tree
from eventree import ActorRef, ChildSpec, Supervisor
from eventree.actors import Status
from eventree.errors import ChildStartError, RestartIntensityExceeded


@pytest.mark.parametrize("place", ["factory", "listener", "drain", "stop", "start_child"])
async def test_a_wish_to_leave_the_program_is_raised_at_the_root_wherever_it_comes_up(crew: Crew, place: str) -> None:
    armed = False

    def leave_when_armed(*_: object) -> None:
        if armed:
            raise SystemExit(3)

    async def leave() -> None:
        raise SystemExit(3)

    def factory() -> Supervisor:
        leave_when_armed()
        return Supervisor()

    ref: ActorRef[str, str] = ActorRef("made")
    made: ChildSpec[object, object] = ChildSpec(id="made", start=factory)  # type: ignore[arg-type]
    with raised_by_the_tree(SystemExit) as caught:
        listener = leave_when_armed if place == "listener" else None
        async with asyncio.timeout(5), Supervisor([made, *crew.specs("a", "b")], on_event=listener) as tree:
            armed = True
            match place:
                case "factory":
                    await tree.terminate_child("made")
                    with pytest.raises(ChildStartError):
                        await tree.restart_child("made")
                    await forever()
                case "listener":
                    await crew.crash("a")
                    await forever()
                case "drain":
                    crew.refs["b"].tell("exit")
                    await tree.stop(drain=True)
                case "stop":
                    crew.on_stop["b"] = leave
                case _:
                    crew.init["c"] = leave
                    with pytest.raises(ChildStartError):
                        await tree.start_child(crew.spec("c"))
                    await forever()
    assert caught.value.code == 3
    assert ref.status is Status.STOPPED
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}


async def test_a_factory_that_raises_a_cancellation_has_failed_to_start(crew: Crew) -> None:
    made = 0

    def factory() -> Supervisor:
        nonlocal made
        made += 1
        if made > 1:
            raise asyncio.CancelledError
        return Supervisor(crew.specs("a"), max_restarts=0)

    with raised_by_the_tree(RestartIntensityExceeded):
        async with asyncio.timeout(5), Supervisor([ChildSpec(id="made", start=factory)]):
            await crew.crash("a")
            await forever()
    assert made == 1 + 3


async def test_an_error_that_cannot_be_shown_is_an_error_like_any_other(crew: Crew) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    async def fail_unspeakably() -> None:
        raise Unspeakable

    crew.init["b"] = fail_unspeakably
    with pytest.raises(ChildStartError, match="child 'b' did not start: Unspeakable"):
        async with Supervisor(crew.specs("a", "b")):
            pytest.fail("the body must not run")
    assert crew.tasks["a"].done()
