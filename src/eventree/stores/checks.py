"""Checks of single values, shared by all stores; `CheckedStore` applies them to the arguments of each method.

Each check first accepts ordinary values quickly, as every command pays for it, and examines only the others in detail.
"""

from datetime import datetime, timedelta
from inspect import iscoroutinefunction
from typing import Final

from eventree.domain.limits import MAX_ID_BYTES, check_id, check_text
from eventree.errors import InvalidArgument

MAX_NUMBER: Final = 2**63 - 1
"""The highest position, sequence or fencing token."""

MAX_LEASE: Final = 86_400
"""The longest lease on a checkpoint or a transaction, in seconds."""

MAX_REASON_BYTES: Final = 4_000
"""The longest reason for parking a commit, in bytes of UTF-8."""

MAX_CHECKSUM: Final = 2**32 - 1
"""The highest checksum of a snapshot."""


def check_name(name: str, value: str) -> None:
    """Raise `InvalidArgument` unless this is an id or a name of 1 to 255 bytes."""
    if type(value) is not str or not value.isascii() or not 0 < len(value) <= MAX_ID_BYTES or "\0" in value:
        check_id(name, value)


def check_key(name: str, value: tuple[str, str]) -> None:
    """Raise `InvalidArgument` unless this is the key of an aggregate: its type and its id."""
    if not isinstance(value, tuple) or len(value) != 2:  # noqa: PLR2004 - a pair
        raise InvalidArgument(name, f"must be the type and the id of an aggregate, got {value!r}")
    for part in value:
        check_name(name, part)


def check_json(name: str, value: str, max_bytes: int) -> None:
    """Raise `InvalidArgument` unless this is text of at most `max_bytes` of UTF-8, without NUL; it is not parsed."""
    if type(value) is str and value.isascii() and len(value) <= max_bytes and "\0" not in value:
        return
    if not isinstance(value, str):
        raise InvalidArgument(name, f"must be a str, got {type(value).__name__}")
    if "\0" in value:
        raise InvalidArgument(name, "must not contain NUL, which JSON text escapes")
    check_text(name, value, max_bytes)


def check_reason(value: str) -> None:
    """Raise `InvalidArgument` unless this is a reason for parking a commit."""
    check_text("reason", value, MAX_REASON_BYTES)
    if "\0" in value:
        raise InvalidArgument("reason", "must not contain NUL")


def check_number(name: str, value: int, lowest: int, highest: int) -> None:
    """Raise `InvalidArgument` unless this is an int within these bounds, both included."""
    if type(value) is int and lowest <= value <= highest:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(name, f"must be an int, got {type(value).__name__}")
    if not lowest <= value <= highest:
        raise InvalidArgument(name, f"must be between {lowest} and {highest}, got {value}")


def check_seconds(value: float) -> None:
    """Raise `InvalidArgument` unless this is the duration of a lease."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_LEASE:
        raise InvalidArgument("seconds", f"must be between 0 and {MAX_LEASE}, got {value!r}")


def check_transaction_lease(value: float) -> None:
    """Raise `InvalidArgument` unless this is the duration for which a transaction may be idle."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_LEASE:
        raise InvalidArgument("lease", f"must be more than 0 and at most {MAX_LEASE} seconds, got {value!r}")


def check_listener(listener: object) -> None:
    """Raise `InvalidArgument` unless this is a plain (not async) function."""
    if not callable(listener) or iscoroutinefunction(listener):
        raise InvalidArgument("listener", f"must be a plain function that takes a position, got {listener!r}")


def check_utc(name: str, value: datetime) -> None:
    """Raise `InvalidArgument` unless this is an aware datetime in UTC."""
    if value.utcoffset() != timedelta(0):
        raise InvalidArgument(name, "must be an aware datetime in UTC")
