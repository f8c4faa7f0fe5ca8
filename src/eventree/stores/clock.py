"""What time it is when events are stored, where the store says so and not a database server."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeAlias

from eventree.errors import InvalidArgument

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
        InvalidArgument: It says something else than an aware datetime: nobody knows which moment that is.
    """
    now = clock()
    if not isinstance(now, datetime) or now.utcoffset() is None:
        raise InvalidArgument("clock", f"must return an aware datetime, {_REMEDY}, it returned {now!r}")
    return now.astimezone(UTC)
