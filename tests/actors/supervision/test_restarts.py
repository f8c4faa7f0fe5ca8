"""When a child is started again, what survives, and when the supervisor gives up."""

import logging

import pytest

from actors.crew import Boom, Clock, Crew, forever, idle, raised_by_the_tree, until
from eventree import ActorCrashed, ActorStopped, EventreeError, Restart, Supervisor
from eventree.actors import Status
from eventree.errors import RestartIntensityExceeded


@pytest.mark.parametrize("end", ["stop", "crash", "killed", "stray"])
@pytest.mark.parametrize("restart", Restart)
async def test_the_restart_type_and_the_end_decide_whether_a_child_comes_back(
    crew: Crew, restart: Restart, end: str
) -> None:
    async with Supervisor([crew.spec("a", restart=restart)]) as supervisor:
        with pytest.raises(ActorStopped if end == "stop" else ActorCrashed):
            await crew.ask("a", end)
        await idle(supervisor)
        if restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and end != "stop"):
            assert await crew.ask("a", "hello") == "hello by 2"
            return
        with pytest.raises(ActorStopped):
            await crew.ask("a", "hello")
        kept = [(child.id, child.status) for child in supervisor.which_children()]
        assert kept == ([] if restart is Restart.TEMPORARY else [("a", Status.STOPPED)])


async def test_a_child_whose_task_somebody_cancels_is_restarted(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", restart=Restart.TRANSIENT)]):
        working = crew.refs["a"].ask_nowait("hang")
        await until(lambda: "a hang" in crew.log)
        crew.tasks["a"].cancel()
        with pytest.raises(ActorCrashed, match="was killed"):
            await working
        assert await crew.ask("a", "hello") == "hello by 2"
        crew.tasks["a"].cancel()  # while it is idle
        await until(lambda: crew.refs["a"].incarnation == 3)
        assert await crew.ask("a", "hello") == "hello by 3"


async def test_a_mailbox_outlives_the_crash_and_nothing_is_handled_twice(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        answers = await crew.refs["a"].ask_many(["1", "crash", "2", "3"])
    assert [answers[0], *answers[2:]] == ["1 by 1", "2 by 2", "3 by 2"]
    assert isinstance(answers[1], ActorCrashed)
    assert isinstance(answers[1].__cause__, Boom)
    assert [line for line in crew.log if line in {"a 1", "a crash", "a 2", "a 3"}] == ["a 1", "a crash", "a 2", "a 3"]


async def test_several_bad_messages_in_a_row_cost_one_restart_each(crew: Crew) -> None:
    async with Supervisor(crew.specs("a"), max_restarts=3) as supervisor:
        answers = await crew.refs["a"].ask_many(["crash", "crash", "crash", "hello"])
        assert [type(answer) for answer in answers[:3]] == [ActorCrashed] * 3
        assert answers[3] == "hello by 4"
        assert supervisor.which_children()[0].restarts == 3


async def test_messages_sent_while_the_next_incarnation_starts_wait_for_it(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")):
        crew.init["a"] = crew.gate.wait
        await crew.crash("a")
        await until(lambda: crew.refs["a"].status is Status.STARTING)
        waiting = crew.refs["a"].ask_nowait("hello")
        crew.gate.set()
        assert await waiting == "hello by 2"


async def test_what_waits_is_answered_when_the_actor_ends_for_good(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", restart=Restart.TEMPORARY)]):
        answers = await crew.refs["a"].ask_many(["crash", "queued", "queued too"])
    assert [type(answer) for answer in answers] == [ActorCrashed, ActorStopped, ActorStopped]
    assert "a queued" not in crew.log


async def test_the_supervisor_remembers_and_logs_what_a_child_crashed_with(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "eventree"):
        async with Supervisor(crew.specs("a"), name="boss") as supervisor:
            await crew.crash("a")
            await crew.ask("a", "hello")
            (child,) = supervisor.which_children()
    assert (child.status, child.incarnation, child.restarts) == (Status.RUNNING, 2, 1)
    assert child.last_crash is not None
    assert "Boom" in "".join(child.last_crash.format())
    assert [record.message for record in caplog.records] == [
        "supervisor boss: child 'a' (incarnation 1) crashed while handling str; restarting it (1 of 3 restarts)"
    ]
    assert caplog.records[0].exc_info is not None
    assert isinstance(caplog.records[0].exc_info[1], Boom)


async def test_one_restart_too_many_ends_the_tree_and_cancels_the_body(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor(
            crew.specs("a", "b", "c"), max_restarts=2, max_seconds=5, name="boss", clock=Clock()
        ) as supervisor:
            for _ in range(2):
                await crew.crash("b")
                await idle(supervisor)
            await crew.crash("b")
            crew.log.clear()
            await forever()
    error = caught.value
    assert (error.supervisor, error.max_restarts, error.max_seconds) == ("boss", 2, 5)
    assert [type(crash) for crash in error.crashes] == [Boom] * 3
    assert error.__cause__ is error.crashes[-1]
    assert crew.log == ["c down shutdown", "a down shutdown"]
    with pytest.raises(ActorStopped):
        await crew.ask("a", "hello")


async def test_with_no_restarts_allowed_the_first_crash_ends_the_tree(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded):
        async with Supervisor(crew.specs("a"), max_restarts=0):
            await crew.crash("a")
            await forever()
    assert crew.refs["a"].incarnation == 1


@pytest.mark.parametrize(("pause", "gives_up"), [(5.0, True), (5.001, False)])
async def test_a_restart_at_the_edge_of_the_window_counts(crew: Crew, pause: float, gives_up: bool) -> None:  # noqa: FBT001
    clock = Clock()
    raised: EventreeError | None = None
    try:
        async with Supervisor(crew.specs("a"), max_restarts=1, max_seconds=5.0, clock=clock) as supervisor:
            await crew.crash("a")
            assert await crew.ask("a", "hello") == "hello by 2"
            clock.now += pause
            await crew.crash("a")
            await idle(supervisor)
    except RestartIntensityExceeded as error:
        raised = error
    assert (raised is not None, crew.refs["a"].incarnation) == (gives_up, 2 if gives_up else 3)


async def test_spaced_crashes_never_end_the_tree(crew: Crew) -> None:
    clock = Clock()
    async with Supervisor(crew.specs("a"), max_restarts=1, max_seconds=5.0, clock=clock):
        for incarnation in range(1, 30):
            assert await crew.ask("a", "hello") == f"hello by {incarnation}"
            await crew.crash("a")
            clock.now += 5.1


async def test_a_normal_end_of_a_permanent_child_counts_as_a_restart(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor(crew.specs("a"), max_restarts=1) as supervisor:
            with pytest.raises(ActorStopped):
                await crew.ask("a", "stop")
            await idle(supervisor)
            with pytest.raises(ActorStopped):
                await crew.ask("a", "stop")
            await forever()
    assert caught.value.crashes == ()


async def test_a_child_that_is_not_restarted_does_not_count(crew: Crew) -> None:
    async with Supervisor([crew.spec("a", restart=Restart.TEMPORARY), crew.spec("b")], max_restarts=0) as supervisor:
        await crew.crash("a")
        await idle(supervisor)
        assert await crew.ask("b", "hello") == "hello by 1"
