"""Exit reasons: how and why an actor exited."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeGuard, TypeVar

from eventree.errors import ChildStartError

ErrorT = TypeVar("ErrorT", bound=BaseException)


class ExitKind(Enum):
    """Classify how an actor exited."""

    NORMAL = "normal"
    """It decided to: it raised `StopActor`, or `Ignore` in its `init`."""
    SHUTDOWN = "shutdown"
    """It was asked to stop, or it is a supervisor whose significant children have exited."""
    CRASH = "crash"
    """It raised an exception."""
    KILLED = "killed"
    """Its task was cancelled, by its supervisor after the shutdown time or by other code."""


@dataclass(frozen=True, slots=True)
class ExitReason:
    """Describe how and why an actor exited.

    Attributes:
        kind: How it exited.
        error: The exception of a crash; None for any other exit.
    """

    kind: ExitKind
    error: BaseException | None = None

    @property
    def abnormal(self) -> bool:
        """Whether a transient child is restarted after this exit."""
        return self.kind in {ExitKind.CRASH, ExitKind.KILLED}


def exit_request(error: BaseException | None) -> BaseException | None:
    """Return the SystemExit or KeyboardInterrupt in an error: itself, part of its group, or the cause of a start."""
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return error
    if isinstance(error, ChildStartError):
        return exit_request(error.__cause__)
    parts: tuple[BaseException, ...] = getattr(error, "exceptions", ())  # of an ExceptionGroup
    return next((request for part in parts if (request := exit_request(part)) is not None), None)


def sole_error(group: BaseExceptionGroup[BaseException], kind: type[ErrorT]) -> ErrorT | None:
    """Return the first error of a group if all its errors are of one kind, else None."""
    found: ErrorT | None = None
    for error in group.exceptions:
        each = error if isinstance(error, kind) else sole_error(error, kind) if _is_group(error) else None
        if each is None:
            return None
        found = found or each
    return found


def _is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    return isinstance(error, BaseExceptionGroup)
