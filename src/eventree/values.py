"""Support for generic value classes: frozen dataclasses with slots."""

from dataclasses import FrozenInstanceError
from typing import TypeVar

ClassT = TypeVar("ClassT", bound=type)


def subscriptable(cls: ClassT) -> ClassT:
    """Make `Value[int](...)` work for a frozen dataclass with slots.

    Before Python 3.13 it raises a `TypeError`: `typing` sets `__orig_class__` on the new object and expects an
    `AttributeError` if that fails, but the generated `__setattr__` breaks once `slots=True` has replaced the class.

    Args:
        cls: A generic `@dataclass(frozen=True, slots=True)`.

    Returns:
        The same class; assigning to or deleting an attribute raises `FrozenInstanceError`.
    """
    for name in ("__setattr__", "__delattr__"):
        setattr(cls, name, _refuse)
    return cls


def _refuse(_: object, name: str, *__: object) -> None:
    raise FrozenInstanceError(f"cannot change {name!r}: values are immutable; create a new one")
