"""OTP's `supervisor_SUITE`, case by case under its names: trees of supervisors, loops of restarts, and reports."""

import asyncio
import logging
from typing import Any

import pytest

from actors.crew import Boom, Clock, Crew, forever, idle, raised_by_the_tree, ticks, until
from eventree import ChildSpec, DynamicSupervisor, Restart, Strategy, Supervisor
from eventree.actors import Status
from eventree.errors import ChildRestarting, RestartIntensityExceeded


async def fail() -> None:
    raise Boom


async def test_tree(crew: Crew) -> None:
    """A worker's restart stays local; a branch that gives up is built anew, without what was added to it later."""

    def branch() -> Supervisor:
        return Supervisor(crew.specs("a", "b"), name="branch", max_restarts=1, clock=Clock())

    specs: list[ChildSpec[Any, Any]] = [*crew.specs("top"), ChildSpec(id="branch", start=branch)]
    async with Supervisor(specs, name="root", clock=Clock()) as root:
        below = root.children.find("branch").actor
        assert isinstance(below, Supervisor)
        await below.start_child(crew.spec("added"))
        await crew.crash("a")
        await idle(below)
        assert crew.incarnations() == {"top": 1, "a": 2, "b": 1, "added": 1}
        await crew.crash("a")
        await until(lambda: crew.refs["b"].incarnation == 2)
        await idle(root)
        assert crew.incarnations() == {"top": 1, "a": 3, "b": 2, "added": 1}
        assert crew.refs["added"].status is Status.STOPPED
        assert root.tree() == (
            "root [one_for_one, 1 of 3 restarts in 5 s]\n"
            "├── top running\n"
            "└── branch running, 1 restart, last crash RestartIntensityExceeded [one_for_one, 0 of 1 restarts in 5 s]\n"
            "    ├── a running\n"
            "    └── b running"
        )


async def check_hanging_restart_loop(crew: Crew, supervisor: Supervisor) -> None:
    """While a child cannot start, callers are answered, it can be terminated, and the tree stops."""
    async with asyncio.timeout(5):
        async with supervisor:
            for name in ("a", "b"):
                if name not in crew.refs:
                    await supervisor.start_child(crew.spec(name))
            crew.init["b"] = fail
            await crew.crash("b")
            await until(lambda: crew.refs["b"].incarnation > 20)
            for refused in (supervisor.restart_child("b"), deleting(supervisor, "b")):
                with pytest.raises(ChildRestarting):
                    await refused
            assert supervisor.count_children().specs == 2
            assert await crew.ask("a", "count") == "1"
            await supervisor.terminate_child("b")
            await idle(supervisor)
            started = crew.refs["b"].incarnation
            await ticks(100)
            assert crew.refs["b"].incarnation == started
    assert crew.log[-1] == "a down shutdown"


async def deleting(supervisor: Supervisor, id: str) -> None:
    supervisor.delete_child(id)


async def test_hanging_restart_loop(crew: Crew) -> None:
    await check_hanging_restart_loop(crew, Supervisor(crew.specs("a", "b"), max_restarts=10**6))


async def test_hanging_restart_loop_rest_for_one(crew: Crew) -> None:
    supervisor = Supervisor(crew.specs("a", "b"), strategy=Strategy.REST_FOR_ONE, max_restarts=10**6)
    await check_hanging_restart_loop(crew, supervisor)


async def test_hanging_restart_loop_simple(crew: Crew) -> None:
    await check_hanging_restart_loop(crew, DynamicSupervisor(crew.spec, max_restarts=10**6))


async def test_format_log_1(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    """A report says who, which start, how it ended, handling what, and what follows; the traceback comes along."""
    async with Supervisor(crew.specs("a"), name="shop", clock=Clock()) as supervisor:
        await crew.crash("a")
        await idle(supervisor)
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.ERROR, "eventree")
    assert record.getMessage() == (
        "supervisor shop: child 'a' (incarnation 1) crashed while handling str; restarting it (1 of 3 restarts)"
    )
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Boom)


async def test_format_log_2(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    """A report does not grow with what the actor works on: messages are named by their type, alike ones counted."""
    secret = "4111" * 10_000
    async with Supervisor([crew.spec("a", restart=Restart.TEMPORARY)]) as supervisor:
        crew.refs["a"].tell("crash")
        for _ in range(500):
            crew.refs["a"].tell(secret)
        await idle(supervisor)
    crash, lost = (record.getMessage() for record in caplog.records)
    assert crash == "supervisor supervisor: child 'a' (incarnation 1) crashed while handling str; not restarting it"
    assert lost.startswith("lost 500 str queued for actor 'a': actor 'a' is not running")
    assert len(lost) < 200
    assert "4111" not in caplog.text


async def test_the_error_of_a_tree_that_gives_up_stays_short_however_many_crashes_led_to_it(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor(crew.specs("a"), max_restarts=200, clock=Clock()):
            crew.init["a"] = fail
            await crew.crash("a")
            await forever()
    assert len(caught.value.crashes) == 201
    assert len(str(caught.value)) < 300
