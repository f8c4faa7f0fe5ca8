"""Deciding and settling commands, as tables of values: no store, no event loop."""

from typing import Any
from uuid import UUID

import pytest

from eventree import Commit, ConcurrencyConflict, DomainError, Err, HandlerCrashed, Ok
from eventree.actors import Request
from eventree.errors import CommandIdReused, LogRolledBack
from eventree.sourcing.commands import decide as decide_module
from eventree.sourcing.commands.decide import (
    AggregateBatch,
    Answer,
    CommandBatch,
    DecideAgain,
    Keep,
    LookUp,
    PendingCommand,
    ReadCommit,
    decide,
    resolve,
    settle,
)
from eventree.sourcing.commands.load import CachedAggregate
from eventree.sourcing.commands.requests import CommandEnvelope
from eventree.stores.contract import Appended, AppendRequest, Conflict, DuplicateCommand, NewCommand, RecordedCommand
from sourcing.ledger import POISON, Added, Command, Ledger, add, add_length, crash, ledger, refuse

COMMIT = UUID(int=7)

Pending = PendingCommand[Command, Added, str]
Batch = AggregateBatch[Ledger, Command, Added, str]


def pending(
    command: Command, command_id: str | None = None, *, aggregate_id: str = "a", expected: int | None = None
) -> Pending:
    return Request(CommandEnvelope(aggregate_id, command, "{}", command_id, COMMIT, expected))


def decided(*requests: Pending, sequence: int = 2, position: int = 20) -> CommandBatch[Ledger, Command, Added, str]:
    ids = {request.message.aggregate_id for request in requests}
    return decide(ledger, {id: CachedAggregate(Ledger([5] * sequence), sequence, position) for id in ids}, requests)


def batch_of(*requests: Pending) -> Batch:
    return decided(*requests).aggregates["a"]


def kinds(steps: Any) -> list[str]:
    """Return what each step does, with what follows a look-up in vain behind it."""
    return [
        f"LookUp, {type(step.otherwise).__name__}" if isinstance(step, LookUp) else type(step).__name__
        for step in steps
    ]


def test_commands_of_an_aggregate_become_one_request() -> None:
    one, other = pending(add(1, 2), "x"), pending(add_length)
    batch = batch_of(one, other)
    assert [(each.request, each.sequence, each.events) for each in batch.decisions] == [
        (one, 4, (Added(1), Added(2))),
        (other, 5, (Added(4),)),
    ]
    append = batch.to_append()
    assert append == AppendRequest("ledger", "a", 2, append.events, [NewCommand("x", 3, 4)])
    assert [event.payload for event in append.events] == ['{"amount":1}', '{"amount":2}', '{"amount":4}']


def test_a_refusal_is_appended_as_a_check_without_events() -> None:
    assert batch_of(pending(refuse)).to_append() == AppendRequest("ledger", "a", 2, [], [])


@pytest.mark.parametrize(
    ("second", "is_deferred"),
    [
        (pending(add(2)), False),
        (pending(add(2), "y"), False),
        (pending(add(2), "x"), True),
        (pending(add(2), "x", aggregate_id="b"), True),
    ],
)
def test_a_command_with_the_id_of_an_earlier_one_is_deferred(second: Pending, is_deferred: bool) -> None:  # noqa: FBT001
    assert (decided(pending(add(1), "x"), second).deferred == [second]) is is_deferred


@pytest.mark.parametrize(("function", "command"), [("handle", crash), ("apply", add(POISON))])
def test_after_a_crash_later_commands_of_the_aggregate_are_deferred_and_nothing_is_kept(
    function: str, command: Command
) -> None:
    before, after = pending(add(1)), pending(add(2))
    batch = decided(before, pending(command), after, pending(add(3), aggregate_id="b"))
    assert batch.deferred == [after]
    assert list(batch.aggregates) == ["a", "b"]
    [stored, crashed] = settle(batch.aggregates["a"], Appended(3, 31), is_last_round=False)
    assert stored == Answer(before, Ok(Commit("a", 3, 31, (Added(1),), COMMIT)))
    assert isinstance(crashed, Answer)
    assert isinstance(crashed.result, Err)
    assert isinstance(crashed.result.error, HandlerCrashed)
    assert crashed.result.error.function == function


def test_commands_after_a_deferred_one_of_their_aggregate_are_deferred_too() -> None:
    requests = [pending(add(1), "x"), pending(add(2), "x"), pending(add(3)), pending(add(4), aggregate_id="b")]
    batch = decided(*requests)
    assert batch.deferred == requests[1:3]


def test_commands_are_deferred_once_the_batch_is_large_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide_module, "MAX_BATCH_CHARACTERS", 2 * len('{"amount":1}{}'))
    requests = [pending(add(1), aggregate_id=id) for id in "abcd"]
    assert decided(*requests).deferred == requests[2:]


def test_what_was_appended_is_kept_and_answered_in_order() -> None:
    one, nothing, other = pending(add(1, 2)), pending(add()), pending(add(3))
    steps = settle(batch_of(nothing, one, nothing, other), Appended(5, 43), is_last_round=False)
    assert steps == [
        Keep("a", CachedAggregate(Ledger([5, 5, 1, 2, 3]), 5, 43)),
        Answer(nothing, Ok(Commit("a", 2, 20, (), COMMIT))),
        Answer(one, Ok(Commit("a", 4, 42, (Added(1), Added(2)), COMMIT))),
        Answer(nothing, Ok(Commit("a", 4, 42, (), COMMIT))),
        Answer(other, Ok(Commit("a", 5, 43, (Added(3),), COMMIT))),
    ]


def test_a_failed_command_is_looked_up_only_if_it_has_an_id() -> None:
    plain, named = pending(refuse), pending(refuse, "x")
    steps = settle(batch_of(plain, named), Appended(2, 20), is_last_round=False)
    refusal: Err[DomainError[str]] = Err(DomainError("no"))
    assert steps[1:] == [Answer(plain, refusal), LookUp("x", Answer(named, refusal))]


@pytest.mark.parametrize("command", [add(1), refuse, crash], ids=["accepted", "refused", "crashed"])
@pytest.mark.parametrize(
    ("sequence", "expected", "is_last", "error"),
    [
        (3, None, False, None),
        (3, None, True, ConcurrencyConflict),
        (3, 2, False, ConcurrencyConflict),
        (3, 3, False, None),
        (3, 9, False, None),
        (3, 9, True, ConcurrencyConflict),
        (1, None, False, LogRolledBack),
        (1, 1, True, LogRolledBack),
    ],
)
@pytest.mark.parametrize("command_id", [None, "x"])
def test_after_a_conflict_a_command_is_decided_again_or_fails(
    command: Command,
    sequence: int,
    expected: int | None,
    is_last: bool,  # noqa: FBT001
    error: type | None,
    command_id: str | None,
) -> None:
    request = pending(command, command_id, expected=expected)
    [step] = settle(batch_of(request), Conflict(sequence), is_last_round=is_last)
    if command_id is not None:
        assert isinstance(step, LookUp)
        assert step.command_id == command_id
        step = step.otherwise
    if error is None:
        assert step == DecideAgain(request)
    else:
        assert isinstance(step, Answer)
        assert isinstance(step.result, Err)
        assert type(step.result.error) is error


def test_a_conflict_names_what_the_caller_expected_or_else_what_was_loaded() -> None:
    for expected, named in ((1, 1), (None, 2)):
        [step] = settle(batch_of(pending(add(1), expected=expected)), Conflict(3), is_last_round=True)
        assert isinstance(step, Answer)
        assert isinstance(step.result, Err)
        assert isinstance(step.result.error, ConcurrencyConflict)
        assert (step.result.error.expected, step.result.error.actual) == (named, 3)


def test_after_a_duplicate_all_commands_with_ids_are_looked_up_and_the_rest_decided_again() -> None:
    requests = [pending(add(1), "x"), pending(add(2)), pending(refuse, "y"), pending(refuse)]
    steps = settle(batch_of(*requests), DuplicateCommand(frozenset({"x"})), is_last_round=True)
    assert kinds(steps) == ["LookUp, DecideAgain", "DecideAgain", "LookUp, DecideAgain", "DecideAgain"]


def test_what_was_looked_up_in_vain_goes_on_as_planned() -> None:
    again = DecideAgain(pending(add(1), "x"))
    elsewhere = {"y": RecordedCommand("y", "ledger", "a", 1, 1)}
    assert resolve(LookUp("x", again), ledger, elsewhere) is again
    assert resolve(again, ledger, {"x": RecordedCommand("x", "ledger", "a", 1, 1)}) is again


@pytest.mark.parametrize(
    ("recorded", "is_reused"),
    [
        (RecordedCommand("x", "ledger", "a", 1, 1), False),
        (RecordedCommand("x", "ledger", "b", 1, 1), True),
        (RecordedCommand("x", "order", "a", 1, 1), True),
    ],
)
def test_a_repeated_command_gets_its_first_commit_if_it_is_of_the_same_aggregate(
    recorded: RecordedCommand,
    is_reused: bool,  # noqa: FBT001
) -> None:
    request = pending(add(1), "x")
    step = resolve(LookUp("x", DecideAgain(request)), ledger, {"x": recorded})
    if is_reused:
        assert isinstance(step, Answer)
        assert isinstance(step.result, Err)
        assert isinstance(step.result.error, CommandIdReused)
    else:
        assert step == ReadCommit(request, recorded)
