"""Tell the failure of a function from a wish to leave: some exceptions ask a program, a task or a coroutine to end."""

from asyncio import CancelledError
from collections.abc import Iterator
from typing import TypeGuard


def is_failure(error: BaseException, *, cancelled: bool = True, closed: bool = False) -> bool:
    """Return whether an error is a failure of the function that raised it, rather than a wish to leave.

    Not every bug raises an `Exception`: a panic of an extension in Rust, `pytest.fail` and a group of such errors do
    not. To treat them alike, catch `BaseException` and raise it again unless it is a failure. SystemExit and
    KeyboardInterrupt are always a wish to leave, and so is a group with a wish in it.

    Args:
        error: The error.
        cancelled: Whether a CancelledError is a wish to leave; default True. It is none where no task is cancelled.
        closed: Whether a GeneratorExit is a wish to leave; default False. It is one out of a coroutine, where it may
            come from the loop that closes the coroutine.
    """
    if isinstance(error, Exception):
        return True
    wishes = [SystemExit, KeyboardInterrupt, *[CancelledError] * cancelled, *[GeneratorExit] * closed]
    return not any(isinstance(part, tuple(wishes)) for part in parts_of(error))


def parts_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error or, if it is a group, the errors in it at any depth, in order."""
    waiting = [error]
    while waiting:
        part = waiting.pop()
        if is_group(part):
            waiting += reversed(members_of(part))
        else:
            yield part


def members_of(group: BaseExceptionGroup[BaseException]) -> tuple[BaseException, ...]:
    """Return the errors of a group, whatever its class shows in their place."""
    members: tuple[BaseException, ...] = BaseExceptionGroup.exceptions.__get__(group)
    return members


def is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    """Return whether an error is a group of errors."""
    return isinstance(error, BaseExceptionGroup)
