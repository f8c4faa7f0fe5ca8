"""The checker finds each fault that is planted in a clean history, and nothing in the clean one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import NAMESPACE_OID, uuid5

from msgspec import structs

from eventree.stores.contract import RecordedCommand, RecordedEvent
from faults.history import Acknowledged, Invoked, Refused, Rule, Step, Unknown, unresolved, violations


@dataclass(frozen=True)
class History:
    steps: Sequence[Step]
    log: Sequence[RecordedEvent]
    commands: dict[str, RecordedCommand]

    def broken(self) -> list[tuple[Rule, str]]:
        return [(violation.rule, violation.where) for violation in violations(self.steps, self.log, self.commands)]

    def with_events(self, *log: RecordedEvent) -> "History":
        return replace(self, log=log)


def event(position: int, aggregate: str, sequence: int, command: str) -> RecordedEvent:
    metadata = json.dumps({"command": command})
    commit_id = uuid5(NAMESPACE_OID, command)
    return RecordedEvent(
        position, "ledger", aggregate, sequence, "Added", 1, "{}", metadata, commit_id, datetime.now(UTC)
    )


def recorded(id: str, aggregate: str, first: int, last: int) -> RecordedCommand:
    return RecordedCommand(id, "ledger", aggregate, first, last)


CLEAN = History(
    [
        Invoked("one", "a", 2),
        Acknowledged("one", 2, 2),
        Invoked("two", "b", 1),
        Invoked("three", "a", 2),
        Acknowledged("three", 4, 5),
        Invoked("no", "a", 1),
        Refused("no", "StoreUnavailable"),
        Acknowledged("two", 1, 3),
        Invoked("absent", "a", 1),
        Unknown("absent", "ActorTimeout"),
        Invoked("killed", "b", 1),
    ],
    [
        event(1, "a", 1, "one"),
        event(2, "a", 2, "one"),
        event(3, "b", 1, "two"),
        event(4, "a", 3, "three"),
        event(5, "a", 4, "three"),
        event(6, "b", 2, "killed"),
    ],
    {
        "one": recorded("one", "a", 1, 2),
        "two": recorded("two", "b", 1, 1),
        "three": recorded("three", "a", 3, 4),
        "killed": recorded("killed", "b", 2, 2),
    },
)


def test_a_clean_history_has_no_violations() -> None:
    assert CLEAN.broken() == []


def test_what_nobody_knows_is_unresolved() -> None:
    assert unresolved(CLEAN.steps) == [Invoked("absent", "a", 1), Invoked("killed", "b", 1)]


def test_a_retry_that_is_told_the_first_place_is_clean() -> None:
    again: list[Step] = [Invoked("killed", "b", 1), Acknowledged("killed", 2, 6)]
    assert replace(CLEAN, steps=[*CLEAN.steps, *again]).broken() == []


def test_a_refused_retry_of_an_unknown_command_is_clean() -> None:
    again: list[Step] = [Invoked("killed", "b", 1), Refused("killed", "StoreUnavailable")]
    assert replace(CLEAN, steps=[*CLEAN.steps, *again]).broken() == []


def test_a_lost_command_is_found() -> None:
    log = [each for each in CLEAN.log if each.position < 3]
    steps = [step for step in CLEAN.steps if step.command_id in {"one", "two"}]
    commands = {"one": CLEAN.commands["one"]}
    assert History(steps, log, commands).broken() == [(Rule.NOT_LOST, "'two'")]


def test_a_command_stored_twice_is_found() -> None:
    again = event(7, "b", 3, "two")
    assert (Rule.STORED_ONCE, "'two'") in CLEAN.with_events(*CLEAN.log, again).broken()


def test_an_unknown_command_stored_twice_is_found_even_under_another_commit_id() -> None:
    again = structs.replace(event(7, "b", 3, "killed"), commit_id=uuid5(NAMESPACE_OID, "other"))
    assert (Rule.STORED_ONCE, "'killed'") in CLEAN.with_events(*CLEAN.log, again).broken()


def test_a_hole_is_found() -> None:
    last = structs.replace(CLEAN.log[-1], position=7)
    assert CLEAN.with_events(*CLEAN.log[:-1], last).broken() == [(Rule.POSITIONS, "position 7 as event number 6")]


def test_a_position_given_twice_is_found() -> None:
    last = structs.replace(CLEAN.log[-1], position=5)
    assert (Rule.POSITIONS, "position 5 as event number 6") in CLEAN.with_events(*CLEAN.log[:-1], last).broken()


def test_sequences_against_the_order_of_positions_are_found() -> None:
    one, two, *rest = CLEAN.log
    swapped = [structs.replace(one, sequence=2), structs.replace(two, sequence=1), *rest]
    assert (Rule.SEQUENCES, "sequence 2 as event number 1 of 'a'") in CLEAN.with_events(*swapped).broken()


def test_half_a_commit_is_found() -> None:
    steps: list[Step] = [Invoked("half", "a", 2)]
    half = History(steps, [event(1, "a", 1, "half")], {"half": recorded("half", "a", 1, 1)})
    assert half.broken() == [(Rule.WHOLE, "'half'")]


def test_events_of_one_command_with_another_between_them_are_found() -> None:
    steps: list[Step] = [Invoked("torn", "a", 2), Invoked("other", "b", 1)]
    log = [event(1, "a", 1, "torn"), event(2, "b", 1, "other"), event(3, "a", 2, "torn")]
    commands = {"torn": recorded("torn", "a", 1, 2), "other": recorded("other", "b", 1, 1)}
    assert History(steps, log, commands).broken() == [(Rule.WHOLE, "'torn'")]


def test_events_of_one_command_under_two_commit_ids_are_found() -> None:
    one, two, *rest = CLEAN.log
    other = structs.replace(two, commit_id=uuid5(NAMESPACE_OID, "other"))
    assert CLEAN.with_events(one, other, *rest).broken() == [(Rule.WHOLE, "'one'")]


def test_a_refused_command_that_was_stored_is_found() -> None:
    stored = event(7, "a", 5, "no")
    history = replace(
        CLEAN.with_events(*CLEAN.log, stored), commands={**CLEAN.commands, "no": recorded("no", "a", 5, 5)}
    )
    assert history.broken() == [(Rule.REFUSED, "'no'")]


def test_a_wrong_place_is_found() -> None:
    for place in (Acknowledged("one", 2, 3), Acknowledged("one", 1, 2)):
        steps = [CLEAN.steps[0], place, *(step for step in CLEAN.steps if step.command_id == "killed")]
        wrong = [step for step in CLEAN.steps if step.command_id not in {"one", "killed"}]
        assert (Rule.IN_ITS_PLACE, "'one'") in replace(CLEAN, steps=[*steps, *wrong]).broken()


def test_a_retry_that_is_told_another_place_is_found() -> None:
    again: list[Step] = [Invoked("one", "a", 2), Acknowledged("one", 4, 5)]
    assert replace(CLEAN, steps=[*CLEAN.steps, *again]).broken() == [(Rule.IN_ITS_PLACE, "'one'")]


def test_a_command_before_one_that_was_answered_before_it_was_sent_is_found() -> None:
    steps: list[Step] = [Invoked("one", "a", 1), Acknowledged("one", 1, 2), Invoked("two", "b", 1)]
    log = [event(1, "b", 1, "two"), event(2, "a", 1, "one")]
    commands = {"one": recorded("one", "a", 1, 1), "two": recorded("two", "b", 1, 1)}
    assert History(steps, log, commands).broken() == [(Rule.REAL_TIME, "'two'")]


def test_an_id_that_is_not_recorded_is_found() -> None:
    commands = {id: command for id, command in CLEAN.commands.items() if id != "killed"}
    assert replace(CLEAN, commands=commands).broken() == [(Rule.RECORDED, "'killed'")]


def test_an_id_that_is_recorded_elsewhere_is_found() -> None:
    commands = {**CLEAN.commands, "two": recorded("two", "b", 2, 2)}
    assert replace(CLEAN, commands=commands).broken() == [(Rule.RECORDED, "'two'")]


def test_an_id_that_is_recorded_without_events_is_found() -> None:
    commands = {**CLEAN.commands, "absent": recorded("absent", "a", 5, 5)}
    assert replace(CLEAN, commands=commands).broken() == [(Rule.RECORDED, "'absent'")]


def test_an_event_of_a_command_that_nobody_sent_is_found() -> None:
    assert CLEAN.with_events(*CLEAN.log, event(7, "b", 3, "who")).broken() == [(Rule.INVITED, "'who'")]


def test_a_violation_reads_as_a_sentence() -> None:
    [violation] = violations([], [event(1, "b", 1, "who")], {})
    assert str(violation) == "'who': not so that every event belongs to a command that somebody sent"
