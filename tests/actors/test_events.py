"""What a tree tells its listener, and what it writes to the log: each crash once, never a message's content."""

import logging
from dataclasses import dataclass

import pytest

from actors.crew import Boom, Crew, cling, forever, idle, raised_by_the_tree, until
from eventree import Actor, ActorContext, ActorRef, ChildSpec, Restart, Supervisor
from eventree.actors import (
    AskAbandoned,
    ChildAbandoned,
    ChildEnded,
    ChildStarted,
    SupervisorEvent,
    SupervisorGaveUp,
)
from eventree.errors import RestartIntensityExceeded


@dataclass(frozen=True)
class Order:
    """A message with something in it that must not be in a log."""

    card: str


class Till(Actor[Order, None]):
    """Fail on every order."""

    async def receive(self, message: Order, ctx: ActorContext[Order, None]) -> None:
        raise Boom("no money")


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


async def test_a_crash_is_one_record_with_all_that_helps_and_no_content(caplog: pytest.LogCaptureFixture) -> None:
    ref: ActorRef[Order, None] = ActorRef("till")
    async with Supervisor([ChildSpec(id="till", start=Till, ref=ref)], name="shop") as supervisor:
        ref.tell(Order(card="4111"))
        await until(lambda: ref.incarnation == 2)
        await idle(supervisor)
    (record,) = caplog.records
    assert record.name == "eventree"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "supervisor shop: child 'till' (incarnation 1) crashed while handling Order; restarting it (1 of 3 restarts)"
    )
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Boom)
    assert "4111" not in caplog.text


async def test_repeats_are_throttled_and_counted(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    async with Supervisor(crew.specs("a"), max_restarts=100) as supervisor:
        for number in range(33):
            await crew.crash("a")
            await until(lambda: crew.refs["a"].incarnation == number + 2)  # noqa: B023 - it is awaited at once
        await idle(supervisor)
    counts = [record.getMessage().rpartition("(")[2] for record in caplog.records]
    assert counts[:2] == ["1 of 100 restarts)", "2 times so far)"]
    assert counts[9:] == ["10 times so far)", "16 times so far)", "32 times so far)"]


async def test_another_kind_of_crash_is_written_though_the_first_is_throttled(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    async with Supervisor(crew.specs("a"), max_restarts=100) as supervisor:
        for number in range(12):
            await crew.crash("a")
            await until(lambda: crew.refs["a"].incarnation == number + 2)  # noqa: B023 - it is awaited at once
        crew.refs["a"].tell("stray")
        await until(lambda: crew.refs["a"].incarnation == 14)
        await idle(supervisor)
    assert len(caplog.records) == 11
    assert "UnexpectedCancellation" in caplog.text


async def test_an_expected_end_is_not_in_the_log(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    async with Supervisor(crew.specs("a", restart=Restart.TRANSIENT)) as supervisor:
        crew.refs["a"].tell("stop")
        await idle(supervisor)
        assert (await crew.refs["a"].inspect()).incarnation == 1
    assert caplog.records == []


async def test_the_last_crash_of_a_child_keeps_nothing_of_its_state_alive(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        await crew.crash("a")
        await idle(supervisor)
        crash = supervisor.which_children()[0].last_crash
        assert crash is not None
        assert "".join(crash.format_exception_only()) == "actors.crew.Boom: a\n"
        assert all(frame.locals is None for frame in crash.stack)


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


async def test_many_children_that_crash_at_one_place_are_a_record_each_and_ten_tracebacks(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    names = [str(number) for number in range(30)]
    async with Supervisor(crew.specs(*names), max_restarts=100) as supervisor:
        for name in names:
            crew.refs[name].tell("crash")
        await until(lambda: set(crew.incarnations().values()) == {2})
        crew.refs["0"].tell("stray")
        await until(lambda: crew.refs["0"].incarnation == 3)
        await idle(supervisor)
    assert [f"child {name!r}" in record.getMessage() for name, record in zip(names, caplog.records, strict=False)] == [
        True
    ] * 30
    assert [record.exc_info is not None for record in caplog.records] == [True] * 10 + [False] * 20 + [True]
