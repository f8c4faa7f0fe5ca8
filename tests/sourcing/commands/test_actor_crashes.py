"""A bug in the domain is the answer to its command; it touches nothing else, whatever `apply` did to the state."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from eventree import (
    AggregateType,
    DomainError,
    Err,
    EventSourcing,
    EventStore,
    HandlerCrashed,
    MemoryStore,
    Ok,
    Result,
    SnapshotConfig,
)
from eventree.errors import CodecError, EventNotDecodable, EventNotEncodable
from eventree.testing import FailingStore
from sourcing.ledger import (
    POISON,
    Added,
    Boom,
    Command,
    Ledger,
    LedgerSystem,
    LedgerType,
    add,
    add_length,
    crash,
    entries,
    handle,
    ledger,
    ledger_in_place,
)

either_apply = pytest.mark.parametrize("kind", [ledger, ledger_in_place], ids=["pure", "in_place"])


def answers(command: Any) -> Command:
    return lambda _: command


async def returns_later(_: Ledger) -> Result[Sequence[Added], str]:
    return Ok([])


FOREIGN: Any = Ok([Added(1), "what?"])
WRONG_FIELD: Any = Ok([Added(1), Added("x")])  # type: ignore[arg-type]

BUGS: list[tuple[Command, type[Exception]]] = [
    (crash, HandlerCrashed),
    (add(1, POISON), HandlerCrashed),
    (answers(None), HandlerCrashed),
    (answers([Added(1)]), HandlerCrashed),
    (answers(Ok(None)), HandlerCrashed),
    (answers(Ok(Added(1))), HandlerCrashed),
    (answers(FOREIGN), EventNotEncodable),
    (answers(WRONG_FIELD), EventNotEncodable),
]
NAMES = ["handle", "apply", "none", "list", "ok_none", "ok_event", "foreign", "wrong_field"]


async def still_running(system: LedgerSystem) -> bool:
    return (await system.system_stats()).actor_restarts == 0


@pytest.mark.durable
@either_apply
@pytest.mark.parametrize(("bug", "error"), BUGS, ids=NAMES)
async def test_a_bug_is_the_answer_to_its_command_only(
    store: EventStore, kind: LedgerType, bug: Command, error: type[Exception]
) -> None:
    async with EventSourcing(kind, store) as system:
        await system.execute_many([("a", add(5)), ("b", add(6))])
        story = [
            ("a", add(7)),
            ("b", add_length),
            ("a", bug),
            ("a", add_length),
            ("b", bug),
            ("b", add(8)),
            ("a", add(9)),
        ]
        got = await system.execute_many(story)
        assert [type(each.error) if isinstance(each, Err) else "ok" for each in got] == [
            *["ok", "ok", error, "ok", error, "ok", "ok"]
        ]
        assert await entries(system, "a") == [5, 7, 2, 9]
        assert await entries(system, "b") == [6, 1, 8]
        assert await still_running(system)


@either_apply
@pytest.mark.parametrize(("bug", "error"), BUGS, ids=NAMES)
async def test_a_bug_alone_leaves_the_live_state_as_it_was(
    store: EventStore, kind: LedgerType, bug: Command, error: type[Exception]
) -> None:
    async with EventSourcing(kind, store) as system:
        await system.execute("a", add(5))
        for _ in range(2):
            failed = await system.execute("a", bug)
            assert isinstance(failed, Err)
            assert isinstance(failed.error, error)
        assert (await system.execute("a", add_length)).unwrap().events == (Added(1),)
        assert (await system.system_stats()).commands_failed == 2


@either_apply
async def test_a_refusal_in_a_batch_changes_no_state(store: EventStore, kind: LedgerType) -> None:
    refuse: Command = lambda _: Err("no")  # noqa: E731
    async with EventSourcing(kind, store) as system:
        got = await system.execute_many([("a", add(1)), ("a", refuse), ("a", add_length), ("a", refuse)])
        assert [each == Err(DomainError("no")) for each in got] == [False, True, False, True]
        assert await entries(system, "a") == [1, 1]


@pytest.mark.parametrize(("bug", "function"), [(crash, "handle"), (add(POISON), "apply")])
async def test_a_crash_names_the_function_and_keeps_its_cause(store: EventStore, bug: Command, function: str) -> None:
    async with EventSourcing(ledger, store) as system:
        failed = await system.execute("a", bug)
    assert isinstance(failed, Err)
    assert isinstance(failed.error, HandlerCrashed)
    assert (failed.error.function, failed.error.aggregate_id) == (function, "a")
    assert isinstance(failed.error.__cause__, Boom)


async def test_a_crash_given_to_execute_nowait_is_logged_and_counted(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with EventSourcing(ledger, store) as system:
        with caplog.at_level(logging.ERROR, "eventree"):
            system.execute_nowait("a", crash)
            await system.execute("b", add(1))
        assert (await system.system_stats()).commands_failed == 1
    assert ["handle of ledger failed for 'a' with Boom" in record.getMessage() for record in caplog.records] == [True]


async def test_many_crashes_of_one_aggregate_in_a_batch_are_all_answered(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as system:
        got = await system.execute_many([("a", crash if number % 2 else add_length) for number in range(40)])
        assert [isinstance(each, Err) for each in got] == [False, True] * 20
        assert await entries(system, "a") == list(range(20))


def strict_apply(state: Ledger, event: Added) -> Ledger:
    if event.amount < 0:
        raise Boom
    return Ledger([*state.entries, event.amount])


strict_ledger: LedgerType = AggregateType("ledger", handle=handle, apply=strict_apply, empty_state=Ledger)


async def test_an_aggregate_that_cannot_be_replayed_is_alone_in_that(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as writer:
        await writer.execute("broken", add(-1))
    async with EventSourcing(strict_ledger, store) as system:
        got = await system.execute_many([("fine", add(1)), ("broken", add(1)), ("fine", add_length)])
        assert [isinstance(each, Ok) for each in got] == [True, False, True]
        for answer in (got[1], await system.load_aggregate("broken")):
            assert isinstance(answer, Err)
            assert isinstance(answer.error, HandlerCrashed)
            assert answer.error.function == "apply"
        assert await still_running(system)


async def test_an_event_of_newer_code_stops_its_aggregate_only(store: EventStore) -> None:
    @dataclass(frozen=True)
    class Renamed:
        amount: int

    newer: AggregateType[Any, Any, Any, Any] = AggregateType(
        "ledger", handle=handle, apply=lambda state, _: state, empty_state=Ledger, events=[Renamed]
    )
    async with EventSourcing(newer, store) as writer:
        await writer.execute("new", answers(Ok([Renamed(1)])))
    async with EventSourcing(ledger, store) as system:
        got = await system.execute_many([("new", add(1)), ("old", add(1))])
        assert isinstance(got[0], Err)
        assert isinstance(got[0].error, EventNotDecodable)
        assert got[1].unwrap().events == (Added(1),)
        assert isinstance(await system.load_events("new"), Err)
        assert await still_running(system)


# --- bugs that are not found by type: each of them may only cost its own command


class Refused(Exception):
    pass


@dataclass(frozen=True)
class Money:
    value: Decimal


@dataclass(frozen=True)
class Grown:
    value: int
    limit = 10

    def __post_init__(self) -> None:
        if self.value > type(self).limit:
            raise Refused


def free_type(event: type, state: type = dict, make: Callable[[], Any] = dict) -> AggregateType[Any, Any, Any, Any]:
    return AggregateType(
        "free", handle=handle, apply=lambda state, _: state, empty_state=make, events=[event], state=[state]
    )


@pytest.fixture
async def memory() -> AsyncIterator[FailingStore]:
    async with FailingStore() as opened:
        yield opened


async def test_an_event_whose_comparison_raises_is_the_answer_to_its_command(memory: FailingStore) -> None:
    async with EventSourcing(free_type(Money), memory) as system:
        failed = await system.execute("a", answers(Ok([Money(Decimal("sNaN"))])))
        assert isinstance(failed, Err)
        assert isinstance(failed.error, EventNotEncodable)
        assert (await system.system_stats()).actor_restarts == 0


async def test_a_stored_event_that_its_class_now_refuses_stops_its_aggregate_only(
    memory: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EventSourcing(free_type(Grown), memory) as system:
        await system.execute("big", answers(Ok([Grown(9)])))
    monkeypatch.setattr(Grown, "limit", 5)
    async with EventSourcing(free_type(Grown), memory) as system:
        got = await system.execute_many([("big", answers(Ok([]))), ("small", answers(Ok([Grown(1)])))])
        assert isinstance(got[0], Err)
        assert isinstance(got[0].error, CodecError)
        assert isinstance(got[1], Ok)


async def test_an_empty_state_that_raises_is_the_answer_to_the_command() -> None:
    def make() -> Ledger:
        raise Boom

    async with MemoryStore() as store, EventSourcing(free_type(Money, make=make), store) as system:
        failed = await system.execute("a", answers(Ok([])))
        assert isinstance(failed, Err)
        assert isinstance(failed.error, HandlerCrashed)


async def test_a_state_that_cannot_be_compared_only_costs_its_snapshot(memory: FailingStore) -> None:
    kind = free_type(Money, Money, lambda: Money(Decimal("sNaN")))
    async with EventSourcing(kind, memory, snapshots=SnapshotConfig(frequency=1)) as system:
        answer = await system.execute("a", answers(Ok([Money(Decimal(1))])))
        assert await memory.head() == 1
        assert isinstance(answer, Ok)
