"""Errors of aggregates and of the stored form of their events."""

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
    """

    def __init__(self, event_type: str, reason: str) -> None:
        super().__init__(f"event {event_type} cannot be stored: {reason}")
        self.event_type = event_type
        self.reason = reason


class EventNotDecodable(CodecError):
    """A stored event does not fit the code that reads it: an unknown name, a newer version or other fields.

    Handling: deploy the code that knows this event. The event is untouched in the store.

    Attributes:
        event_type: The stored name.
        event_version: The stored version.
        reason: What did not fit.
    """

    def __init__(self, event_type: str, event_version: int, reason: str) -> None:
        super().__init__(f"stored event {event_type} version {event_version} cannot be read: {reason}")
        self.event_type = event_type
        self.event_version = event_version
        self.reason = reason
