"""How an actor ended."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeGuard, TypeVar

from eventree.errors import ChildStartError

ErrorT = TypeVar("ErrorT", bound=BaseException)


class ExitKind(Enum):
    """How an actor ended."""

    NORMAL = "normal"
    """By its own wish: it raised `StopActor`, or `Ignore` in its `init`."""
    SHUTDOWN = "shutdown"
    """It was asked to stop, or it is a supervisor whose significant children have ended."""
    CRASH = "crash"
    """An exception left it."""
    KILLED = "killed"
    """Its task was cancelled, by its supervisor at the end of its patience or by anybody else."""


@dataclass(frozen=True, slots=True)
class ExitReason:
    """Say how an actor ended and, for a crash, with what.

    Attributes:
        kind: How it ended.
        error: The exception of a crash; None for any other end.
    """

    kind: ExitKind
    error: BaseException | None = None

    @property
    def abnormal(self) -> bool:
        """Whether a transient child is restarted after this end."""
        return self.kind in {ExitKind.CRASH, ExitKind.KILLED}


def wish_to_exit(error: BaseException | None) -> BaseException | None:
    """Return the `SystemExit` or `KeyboardInterrupt` that an error is, contains as a group, or failed a start with."""
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return error
    if isinstance(error, ChildStartError):
        return wish_to_exit(error.__cause__)
    parts: tuple[BaseException, ...] = getattr(error, "exceptions", ())  # of an ExceptionGroup
    return next((wish for part in parts if (wish := wish_to_exit(part)) is not None), None)


def only(group: BaseExceptionGroup[BaseException], kind: type[ErrorT]) -> ErrorT | None:
    """Return the first error of a kind out of a group that has no other; None if it has."""
    found: ErrorT | None = None
    for error in group.exceptions:
        each = error if isinstance(error, kind) else only(error, kind) if _is_group(error) else None
        if each is None:
            return None
        found = found or each
    return found


def _is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    return isinstance(error, BaseExceptionGroup)
