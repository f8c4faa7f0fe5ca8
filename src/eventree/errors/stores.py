"""Errors of event stores and of those who read them."""

from typing import Final

from eventree.errors.root import EventreeError, type_name


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

    Handling: send the command again; it will be decided on the newer state. If it came with an `expected_sequence`,
    look at the newer state first.
    """

    def __init__(self, aggregate_type: str, aggregate_id: str, expected: int, actual: int) -> None:
        super().__init__(
            f"{aggregate_type} {aggregate_id!r} was expected at sequence {expected} but is at {actual}; nothing was "
            "stored, send the command again (if it came with an expected_sequence, look at the newer state first)"
        )
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id
        self.expected = expected
        self.actual = actual


class LogRolledBack(EventStoreError):
    """The store has fewer events than were read from it before, as after a restore of an older backup.

    Handling: a command was not stored; send it again, and it is decided on what the store has now. A query stops; give
    it a new `version` to begin anew.

    Attributes:
        subject: Who had read further: a query or an aggregate.
        known: The position or sequence it had read.
        found: Where the store ends now.
    """

    def __init__(self, subject: str, known: int, found: int) -> None:
        super().__init__(
            f"{subject} had read up to {known}, but the store ends at {found}, as after a restore of an older backup; "
            "send a command again, give a query a new version"
        )
        self.subject = subject
        self.known = known
        self.found = found


class EventMissing(EventStoreError):
    """The store does not have an event of an aggregate that it says it has: it was damaged, or changed by hand.

    Nothing can be decided on the rest. Handling: restore a backup. Other aggregates go on.

    Attributes:
        aggregate_type: The type of the aggregate.
        aggregate_id: The aggregate.
        sequence: The sequence of the first event that is missing.
    """

    def __init__(self, aggregate_type: str, aggregate_id: str, sequence: int) -> None:
        super().__init__(
            f"{aggregate_type} {aggregate_id!r} has no event {sequence} in the store, though later ones were stored: "
            "the store was damaged or changed by hand, restore a backup"
        )
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id
        self.sequence = sequence


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
        fencing_token: The number this worker held, which is no longer the newest.
    """

    def __init__(self, name: str, fencing_token: int) -> None:
        super().__init__(
            f"query {name!r} was taken over by another worker (fencing token {fencing_token} is no longer the newest), "
            "which continues it"
        )
        self.name = name
        self.fencing_token = fencing_token


class CheckpointHeld(EventStoreError):
    """Another worker works on this query. Handling: wait; it is taken over when that one stops or is not heard of.

    Attributes:
        name: The query.
        owner: The other worker.
        seconds: How long its claim holds if it is not heard of again.
    """

    def __init__(self, name: str, owner: str, seconds: float) -> None:
        super().__init__(f"query {name!r} is worked on by {owner!r}, for {seconds:.0f} s at least; wait until it stops")
        self.name = name
        self.owner = owner
        self.seconds = seconds


class TransactionEnded(EventStoreError):
    """A projection ended the transaction it was given, or used its connection after its end.

    Rows and checkpoint would no longer be kept together. Handling: leave `BEGIN`, `COMMIT` and `ROLLBACK` to the
    library (savepoints are fine), and use the connection only until the function returns.
    """


class TooManyParked(EventreeError):
    """A query has parked as many commits as its `max_parked` allows, so it stops. Handling: retry or drop them."""

    def __init__(self) -> None:
        super().__init__("there are as many parked commits as max_parked allows; retry them, drop them, or allow more")


class QueryLeasedElsewhere(EventreeError):
    """Another process works on this query, so this one can do nothing about it. Handling: tell that process.

    Attributes:
        name: The query.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"query {name!r} is worked on by another process; tell that one")
        self.name = name


class QuerySuperseded(EventreeError):
    """A newer version of a query is live, so nothing is handled by this one any more.

    Handling: remove it from the code. To go back, give the older code a version of its own that is newer still.

    Attributes:
        name: The query.
        version: The older version.
        live_version: The one that is live.
    """

    def __init__(self, name: str, version: int, live_version: int) -> None:
        super().__init__(
            f"version {live_version} of query {name!r} is live, so version {version} handles nothing any more; "
            "remove it, or give its code a newer version"
        )
        self.name = name
        self.version = version
        self.live_version = live_version


class NoQueryContext(EventreeError):
    """`query_context()` was called where no handler of a query is running."""

    def __init__(self) -> None:
        super().__init__("no handler of a query is running here; call query_context() inside of one")


class QueryStopped(EventreeError):
    """A query gave up after its handler failed too often, or is superseded; the rest of the system runs.

    Handling: fix the handler and start again; the query goes on at its checkpoint. Where the cause has passed, `resume`
    it; where the events are to blame, `skip` them. `__cause__` has the last failure.

    Attributes:
        name: The query.
        position: The last position it has handled.
    """

    def __init__(self, name: str, position: int, cause: BaseException | None) -> None:
        super().__init__(
            f"query {name!r} stopped after position {position} ({type_name(cause)}); fix the cause and start it again"
        )
        self.name = name
        self.position = position
        self.__cause__ = cause


class NotCaughtUp(EventreeError):
    """A command was stored, but a query that its caller wanted to wait for has not handled it in time.

    Handling: do not repeat the command; wait with `query(name).caught_up(position)`. `__cause__` says why.

    Attributes:
        commit: The `Commit` that stands.
        query: The name of the query.
    """

    def __init__(self, commit: object, query: str, cause: BaseException | None = None) -> None:
        super().__init__(
            f"the command was stored, but query {query!r} has not handled it yet ({type_name(cause)}); "
            "wait for the query, do not repeat the command"
        )
        self.commit = commit
        self.query = query
        self.__cause__ = cause


TRANSIENT_ERRORS: Final = (StoreUnavailable, TransactionRolledBack, CommitOutcomeUnknown)
"""Errors of a store that pass by themselves: they are answered or waited out, and never crash an actor."""
