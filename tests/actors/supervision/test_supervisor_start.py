"""How a tree comes up: in order, each child ready before the next one starts, all or nothing."""

import asyncio
import logging
from contextlib import suppress

import pytest

from actors.crew import Boom, Crew, Worker, current_task, ticks
from eventree import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorTimeout,
    ChildSpec,
    InvalidArgument,
    Supervisor,
)
from eventree.actors import Status, StopActor
from eventree.errors import ChildAlreadyExists, ChildStartError


async def fail() -> None:
    raise Boom("init")


async def test_a_child_starts_after_the_init_of_the_one_before_has_returned(crew: Crew) -> None:
    crew.init["a"] = crew.init["b"] = ticks
    async with Supervisor(crew.specs("a", "b", "c")):
        assert crew.log == ["a starts", "a up", "b starts", "b up", "c starts", "c up"]


async def test_a_child_that_does_not_start_stops_the_others_in_reverse_and_the_body_never_runs(crew: Crew) -> None:
    crew.init["c"] = fail
    with pytest.raises(ChildStartError) as caught:
        async with Supervisor(crew.specs("a", "b", "c", "d")):
            crew.log.append("body")
    assert caught.value.child == "c"
    assert "Boom: init" in str(caught.value)
    assert crew.log == ["a starts", "a up", "b starts", "b up", "c starts", "b down shutdown", "a down shutdown"]
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}
    with pytest.raises(ActorStopped):
        await crew.ask("a", "hello")


async def test_the_error_of_a_failed_start_has_the_cause(crew: Crew) -> None:
    crew.init["a"] = fail
    with pytest.raises(ChildStartError) as caught:
        async with Supervisor(crew.specs("a")):
            pass
    assert isinstance(caught.value.__cause__, Boom)


async def test_the_error_of_start_child_has_the_cause(crew: Crew) -> None:
    crew.init["a"] = fail
    async with Supervisor() as supervisor:
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(crew.spec("a"))
    assert isinstance(caught.value.__cause__, Boom)


async def test_a_tree_that_did_not_start_can_be_entered_again(crew: Crew) -> None:
    crew.init["b"] = fail
    supervisor = Supervisor(crew.specs("a", "b"))
    with pytest.raises(ChildStartError):
        await supervisor.__aenter__()
    del crew.init["b"]
    async with supervisor:
        assert await crew.ask("b", "hello") == "hello by 2"
    async with supervisor:
        assert await crew.ask("a", "hello") == "hello by 3"


async def test_a_child_that_takes_too_long_to_start_is_cancelled(crew: Crew) -> None:
    crew.init["b"] = crew.gate.wait
    with pytest.raises(ChildStartError, match=r"ActorTimeout: start timed out after 0\.01 s"):
        async with Supervisor([crew.spec("a"), crew.spec("b", start_timeout=0.01)]):
            pass
    assert crew.tasks["b"].done()
    assert crew.log[-2:] == ["b starts", "a down shutdown"]


async def test_the_start_timeout_is_the_cause(crew: Crew) -> None:
    crew.init["a"] = crew.gate.wait
    async with Supervisor() as supervisor:
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(crew.spec("a", start_timeout=0.01))
    assert isinstance(caught.value.__cause__, ActorTimeout)
    assert caught.value.__cause__.seconds == 0.01


async def test_a_start_that_swallows_its_cancellation_is_left_behind(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    async def cling() -> None:
        while not crew.gate.is_set():
            try:
                await crew.gate.wait()
            except asyncio.CancelledError:
                crew.log.append("clings")
        raise StopActor

    crew.init["a"] = cling
    async with Supervisor(kill_grace=0.01) as supervisor, asyncio.timeout(5):
        with caplog.at_level(logging.ERROR, "eventree"), pytest.raises(ChildStartError):
            await supervisor.start_child(crew.spec("a", start_timeout=0.01))
    assert "actor 'a' ignored its cancellation and was abandoned" in caplog.text
    crew.gate.set()
    await crew.tasks["a"]


async def test_a_start_that_ends_too_late_leaves_the_next_one_alone(
    crew: Crew,
) -> None:
    async def cling() -> None:
        while not crew.gate.is_set():
            with suppress(asyncio.CancelledError):
                await crew.gate.wait()

    crew.init["a"] = cling
    async with asyncio.timeout(5), Supervisor(kill_grace=0.01) as supervisor:
        with pytest.raises(ChildStartError):
            await supervisor.start_child(crew.spec("a", start_timeout=0.01))
        late = crew.tasks["a"]
        crew.gate.set()
        await ticks()
        try:
            assert crew.refs["a"].status is Status.STOPPED
            del crew.init["a"]
            await supervisor.start_child(crew.spec("a"))
            assert await crew.ask("a", "hello") == "hello by 2"
            assert late.done()
        finally:
            late.cancel()


async def test_a_factory_that_makes_the_same_kind_of_thing_but_no_actor_is_refused() -> None:
    with pytest.raises(ChildStartError, match="must return a new Actor, returned str"):
        async with Supervisor([ChildSpec(id="a", start=lambda: "actor")]):  # type: ignore[arg-type, return-value]
            pass


async def test_a_factory_that_raises_is_a_failed_start() -> None:
    def broken() -> Actor[str, str]:
        raise Boom("factory")

    async with Supervisor() as supervisor:
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(ChildSpec(id="a", start=broken))
    assert isinstance(caught.value.__cause__, Boom)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_a_factory_that_is_a_coroutine_function_is_refused(crew: Crew) -> None:
    async def make() -> Actor[str, str]:
        return Worker("a", crew)

    async with Supervisor() as supervisor:
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(ChildSpec(id="a", start=make))  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, InvalidArgument)
    assert "returned coroutine" in str(caught.value)


async def test_two_children_cannot_have_one_id(crew: Crew) -> None:
    with pytest.raises(ChildAlreadyExists) as caught:
        Supervisor([*crew.specs("a", "b"), crew.spec("a")])
    assert caught.value.child == "a"


async def test_two_children_cannot_answer_to_one_reference(crew: Crew) -> None:
    twin = ChildSpec(id="twin", start=lambda: Worker("twin", crew), ref=crew.refs.setdefault("a", ActorRef("a")))
    async with Supervisor(crew.specs("a")) as supervisor:
        with pytest.raises(ChildStartError, match="AlreadyStarted: 'a' is already running"):
            await supervisor.start_child(twin)
        assert await crew.ask("a", "hello") == "hello by 1"


async def test_an_end_right_after_init_is_not_a_failed_start(crew: Crew) -> None:
    crew.init["a"] = crew.gate.wait
    async with Supervisor() as supervisor:
        starting = asyncio.ensure_future(supervisor.start_child(crew.spec("a")))
        await ticks()
        doomed = crew.refs["a"].ask_nowait("stop")
        crew.gate.set()
        with pytest.raises(ActorStopped):
            await doomed
        await starting


async def test_every_task_of_a_tree_is_gone_when_the_body_has_ended(crew: Crew) -> None:
    async with Supervisor(crew.specs("a", "b", "c")) as supervisor:
        await crew.crash("b")
        await supervisor.start_child(crew.spec("d"))
        assert len(asyncio.all_tasks()) > 1
        names = sorted(task.get_name() for task in asyncio.all_tasks() - {current_task()})
        assert names == ["eventree a", "eventree b", "eventree c", "eventree d", "eventree supervisor"]
    assert {task for task in asyncio.all_tasks() if task.get_name().startswith("eventree")} == set()


async def test_a_start_that_is_cancelled_leaves_nothing_running(crew: Crew) -> None:
    crew.init["b"] = crew.gate.wait

    async def enter() -> None:
        async with Supervisor(crew.specs("a", "b")):
            crew.log.append("body")

    entering = asyncio.ensure_future(enter())
    await ticks()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert "body" not in crew.log
    assert crew.tasks["a"].done()
    assert crew.tasks["b"].done()


async def test_a_child_cancelled_before_its_first_step_is_a_failed_start_not_the_end_of_its_supervisor(
    crew: Crew,
) -> None:
    def kill_first() -> Worker:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: [task.cancel() for task in asyncio.all_tasks() if task.get_name() == "eventree b"])
        return Worker("b", crew)

    async with Supervisor(crew.specs("a")) as supervisor:
        with pytest.raises(ChildStartError):
            await supervisor.start_child(ChildSpec(id="b", start=kill_first))
        assert await crew.ask("a", "hello") == "hello by 1"
