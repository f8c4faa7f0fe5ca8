"""OTP's `supervisor_SUITE`, case by case under its names: new rules and new specs while it runs."""

from typing import Any

import pytest

from actors.crew import Crew, idle
from eventree import DynamicSupervisor, InvalidArgument, Restart, Strategy, Supervisor
from eventree.actors import Status
from eventree.errors import ChildAlreadyExists, ChildNotFound, TooManyChildren


async def test_code_change(crew: Crew) -> None:
    """New rules count from now on, and what runs goes on."""
    async with Supervisor(crew.specs("a", "b")) as supervisor:
        supervisor.reconfigure(strategy=Strategy.ONE_FOR_ALL, max_restarts=7, max_seconds=70)
        assert supervisor.tree().startswith("supervisor [one_for_all, 0 of 7 restarts in 70 s]")
        assert crew.incarnations() == {"a": 1, "b": 1}
        await crew.crash("a")
        await idle(supervisor)
        assert crew.incarnations() == {"a": 2, "b": 2}


async def test_code_change_map(crew: Crew) -> None:
    """New specs replace old ones by id; new ids are added, not started; the others stay as they are."""
    async with Supervisor(crew.specs("a", "b")) as supervisor:
        supervisor.reconfigure([crew.spec("c"), crew.spec("a", restart=Restart.TRANSIENT, shutdown=9)])
        assert [(child.id, child.status) for child in supervisor.which_children()] == [
            ("a", Status.RUNNING),
            ("b", Status.RUNNING),
            ("c", Status.STOPPED),
        ]
        assert (supervisor.get_childspec("a").restart, supervisor.get_childspec("a").shutdown) == (Restart.TRANSIENT, 9)
        assert supervisor.get_childspec("b").restart is Restart.PERMANENT
        crew.refs["a"].tell("stop")
        await idle(supervisor)
        assert crew.refs["a"].status is Status.STOPPED
        await supervisor.restart_child("c")
        assert await crew.ask("c", "hello") == "hello by 1"


FAULTY: list[dict[str, Any]] = [
    {"strategy": "rest_for_one"},
    {"max_restarts": -1},
    {"max_seconds": 0},
    {"auto_shutdown": "any_significant"},
]


@pytest.mark.parametrize("faulty", FAULTY)
async def test_code_change_refuses_what_is_faulty_as_a_whole(crew: Crew, faulty: dict[str, Any]) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        before = supervisor.tree()
        with pytest.raises(InvalidArgument):
            supervisor.reconfigure(crew.specs("b", shutdown=1), **{"max_restarts": 5, **faulty})
        with pytest.raises(InvalidArgument):
            supervisor.reconfigure([crew.spec("b", restart=Restart.TRANSIENT, significant=True)], max_restarts=5)
        with pytest.raises(ChildAlreadyExists):
            supervisor.reconfigure(crew.specs("b", "b"), max_restarts=5)
        stranger: Any = object()
        with pytest.raises(InvalidArgument, match="children: must be ChildSpec objects, got object"):
            supervisor.reconfigure([crew.spec("b"), stranger], max_restarts=5)
        assert supervisor.tree() == before
        with pytest.raises(ChildNotFound):
            supervisor.get_childspec("b")


async def test_code_change_simple(crew: Crew) -> None:
    async with DynamicSupervisor[str, str, str](crew.spec) as pool:
        await pool.get_or_start("a")
        pool.reconfigure(max_restarts=7, max_seconds=70)
        assert pool.tree() == "dynamic supervisor [one_for_one, 0 of 7 restarts in 70 s]\n└── a running"
        with pytest.raises(InvalidArgument):
            pool.reconfigure(max_restarts=-1)
        assert pool.children.options.max_restarts == 7


async def test_code_change_simple_refuses_more_children_than_a_pool_may_have(crew: Crew) -> None:
    async with DynamicSupervisor[str, str, str](crew.spec, max_children=2) as pool:
        await pool.get_or_start("a")
        with pytest.raises(TooManyChildren):
            pool.reconfigure(crew.specs("a", "b", "c"), max_restarts=7)
        assert pool.children.options.max_restarts == 3
        pool.reconfigure(crew.specs("a", "b"))
        assert len(pool.which_children()) == 2


async def test_code_change_simple_map(crew: Crew) -> None:
    """A child of a pool takes a new spec by its key; the others are made from the template as before."""
    async with DynamicSupervisor[str, str, str](crew.spec) as pool:
        await pool.get_or_start("a")
        pool.reconfigure([crew.spec("a", restart=Restart.TEMPORARY)])
        await crew.crash("a")
        await idle(pool)
        assert pool.which_children() == []
        await pool.get_or_start("b")
        assert pool.get_childspec("b").restart is Restart.PERMANENT
