"""What a state is, as far as an aggregate type tells: to refuse at once what `apply` should not have returned."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Final, TypeAlias

from eventree.domain.annotations import accepted_by, hints_of, names_of_parameters
from eventree.errors import InvalidArgument
from eventree.errors.failures import is_failure
from eventree.isolation import isolated
from eventree.result import Err, Ok

Classes: TypeAlias = tuple[type, ...]

_NO_STATES: Final = (Ok, Err, Awaitable, Iterator, type, type(NotImplemented))
"""What `apply` may return by mistake, such as a decision, a coroutine or a class that was not called."""


@dataclass(frozen=True, slots=True)
class Declared:
    """Hold what a function declares, where it does.

    Attributes:
        parameters: The classes of its first two parameters; None for one that accepts anything or is not declared.
        result: The classes of its result; None likewise.
        is_open: Whether its first parameter or its result is declared, but may be anything.
    """

    parameters: tuple[Classes | None, Classes | None] = (None, None)
    result: Classes | None = None
    is_open: bool = False

    @classmethod
    def by(cls, function: Callable[..., object]) -> "Declared":
        """Return what the annotations of a function say.

        Nothing for a decorated function, whose annotations may be those of another one, and for one that dispatches.
        """
        try:
            if hasattr(function, "__wrapped__") or hasattr(function, "register"):
                return cls()
            hints, names = hints_of(function), names_of_parameters(function)
        except BaseException as error:  # annotations may be anything
            if not is_failure(error):
                raise
            return cls()
        pair = (*(hints.get(name, ...) for name in names[:2]), ..., ...)[:2]
        returned = hints.get("return", ...)
        state, event, result = (None if hint is ... else accepted_by(hint) for hint in (*pair, returned))
        is_open = (pair[0] is not ... and state is None) or (returned is not ... and result is None)
        return cls((state, event), result, is_open)


class StateCheck:
    """Tell states from what is none.

    Attributes:
        classes: The classes of states, as far as they are declared; empty if they are not.
        seen: The classes of the values that have been checked, so that a caller need not check more of them.
    """

    def __init__(
        self,
        apply: Callable[..., object],
        empty_state: Callable[[], object],
        given: Iterable[type] = (),
        events: Iterable[type] = (),
    ) -> None:
        """Read what is declared.

        Args:
            apply: Returns states.
            empty_state: Returns a state too.
            given: The state classes that the user has given; default none.
            events: The event classes; default none.

        Raises:
            InvalidArgument: `apply` is declared to return None, which is no state.
        """
        declared = Declared.by(apply)
        taken, returned = declared.parameters[0], declared.result
        if returned == (NoneType,) and taken is not None and NoneType not in taken:
            raise InvalidArgument("apply", "must return the state after the event, but it is declared to return None")
        known = tuple(dict.fromkeys((*given, *(taken or ()), *(returned or ()))))
        self.classes: Classes = () if declared.is_open or known == (NoneType,) else known
        self.seen: set[type] = set()
        self._is_open = declared.is_open
        self._empty_state = empty_state
        self._events = frozenset(events)

    def __call__(self, state: object) -> None:
        """Note the class of a state.

        Raises:
            TypeError: It is no state. The error tells nothing but its class.
        """
        if not (self._is_open or self._is_state(state)):
            raise TypeError(f"apply must return the state after the event{self._named()}, it returned {_shown(state)}")
        self.seen.add(type(state))

    def _is_state(self, state: object) -> bool:
        empty = isolated(self._empty_state)
        if isinstance(state, self.classes or type(empty)):
            return True
        return isinstance(state, type(empty)) if self.classes else self._may_be_state(state, empty)

    def _may_be_state(self, state: object, empty: object) -> bool:
        """Return whether a value may be a state where none is declared, such as one of another class of the user's."""
        if state is None or isinstance(state, _NO_STATES):
            return False
        if empty is None or type(empty) in self._events or type(empty).__module__ == "builtins":
            return True
        return type(state) not in self._events and type(state).__module__ != "builtins"

    def _named(self) -> str:
        return f", of {' or '.join(cls.__name__ for cls in self.classes)}" if self.classes else ""


def _shown(state: object) -> str:
    return "None; is a return missing?" if state is None else type(state).__name__


def refuse_swapped(
    handle: Callable[..., object],
    apply: Callable[..., object],
    empty_state: Callable[[], object],
    states: Classes,
    events: Classes,
) -> None:
    """Raise `InvalidArgument` if the annotations show that a function takes its arguments in the wrong order.

    Args:
        handle: `(state, command) -> ...`.
        apply: `(state, event) -> state`.
        empty_state: `() -> state`.
        states: The state classes that the user has given.
        events: The event classes that the user has given.
    """
    deciding, applying = Declared.by(handle), Declared.by(apply)
    made = (empty_state,) if isinstance(empty_state, type) else Declared.by(empty_state).result
    returned = None if applying.result == (NoneType,) else applying.result
    state, event = applying.parameters
    if _is_swapped(applying, states or returned or made or deciding.parameters[0] or ()) or (
        events and state and event and set(state) <= set(events) and not _are_related(event, events)
    ):
        raise InvalidArgument("apply", "must take the state first, then the event; it takes them the other way round")
    if _is_swapped(deciding, states or state or returned or made or ()):
        raise InvalidArgument(
            "handle", "must take the state first, then the command; it takes them the other way round"
        )


def _is_swapped(declared: Declared, states: Classes) -> bool:
    first, second = declared.parameters
    return bool(first and second and _are_related(second, states) and not _are_related(first, states))


def _are_related(some: Classes, others: Classes) -> bool:
    return any(issubclass(one, other) or issubclass(other, one) for one in some for other in others)
