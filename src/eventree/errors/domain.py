"""Errors of aggregates and of the stored form of their events."""

from collections.abc import Iterable
from typing import Self

from eventree.errors.root import EventreeError


class EntityNotFound(EventreeError):
    """No event was ever stored for this aggregate.

    Handling: check the id, or create the aggregate with its first command.
    """

    def __init__(self, aggregate_type: str, aggregate_id: str) -> None:
        super().__init__(f"{aggregate_type} {aggregate_id!r} has no events; execute a command that creates it first")
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id


class HandlerCrashed(EventreeError):
    """`handle` or `apply` raised, or returned something that is no result; a bug in the domain code.

    Nothing of this command was stored, its aggregate is loaded anew for the next one, and no other aggregate is
    touched. Handling: fix the function; `__cause__` has the exception with its traceback.

    Attributes:
        function: `"handle"` or `"apply"`.
        aggregate_type: Whose function it is.
        aggregate_id: The aggregate whose command failed.
    """

    def __init__(self, function: str, aggregate_type: str, aggregate_id: str, cause: BaseException) -> None:
        super().__init__(
            f"{function} of {aggregate_type} failed for {aggregate_id!r} with {type(cause).__name__}; "
            "nothing was stored, fix the function and send the command again"
        )
        self.function = function
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id
        self.__cause__ = cause


class CodecError(EventreeError):
    """An event or a state does not fit its stored form."""


class EventNotEncodable(CodecError):
    """An event cannot be stored so that it comes back equal; nothing of its command was stored.

    Handling: give the event fields of the types that its class declares, of types that JSON can carry.

    Attributes:
        event_type: The name of the event's type.
        reason: What did not fit.
        field: Which part of it, as in `parts[2].price`; empty for all of it.
    """

    def __init__(self, event_type: str, reason: str, field: str = "") -> None:
        self.field = field.removeprefix(".")
        super().__init__(f"event {event_type} cannot be stored: {self.field}{': ' if field else ''}{reason}")
        self.event_type = event_type
        self.reason = reason


class EventNotDecodable(CodecError):
    """A stored event does not fit the code that reads it; it is untouched in the store.

    Handling: give its class an upcaster from that version with `event_type`, or the field that is missing a default.

    Attributes:
        event_type: The stored name.
        event_version: The stored version.
        reason: What did not fit.
        aggregate_type: The type of its aggregate; None if what was read was no event of a store, as for the next two.
        aggregate_id: Its aggregate.
        position: Its position.
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
        """Return it with the place of the event."""
        self.args = (f"{self} (position {position}, of {aggregate_type} {aggregate_id!r})",)
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id
        self.position = position
        return self


class UnknownEventType(EventNotDecodable):
    """No class of this code has the name of a stored event.

    Handling: deploy the code that knows it; where a class was renamed, name the old one in `aliases` of `event_type`;
    a query that does not need it can say `ignore_unknown=True`.
    """

    def __init__(self, event_type: str, event_version: int, known: Iterable[str]) -> None:
        super().__init__(
            event_type,
            event_version,
            f"this code knows {', '.join(known)}; if a class was renamed, give it the old name as an alias",
        )


class EventTooNew(EventNotDecodable):
    """A newer version of the code has stored the event.

    Handling: deploy that version, also where events are only read.

    Attributes:
        newest: The newest version that this code knows.
    """

    def __init__(self, event_type: str, event_version: int, newest: int) -> None:
        super().__init__(
            event_type, event_version, f"the newest version that this code knows is {newest}; deploy the newer code"
        )
        self.newest = newest
