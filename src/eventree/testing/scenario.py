"""Given events, when a command, then events: test a domain without a store or an event loop."""

from collections.abc import Sequence
from typing import Generic, Self, TypeVar

from eventree.domain.aggregate import AggregateType
from eventree.result import Err, Ok, Result

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")


class Scenario(Generic[StateT, CommandT, EventT, ErrorT]):
    """Play one story of one aggregate; each step returns the scenario, so that steps can be chained.

    Every event goes through its stored form and back, as it would in a store.
    """

    def __init__(self, aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT]) -> None:
        """Begin with an aggregate that has no events."""
        self._type = aggregate_type
        self._state = aggregate_type.empty_state()
        self._result: Result[Sequence[EventT], ErrorT] | None = None

    def given(self, *events: EventT) -> Self:
        """Let events have happened."""
        self._state = self._type.replay(self._state, (self._stored(event) for event in events))
        return self

    def when(self, command: CommandT) -> Self:
        """Give a command; its events, if it is accepted, have happened for what comes next."""
        self._result = self._type.handle(self._state, command)
        if isinstance(self._result, Ok):
            self.given(*self._result.value)
        return self

    def then(self, *events: EventT) -> Self:
        """Expect the last command to have led to exactly these events; none means that it decided nothing."""
        match self._result:
            case Ok(actual) if list(actual) == list(events):
                return self
            case Ok(actual):
                raise AssertionError(_difference("events", list(events), list(actual)))
            case Err(reason):
                raise AssertionError(_difference("events", list(events), f"the refusal {reason!r}"))
            case None:
                raise AssertionError("then() needs a when() before it")

    def then_error(self, reason: ErrorT) -> Self:
        """Expect the last command to have been refused for this reason."""
        match self._result:
            case Err(actual) if actual == reason:
                return self
            case Err(actual):
                raise AssertionError(_difference("refusal", reason, actual))
            case Ok(actual):
                raise AssertionError(_difference("refusal", reason, f"the events {list(actual)!r}"))
            case None:
                raise AssertionError("then_error() needs a when() before it")

    def then_state(self, state: StateT) -> Self:
        """Expect the aggregate to be in this state now."""
        if self._state != state:
            raise AssertionError(_difference("state", state, self._state))
        return self

    def _stored(self, event: EventT) -> EventT:
        form = self._type.events.encode(event)
        return self._type.events.decode(form.type, form.version, form.payload)


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


def _difference(what: str, expected: object, actual: object) -> str:
    return f"wrong {what}\n  expected: {expected!r}\n  actual:   {actual!r}"
