"""Every error of the library, in one tree: each says what happened and what to do about it."""

from collections.abc import Hashable, Sequence
from typing import Generic, Literal, TypeVar

ReasonT_co = TypeVar("ReasonT_co", covariant=True)

Outcome = Literal["not_started", "unknown"]


class DomainError(Exception, Generic[ReasonT_co]):
    """A business rule refused the command; nothing was stored and nothing restarts.

    Handling: show `reason` to whoever sent the command. It stands beside `EventreeError`, not under it, so that
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


# --- arguments and definitions ---------------------------------------------------------------------------------------


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


# --- events and their names ------------------------------------------------------------------------------------------


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


# --- stores ----------------------------------------------------------------------------------------------------------


class EventStoreError(EventreeError):
    """The event store could not do what was asked."""


class StoreUnavailable(EventStoreError):
    """The store cannot be reached, or is not open; nothing was stored.

    Handling: try again later; the library itself goes on as soon as the store is back.
    """


class TransactionRolledBack(EventStoreError):
    """The store undid the transaction for a passing reason; nothing was stored. Handling: try again."""


class StoreBusy(TransactionRolledBack):
    """Another process held the store's write lock for longer than the busy timeout."""


class StoreFull(TransactionRolledBack):
    """The disk of the store is full. What is stored can still be read. Handling: free space, then try again."""


class TransactionFailed(EventStoreError):
    """The store refused a statement for a reason this library does not expect; nothing was stored.

    Handling: `__cause__` has the driver's error; the store or its schema was probably changed by somebody else.
    """


class CommitOutcomeUnknown(EventStoreError):
    """The connection was lost during the commit and the store could not tell whether it took place.

    Handling: send the command again with the same `command_id`, which can never apply it twice.
    """


class StoreUnusable(EventStoreError):
    """The database cannot keep the store's promises, so it was not opened.

    Attributes:
        store: Where it is, without secrets.
        reason: What is wrong and what would do.
    """

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"{store} cannot be used as an event store: {reason}")
        self.store = store
        self.reason = reason


class SchemaTooNew(StoreUnusable):
    """The database was written by a newer version of this library. Handling: upgrade the library.

    Attributes:
        found: The schema version of the database.
        supported: The newest schema version that this library knows.
    """

    def __init__(self, store: str, found: int, supported: int) -> None:
        super().__init__(
            store, f"its schema version is {found}, this eventree knows up to {supported}; upgrade eventree"
        )
        self.found = found
        self.supported = supported


class ConcurrencyConflict(EventStoreError):
    """Somebody else kept writing to the same aggregate first; nothing of this command was stored.

    Handling: send the command again; it will be decided on the newer state.
    """

    def __init__(self, aggregate_type: str, aggregate_id: str, expected: int, actual: int) -> None:
        super().__init__(
            f"{aggregate_type} {aggregate_id!r} was expected at sequence {expected} but is at {actual}; "
            "nothing was stored, send the command again"
        )
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id
        self.expected = expected
        self.actual = actual


class CommandIdReused(EventStoreError):
    """This `command_id` was used before for another aggregate; nothing was stored.

    Handling: give each command an id of its own.
    """

    def __init__(self, command_id: str, aggregate_id: str) -> None:
        super().__init__(
            f"command_id {command_id!r} already belongs to a command of another aggregate than "
            f"{aggregate_id!r}; nothing was stored, give each command its own id"
        )
        self.command_id = command_id
        self.aggregate_id = aggregate_id


class CheckpointFenced(EventStoreError):
    """Another worker took this query over; this one must not move its checkpoint any more.

    Attributes:
        name: The query.
        fence: The number this worker held, which is no longer the newest.
    """

    def __init__(self, name: str, fence: int) -> None:
        super().__init__(f"query {name!r} was taken over by another worker (fence {fence} is no longer the newest)")
        self.name = name
        self.fence = fence


class QueryStopped(EventreeError):
    """A query gave up after its handler failed too often; the rest of the system runs.

    Handling: fix the handler and start again; the query goes on at its checkpoint. `__cause__` has the last failure.

    Attributes:
        name: The query.
        position: The last position it has handled.
    """

    def __init__(self, name: str, position: int, cause: BaseException | None) -> None:
        super().__init__(f"query {name!r} stopped after position {position} because its handler keeps failing")
        self.name = name
        self.position = position
        self.__cause__ = cause


# --- actors ----------------------------------------------------------------------------------------------------------


class ActorError(EventreeError):
    """A message could not be handled by its actor."""


_AFTER_TIMEOUT: dict[Outcome | None, str] = {
    None: "ask again, or wait longer",
    "not_started": "it was never taken up and nothing happened",
    "unknown": "it may still complete, so send it again only with the same command_id",
}


class ActorTimeout(ActorError, TimeoutError):
    """No answer came in time.

    Attributes:
        operation: What was asked.
        seconds: How long the caller was willing to wait.
        outcome: `"not_started"`: the message was never taken up and is skipped, so nothing happened. `"unknown"`: it
            was in work and may still complete; sending it again is safe with the same `command_id`. None: it only
            reads, so asking again is always safe.
    """

    def __init__(self, operation: str, seconds: float, outcome: Outcome | None = None) -> None:
        super().__init__(f"{operation} had no answer after {seconds:g} s; {_AFTER_TIMEOUT[outcome]}")
        self.operation = operation
        self.seconds = seconds
        self.outcome = outcome


class ActorStopped(ActorError):
    """The actor is not running and will not come back by itself; the message was not taken up.

    Handling: start the actor, or the supervisor or `EventSourcing` that owns it.
    """

    def __init__(self, actor: Hashable) -> None:
        super().__init__(f"actor {actor!r} is not running; start it, or what owns it, and send the message again")
        self.actor = actor


class ActorCrashed(ActorError):
    """The actor crashed while it worked on this message; its supervisor restarts it.

    The message is not tried again and may or may not have had its effect. `__cause__` has what crashed the actor.
    Handling: a command with a `command_id` can safely be sent again.
    """

    def __init__(self, actor: Hashable, cause: BaseException | None) -> None:
        what = "was killed" if cause is None else f"crashed with {type(cause).__name__}"
        super().__init__(
            f"actor {actor!r} {what} while it worked on this message; "
            "send it again only if doing it twice is harmless or it has a command_id"
        )
        self.actor = actor
        self.__cause__ = cause


class MailboxFull(ActorError):
    """There was no room in the actor's mailbox (in time); the message was not taken up.

    Handling: slow down, or wait longer for room.
    """

    def __init__(self, actor: Hashable, size: int) -> None:
        super().__init__(f"the mailbox of actor {actor!r} holds {size} messages and is full; send more slowly")
        self.actor = actor
        self.size = size


class SupervisorError(EventreeError):
    """A supervisor could not do what was asked."""


class ChildStartError(SupervisorError):
    """A child could not be started; the children started before it were stopped again. `__cause__` says why."""

    def __init__(self, child: Hashable, cause: BaseException | None) -> None:
        why = "was killed" if cause is None else f"{type(cause).__name__}: {cause}"
        super().__init__(f"child {child!r} did not start: {why}")
        self.child = child
        self.__cause__ = cause


class ChildAlreadyExists(SupervisorError):
    """The supervisor has a child with this id already. Handling: give every child an id of its own."""

    def __init__(self, child: Hashable) -> None:
        super().__init__(f"there is a child {child!r} already; give every child an id of its own")
        self.child = child


class ChildNotFound(SupervisorError):
    """The supervisor has no child with this id."""

    def __init__(self, child: Hashable) -> None:
        super().__init__(f"there is no child {child!r}; which_children() lists them all")
        self.child = child


class RestartIntensityExceeded(SupervisorError):
    """Children crashed more often than the supervisor allows, so it stopped them all and gave up.

    Handling: the crashes are bugs; `crashes` and `__cause__` have them.

    Attributes:
        supervisor: Its name.
        max_restarts: How many restarts are allowed within `max_seconds`.
        max_seconds: The length of the window, in seconds.
        crashes: The errors that led here, oldest first.
    """

    def __init__(
        self, supervisor: str, max_restarts: int, max_seconds: float, crashes: Sequence[BaseException]
    ) -> None:
        super().__init__(f"supervisor {supervisor!r} gave up: more than {max_restarts} restarts in {max_seconds:g} s")
        self.supervisor = supervisor
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self.crashes = tuple(crashes)
        self.__cause__ = self.crashes[-1] if self.crashes else None
