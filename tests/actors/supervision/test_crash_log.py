"""What a tree writes to the log: each crash once, never a message's content."""

import logging
from dataclasses import dataclass

import pytest

from actors.crew import Boom, Crew, idle, until
from eventree import Actor, ActorContext, ActorRef, ChildSpec, Restart, Supervisor


@dataclass(frozen=True)
class Order:
    """A message with something in it that must not be in a log."""

    card: str


class Till(Actor[Order, None]):
    """Fail on every order."""

    async def receive(self, message: Order, ctx: ActorContext[Order, None]) -> None:
        raise Boom("no money")


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
