"""Exit reasons: how and why an actor exited."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from eventree.errors import ChildStartError
from eventree.errors.failures import is_group, members_of, parts_of

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
    for part in () if error is None else parts_of(error):
        if isinstance(part, SystemExit | KeyboardInterrupt):
            return part
        if isinstance(part, ChildStartError) and (request := exit_request(part.__cause__)) is not None:
            return request
    return None


def sole_error(group: BaseExceptionGroup[BaseException], kind: type[ErrorT]) -> ErrorT | None:
    """Return the first error of a group if all its errors are of one kind, else None."""
    found: ErrorT | None = None
    for error in members_of(group):
        each = error if isinstance(error, kind) else sole_error(error, kind) if is_group(error) else None
        if each is None:
            return None
        found = each if found is None else found
    return found
