"""What a tree tells its listener."""

import pytest

from actors.crew import Boom, Crew, cling, forever, idle, raised_by_the_tree, until
from eventree import ChildSpec, Restart, Supervisor
from eventree.actors import AskAbandoned, ChildAbandoned, ChildEnded, ChildStarted, SupervisorEvent, SupervisorGaveUp
from eventree.errors import RestartIntensityExceeded


class Listener:
    """Note the events of a tree."""

    def __init__(self) -> None:
        self.events: list[SupervisorEvent] = []

    def __call__(self, event: SupervisorEvent) -> None:
        self.events.append(event)

    def brief(self) -> list[str]:
        return [self.describe(event) for event in self.events]

    def describe(self, event: SupervisorEvent) -> str:
        match event:
            case ChildStarted(supervisor, child, incarnation):
                return f"{supervisor}: {child} {incarnation} started"
            case ChildEnded(supervisor, child, incarnation, reason, restarting):
                return f"{supervisor}: {child} {incarnation} {reason.kind.value}{', restarting' * restarting}"
            case _:
                return f"{event.supervisor}: {type(event).__name__}"


async def test_a_listener_sees_every_start_and_end_in_order(crew: Crew) -> None:
    listener = Listener()
    async with Supervisor(crew.specs("a", "b", restart=Restart.TRANSIENT), on_event=listener) as supervisor:
        await crew.crash("a")
        crew.refs["b"].tell("stop")
        await idle(supervisor)
    assert listener.brief() == [
        "supervisor: a 1 started",
        "supervisor: b 1 started",
        "supervisor: a 1 crash, restarting",
        "supervisor: b 1 normal",
        "supervisor: a 2 started",
    ]


@pytest.mark.parametrize("error", [BaseException("odd"), GeneratorExit(), BaseExceptionGroup("g", [BaseException()])])
async def test_a_listener_that_raises_what_is_no_wish_to_leave_is_logged(
    crew: Crew, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def listener(_: SupervisorEvent) -> None:
        raise error

    async with Supervisor(crew.specs("a"), on_event=listener) as supervisor:
        await crew.crash("a")
        await idle(supervisor)
        assert crew.refs["a"].incarnation == 2
    raised = [record.exc_info[1] for record in caplog.records if record.exc_info and "on_event" in record.message]
    assert raised == [error] * 3


async def test_the_listener_at_the_root_sees_what_happens_below(crew: Crew) -> None:
    listener = Listener()
    branch = ChildSpec(id="branch", start=lambda: Supervisor(crew.specs("a"), name="branch", max_restarts=0))
    async with Supervisor([branch], name="root", on_event=listener) as supervisor:
        await crew.crash("a")
        await idle(supervisor)
        await until(lambda: crew.refs["a"].incarnation == 2)
        await idle(supervisor)
    assert listener.brief() == [
        "branch: a 1 started",
        "root: branch 1 started",
        "branch: a 1 crash, restarting",
        "branch: SupervisorGaveUp",
        "root: branch 1 crash, restarting",
        "branch: a 2 started",
        "root: branch 2 started",
    ]


async def test_the_end_of_a_tree_that_gives_up_is_an_event_with_its_error(crew: Crew) -> None:
    listener = Listener()
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor(crew.specs("a"), max_restarts=0, on_event=listener):
            await crew.crash("a")
            await forever()
    assert listener.events[-1] == SupervisorGaveUp("supervisor", caught.value)


async def test_a_task_that_is_left_behind_is_an_event(crew: Crew) -> None:
    listener = Listener()
    crew.on_stop["a"] = lambda: cling(crew.gate)
    async with Supervisor([crew.spec("a", shutdown=0.01)], on_event=listener, kill_grace=0.01):
        pass
    assert listener.events[-1] == ChildAbandoned("supervisor", "a", 1)


async def test_a_listener_that_fails_is_logged_and_harms_nobody(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: SupervisorEvent) -> None:
        raise Boom(type(event).__name__)

    async with Supervisor(crew.specs("a"), on_event=fail):
        assert await crew.ask("a", "hello") == "hello by 1"
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Boom)


async def test_an_ask_that_was_given_up_before_it_was_taken_up_is_an_event_and_not_handled(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    async with Supervisor(crew.specs("a"), on_event=listener):
        crew.refs["a"].tell("wait")
        await until(lambda: "a wait" in crew.log)
        given_up = crew.refs["a"].ask_nowait("hello")
        given_up.cancel()
        crew.gate.set()
        await crew.ask("a", "count")
    assert listener.events[1:] == [AskAbandoned("supervisor", "a", "str")]
    assert "a hello" not in crew.log
    assert caplog.records == []
