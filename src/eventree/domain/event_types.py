"""What the events of a class are called in the store, and how those of its older versions are read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, Final, TypeAlias, TypeVar

from eventree.domain.limits import check_id
from eventree.errors import InvalidArgument

ClassT = TypeVar("ClassT", bound=type)

Upcaster: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes a payload as JSON has it, and returns what it is in the next version; pure, total, and never changed again."""

_ATTRIBUTE: Final = "__event_type__"


@dataclass(frozen=True, slots=True)
class EventType:
    """Hold what is known of a class besides its fields.

    Attributes:
        name: What its events are stored under.
        aliases: What they were stored under before.
        upcasters: How version 1 becomes 2, how 2 becomes 3, and so on.
    """

    name: str
    aliases: tuple[str, ...] = ()
    upcasters: tuple[Upcaster, ...] = ()

    @property
    def version(self) -> int:
        """The version that is stored now, from 1."""
        return len(self.upcasters) + 1

    @classmethod
    def of(cls, class_: type) -> "EventType":
        """Return what `event_type` was told of a class; what it was told of a base class is not meant for it."""
        known = vars(class_).get(_ATTRIBUTE)
        return known if isinstance(known, EventType) else cls(check_id("events", class_.__name__))


def event_type(
    *, name: str | None = None, aliases: Iterable[str] = (), upcasters: Mapping[int, Upcaster] | None = None
) -> Callable[[ClassT], ClassT]:
    """Say what the events of a class are called in the store, and how their older versions are read.

    Without it a class is stored under its plain name, at version 1. A field that is added with a default, or removed,
    needs no new version, unless the class is stored as a list: a NamedTuple, or a Struct with `array_like`.

    ```
    @event_type(aliases=["Deposited"], upcasters={1: lambda payload: payload | {"currency": "EUR"}})
    @dataclass(frozen=True)
    class CashDeposited:
        amount: Decimal
        currency: str
    ```

    Args:
        name: What its events are stored under; default the name of the class. 1 to 255 bytes.
        aliases: What they were stored under before; events of both names are read as this class.
        upcasters: How to make each version, the key, into the next one, without gaps from 1. What is stored from now
            on has the version after the last of them.

    Returns:
        A decorator that leaves the class as it is.

    Raises:
        InvalidArgument: A name or an upcaster cannot be.
    """
    others = _names(aliases)
    steps = _steps(upcasters or {})
    if name is not None:
        check_id("name", name)

    def decorate(class_: ClassT) -> ClassT:
        known = EventType(check_id("name", class_.__name__) if name is None else name, others, steps)
        if known.name in others:
            raise InvalidArgument("aliases", f"{known.name!r} is the name itself; give only those of the past")
        setattr(class_, _ATTRIBUTE, known)
        return class_

    return decorate


def _names(aliases: Iterable[str]) -> tuple[str, ...]:
    if isinstance(aliases, str) or not isinstance(aliases, Iterable):
        raise InvalidArgument("aliases", f"must be a list of names, got {aliases!r}")
    names = tuple(check_id("aliases", alias) for alias in aliases)
    if len(set(names)) < len(names):
        raise InvalidArgument("aliases", "names one twice")
    return names


def _steps(upcasters: Mapping[int, Upcaster]) -> tuple[Upcaster, ...]:
    if not isinstance(upcasters, Mapping):
        raise InvalidArgument("upcasters", f"must map versions to functions, got {upcasters!r}")
    for version in range(1, len(upcasters) + 1):
        if version not in upcasters:
            raise InvalidArgument(
                "upcasters",
                f"has none for version {version}, but for {sorted(upcasters, key=str)}; leave no gap from 1",
            )
        if not callable(upcasters[version]) or iscoroutinefunction(upcasters[version]):
            raise InvalidArgument("upcasters", f"must hold plain functions, got {upcasters[version]!r}")
    return tuple(upcasters[version] for version in range(1, len(upcasters) + 1))
