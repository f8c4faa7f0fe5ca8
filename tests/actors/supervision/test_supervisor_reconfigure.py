"""New rules and new specs for a supervisor that runs (OTP's `code_change`)."""

import pytest

from actors.crew import Boom, Clock, Crew, forever, idle, raised_by_the_tree
from eventree import InvalidArgument, Restart, Strategy, Supervisor
from eventree.actors import Status
from eventree.errors import (
    ChildAlreadyExists,
    ChildNotFound,
    ChildRunning,
    RestartIntensityExceeded,
)


async def test_a_new_strategy_counts_from_the_next_crash_on(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b")) as supervisor:
        supervisor.reconfigure(strategy=Strategy.ONE_FOR_ALL)
        await crew.crash("a")
        await idle(supervisor)
        assert crew.incarnations() == {"a": 2, "b": 2}


async def test_a_new_intensity_counts_at_once_and_begins_at_zero(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor(crew.specs("a"), max_restarts=1, clock=Clock()) as supervisor:
            await crew.crash("a")
            await idle(supervisor)
            supervisor.reconfigure(max_restarts=2, max_seconds=9)
            for _ in range(2):
                await crew.crash("a")
                await idle(supervisor)
            await crew.crash("a")
            await forever()
    assert (caught.value.max_restarts, caught.value.max_seconds) == (2, 9)
    assert [type(crash) for crash in caught.value.crashes] == [Boom] * 3


async def test_a_new_spec_counts_from_the_next_end_on_and_a_new_child_is_not_started(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b")) as supervisor:
        supervisor.reconfigure([crew.spec("a", restart=Restart.TEMPORARY), crew.spec("c")])
        assert [(child.id, child.status) for child in supervisor.which_children()] == [
            ("a", Status.RUNNING),
            ("b", Status.RUNNING),
            ("c", Status.STOPPED),
        ]
        assert supervisor.get_childspec("a").restart is Restart.TEMPORARY
        await crew.crash("a")
        await idle(supervisor)
        assert [child.id for child in supervisor.which_children()] == ["b", "c"]
        await supervisor.restart_child("c")
        assert await crew.ask("c", "hello") == "hello by 1"


@pytest.mark.parametrize(
    "rules", [{"strategy": "one_for_all"}, {"max_restarts": -1}, {"max_seconds": 0}, {"auto_shutdown": True}]
)
async def test_a_rule_that_is_none_is_refused_and_nothing_changes(crew: Crew, rules: dict[str, object]) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        with pytest.raises(InvalidArgument, match=next(iter(rules))):
            supervisor.reconfigure([crew.spec("b")], **rules)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert len(supervisor.which_children()) == 1
        with pytest.raises(InvalidArgument, match=next(iter(rules))):
            Supervisor([], **rules)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_a_child_can_be_deleted_once_it_is_stopped(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b")) as supervisor:
        with pytest.raises(ChildRunning):
            supervisor.delete_child("a")
        await supervisor.terminate_child("a")
        with pytest.raises(ChildAlreadyExists):
            await supervisor.start_child(crew.spec("a"))
        supervisor.delete_child("a")
        with pytest.raises(ChildNotFound):
            supervisor.delete_child("a")
        with pytest.raises(ChildNotFound):
            supervisor.ref("a")
        assert await (await supervisor.start_child(crew.spec("a"))).ask("hello") == "hello by 2"
        assert supervisor.ref("a") is crew.refs["a"]
