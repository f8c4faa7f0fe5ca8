"""The two roots: a business error, and everything else; and bad arguments, which any room may refuse."""

from typing import Generic, TypeVar

ReasonT_co = TypeVar("ReasonT_co", covariant=True)


class DomainError(Exception, Generic[ReasonT_co]):
    """A business rule refused the command; nothing was stored and nothing restarts.

    Handling: show `reason` to the sender of the command. It stands beside `EventreeError`, not under it, so that
    `case Err(DomainError(reason))` gives a type checker the type of `reason` and nothing else.

    Attributes:
        reason: What the `handle` function returned in its `Err`.
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
        """Let copies and other processes keep the message and the attributes."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[EventreeError], args: tuple[object, ...], attributes: dict[str, object]) -> EventreeError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


def type_name(error: BaseException | None) -> str:
    """Return what to call an error in a message."""
    return "no exception" if error is None else type(error).__name__


def error_text(error: BaseException) -> str:
    """Return what an error is and says, for a message; an error that cannot be shown is named only."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a bug in the error's own class must not hide the error
        return type(error).__name__


class InvalidArgument(EventreeError, ValueError):
    """An argument cannot be accepted; nothing was done.

    Attributes:
        name: The argument.
        reason: Why it was refused and what is accepted.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class NonPositiveArgument(InvalidArgument):
    """A number that must be positive is not, or is not a number.

    Attributes:
        value: What was given.
    """

    def __init__(self, name: str, value: object) -> None:
        super().__init__(name, f"must be a positive number, got {value!r}")
        self.value = value
