"""The root of a tree: linked to the body of its `async with`, however that ends."""

import asyncio

import pytest

from actors.crew import Boom, Crew, current_task, forever, raised_by_the_tree, ticks, until
from eventree import ActorStopped, Supervisor
from eventree.actors import Status
from eventree.errors import RestartIntensityExceeded


async def run(crew: Crew, *names: str) -> None:
    """Run a tree in a task of its own until somebody ends it."""
    async with Supervisor(crew.specs(*names), max_restarts=0):
        crew.log.append("body")
        await forever()


async def test_an_exception_of_the_body_stops_the_tree_and_goes_on(crew: Crew) -> None:
    with pytest.raises(Boom, match="body"):
        async with Supervisor(crew.specs("a", "b")):
            raise Boom("body")
    assert crew.log[-2:] == ["b down shutdown", "a down shutdown"]


async def test_cancelling_the_body_stops_the_tree_and_goes_on(crew: Crew) -> None:
    running = asyncio.ensure_future(run(crew, "a", "b"))
    await until(lambda: "body" in crew.log)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert running.cancelled()
    assert crew.log[-2:] == ["b down shutdown", "a down shutdown"]


async def test_cancelling_while_the_tree_stops_does_not_cut_the_stop_short(crew: Crew) -> None:
    crew.on_stop["b"] = crew.gate.wait

    async def body() -> None:
        async with Supervisor(crew.specs("a", "b", "c")):
            crew.log.clear()

    running = asyncio.ensure_future(body())
    await until(lambda: crew.refs.keys() >= {"b"} and crew.refs["b"].status is Status.STOPPING)
    running.cancel()
    await ticks()
    assert not running.done()
    crew.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert running.cancelled()
    assert crew.log == ["c down shutdown", "b down shutdown", "a down shutdown"]


@pytest.mark.parametrize("first", ["body", "stop"])
async def test_a_second_cancellation_makes_the_stop_quick(crew: Crew, first: str) -> None:
    crew.on_stop["b"] = crew.gate.wait

    async def body() -> None:
        async with Supervisor(crew.specs("a", "b", "c")):
            crew.log.clear()
            if first == "body":
                await forever()

    running = asyncio.ensure_future(body())
    await until(lambda: crew.log == [] and len(crew.tasks) == 3)
    if first == "body":
        running.cancel()
    await until(lambda: crew.refs["b"].status is Status.STOPPING)
    if first == "stop":
        running.cancel()
        await ticks()
    assert not running.done()
    running.cancel()
    async with asyncio.timeout(0.5):
        with pytest.raises(asyncio.CancelledError):
            await running
    assert crew.log == ["c down shutdown"]
    assert all(task.done() for task in crew.tasks.values())
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}


async def test_a_timeout_around_the_tree_works(crew: Crew) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02), Supervisor(crew.specs("a")):
            await forever()
    assert crew.log[-1] == "a down shutdown"
    assert current_task().cancelling() == 0


async def test_a_timeout_inside_the_tree_leaves_it_alone(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await forever()
        assert await crew.ask("a", "hello") == "hello by 1"


async def test_a_body_that_ends_as_the_tree_gives_up_gets_the_error_and_no_cancellation(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded):
        async with Supervisor(crew.specs("a"), max_restarts=0):
            await crew.crash("a")  # the supervisor learns of it while the body ends
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_whenever_the_body_ends_a_tree_that_gives_up_leaves_no_cancellation_behind() -> None:
    raised = set()
    for steps in range(30):
        crew = Crew()
        error: BaseException | None = None
        try:
            async with Supervisor(crew.specs("a"), max_restarts=0):
                crew.refs["a"].tell("crash")
                for _ in range(steps):
                    await asyncio.sleep(0)
        except RestartIntensityExceeded as caught:
            error = caught
        raised.add(type(error))
        assert current_task().cancelling() == 0
        await asyncio.sleep(0)
        assert crew.refs["a"].status is Status.STOPPED
    assert raised == {type(None), RestartIntensityExceeded}


async def test_the_error_of_the_tree_wins_over_a_body_that_fails_because_of_it(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor(crew.specs("a"), max_restarts=0):
            await crew.crash("a")
            try:
                await forever()
            except asyncio.CancelledError:
                raise Boom("clean up") from None
    assert isinstance(caught.value.__context__, Boom)


async def test_a_body_that_swallows_the_cancellation_still_gets_the_error(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded):
        async with Supervisor(crew.specs("a"), max_restarts=0):
            await crew.crash("a")
            try:
                await forever()
            except asyncio.CancelledError:
                crew.log.append("swallowed")
            await asyncio.sleep(0)
    assert crew.log[-1] == "swallowed"


async def test_a_tree_works_inside_a_task_group(crew: Crew) -> None:
    async def group_of_one() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(run(crew, "a"))
            await until(lambda: "body" in crew.log)
            crew.refs["a"].tell("crash")

    with pytest.raises(ExceptionGroup) as caught:
        await group_of_one()
    assert [type(error) for error in caught.value.exceptions] == [RestartIntensityExceeded]


async def test_two_trees_in_one_body_fail_one_by_one(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        with raised_by_the_tree(RestartIntensityExceeded):
            async with Supervisor(crew.specs("b"), max_restarts=0):
                crew.refs["b"].tell("crash")
                await forever()
        assert await crew.ask("a", "hello") == "hello by 1"


async def test_an_outer_tree_that_fails_stops_the_inner_one_first(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded):
        async with Supervisor(crew.specs("a"), max_restarts=0), Supervisor(crew.specs("b")):
            crew.refs["a"].tell("crash")
            await forever()
    assert crew.log[-3:] == ["a crash", "a down crash", "b down shutdown"]


async def test_a_root_whose_task_somebody_cancels_takes_the_tree_down_and_says_so(crew: Crew) -> None:
    with raised_by_the_tree(ActorStopped) as caught:
        async with Supervisor(crew.specs("a", "b")):
            (root,) = (task for task in asyncio.all_tasks() if task.get_name() == "eventree supervisor")
            root.cancel()
            await forever()
    assert caught.value.actor == "supervisor"
    assert crew.tasks["a"].done()
    assert crew.tasks["b"].done()


async def test_a_tree_may_be_left_in_another_task_than_it_was_entered_in(crew: Crew) -> None:
    supervisor = Supervisor(crew.specs("a"))
    await asyncio.create_task(supervisor.__aenter__())
    assert await crew.ask("a", "hello") == "hello by 1"
    await asyncio.create_task(supervisor.__aexit__(None, None, None))
    assert crew.refs["a"].status is Status.STOPPED


async def test_leaving_a_tree_that_was_never_entered_does_nothing(crew: Crew) -> None:
    await Supervisor(crew.specs("a")).__aexit__(None, None, None)
    assert crew.log == []
