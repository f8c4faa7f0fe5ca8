"""Given events, when a command, then events: test a domain without a store or an event loop."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Final, Generic, NoReturn, Self, TypeVar

from eventree.domain.aggregate import AggregateType
from eventree.domain.codec import Encoded
from eventree.result import Err, Ok
from eventree.testing.differences import NOTHING, differences, differences_in_order, shown

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

MOST_LINES: Final = 20
"""Lines that are shown of what differs, and of what happened."""


class Scenario(Generic[StateT, CommandT, EventT, ErrorT]):
    """Play one story of one aggregate; each step returns the scenario, so that steps can be chained.

    Every event goes through its stored form and back, as it would in a store: one that could not be stored raises
    `EventNotEncodable`. What `handle` or `apply` raises comes out as it is, with the story so far as a note. An
    expectation that is not met raises an `AssertionError` that tells what differs, and what was given and came of it.
    """

    def __init__(self, aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT]) -> None:
        """Begin with an aggregate that has no events."""
        self._type = aggregate_type
        self._state = aggregate_type.empty_state()
        self._outcome: Ok[tuple[EventT, ...]] | Err[ErrorT] | None = None
        self._story: list[str] = []

    def given(self, *events: EventT) -> Self:
        """Let events have happened.

        Args:
            events: In order; none to say that nothing has.

        Raises:
            EventNotEncodable: One of them could not be stored, so it cannot have happened.
        """
        for event in events:
            self._tell("given", event)
            self._apply(self._stored([event]))
        return self

    def when(self, command: CommandT) -> Self:
        """Give a command; its events, if it is accepted, have happened for what comes next.

        Args:
            command: What `handle` is to decide.

        Raises:
            AssertionError: `handle` has changed the state that it was given.
            EventNotEncodable: One of its events could not be stored.
            TypeError: `handle` returned no `Ok([event, ...])` or `Err(reason)`.
        """
        __tracebackhide__ = True
        self._outcome = None
        self._tell("when", command)
        before = _copy(self._state)
        with self._noting_the_story():
            decided = self._type.decide(self._state, command)
        if before is not NOTHING and before != self._state:
            changes = [f"  {line}" for line in differences("the state", before, self._state)]
            self._fail(["handle has changed the state that it was given, which only apply may do", *changes])
        match decided:
            case Ok(events):
                self._tell("got", *events or (NOTHING,))
                forms = self._stored(events)  # all of them before the first is applied, as a system does
                self._outcome = Ok(tuple(self._type.events.copies(forms)))
                self._apply(forms)
            case Err(reason):
                self._tell("refused", reason)
                self._outcome = decided
        return self

    def then(self, *events: EventT) -> Self:
        """Expect the last command to have led to exactly these events.

        Args:
            events: In order; none to say that it was accepted and decided nothing.

        Raises:
            AssertionError: It has led to others, or was refused.
        """
        __tracebackhide__ = True
        match self._decided("then()"):
            case Ok(got):
                self._expect_none(differences_in_order("event", events, got))
            case Err(reason):
                wanted = [f"  expected {shown(event)}" for event in events or (NOTHING,)]
                self._fail([f"the command was refused, which was not expected: {shown(reason)}", *wanted])
        return self

    def then_error(self, reason: ErrorT) -> Self:
        """Expect the last command to have been refused.

        Args:
            reason: What `handle` is to have returned in its `Err`.

        Raises:
            AssertionError: It was refused for another reason, or accepted.
        """
        __tracebackhide__ = True
        match self._decided("then_error()"):
            case Ok():
                self._fail([f"the command was accepted, but expected was the refusal {shown(reason)}"])
            case Err(got):
                self._expect_none(differences("the refusal", reason, got))
        return self

    def then_state(self, state: StateT) -> Self:
        """Expect the aggregate to be in this state now.

        Args:
            state: The state after all events, given or decided.

        Raises:
            AssertionError: It is in another one.
        """
        __tracebackhide__ = True
        self._expect_none(differences("the state", state, self._state))
        return self

    def _stored(self, events: Sequence[EventT]) -> list[Encoded[EventT]]:
        with self._noting_the_story():
            return [self._type.events.encode(event) for event in events]

    def _apply(self, forms: Sequence[Encoded[EventT]]) -> None:
        with self._noting_the_story():
            self._state = self._type.replay(self._state, [form.value for form in forms])

    def _decided(self, expectation: str) -> Ok[tuple[EventT, ...]] | Err[ErrorT]:
        __tracebackhide__ = True
        if self._outcome is None:
            raise AssertionError(f"{expectation} needs a when() before it")
        return self._outcome

    def _expect_none(self, lines: Sequence[str]) -> None:
        __tracebackhide__ = True
        if lines:
            self._fail(lines)

    def _fail(self, lines: Sequence[str]) -> NoReturn:
        __tracebackhide__ = True
        more = [f"… and {len(lines) - MOST_LINES} more differences"] if len(lines) > MOST_LINES else []
        raise AssertionError("\n".join([*lines[:MOST_LINES], *more, *self._told()]))

    @contextmanager
    def _noting_the_story(self) -> Generator[None, None, None]:
        """Add to what a function of the domain raises what led there."""
        try:
            yield
        except Exception as error:
            error.add_note("\n".join([f"in a scenario of {self._type.name}:", *self._told()]))
            raise

    def _tell(self, role: str, *values: object) -> None:
        self._story += [f"  {role:<7}  {shown(value)}" for value in values]  # as they are now

    def _told(self) -> list[str]:
        """Return what happened, line by line; of a long story its end."""
        hidden = len(self._story) - MOST_LINES
        begin = [f"  …        {hidden} steps before"] if hidden > 0 else []
        return [*begin, *self._story[-MOST_LINES:]]


def scenario(
    aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
) -> Scenario[StateT, CommandT, EventT, ErrorT]:
    """Begin a story: `scenario(bank_account).given(...).when(...).then(...)`.

    Args:
        aggregate_type: Whose `handle` and `apply` are tested.

    Returns:
        A scenario whose aggregate has no events yet. Its expectations raise `AssertionError`.
    """
    return Scenario(aggregate_type)


def _copy(state: object) -> object:
    """Return a copy by which to see whether a state was changed, `NOTHING` where its class allows no comparison."""
    try:
        copy = deepcopy(state)
        is_comparable = copy == state
    except Exception:  # noqa: BLE001 - a state that cannot be copied or compared is no fault
        return NOTHING
    return copy if is_comparable else NOTHING
