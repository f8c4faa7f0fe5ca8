"""`Ok` and `Err`: the two results of an operation that may fail in expected ways."""

from dataclasses import dataclass
from typing import Generic, NoReturn, TypeAlias, TypeVar, final

from eventree.errors import DomainError
from eventree.values import subscriptable

T_co = TypeVar("T_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)


@final
@subscriptable
@dataclass(frozen=True, slots=True)
class Ok(Generic[T_co]):
    """Hold the value of an operation that succeeded.

    Attributes:
        value: The value that the operation returned; also the positional pattern: `case Ok(value)`.
    """

    value: T_co

    def unwrap(self) -> T_co:
        """Return the value."""
        return self.value


@final
@subscriptable
@dataclass(frozen=True, slots=True)
class Err(Generic[E_co]):
    """Hold the error of an operation that was refused or failed.

    Attributes:
        error: The error; also the positional pattern: `case Err(error)`.
    """

    error: E_co

    def unwrap(self) -> NoReturn:
        """Raise the error, for callers who prefer exceptions.

        Raises:
            BaseException: The error itself, if it is an exception, as all errors of this library are.
            DomainError: Wraps an error that is a plain value, such as the reason that a `handle` function returns.
        """
        raise self.error if isinstance(self.error, BaseException) else DomainError(self.error)


Result: TypeAlias = Ok[T_co] | Err[E_co]
