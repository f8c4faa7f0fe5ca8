"""Errors of aggregates and of encoding and decoding their events."""

from collections.abc import Iterable
from typing import Self

from eventree.errors.root import EventreeError, error_text


class EntityNotFound(EventreeError):
    """No event was ever stored for this aggregate.

    Handling: check the id, or create the aggregate with its first command.
    """

    def __init__(self, aggregate_type: str, aggregate_id: str) -> None:
        super().__init__(f"{aggregate_type} {aggregate_id!r} has no events; execute a command that creates it first")
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id


class HandlerCrashed(EventreeError):
    """`handle`, `apply` or `empty_state` raised, or `handle` returned no `Result`: a bug in the domain code.

    Nothing of this command was stored. Its aggregate is reloaded for the next command; other aggregates are not
    affected. Handling: fix the function; `__cause__` has the exception, and the log its traceback. The text names the
    exception, which may tell outsiders too much: do not send it to them.

    Attributes:
        function: `"handle"`, `"apply"` or `"empty_state"`.
        aggregate_type: The aggregate type of the function.
        aggregate_id: The aggregate whose command failed.
    """

    def __init__(self, function: str, aggregate_type: str, aggregate_id: str, cause: BaseException) -> None:
        super().__init__(
            f"{function} of {aggregate_type} failed for {aggregate_id!r} with {error_text(cause)}; "
            "nothing was stored, fix the function and send the command again"
        )
        self.function = function
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id
        self.__cause__ = cause


class CodecError(EventreeError):
    """An event or a state could not be encoded or decoded."""


class EventNotEncodable(CodecError):
    """An event would not be equal after encoding and decoding; nothing of its command was stored.

    Handling: give each field a value of its declared type, and declare types that JSON can represent.

    Attributes:
        event_type: The name of the event's type.
        reason: Why it cannot be encoded.
        field: The path of the faulty part, such as `parts[2].price`; empty for the whole event.
    """

    def __init__(self, event_type: str, reason: str, field: str = "") -> None:
        self.field = field.removeprefix(".")
        super().__init__(f"event {event_type} cannot be stored: {self.field}{': ' if field else ''}{reason}")
        self.event_type = event_type
        self.reason = reason


class EventNotDecodable(CodecError):
    """A stored event cannot be decoded by this code; it is unchanged in the store.

    Handling: add an upcaster from that version with `event_type`, or give the missing field a default.

    Attributes:
        event_type: The stored name.
        event_version: The stored version.
        reason: Why it cannot be decoded.
        aggregate_type: The type of its aggregate; None for a payload that was not read from a store.
        aggregate_id: Its aggregate; None likewise.
        position: Its position; None likewise.
    """

    def __init__(self, event_type: str, event_version: int, reason: str) -> None:
        super().__init__(f"stored event {event_type} version {event_version} cannot be read: {reason}")
        self.event_type = event_type
        self.event_version = event_version
        self.reason = reason
        self.aggregate_type: str | None = None
        self.aggregate_id: str | None = None
        self.position: int | None = None

    def at(self, aggregate_type: str, aggregate_id: str, position: int) -> Self:
        """Add the place of the event to this error and return it."""
        self.args = (f"{self} (position {position}, of {aggregate_type} {aggregate_id!r})",)
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id
        self.position = position
        return self


class UnknownEventType(EventNotDecodable):
    """No event class of this code has the name of a stored event.

    Handling: deploy the code that has the class. If a class was renamed, give its old name in `aliases` of
    `event_type`. A query that does not need the event can set `ignore_unknown=True`.
    """

    def __init__(self, event_type: str, event_version: int, known: Iterable[str]) -> None:
        super().__init__(
            event_type,
            event_version,
            f"this code knows {', '.join(known)}; if a class was renamed, give it the old name as an alias",
        )


class EventTooNew(EventNotDecodable):
    """A stored event has a newer version than this code knows.

    Handling: deploy the newer code everywhere, even where events are only read.

    Attributes:
        newest: The newest version of the event type that this code knows.
    """

    def __init__(self, event_type: str, event_version: int, newest: int) -> None:
        super().__init__(
            event_type, event_version, f"the newest version that this code knows is {newest}; deploy the newer code"
        )
        self.newest = newest
