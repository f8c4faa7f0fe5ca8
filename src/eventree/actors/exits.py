"""How an actor ended."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

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
    matching, rest = group.split(kind)
    found: BaseException | None = matching
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if rest is None and isinstance(found, kind) else None
