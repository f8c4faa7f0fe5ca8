"""The two roots `DomainError` and `EventreeError`, and the errors for invalid arguments, which every package raises."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from eventree.errors.failures import is_failure

ReasonT_co = TypeVar("ReasonT_co", covariant=True)


class DomainError(Exception, Generic[ReasonT_co]):
    """A business rule refused the command; nothing was stored and nothing restarts.

    Handling: show `reason` to the sender of the command. It stands beside `EventreeError`, not under it, so that
    `case Err(DomainError(reason))` gives a type checker the type of `reason` and nothing else.

    Attributes:
        reason: The reason that `handle` returned in its `Err`.
    """

    __match_args__ = ("reason",)

    def __init__(self, reason: ReasonT_co) -> None:
        super().__init__(reason)
        self.reason = reason

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DomainError) and self.args == other.args

    def __hash__(self) -> int:
        return hash((DomainError, self.reason))


class EventreeError(Exception):
    """The root of all errors that are not business errors."""

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the message and the attributes when an error is copied or pickled."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[EventreeError], args: tuple[object, ...], attributes: dict[str, object]) -> EventreeError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


def type_name(error: BaseException | None) -> str:
    """Return the name of an error's class, for a message."""
    return "no exception" if error is None else type(error).__name__


def error_text(error: BaseException) -> str:
    """Return the class name and the text of an error, for a message; only the class name if its `str` fails."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException as bug:  # a bug in the error's own class must not hide the error
        if not is_failure(bug):
            raise
        return type(error).__name__


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, the one that it was raised from or while handling, and so on."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        yield following
        seen.add(id(following))
        context = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or context


class InvalidArgument(EventreeError, ValueError):
    """An argument is invalid; nothing was done. Handling: fix the argument as the reason says.

    Attributes:
        name: The name of the argument.
        reason: Why the value is invalid, and what is valid.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class WrongEventLoop(EventreeError, RuntimeError):
    """Something was used outside the event loop, or the process, that it was started or entered in; nothing was done.

    Handling: from another thread, pass the coroutine to its loop:
    `asyncio.run_coroutine_threadsafe(accounts.execute(...), loop).result()`. In another loop, or in a forked process,
    create and enter what you need there.

    Attributes:
        subject: What was used.
        reason: Where it was used, and the remedy.
    """

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"{subject} {reason}")
        self.subject = subject
        self.reason = reason


class NonPositiveArgument(InvalidArgument):
    """An argument that must be a positive number is something else.

    Attributes:
        value: The given value.
    """

    def __init__(self, name: str, value: object) -> None:
        super().__init__(name, f"must be a positive number, got {value!r}")
        self.value = value


def check_positive(name: str, value: float) -> None:
    """Raise `NonPositiveArgument` unless the value is a number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise NonPositiveArgument(name, value)


def check_count(name: str, value: int) -> None:
    """Raise `NonPositiveArgument` unless the value is a whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise NonPositiveArgument(name, value)
