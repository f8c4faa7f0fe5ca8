"""The clock that timestamps events in stores without a database server."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeAlias

from eventree.errors import InvalidArgument
from eventree.errors.failures import is_failure
from eventree.errors.root import error_text

Clock: TypeAlias = Callable[[], datetime]
"""Returns the current time as an aware datetime, in any time zone."""

_REMEDY: Final = "as `lambda: datetime(2025, 1, 31, tzinfo=UTC)` does"


def utc_now() -> datetime:
    """Return the time of the system clock, in UTC."""
    return datetime.now(UTC)


def check_clock(clock: Clock) -> Clock:
    """Check that a clock is callable and return it unchanged; raise `InvalidArgument` if it is not."""
    if not callable(clock):
        raise InvalidArgument("clock", f"must be a function that returns an aware datetime, {_REMEDY}, got {clock!r}")
    return clock


def read_clock(clock: Clock) -> datetime:
    """Return the time of a clock, in UTC.

    Raises:
        InvalidArgument: It raises, or does not return an aware datetime; a naive one would be ambiguous.
    """
    try:
        now = clock()
        if isinstance(now, datetime) and now.utcoffset() is not None:
            return now.astimezone(UTC)
    except BaseException as error:  # any error: a StopIteration, for example, could not be raised from a future
        if not is_failure(error):
            raise
        raise InvalidArgument("clock", f"must return an aware datetime, {_REMEDY}: {error_text(error)}") from error
    raise InvalidArgument("clock", f"must return an aware datetime, {_REMEDY}, it returned {now!r}")
