"""A scenario passes if the domain meets its expectations, and otherwise fails with both values."""

# ruff: noqa: ARG001

import re
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
from eventree import AggregateType, Err, EventSourcing, MemoryStore, Ok, Result
from eventree.errors import EventNotEncodable
from eventree.testing import Scenario, scenario
from sourcing.ledger import (
    POISON,
    Added,
    Boom,
    Ledger,
    LedgerType,
    add,
    add_length,
    crash,
    ledger,
    ledger_in_place,
)

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


def failure_of(story: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as failed:
        story()
    return str(failed.value)


STORY = """
  given    AccountOpened(account_id='a')
  given    CustomerDepositedCash(amount=Decimal('5'), balance=Decimal('5'))
  when     Withdraw(amount=Decimal('2'))
  got      CustomerWithdrewCash(amount=Decimal('2'), balance=Decimal('3'))"""

TWO_OUT = CustomerWithdrewCash(Decimal(2), Decimal(3))


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        (
            lambda story: story.then(CustomerWithdrewCash(Decimal(2), Decimal(4))),
            "event 1, CustomerWithdrewCash.balance: expected Decimal('4'), got Decimal('3')",
        ),
        (
            lambda story: story.then(CustomerWithdrewCash(Decimal(1), Decimal(4))),
            (
                "event 1, CustomerWithdrewCash.amount: expected Decimal('1'), got Decimal('2')\n"
                "event 1, CustomerWithdrewCash.balance: expected Decimal('4'), got Decimal('3')"
            ),
        ),
        (
            lambda story: story.then(OPENED),
            (
                "event 1: expected AccountOpened(account_id='a'), "
                "got CustomerWithdrewCash(amount=Decimal('2'), balance=Decimal('3'))"
            ),
        ),
        (
            lambda story: story.then(),
            "event 1 was not expected: CustomerWithdrewCash(amount=Decimal('2'), balance=Decimal('3'))",
        ),
        (lambda story: story.then(TWO_OUT, OPENED), "event 2 is missing: AccountOpened(account_id='a')"),
        (lambda story: story.then(OPENED, TWO_OUT), "event 1 is missing: AccountOpened(account_id='a')"),
        (
            lambda story: story.then_error(BankError.UNOPENED),
            (
                "expected the command to be refused, but it was accepted: "
                "<BankError.UNOPENED: 'CANT_OPERATE_ON_UNOPENED_ACCOUNT'>"
            ),
        ),
        (
            lambda story: story.then_state(Account(Decimal(9))),
            "the state, Account.balance: expected Decimal('9'), got Decimal('3')",
        ),
        (
            lambda story: story.then_state(Unopened()),
            "the state: expected Unopened(), got Account(balance=Decimal('3'))",
        ),
    ],
)
def test_a_failed_expectation_of_an_accepted_command_shows_the_differences_and_the_steps(
    expect: Callable[[BankScenario], object], says: str
) -> None:
    story = scenario(bank_account).given(OPENED, FIVE_IN).when(Withdraw(Decimal(2)))
    assert failure_of(lambda: expect(story)) == says + STORY


REFUSED = """
  when     Deposit(amount=Decimal('1'))
  refused  <BankError.UNOPENED: 'CANT_OPERATE_ON_UNOPENED_ACCOUNT'>"""


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        (
            lambda story: story.then(OPENED, FIVE_IN),
            (
                "expected the command to be accepted, but it was refused: "
                "<BankError.UNOPENED: 'CANT_OPERATE_ON_UNOPENED_ACCOUNT'>\n"
                "  expected AccountOpened(account_id='a')\n"
                "  expected CustomerDepositedCash(amount=Decimal('5'), balance=Decimal('5'))"
            ),
        ),
        (
            lambda story: story.then(),
            (
                "expected the command to be accepted, but it was refused: "
                "<BankError.UNOPENED: 'CANT_OPERATE_ON_UNOPENED_ACCOUNT'>\n  expected nothing"
            ),
        ),
        (
            lambda story: story.then_error(BankError.OVERDRAFT),
            (
                "the reason: expected <BankError.OVERDRAFT: 'CANT_WITHDRAW_MORE_THAN_CURRENT_BALANCE'>, "
                "got <BankError.UNOPENED: 'CANT_OPERATE_ON_UNOPENED_ACCOUNT'>"
            ),
        ),
        (lambda story: story.then_error("no"), "the reason: expected 'no', got <BankError.UNOPENED"),
    ],
)
def test_a_failed_expectation_of_a_refused_command_shows_the_differences_and_the_steps(
    expect: Callable[[BankScenario], object], says: str
) -> None:
    text = failure_of(lambda: expect(scenario(bank_account).when(Deposit(Decimal(1)))))
    assert text.startswith(says)
    assert text.endswith(REFUSED)


def test_a_failure_shows_all_steps_so_far() -> None:
    story = scenario(bank_account).when(OpenAccount("a")).when(Deposit(Decimal(-1))).given(FIVE_IN)
    story.when(Withdraw(Decimal(5)))
    assert failure_of(story.then).splitlines()[1:] == [
        "  when     OpenAccount(account_id='a')",
        "  got      AccountOpened(account_id='a')",
        "  when     Deposit(amount=Decimal('-1'))",
        "  refused  <BankError.NEGATIVE_DEPOSIT: 'CANT_DEPOSIT_NEGATIVE_AMOUNT'>",
        "  given    CustomerDepositedCash(amount=Decimal('5'), balance=Decimal('5'))",
        "  when     Withdraw(amount=Decimal('5'))",
        "  got      CustomerWithdrewCash(amount=Decimal('5'), balance=Decimal('0'))",
    ]


def test_a_command_that_decided_nothing_says_so() -> None:
    assert failure_of(lambda: scenario(ledger).when(add()).then(Added(1))).splitlines()[-1] == "  got      nothing"


def test_a_failure_shows_the_first_differences_and_the_last_steps() -> None:
    story = scenario(ledger).given(*map(Added, range(100))).when(add(*range(50)))
    lines = failure_of(lambda: story.then(*map(Added, range(50, 100)))).splitlines()
    assert lines[0] == "event 1, Added.amount: expected 50, got 0"
    assert lines[19:22] == [
        "event 20, Added.amount: expected 69, got 19",
        "… and 30 more differences",
        "  …        131 earlier steps",
    ]
    assert lines[22:] == [f"  got      Added(amount={number})" for number in range(30, 50)]


def test_a_failure_ends_where_the_test_expects_something() -> None:
    """What a test runner shows last is the line of the test, and nothing of what is behind it."""
    with pytest.raises(AssertionError) as failed:
        scenario(ledger).when(add(1)).then()
    frames = [entry.frame.f_locals for entry in failed.traceback]
    assert ["__tracebackhide__" in names for names in frames] == [False] + [True] * (len(frames) - 1)
    assert len(frames) > 1


@pytest.mark.parametrize("expect", [lambda story: story.then(), lambda story: story.then_error(BankError.OVERDRAFT)])
def test_an_expectation_needs_a_command(expect: Callable[[BankScenario], object]) -> None:
    with pytest.raises(AssertionError, match=r"call when\(\) first"):
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
    with pytest.raises(EventNotEncodable) as refused:
        scenario(notes).when("write")
    assert refused.value.__notes__ == ["in a scenario of notes:\n  when     'write'\n  got      Note(text=7)"]
    with pytest.raises(EventNotEncodable):
        scenario(notes).given(Note(7))  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [None, [Added(1)], Added(1), (True, [])])
def test_a_handle_that_returns_no_decision_fails_the_scenario(answer: Any) -> None:
    returned = "None (is a case missing?)" if answer is None else type(answer).__name__
    with pytest.raises(TypeError, match=re.escape(f"Err(reason), it returned {returned} for function")):
        scenario(ledger).when(lambda _: answer)


def test_an_exception_of_handle_passes_through_with_the_steps_as_a_note() -> None:
    with pytest.raises(Boom) as raised:
        scenario(ledger).given(Added(1)).when(crash)
    assert raised.traceback[-1].name == "crash"
    [note] = raised.value.__notes__
    assert note.startswith("in a scenario of ledger:\n  given    Added(amount=1)\n  when     <function crash")


@pytest.mark.parametrize(
    ("story", "last"),
    [
        (lambda: scenario(ledger).given(Added(POISON)), f"  given    Added(amount={POISON})"),
        (lambda: scenario(ledger).when(add(POISON)), f"  got      Added(amount={POISON})"),
    ],
)
def test_an_exception_of_apply_passes_through_with_the_steps_as_a_note(story: Callable[[], object], last: str) -> None:
    with pytest.raises(Boom) as raised:
        story()
    assert raised.traceback[-1].name == "apply"
    assert raised.value.__notes__[0].splitlines()[-1] == last


def changes(state: Ledger) -> Result[Sequence[Added], str]:
    state.entries.append(7)
    return Err("no")


@pytest.mark.parametrize("kind", [ledger, ledger_in_place], ids=["pure", "in_place"])
def test_a_handle_that_changes_the_state_it_was_given_fails_the_scenario(kind: LedgerType) -> None:
    text = failure_of(lambda: scenario(kind).given(Added(1)).when(changes))
    assert text.splitlines()[:2] == [
        "handle changed the state it was given; return events from handle, and change the state in apply",
        "  the state, Ledger.entries[1] was not expected: 7",
    ]


def test_an_apply_that_changes_the_state_in_place_is_no_fault() -> None:
    story = scenario(ledger_in_place).given(Added(1)).when(add(2)).then(Added(2)).when(add_length).then(Added(2))
    story.then_state(Ledger([1, 2, 2]))


class Uncopied:
    """A state that cannot be copied."""

    def __deepcopy__(self, _: object) -> object:
        raise TypeError("not me")


class Incomparable:
    """A state that is equal to nothing but itself."""


class Refusing:
    """A state that refuses to be compared."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("not me")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("state", [Uncopied, Incomparable, Refusing])
def test_a_state_that_allows_no_comparison_is_no_fault(state: type) -> None:
    def handle(_: object, amount: int) -> Result[Sequence[Added], str]:
        return Ok([Added(amount)])

    kind = AggregateType("x", handle=handle, apply=lambda state, _: state, empty_state=state, events=[Added])
    scenario(kind).when(1).then(Added(1))


@dataclass(frozen=True)
class Listed:
    entries: list[int]


def list_entries(state: Ledger) -> Result[Sequence[Added | Listed], str]:
    return Ok([Added(2), Listed(state.entries)])


def list_entries_first(state: Ledger) -> Result[Sequence[Added | Listed], str]:
    return Ok([Listed(state.entries), Added(2)])


def apply_sharing(state: Ledger, event: Added | Listed) -> Ledger:
    if isinstance(event, Listed):
        return Ledger(event.entries)
    state.entries.append(event.amount)
    return state


sharing: AggregateType[Ledger, Any, Any, str] = AggregateType(
    "sharing", handle=lambda state, decide: decide(state), apply=apply_sharing, empty_state=Ledger
)


async def test_events_are_expected_as_they_are_stored_whatever_apply_does_to_the_state_later() -> None:
    stories = [
        (list_entries, (Added(2), Listed([1])), Ledger([1])),
        (list_entries_first, (Listed([1]), Added(2)), Ledger([1, 2])),
    ]
    for decide, events, state in stories:
        scenario(sharing).given(Added(1)).when(decide).then(*events).then_state(state)
        async with MemoryStore() as store, EventSourcing(sharing, store) as system:
            await system.execute("a", lambda _: Ok([Added(1)]))
            await system.execute("a", decide)
            envelopes = (await system.load_events("a", start_from=2)).unwrap()
        assert tuple(each.payload for each in envelopes) == events


def test_steps_show_events_as_they_were_at_the_time() -> None:
    story = scenario(sharing).given(Listed(given := [1])).when(list_entries_first).when(list_entries)
    given.append(7)
    assert failure_of(story.then).splitlines()[2:] == [
        "  given    Listed(entries=[1])",
        f"  when     {list_entries_first!r}",
        "  got      Listed(entries=[1])",
        "  got      Added(amount=2)",
        f"  when     {list_entries!r}",
        "  got      Added(amount=2)",
        "  got      Listed(entries=[1, 2])",
    ]


def test_a_command_that_raised_leaves_nothing_of_the_one_before_to_be_expected() -> None:
    story = scenario(ledger).when(add(1))
    with pytest.raises(Boom):
        story.when(crash)
    with pytest.raises(AssertionError, match=r"call when\(\) first"):
        story.then(Added(1))
