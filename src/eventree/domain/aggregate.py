"""Aggregate types: how commands are decided, how events change the state, and the empty state."""

from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from types import NoneType
from typing import Generic, TypeVar

from eventree.domain.annotations import ApplyAnnotations, command_classes, is_typed_dict
from eventree.domain.codec import Codec
from eventree.domain.fingerprints import CommandFingerprints
from eventree.domain.functions import check_plain
from eventree.domain.limits import check_id, check_version
from eventree.domain.states import StateCheck, refuse_swapped
from eventree.errors import InvalidArgument
from eventree.isolation import isolated
from eventree.result import Err, Ok, Result
from eventree.values import subscriptable

StateT = TypeVar("StateT")
StateT_co = TypeVar("StateT_co", covariant=True)
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")
ValueT = TypeVar("ValueT")


@subscriptable
@dataclass(frozen=True, slots=True)
class Aggregate(Generic[StateT_co]):
    """An aggregate as loaded from the store.

    Attributes:
        aggregate_id: The aggregate.
        state: Its state after all its events.
        sequence: The sequence of its last event.
    """

    aggregate_id: str
    state: StateT_co
    sequence: int


class AggregateType(Generic[StateT, CommandT, EventT, ErrorT]):
    """Describe a type of aggregate by two pure functions and an empty state (the decider pattern).

    Attributes:
        name: The stable name that is stored with its events.
        handle: Decides a command on a state: events, or a business error.
        apply: Returns the state after an event; must accept every event, as it has already happened.
        empty_state: Creates the state before the first event.
        events: Encodes and decodes events.
        states: Encodes and decodes states, for snapshots; None if they cannot be stored.
        state_version: The version of the meaning of the state, for snapshots.
        fingerprints: Tells commands with the same id from each other.
    """

    def __init__(
        self,
        name: str,
        *,
        handle: Callable[[StateT, CommandT], Result[Sequence[EventT], ErrorT]],
        apply: Callable[[StateT, EventT], StateT],
        empty_state: Callable[[], StateT],
        events: Iterable[type[EventT]] | None = None,
        state: Iterable[type[StateT]] | None = None,
        state_version: int = 1,
    ) -> None:
        """Create an aggregate type.

        Args:
            name: 1 to 255 bytes of UTF-8; must not change once events are stored.
            handle: `(state, command) -> Ok([event, ...]) | Err(reason)`; no I/O, no clock, no randomness.
            apply: `(state, event) -> state`; the classes of events and states are read from its annotations.
            empty_state: Creates a new state, so that no two aggregates share one; no I/O, no clock, no randomness.
            events: The event classes; default those in the annotations of `apply`.
            state: The state classes; default those in the annotations of `apply`.
            state_version: From 1; default 1. A snapshot is used only by code with the same version, the same fields of
                the state with the same defaults, and an equal `empty_state()`; such changes are detected without it.
                Increment it when `apply` derives another state from the same events while all that stays the same.

        Raises:
            InvalidArgument: An argument is invalid, or the event classes cannot be determined.
        """
        self.name = check_id("name", name)
        check_plain("handle", handle, "state", "command", shape="must take a state and a command")
        check_plain("apply", apply, "state", "event", shape="must take a state and an event")
        check_plain("empty_state", empty_state, shape="must take nothing")
        given_events, given_states = _listed("events", events), _listed("state", state)
        refuse_swapped(handle, apply, empty_state, given_states or (), given_events or ())
        self.handle = handle
        self.apply = apply
        self.empty_state = empty_state
        annotations = ApplyAnnotations(apply)
        event_classes = tuple(_own_classes(given_events if given_events is not None else annotations.events()))
        self.events: Codec[EventT] = Codec(event_classes)
        codec = _state_codec(given_states, annotations)
        self.states: Codec[StateT] | None = None if isinstance(codec, str) else codec
        self._why_no_states = codec if isinstance(codec, str) else ""
        check_version("state_version", state_version)
        self.state_version = state_version
        self._check_state = StateCheck(apply, empty_state, given_states or (), event_classes)
        self.fingerprints = CommandFingerprints(command_classes(handle))

    def __repr__(self) -> str:
        return f"AggregateType({self.name!r})"

    def state_codec(self) -> Codec[StateT]:
        """Return the codec of the states, for snapshots.

        Raises:
            InvalidArgument: The states cannot be stored; the error says why.
        """
        if self.states is None:
            raise InvalidArgument("state", self._why_no_states)
        return self.states

    def decide(self, state: StateT, command: CommandT) -> Ok[tuple[EventT, ...]] | Err[ErrorT]:
        """Return the decision of `handle`.

        Raises:
            TypeError: `handle` returned neither `Ok([event, ...])` nor `Err(reason)`.
        """
        return isolated(self._decide, state, command)

    def _decide(self, state: StateT, command: CommandT) -> Ok[tuple[EventT, ...]] | Err[ErrorT]:
        match self.handle(state, command):
            case Ok(events):
                return Ok(tuple(events))
            case Err() as refusal:
                return refusal
            case other:  # pyright: ignore[reportUnnecessaryComparison] - callers without a type checker
                raise TypeError(f"handle must return Ok([events]) or Err(reason), it returned {type(other).__name__}")

    def replay(self, state: StateT, events: Iterable[EventT]) -> StateT:
        """Return the state after applying events in order.

        Raises:
            TypeError: `apply` returned None or something else that is no state.
        """
        apply, states = self.apply, self._check_state.seen
        for event in events:
            state = copy_context().run(apply, state, event)  # as `isolated` does, without another call for each event
            if type(state) not in states:
                self._check_state(state)
        return state

    def start(self) -> StateT:
        """Return the state before the first event."""
        return isolated(self.empty_state)


def _listed(name: str, classes: Iterable[type[ValueT]] | None) -> tuple[type[ValueT], ...] | None:
    if classes is not None and not isinstance(classes, Iterable):
        raise InvalidArgument(name, f"must be a list of classes, such as {name}=[{_name_of(classes)}]")
    return None if classes is None else tuple(classes)


def _own_classes(events: Iterable[type[EventT]]) -> Iterable[type[EventT]]:
    """Return event classes; refuse those of the language, whose name says nothing about what has happened."""
    for cls in events:
        is_foreign = isinstance(cls, type) and (cls.__module__ == "builtins" or is_typed_dict(cls))
        if is_foreign and cls is not NoneType:
            raise InvalidArgument("events", f"must be classes of your own, such as dataclasses, got {cls.__name__}")
    return events


def _name_of(value: object) -> str:
    return getattr(value, "__name__", "...")


def _state_codec(state: Iterable[type[StateT]] | None, annotations: ApplyAnnotations) -> Codec[StateT] | str:
    """Return the codec of the state, or the reason why there is none.

    States that cannot be stored are an error only if they were given explicitly, or once snapshots are wanted.
    """
    if state is not None:
        return Codec(state, exact=True)
    try:
        classes = annotations.states()
    except InvalidArgument as error:
        return str(error)
    try:
        return Codec(classes, exact=True)
    except InvalidArgument as error:
        return error.reason
