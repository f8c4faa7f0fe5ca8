"""What time it is when events are stored, where the store says so and not a database server."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeAlias

from eventree.errors import InvalidArgument
from eventree.errors.root import error_text

Clock: TypeAlias = Callable[[], datetime]
"""Returns the present moment, aware; any zone will do."""

_REMEDY: Final = "as `lambda: datetime(2025, 1, 31, tzinfo=UTC)` does"


def utc_now() -> datetime:
    """Return what the clock of the computer says."""
    return datetime.now(UTC)


def check_clock(clock: Clock) -> Clock:
    """Return a clock as it is; raises `InvalidArgument` if it is no function."""
    if not callable(clock):
        raise InvalidArgument("clock", f"must be a function that returns an aware datetime, {_REMEDY}, got {clock!r}")
    return clock


def read_clock(clock: Clock) -> datetime:
    """Return what a clock says, in UTC.

    Raises:
        InvalidArgument: It says something else than an aware datetime, as nobody knows which moment that is; or it
            raises.
    """
    try:
        now = clock()
        if isinstance(now, datetime) and now.utcoffset() is not None:
            return now.astimezone(UTC)
    except Exception as error:  # a future could not even carry the StopIteration of an iterator's `__next__`
        raise InvalidArgument("clock", f"must return an aware datetime, {_REMEDY}: {error_text(error)}") from error
    raise InvalidArgument("clock", f"must return an aware datetime, {_REMEDY}, it returned {now!r}")
