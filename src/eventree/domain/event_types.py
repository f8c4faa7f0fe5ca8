"""The stored names of event classes, and the upcasters for their older versions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, Final, TypeAlias, TypeVar

from eventree.domain.limits import check_id
from eventree.errors import InvalidArgument

ClassT = TypeVar("ClassT", bound=type)

Upcaster: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Turns a payload, as decoded JSON, into its next version; it must be pure, and stay the same once released."""

_ATTRIBUTE: Final = "__event_type__"


@dataclass(frozen=True, slots=True)
class EventType:
    """Describe how the events of a class are stored, apart from its fields.

    Attributes:
        name: The stored name.
        aliases: Former stored names; default none.
        upcasters: The upcasters from version 1 to 2, from 2 to 3, and so on; default none.
    """

    name: str
    aliases: tuple[str, ...] = ()
    upcasters: tuple[Upcaster, ...] = ()

    @property
    def version(self) -> int:
        """The current version, from 1."""
        return len(self.upcasters) + 1

    @classmethod
    def of(cls, class_: type) -> "EventType":
        """Return the event type of a class; `event_type` on a base class does not apply to it."""
        known = vars(class_).get(_ATTRIBUTE)
        return known if isinstance(known, EventType) else cls(check_id("events", class_.__name__))


def event_type(
    *, name: str | None = None, aliases: Iterable[str] = (), upcasters: Mapping[int, Upcaster] | None = None
) -> Callable[[ClassT], ClassT]:
    """Set the stored name of an event class, and the upcasters for its older versions.

    Without this decorator, a class is stored under its own name, at version 1. Removing a field, or adding one with a
    default, needs no new version, unless the class is stored as a list: a NamedTuple, or a Struct with `array_like`.

    ```
    @event_type(aliases=["Deposited"], upcasters={1: lambda payload: payload | {"currency": "EUR"}})
    @dataclass(frozen=True)
    class CashDeposited:
        amount: Decimal
        currency: str
    ```

    Args:
        name: The name to store; default the name of the class. 1 to 255 bytes.
        aliases: Former stored names; events with these names are decoded as this class too. Default none.
        upcasters: Maps each former version, from 1 without gaps, to the function that turns its payload into the next
            version; default none. New events are stored with the version after the last one.

    Returns:
        A decorator that returns the class itself.

    Raises:
        InvalidArgument: A name or an upcaster is invalid.
    """
    others = _names(aliases)
    steps = _steps(upcasters or {})
    if name is not None:
        check_id("name", name)

    def decorate(class_: ClassT) -> ClassT:
        known = EventType(check_id("name", class_.__name__) if name is None else name, others, steps)
        if known.name in others:
            raise InvalidArgument("aliases", f"{known.name!r} is the current name; list only former names")
        setattr(class_, _ATTRIBUTE, known)
        return class_

    return decorate


def _names(aliases: Iterable[str]) -> tuple[str, ...]:
    if isinstance(aliases, str) or not isinstance(aliases, Iterable):
        raise InvalidArgument("aliases", f"must be a list of names, got {aliases!r}")
    names = tuple(check_id("aliases", alias) for alias in aliases)
    if len(set(names)) < len(names):
        raise InvalidArgument("aliases", "contains a name twice")
    return names


def _steps(upcasters: Mapping[int, Upcaster]) -> tuple[Upcaster, ...]:
    if not isinstance(upcasters, Mapping):
        raise InvalidArgument("upcasters", f"must map versions to functions, got {upcasters!r}")
    for version in range(1, len(upcasters) + 1):
        if version not in upcasters:
            raise InvalidArgument(
                "upcasters",
                f"has no function for version {version}, only for {sorted(upcasters, key=str)}; leave no gap from 1",
            )
        if not callable(upcasters[version]) or iscoroutinefunction(upcasters[version]):
            raise InvalidArgument("upcasters", f"must hold plain functions, got {upcasters[version]!r}")
    return tuple(upcasters[version] for version in range(1, len(upcasters) + 1))
