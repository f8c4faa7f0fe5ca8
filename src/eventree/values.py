"""What all values of the library have in common."""

from dataclasses import FrozenInstanceError
from typing import TypeVar

ClassT = TypeVar("ClassT", bound=type)


def subscriptable(cls: ClassT) -> ClassT:
    """Let `Value[int](...)` work for a frozen dataclass with slots.

    Before Python 3.13 it raises a `TypeError`: `typing` tries to note the arguments on the new object, and the refusal
    that `dataclass` makes for that is broken once `slots=True` has replaced the class.

    Args:
        cls: A generic `@dataclass(frozen=True, slots=True)`.

    Returns:
        The same class, with a refusal that works.
    """
    for name in ("__setattr__", "__delattr__"):
        setattr(cls, name, _refuse)
    return cls


def _refuse(_: object, name: str, *__: object) -> None:
    raise FrozenInstanceError(f"cannot change {name!r}: this is a value; make a new one")
