"""Given events, when a command, then events: test a domain without a store or an event loop."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Final, Generic, NoReturn, Self, TypeVar

from eventree.domain.aggregate import AggregateType
from eventree.domain.codec import Encoded
from eventree.result import Err, Ok
from eventree.testing._differences import NOTHING, differences, differences_in_order, shown

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

_MAX_LINES: Final = 20
"""How many differences, and how many steps of the story, an error shows."""


class Scenario(Generic[StateT, CommandT, EventT, ErrorT]):
    """Run one aggregate through events and commands; each step returns the scenario, so that steps can be chained.

    Every event is encoded and decoded as in a store, so an event that cannot be stored raises `EventNotEncodable`. An
    exception of `handle` or `apply` is raised with the steps so far as a note. A failed expectation raises an
    `AssertionError` that shows first the differences and then the steps so far.
    """

    def __init__(self, aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT]) -> None:
        """Create a scenario of an aggregate that has no events yet.

        Args:
            aggregate_type: The aggregate type whose `handle` and `apply` are tested.
        """
        self._type = aggregate_type
        self._state = aggregate_type.start()
        self._outcome: Ok[tuple[EventT, ...]] | Err[ErrorT] | None = None
        self._steps: list[str] = []

    def given(self, *events: EventT) -> Self:
        """Apply events that have happened before.

        Args:
            events: The events in order; none to say that nothing has happened.

        Raises:
            EventNotEncodable: An event cannot be stored, so it cannot have happened.
        """
        for event in events:
            self._record("given", event)
            self._apply(self._stored([event]))
        return self

    def when(self, command: CommandT) -> Self:
        """Let `handle` decide a command; if it is accepted, apply its events.

        Args:
            command: The command for `handle`.

        Raises:
            AssertionError: `handle` changed the state passed to it.
            EventNotEncodable: One of the events cannot be stored.
            TypeError: `handle` returned neither `Ok([event, ...])` nor `Err(reason)`.
        """
        __tracebackhide__ = True
        self._outcome = None
        self._record("when", command)
        before = _copy(self._state)
        with self._noting_steps():
            decided = self._type.decide(self._state, command)
        if before is not NOTHING and before != self._state:
            changes = [f"  {line}" for line in differences("the state", before, self._state)]
            self._fail(
                [
                    "handle changed the state it was given; return events from handle, and change the state in apply",
                    *changes,
                ]
            )
        match decided:
            case Ok(events):
                self._record("got", *events or (NOTHING,))
                forms = self._stored(events)  # encode all before applying the first, as a running system does
                self._outcome = Ok(tuple(self._type.events.copies(forms)))
                self._apply(forms)
            case Err(reason):
                self._record("refused", reason)
                self._outcome = decided
        return self

    def then(self, *events: EventT) -> Self:
        """Expect the last command to be accepted with exactly these events.

        Args:
            events: The expected events in order; none to say that the command was accepted and produced no events.

        Raises:
            AssertionError: The command was refused or produced other events, or there was no command.
        """
        __tracebackhide__ = True
        match self._decided("then()"):
            case Ok(got):
                self._expect_none(differences_in_order("event", events, got))
            case Err(reason):
                wanted = [f"  expected {shown(event)}" for event in events or (NOTHING,)]
                self._fail([f"expected the command to be accepted, but it was refused: {shown(reason)}", *wanted])
        return self

    def then_error(self, reason: ErrorT) -> Self:
        """Expect the last command to be refused.

        Args:
            reason: The expected reason, which `handle` returns in its `Err`.

        Raises:
            AssertionError: The command was accepted or refused for another reason, or there was no command.
        """
        __tracebackhide__ = True
        match self._decided("then_error()"):
            case Ok():
                self._fail([f"expected the command to be refused, but it was accepted: {shown(reason)}"])
            case Err(got):
                self._expect_none(differences("the reason", reason, got))
        return self

    def then_state(self, state: StateT) -> Self:
        """Expect the aggregate to be in this state now.

        Args:
            state: The expected state after all events, given or decided.

        Raises:
            AssertionError: The aggregate is in another state.
        """
        __tracebackhide__ = True
        self._expect_none(differences("the state", state, self._state))
        return self

    def _stored(self, events: Sequence[EventT]) -> list[Encoded[EventT]]:
        with self._noting_steps():
            return [self._type.events.encode(event) for event in events]

    def _apply(self, forms: Sequence[Encoded[EventT]]) -> None:
        with self._noting_steps():
            self._state = self._type.replay(self._state, [form.value for form in forms])

    def _decided(self, expectation: str) -> Ok[tuple[EventT, ...]] | Err[ErrorT]:
        __tracebackhide__ = True
        if self._outcome is None:
            raise AssertionError(f"{expectation} needs a command to check; call when() first")
        return self._outcome

    def _expect_none(self, lines: Sequence[str]) -> None:
        __tracebackhide__ = True
        if lines:
            self._fail(lines)

    def _fail(self, lines: Sequence[str]) -> NoReturn:
        __tracebackhide__ = True
        more = [f"… and {len(lines) - _MAX_LINES} more differences"] if len(lines) > _MAX_LINES else []
        raise AssertionError("\n".join([*lines[:_MAX_LINES], *more, *self._steps_shown()]))

    @contextmanager
    def _noting_steps(self) -> Generator[None, None, None]:
        """Add the steps so far as a note to an exception of the domain."""
        try:
            yield
        except Exception as error:
            error.add_note("\n".join([f"in a scenario of {self._type.name}:", *self._steps_shown()]))
            raise

    def _record(self, role: str, *values: object) -> None:
        self._steps += [f"  {role:<7}  {shown(value)}" for value in values]  # as text: a value may change later

    def _steps_shown(self) -> list[str]:
        """Return the steps so far, one a line; only the last ones if there are many."""
        hidden = len(self._steps) - _MAX_LINES
        begin = [f"  …        {hidden} earlier steps"] if hidden > 0 else []
        return [*begin, *self._steps[-_MAX_LINES:]]


def scenario(
    aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
) -> Scenario[StateT, CommandT, EventT, ErrorT]:
    """Test an aggregate: `scenario(bank_account).given(...).when(...).then(...)`.

    Args:
        aggregate_type: The aggregate type whose `handle` and `apply` are tested.

    Returns:
        A scenario of an aggregate that has no events yet; its expectations raise `AssertionError`.
    """
    return Scenario(aggregate_type)


def _copy(state: object) -> object:
    """Return a copy of a state to detect changes, or `NOTHING` if the state cannot be copied or compared."""
    try:
        copy = deepcopy(state)
        is_comparable = copy == state
    except Exception:  # noqa: BLE001 - a state need not support either
        return NOTHING
    return copy if is_comparable else NOTHING
