"""Given, when, then: a scenario passes where the domain does what it says, and fails with both sides where not."""

# ruff: noqa: ARG001

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import pytest

from bank import (
    Account,
    AccountOpened,
    BankAccount,
    BankCommand,
    BankError,
    BankEvent,
    CustomerDepositedCash,
    CustomerWithdrewCash,
    Deposit,
    OpenAccount,
    Unopened,
    Withdraw,
    bank_account,
)
from eventree import AggregateType, EventNotEncodable, Ok, Result
from eventree.testing import Scenario, scenario
from sourcing.ledger import Added, Ledger, add, ledger

BankScenario: TypeAlias = Scenario[BankAccount, BankCommand, BankEvent, BankError]

OPENED = AccountOpened("a")
FIVE_IN = CustomerDepositedCash(Decimal(5), Decimal(5))


def test_a_new_account_can_be_opened() -> None:
    scenario(bank_account).when(OpenAccount("a")).then(OPENED).then_state(Account(Decimal(0)))


def test_what_was_given_decides() -> None:
    scenario(bank_account).given(OPENED, FIVE_IN).when(Withdraw(Decimal(2))).then(
        CustomerWithdrewCash(Decimal(2), Decimal(3))
    )


def test_a_refusal_is_expected_by_its_reason_and_changes_nothing() -> None:
    story = scenario(bank_account).given(OPENED).when(Withdraw(Decimal(1)))
    story.then_error(BankError.OVERDRAFT).then_state(Account(Decimal(0)))


def test_no_events_mean_that_nothing_was_decided() -> None:
    scenario(ledger).given(Added(1)).when(add()).then().then_state(Ledger([1]))


def test_steps_can_be_chained_and_see_what_came_before() -> None:
    (
        scenario(bank_account)
        .when(OpenAccount("a"))
        .when(Deposit(Decimal(5)))
        .then(FIVE_IN)
        .when(Withdraw(Decimal(6)))
        .then_error(BankError.OVERDRAFT)
        .then_state(Account(Decimal(5)))
    )


def test_scenarios_share_nothing() -> None:
    scenario(bank_account).given(OPENED)
    scenario(bank_account).then_state(Unopened())


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        (lambda story: story.then(FIVE_IN), r"wrong events(?s:.*)CustomerDepositedCash(?s:.*)AccountOpened"),
        (lambda story: story.then(), r"wrong events\n  expected: \[\]\n  actual:   \[AccountOpened"),
        (lambda story: story.then(OPENED, OPENED), "wrong events"),
        (lambda story: story.then_error(BankError.UNOPENED), "wrong refusal(?s:.*)UNOPENED(?s:.*)the events"),
        (lambda story: story.then_state(Unopened()), "wrong state(?s:.*)Unopened(?s:.*)Account"),
    ],
)
def test_an_accepted_command_that_was_expected_to_do_otherwise_fails(
    expect: Callable[[BankScenario], object], says: str
) -> None:
    with pytest.raises(AssertionError, match=says):
        expect(scenario(bank_account).when(OpenAccount("a")))


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        (lambda story: story.then(OPENED), "wrong events(?s:.*)the refusal <BankError.UNOPENED"),
        (lambda story: story.then(), "the refusal"),
        (lambda story: story.then_error(BankError.OVERDRAFT), "wrong refusal(?s:.*)OVERDRAFT(?s:.*)UNOPENED"),
    ],
)
def test_a_refused_command_that_was_expected_to_do_otherwise_fails(
    expect: Callable[[BankScenario], object], says: str
) -> None:
    with pytest.raises(AssertionError, match=says):
        expect(scenario(bank_account).when(Deposit(Decimal(1))))


@pytest.mark.parametrize("expect", [lambda story: story.then(), lambda story: story.then_error(BankError.OVERDRAFT)])
def test_an_expectation_needs_a_command(expect: Callable[[BankScenario], object]) -> None:
    with pytest.raises(AssertionError, match=r"needs a when\(\)"):
        expect(scenario(bank_account))


@dataclass(frozen=True)
class Weighed:
    weight: float


def test_events_go_through_their_stored_form() -> None:
    def apply(_: float, event: Weighed) -> float:
        return event.weight

    scale: AggregateType[float, float, Weighed, str] = AggregateType(
        "scale", handle=lambda _, weight: Ok([Weighed(weight)]), apply=apply, empty_state=float
    )
    story = scenario(scale).given(Weighed(5))
    assert type(story._state) is float


@dataclass(frozen=True)
class Note:
    text: str


def test_an_event_that_could_not_be_stored_fails_the_scenario() -> None:
    def handle(state: int, command: object) -> Result[Sequence[Note], str]:
        return Ok([Note(7)])  # type: ignore[arg-type]

    def apply(state: int, event: Note) -> int:
        return state + 1

    notes: AggregateType[int, Any, Note, str] = AggregateType("notes", handle=handle, apply=apply, empty_state=int)
    with pytest.raises(EventNotEncodable):
        scenario(notes).when("write")
    with pytest.raises(EventNotEncodable):
        scenario(notes).given(Note(7))  # type: ignore[arg-type]
