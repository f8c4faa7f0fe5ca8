"""OTP's `supervisor_SUITE`, case by case under its names: supervisors that end with their significant children."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from actors.crew import Crew, forever, idle, raised_by_the_tree, ticks, until
from eventree import (
    AutoShutdown,
    ChildSpec,
    DynamicSupervisor,
    InvalidArgument,
    Restart,
    Strategy,
    Supervisor,
)
from eventree.actors import Status
from eventree.errors import RestartIntensityExceeded

TRANSIENT, TEMPORARY = Restart.TRANSIENT, Restart.TEMPORARY
NEVER, ANY, ALL = AutoShutdown.NEVER, AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT
NORMAL_ENDS, ABNORMAL_ENDS = ("stop", "shutdown"), ("crash", "killed", "stray")


async def ends(crew: Crew, supervisor: Supervisor, messages: Iterable[tuple[str, str]]) -> bool:
    """Return whether the supervisor ends by itself when its children are told to, one after the other."""
    async with asyncio.timeout(5), supervisor:
        for name, message in messages:
            crew.refs[name].tell(message)
            await idle(supervisor)
        await ticks()
        return False
    return True


def pair(crew: Crew, rule: AutoShutdown, restart: Restart, *, significant: bool = True) -> Supervisor:
    specs = crew.specs("a", "b", restart=restart, significant=significant) + crew.specs("c")
    return Supervisor(specs, auto_shutdown=rule)


@pytest.mark.parametrize("rule", [NEVER, ANY, ALL])
@pytest.mark.parametrize("end", NORMAL_ENDS + ABNORMAL_ENDS)
async def test_nonsignificant_temporary(crew: Crew, rule: AutoShutdown, end: str) -> None:
    assert not await ends(crew, pair(crew, rule, TEMPORARY, significant=False), [("a", end), ("b", end)])


@pytest.mark.parametrize("rule", [NEVER, ANY, ALL])
@pytest.mark.parametrize("end", NORMAL_ENDS + ABNORMAL_ENDS)
async def test_nonsignificant_transient(crew: Crew, rule: AutoShutdown, end: str) -> None:
    assert not await ends(crew, pair(crew, rule, TRANSIENT, significant=False), [("a", end), ("b", end)])


@pytest.mark.parametrize("end", NORMAL_ENDS + ABNORMAL_ENDS)
async def test_significant_temporary(crew: Crew, end: str) -> None:
    assert await ends(crew, pair(crew, ANY, TEMPORARY), [("a", end)])
    assert not await ends(crew, pair(crew, ALL, TEMPORARY), [("a", end)])
    assert await ends(crew, pair(crew, ALL, TEMPORARY), [("a", end), ("b", end)])


@pytest.mark.parametrize("end", NORMAL_ENDS + ABNORMAL_ENDS)
async def test_significant_transient(crew: Crew, end: str) -> None:
    """An abnormal end is restarted, so it is none."""
    normal = end in NORMAL_ENDS
    assert await ends(crew, pair(crew, ANY, TRANSIENT), [("a", end)]) is normal
    assert not await ends(crew, pair(crew, ALL, TRANSIENT), [("a", end)])
    assert await ends(crew, pair(crew, ALL, TRANSIENT), [("a", end), ("b", end)]) is normal


async def test_significant_simple(crew: Crew) -> None:
    """A pool has no such rule here: its children come and go, and none of them stands for the whole."""
    pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(
        lambda key: crew.spec(key, restart=TEMPORARY, significant=True)
    )
    async with pool:
        with pytest.raises(InvalidArgument):
            await pool.get_or_start("a")
        assert pool.which_children() == []


@pytest.mark.parametrize("rule", [ANY, ALL])
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_significant_bystander(crew: Crew, rule: AutoShutdown, strategy: Strategy) -> None:
    """A significant child that is stopped, or dropped, because of a sibling's crash does not count."""
    specs: list[ChildSpec[Any, Any]] = [
        crew.spec("a"),
        crew.spec("b", restart=TRANSIENT, significant=True),
        crew.spec("c", restart=TEMPORARY, significant=True),
    ]
    supervisor = Supervisor(specs, strategy=strategy, auto_shutdown=rule)
    assert not await ends(crew, supervisor, [("a", "crash")])
    assert crew.incarnations() == {"a": 2, "b": 2, "c": 1}


async def test_significant_escalation(crew: Crew) -> None:
    """A branch that ends with its significant child ends the next above, where it is significant itself."""

    def inner() -> Supervisor:
        return Supervisor([crew.spec("a", restart=TRANSIENT, significant=True)], name="inner", auto_shutdown=ANY)

    def middle() -> Supervisor:
        spec = ChildSpec(id="inner", start=inner, restart=TRANSIENT, significant=True)
        return Supervisor([spec, crew.spec("b")], name="middle", auto_shutdown=ANY)

    branch = ChildSpec(id="middle", start=middle, restart=TRANSIENT)
    async with asyncio.timeout(5), Supervisor([branch, crew.spec("c")], name="root") as root:
        crew.refs["a"].tell("stop")
        await until(lambda: root.which_children()[0].status is Status.STOPPED)
        assert [crew.refs[name].status for name in "abc"] == [Status.STOPPED, Status.STOPPED, Status.RUNNING]
        assert (root.which_children()[0].incarnation, root.which_children()[0].restarts) == (1, 0)


async def after_upgrade(
    crew: Crew, before: AutoShutdown, after: AutoShutdown, messages: Iterable[tuple[str, str]]
) -> bool:
    """Return whether a supervisor ends by the rule that it was given after its start."""
    supervisor = pair(crew, before, TRANSIENT, significant=before is not NEVER)
    async with asyncio.timeout(5), supervisor:
        specs = crew.specs("a", "b", restart=TRANSIENT, significant=after is not NEVER)
        supervisor.reconfigure(specs, auto_shutdown=after)
        for name, message in messages:
            crew.refs[name].tell(message)
            await idle(supervisor)
        await ticks()
        return False
    return True


FIRST, BOTH = [("a", "stop")], [("a", "stop"), ("b", "stop")]


async def test_significant_upgrade_never_any(crew: Crew) -> None:
    assert await after_upgrade(crew, NEVER, ANY, FIRST)


async def test_significant_upgrade_any_never(crew: Crew) -> None:
    assert not await after_upgrade(crew, ANY, NEVER, BOTH)


async def test_significant_upgrade_never_all(crew: Crew) -> None:
    assert not await after_upgrade(crew, NEVER, ALL, FIRST)
    assert await after_upgrade(crew, NEVER, ALL, BOTH)


async def test_significant_upgrade_all_never(crew: Crew) -> None:
    assert not await after_upgrade(crew, ALL, NEVER, BOTH)


async def test_significant_upgrade_any_all(crew: Crew) -> None:
    assert not await after_upgrade(crew, ANY, ALL, FIRST)
    assert await after_upgrade(crew, ANY, ALL, BOTH)


async def test_significant_upgrade_all_any(crew: Crew) -> None:
    assert await after_upgrade(crew, ALL, ANY, FIRST)


async def test_significant_upgrade_child(crew: Crew) -> None:
    """What is significant is the child's spec of today."""
    for significant in (True, False):
        ended = True
        async with asyncio.timeout(5), pair(crew, ANY, TRANSIENT, significant=not significant) as supervisor:
            supervisor.reconfigure(crew.specs("a", restart=TRANSIENT, significant=significant))
            crew.refs["a"].tell("stop")
            await idle(supervisor)
            await ticks()
            ended = False
        assert ended is significant


async def test_a_significant_child_that_crashes_too_often_is_a_failure_not_an_end(crew: Crew) -> None:
    specs = [crew.spec("a", restart=TRANSIENT, significant=True)]
    with raised_by_the_tree(RestartIntensityExceeded):
        async with Supervisor(specs, auto_shutdown=ANY, max_restarts=0):
            await crew.crash("a")
            await forever()
