"""The message context: values that travel with every message to an actor and are available while it is handled."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

T = TypeVar("T")

MessageContext: TypeAlias = Mapping["Carried[Any]", object]
"""The carried values, by key; immutable, so that messages can share it."""

CARRIED: Final[ContextVar[MessageContext | None]] = ContextVar("CARRIED", default=None)
"""The message context of the work in progress; None while nothing is carried, so that plain messages cost nothing."""


class Carried(Generic[T]):
    """A key of the message context: create one for each kind of value that you want to carry.

    ```
    TENANT: Carried[str] = Carried("tenant")

    with TENANT.propagate("acme"):
        ref.tell(message)  # while the actor handles it, TENANT.get() is "acme"
    ```
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        """Create a key; two keys are different even if they have the same name.

        Args:
            name: Shown in the key's `repr`.
        """
        self.name = name

    def __repr__(self) -> str:
        return f"Carried({self.name!r})"

    def get(self) -> T | None:
        """Return the value that the work in progress carries; None if there is none."""
        return self.of(CARRIED.get())

    def of(self, context: MessageContext | None) -> T | None:
        """Return the value in a message context; None if there is none."""
        return None if context is None else cast("T | None", context.get(self))

    def propagate(self, value: T) -> AbstractContextManager[None]:
        """Return a context manager that carries a value in addition to those already carried.

        Tasks created inside inherit the value, and every message sent inside takes it along.
        """
        return _PropagatedValue(self, value)

    def set(self, value: T) -> Token[MessageContext | None]:
        """Carry a value until the token is reset: `propagate` without a context manager, for hot paths."""
        carried = CARRIED.get()
        return CARRIED.set({self: value} if carried is None else {**carried, self: value})


def propagate(context: MessageContext | None) -> AbstractContextManager[None]:
    """Return a context manager that replaces the message context; None for an empty one."""
    return _Propagated(context)


class _Propagated(AbstractContextManager[None]):
    __slots__ = ("_context", "_token")

    def __init__(self, context: MessageContext | None) -> None:
        self._context = context
        self._token: Token[MessageContext | None] | None = None

    def __enter__(self) -> None:
        self._token = CARRIED.set(self._context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            with suppress(ValueError):  # a generator may be closed in another context, where the variable was not set
                CARRIED.reset(self._token)


class _PropagatedValue(_Propagated):
    __slots__ = ("_key", "_value")

    def __init__(self, key: Carried[Any], value: object) -> None:
        super().__init__(None)
        self._key = key
        self._value = value

    def __enter__(self) -> None:
        self._token = self._key.set(self._value)
