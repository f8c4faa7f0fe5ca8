"""The limits on ids, versions, payloads and metadata, the same for every store, and their checks."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from eventree.errors import InvalidArgument
from eventree.errors.root import check_count

MAX_ID_BYTES: Final = 255
"""The longest aggregate id, aggregate type or command id, in bytes of UTF-8."""

MAX_PAYLOAD_BYTES: Final = 1024 * 1024
"""The largest event or snapshot, in bytes of JSON."""

MAX_METADATA_BYTES: Final = 64 * 1024
"""The largest metadata of a command, in bytes of JSON."""


MAX_VERSION: Final = 2**31 - 1
"""The highest version of an event, a state or a query, and the highest limit on a page."""


def check_id(name: str, value: str) -> str:
    """Check an id and return it unchanged.

    Args:
        name: The name of the argument, for the error.
        value: 1 to 255 bytes of UTF-8 without NUL or lone surrogates.

    Raises:
        InvalidArgument: The id is not such a text.
    """
    if not isinstance(value, str):
        raise InvalidArgument(name, f"must be a str, got {type(value).__name__}")
    if not value:
        raise InvalidArgument(name, "must not be empty")
    if "\0" in value:
        raise InvalidArgument(name, "must not contain NUL")
    if len(value) > MAX_ID_BYTES or not value.isascii():  # each command pays for this check, so skip the slow part
        check_text(name, value, MAX_ID_BYTES)
    return value


def check_version(name: str, value: int) -> None:
    """Raise `InvalidArgument` unless a version is a whole number from 1 to `MAX_VERSION`."""
    check_count(name, value)
    if value > MAX_VERSION:
        raise InvalidArgument(name, f"must be at most {MAX_VERSION}, got {value}")


def check_text(name: str, value: str, max_bytes: int) -> None:
    """Raise `InvalidArgument` if a text contains lone surrogates or is too long in UTF-8."""
    if value.isascii():
        size = len(value)
    else:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise InvalidArgument(name, "must not contain lone surrogates") from None
    if size > max_bytes:
        raise InvalidArgument(name, f"must be at most {max_bytes} bytes of UTF-8, got {size}")


def check_command_id(value: "str | UUID | None") -> str | None:
    """Check a command id and return it as text, None for None; raise `InvalidArgument` like `check_id`."""
    if value is None:
        return None
    return check_id("command_id", str(value) if isinstance(value, UUID) else value)


def check_metadata(metadata: Mapping[str, str] | None) -> Mapping[str, str]:
    """Check metadata and return it unchanged, or an empty mapping for None.

    Raises:
        InvalidArgument: It is not a mapping from str to str.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidArgument("metadata", f"must be a mapping from str to str, got {type(metadata).__name__}")
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidArgument(
                "metadata", f"must map str to str, got {type(key).__name__} to {type(value).__name__}"
            )
    return metadata
