"""Which children are restarted when one of them crashes, and in which order."""

import asyncio

import pytest

from actors.crew import Boom, Crew, forever, idle, raised_by_the_tree, until
from eventree import ActorCrashed, ActorStopped, Restart, Strategy, Supervisor
from eventree.actors import Status
from eventree.errors import ChildStartError, RestartIntensityExceeded

ONE_FOR_ONE, ONE_FOR_ALL, REST_FOR_ONE = Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE

CRASH = ["b crash", "b down crash"]


def failing_starts(crew: Crew, name: str, *failures: int) -> None:
    """Let some starts of a worker fail, counted from 1 from now on."""
    starts = 0

    async def init() -> None:
        nonlocal starts
        starts += 1
        if starts in failures:
            raise Boom(f"start {starts}")

    crew.init[name] = init


@pytest.mark.parametrize(
    ("strategy", "then", "incarnations"),
    [
        (ONE_FOR_ONE, ["b starts", "b up"], {"a": 1, "b": 2, "c": 1}),
        (
            ONE_FOR_ALL,
            ["c down shutdown", "a down shutdown", "a starts", "a up", "b starts", "b up", "c starts", "c up"],
            {"a": 2, "b": 2, "c": 2},
        ),
        (
            REST_FOR_ONE,
            ["c down shutdown", "b starts", "b up", "c starts", "c up"],
            {"a": 1, "b": 2, "c": 2},
        ),
    ],
)
async def test_a_crash_restarts_the_group_of_the_strategy_in_order(
    crew: Crew, strategy: Strategy, then: list[str], incarnations: dict[str, int]
) -> None:
    async with Supervisor(crew.specs("a", "b", "c"), strategy=strategy) as supervisor:
        crew.log.clear()
        await crew.crash("b")
        await idle(supervisor)
        assert crew.log == [*CRASH, *then]
        assert crew.incarnations() == incarnations
        assert {name: await crew.ask(name, "x") for name in "abc"} == {
            name: f"x by {incarnation}" for name, incarnation in incarnations.items()
        }
        assert [child.restarts for child in supervisor.which_children()] == [n - 1 for n in incarnations.values()]


async def test_the_state_of_an_untouched_sibling_survives_and_that_of_the_crashed_one_is_fresh(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b")):
        assert (await crew.ask("a", "count"), await crew.ask("b", "count")) == ("1", "1")
        await crew.crash("b")
        assert (await crew.ask("a", "count"), await crew.ask("b", "count")) == ("2", "1")


async def test_rest_for_one_leaves_all_in_peace_when_the_last_one_crashes(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b", "c"), strategy=REST_FOR_ONE) as supervisor:
        await crew.crash("c")
        await idle(supervisor)
        assert crew.incarnations() == {"a": 1, "b": 1, "c": 2}


@pytest.mark.parametrize("strategy", [ONE_FOR_ALL, REST_FOR_ONE])
async def test_a_temporary_bystander_is_stopped_and_forgotten(crew: Crew, strategy: Strategy) -> None:
    specs = [crew.spec("b"), crew.spec("guest", restart=Restart.TEMPORARY), crew.spec("c")]
    async with Supervisor(specs, strategy=strategy) as supervisor:
        await crew.crash("b")
        await idle(supervisor)
        assert [child.id for child in supervisor.which_children()] == ["b", "c"]
        assert crew.incarnations() == {"b": 2, "guest": 1, "c": 2}
        assert "guest down shutdown" in crew.log
        with pytest.raises(ActorStopped):
            await crew.ask("guest", "x")


@pytest.mark.parametrize(
    ("strategy", "incarnations"), [(ONE_FOR_ALL, {"a": 2, "b": 2, "c": 2}), (ONE_FOR_ONE, {"a": 1, "b": 2, "c": 1})]
)
async def test_a_group_restart_revives_siblings_that_had_ended(
    crew: Crew, strategy: Strategy, incarnations: dict[str, int]
) -> None:
    specs = [crew.spec("a", restart=Restart.TRANSIENT), crew.spec("b"), crew.spec("c")]
    async with Supervisor(specs, strategy=strategy) as supervisor:
        crew.refs["a"].tell("stop")
        await until(lambda: crew.refs["a"].status is Status.STOPPED)
        await supervisor.terminate_child("c")
        await crew.crash("b")
        await idle(supervisor)
        assert crew.incarnations() == incarnations


async def test_messages_for_siblings_wait_through_a_group_restart(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b", "c"), strategy=ONE_FOR_ALL):
        working = crew.refs["c"].ask_nowait("wait")
        waiting = [crew.refs["c"].ask_nowait(f"queued {n}") for n in range(3)]
        crew.refs["c"].mailbox.stop_requested.add_done_callback(lambda _: crew.gate.set())
        await crew.crash("b")
        assert await working == "wait by 1"
        assert [await answer for answer in waiting] == [f"queued {n} by 2" for n in range(3)]


async def test_two_children_that_crash_at_once_are_each_restarted_once(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b", "c"), strategy=ONE_FOR_ONE) as supervisor:
        doomed = [crew.refs[name].ask_nowait("crash") for name in "abc"]
        await until(lambda: all(answer.done() for answer in doomed))
        assert all(answer.exception() for answer in doomed)
        await idle(supervisor)
        assert crew.incarnations() == {"a": 2, "b": 2, "c": 2}


async def test_two_crashes_at_once_restart_the_group_once(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b", "c"), strategy=ONE_FOR_ALL, max_restarts=1) as supervisor:
        doomed = [crew.refs[name].ask_nowait("crash") for name in "ac"]
        ends = await asyncio.gather(*doomed, return_exceptions=True)
        assert [type(end) for end in ends] == [ActorCrashed, ActorCrashed]
        await idle(supervisor)
        assert crew.incarnations() == {"a": 2, "b": 2, "c": 2}


async def test_a_sibling_that_crashed_meanwhile_is_restarted_with_the_group_and_not_again(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b"), strategy=ONE_FOR_ALL, max_restarts=1) as supervisor:
        crew.on_stop["b"] = crew.gate.wait
        await crew.crash("b")  # its cleanup is still going on
        await crew.crash("a")
        crew.gate.set()
        await idle(supervisor)
        assert crew.incarnations() == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("strategy", "incarnations"),
    [
        (ONE_FOR_ONE, {"a": 1, "b": 3, "c": 1}),
        (ONE_FOR_ALL, {"a": 3, "b": 3, "c": 2}),
        (REST_FOR_ONE, {"a": 1, "b": 3, "c": 2}),
    ],
)
async def test_a_restart_that_fails_is_tried_again(
    crew: Crew, strategy: Strategy, incarnations: dict[str, int]
) -> None:
    failing_starts(crew, "b", 2)
    async with Supervisor(crew.specs("a", "b", "c"), strategy=strategy) as supervisor:
        await crew.crash("b")
        await idle(supervisor)
        assert crew.incarnations() == incarnations


async def test_a_sibling_that_fails_in_a_restart_of_all_stops_those_already_restarted_and_all_start_again(
    crew: Crew,
) -> None:
    failing_starts(crew, "c", 2)
    async with Supervisor(crew.specs("a", "b", "c"), strategy=ONE_FOR_ALL) as supervisor:
        crew.log.clear()
        await crew.crash("a")
        await idle(supervisor)
        down = ["b down shutdown", "a down shutdown"]
        up = ["a starts", "a up", "b starts", "b up", "c starts"]
        assert crew.log == ["a crash", "a down crash", "c down shutdown", down[0], *up, *down, *up, "c up"]


async def test_a_sibling_that_fails_in_a_restart_of_the_rest_is_tried_again_with_those_after_it(crew: Crew) -> None:
    failing_starts(crew, "b", 2)
    async with Supervisor(crew.specs("a", "b", "c"), strategy=REST_FOR_ONE) as supervisor:
        crew.log.clear()
        await crew.crash("a")
        await idle(supervisor)
        down = ["a crash", "a down crash", "c down shutdown", "b down shutdown"]
        assert crew.log == [*down, "a starts", "a up", "b starts", "b starts", "b up", "c starts", "c up"]


async def test_every_failed_restart_counts_and_keeps_its_own_cause(crew: Crew) -> None:
    failing_starts(crew, "b", 2, 3, 4, 5)
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor(crew.specs("a", "b"), max_restarts=2):
            await crew.crash("b")
            await forever()
    crash, *retries = caught.value.crashes
    assert isinstance(crash, Boom)
    assert all(isinstance(error, ChildStartError) for error in retries)
    assert [str(error.__cause__) for error in retries] == ["start 2", "start 3"]
    assert crew.refs["b"].incarnation == 3
