"""A tree is steered in its own event loop: from another one everything is refused at once, and nothing happened."""

from collections.abc import Awaitable, Callable

import pytest

from actors.crew import Crew
from eventree import ChildSpec, DynamicSupervisor, Supervisor
from eventree.errors import WrongEventLoop
from harness.other_loops import in_another_loop

Steer = Callable[[Supervisor, Crew], Awaitable[object]]


async def cancel_now(tree: Supervisor, _: Crew) -> None:
    tree.cancel_now()


async def delete(tree: Supervisor, _: Crew) -> None:
    tree.delete_child("a")


async def reconfigure(tree: Supervisor, crew: Crew) -> None:
    tree.reconfigure(crew.specs("a", "b"))


STEERS: dict[str, Steer] = {
    "enter": lambda tree, _: tree.__aenter__(),
    "leave": lambda tree, _: tree.__aexit__(None, None, None),
    "start_child": lambda tree, crew: tree.start_child(crew.spec("b")),
    "terminate_child": lambda tree, _: tree.terminate_child("a"),
    "restart_child": lambda tree, _: tree.restart_child("a"),
    "delete_child": delete,
    "reconfigure": reconfigure,
    "stop": lambda tree, _: tree.stop(),
    "drain": lambda tree, _: tree.stop(drain=True),
    "wait": lambda tree, _: tree.wait(),
    "cancel_now": cancel_now,
}


@pytest.mark.parametrize("steer", STEERS)
async def test_from_another_loop_a_tree_is_not_steered(crew: Crew, steer: str) -> None:
    async with Supervisor(crew.specs("a")) as tree:
        with pytest.raises(WrongEventLoop, match="another event loop"):
            await in_another_loop(lambda: STEERS[steer](tree, crew))
        assert [child.id for child in tree.which_children()] == ["a"]
        assert await crew.ask("a", "still here") == "still here by 1"


async def test_from_another_loop_no_child_is_got_or_started(crew: Crew) -> None:
    async with DynamicSupervisor(crew.spec) as tree:
        with pytest.raises(WrongEventLoop):
            await in_another_loop(lambda: tree.get_or_start("a"))
        assert tree.count_children().active == 0


async def test_a_branch_is_not_steered_from_another_loop(crew: Crew) -> None:
    branch = Supervisor(crew.specs("a"), name="branch")
    async with Supervisor([crew.spec("b"), ChildSpec(id="branch", start=lambda: branch)]):
        for steer in ("enter", "start_child", "terminate_child", "delete_child", "reconfigure"):
            with pytest.raises(WrongEventLoop):
                await in_another_loop(lambda steer=steer: STEERS[steer](branch, crew))  # type: ignore[misc]
        assert await crew.ask("a", "still here") == "still here by 1"
