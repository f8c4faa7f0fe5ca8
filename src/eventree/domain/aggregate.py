"""Aggregate types: how commands are decided, how events change the state, and the empty state."""

import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from inspect import Parameter, iscoroutinefunction, isroutine, signature
from typing import Generic, TypeVar

from eventree.domain.codec import Codec
from eventree.domain.fingerprints import CommandFingerprints
from eventree.domain.limits import check_id, check_version
from eventree.errors import InvalidArgument
from eventree.result import Err, Ok, Result
from eventree.values import subscriptable


class ApplyAnnotations:
    """Read the annotations of an `apply` function."""

    def __init__(self, apply: Callable[..., object]) -> None:
        """Create a reader for a function."""
        self._apply = apply

    def events(self) -> list[type]:
        """Return the event classes; raise `InvalidArgument` if the annotations do not name them."""
        return classes_of(self._annotation(1))

    def states(self) -> list[type]:
        """Return the state classes; raise `InvalidArgument` if the annotations do not name them."""
        return classes_of(self._annotation(0))

    def _annotation(self, index: int) -> object:
        function = self._apply if isroutine(self._apply) else type(self._apply).__call__
        try:
            every = signature(self._apply).parameters.values()
        except ValueError as error:
            raise InvalidArgument("apply", "its parameters are unknown; pass a function written in Python") from error
        parameters = [parameter for parameter in every if parameter.kind is not Parameter.KEYWORD_ONLY]
        expected = 2
        if len(parameters) < expected:
            raise InvalidArgument("apply", "must take a state and an event")
        try:
            hints = typing.get_type_hints(function)
        except Exception as error:
            raise InvalidArgument(
                "apply", f"its annotations cannot be resolved ({error}); give events=[...] and state=[...]"
            ) from error
        if parameters[index].name not in hints:
            given = ("state", "events")[index]
            raise InvalidArgument(
                "apply",
                f"its parameter {parameters[index].name!r} has no annotation; annotate it, or give {given}=[...]",
            )
        return hints[parameters[index].name]


def classes_of(annotation: object) -> list[type]:
    """Return the classes in a type annotation, each once; unions and aliases are expanded.

    Raises:
        InvalidArgument: A part of it is not a class.
    """
    value = getattr(annotation, "__value__", annotation)  # a PEP 695 alias
    origin = typing.get_origin(value)
    if value is not annotation:
        return classes_of(value)
    if origin is typing.Annotated:
        return classes_of(typing.get_args(value)[0])
    if origin is typing.Union or isinstance(value, types.UnionType):
        return list(dict.fromkeys(cls for member in typing.get_args(value) for cls in classes_of(member)))
    if not isinstance(value, type) or value in {object, typing.Any}:
        raise InvalidArgument("apply", f"its annotation {value!r} is not a class or a union of classes")
    return [value]


StateT = TypeVar("StateT")
StateT_co = TypeVar("StateT_co", covariant=True)
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")


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
            empty_state: Creates a new state, so that no two aggregates share one.
            events: The event classes; default those in the annotations of `apply`.
            state: The state classes; default those in the annotations of `apply`.
            state_version: From 1; default 1. A snapshot is used only by code with the same version and the same fields
                of the state. Increment it when `apply` derives another state from the same events while the fields stay
                the same; changed fields are detected without it.

        Raises:
            InvalidArgument: An argument is invalid, or the event classes cannot be determined.
        """
        self.name = check_id("name", name)
        for role, function in (("handle", handle), ("apply", apply), ("empty_state", empty_state)):
            if not callable(function):
                raise InvalidArgument(role, f"must be a function, got {function!r}")
            if iscoroutinefunction(function):
                raise InvalidArgument(role, "must be a plain function, not async: it does no I/O")
        self.handle = handle
        self.apply = apply
        self.empty_state = empty_state
        annotations = ApplyAnnotations(apply)
        self.events: Codec[EventT] = Codec(events if events is not None else annotations.events())
        codec = _state_codec(state, annotations)
        self.states: Codec[StateT] | None = None if isinstance(codec, str) else codec
        self._why_no_states = codec if isinstance(codec, str) else ""
        check_version("state_version", state_version)
        self.state_version = state_version
        self.fingerprints = CommandFingerprints(_command_classes(handle))

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
        match self.handle(state, command):
            case Ok(events):
                return Ok(tuple(events))
            case Err() as refusal:
                return refusal
            case other:  # pyright: ignore[reportUnnecessaryComparison] - callers without a type checker
                raise TypeError(f"handle must return Ok([events]) or Err(reason), it returned {type(other).__name__}")

    def replay(self, state: StateT, events: Iterable[EventT]) -> StateT:
        """Return the state after applying events in order."""
        apply = self.apply
        for event in events:
            state = apply(state, event)
        return state


def _command_classes(handle: Callable[..., object]) -> list[type]:
    """Return the command classes in the annotations of `handle`, as far as they can be resolved."""
    function = handle if isroutine(handle) else type(handle).__call__
    try:
        name = [parameter.name for parameter in signature(handle).parameters.values()][1]
        return classes_of(typing.get_type_hints(function)[name])
    except Exception:  # noqa: BLE001 - commands need no annotations, and any function may be given
        return []


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
