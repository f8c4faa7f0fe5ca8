"""Errors of event stores and of queries."""

from typing import Any, Final

from eventree.commit import Commit
from eventree.errors.actors import ActorTimeout
from eventree.errors.root import EventreeError, WrongEventLoop, error_text


class EventStoreError(EventreeError):
    """The event store could not perform an operation."""


class StoreUnavailable(EventStoreError):
    """The store cannot be reached, or is not open; nothing was stored.

    Handling: try again later; the library itself continues as soon as the store is reachable.
    """


class TransactionRolledBack(EventStoreError):
    """The store rolled back the transaction for a transient reason; nothing was stored. Handling: try again."""


class StoreBusy(TransactionRolledBack):
    """Another process held the store's lock for longer than the timeout. Handling: try again."""


class StatementOutdated(StoreBusy):
    """A table was altered after a connection had prepared a statement for it; nothing was stored.

    Handling: none where the library can try again on another connection; else try again.
    """


class StoreFull(TransactionRolledBack):
    """The disk of the store is full; reads still work. Handling: free space, then try again."""


class TransactionFailed(EventStoreError):
    """The store refused a statement for an unexpected reason; nothing was stored.

    Handling: `__cause__` has the driver's error; check whether the database or its schema was changed.
    """


class CommitOutcomeUnknown(EventStoreError):
    """The connection was lost during the commit, and the store could not determine its outcome.

    Or the server has committed, but the synchronous standby that it should wait for has not confirmed it.

    Handling: send the command again with the same `command_id`, so that it cannot take effect twice.
    """


class StoreUnusable(EventStoreError):
    """The database cannot fulfil the contract of event stores, so it was not opened or nothing more is stored in it.

    A SQLite file that was deleted, moved or replaced while it was open is one such. Handling: as the reason says, then
    open the store again. Commands are answered with this error, and queries stop.

    Attributes:
        store: Its address, without secrets.
        reason: The problem and its remedy.
    """

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"{store} cannot be used as an event store: {reason}")
        self.store = store
        self.reason = reason


class StoreReadOnly(EventStoreError):
    """The store was opened only for reading, so it writes nothing. Handling: open it without `read_only`.

    Attributes:
        store: Its address, without secrets.
    """

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} was opened with read_only=True, so nothing was stored; open it without, to write")
        self.store = store


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
    """Other writers kept changing the same aggregate first; nothing of this command was stored.

    Handling: send the command again, to be decided on the newer state. If it had an `expected_sequence`, check the
    newer state first.

    Attributes:
        aggregate_type: The type of the aggregate.
        aggregate_id: The aggregate.
        expected: The expected sequence.
        actual: The current sequence.
    """

    def __init__(self, aggregate_type: str, aggregate_id: str, expected: int, actual: int) -> None:
        super().__init__(
            f"{aggregate_type} {aggregate_id!r} was expected at sequence {expected} but is at {actual}; nothing was "
            "stored, send the command again (if it came with an expected_sequence, check the newer state first)"
        )
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id
        self.expected = expected
        self.actual = actual


class LogRolledBack(EventStoreError):
    """Events that a reader has seen are gone from the store, as after restoring an older backup.

    Others may have taken their places since. A failover to a standby that lacked the last commits has the same effect.

    Handling: a command was not stored; send it again, to be decided on the events of the store. A query stops; rebuild
    it with a new `version`.

    Attributes:
        subject: The reader: a query or an aggregate.
        known: The position or sequence it had read.
        found: The last position or sequence in the store; if it is not below `known`, the event at `known` is another
            one now.
    """

    def __init__(self, subject: str, known: int, found: int) -> None:
        seen = f"ends at {found}" if found < known else f"has another event at {known} now"
        super().__init__(
            f"{subject} had read up to {known}, but the store {seen}; was an older backup restored? "
            "send a command again, give a query a new version"
        )
        self.subject = subject
        self.known = known
        self.found = found


class EventMissing(EventStoreError):
    """An event of an aggregate is missing from the store: the store was damaged or changed by hand.

    The aggregate cannot be loaded. Handling: restore a backup. Other aggregates are not affected.

    Attributes:
        aggregate_type: The type of the aggregate.
        aggregate_id: The aggregate.
        sequence: The sequence of the first missing event.
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
    """This `command_id` was used before, for another aggregate or another command; nothing was stored.

    Handling: give each command its own id. Behind HTTP this is a request with the idempotency key of another one: 422.

    Attributes:
        command_id: The reused id.
        aggregate_id: The aggregate of the second command.
        is_same_aggregate: Whether the first command was of the same aggregate, so that the commands differ.
    """

    def __init__(self, command_id: str, aggregate_id: str, *, is_same_aggregate: bool = False) -> None:
        other = "another command of" if is_same_aggregate else "a command of another aggregate than"
        super().__init__(
            f"command_id {command_id!r} was already used for {other} {aggregate_id!r}; nothing was stored, "
            "give each command its own id"
        )
        self.command_id = command_id
        self.aggregate_id = aggregate_id
        self.is_same_aggregate = is_same_aggregate


class CheckpointFenced(EventStoreError):
    """Another worker has taken over this query, or a newer version of it; this one must not move its checkpoint.

    Attributes:
        name: The query.
        fencing_token: The token of this worker, which is no longer the newest.
    """

    def __init__(self, name: str, fencing_token: int) -> None:
        super().__init__(
            f"query {name!r} was taken over by another worker (fencing token {fencing_token} is no longer the newest), "
            "which continues it"
        )
        self.name = name
        self.fencing_token = fencing_token


class CheckpointHeld(EventStoreError):
    """Another worker holds the lease on this query. Handling: wait until it stops or its lease expires.

    Attributes:
        name: The query.
        owner: The other worker.
        seconds: How long its lease lasts unless it is renewed.
    """

    def __init__(self, name: str, owner: str, seconds: float) -> None:
        super().__init__(f"query {name!r} is leased by {owner!r} for another {seconds:.0f} s; wait until it stops")
        self.name = name
        self.owner = owner
        self.seconds = seconds


class TransactionOutlivedLease(StoreUnavailable):
    """Postgres ended the transaction of a projection that waited for something longer than its lease.

    Nothing was stored. Handling: do slow work outside the projection, as in a `Query`, or raise its `lease`.

    Attributes:
        lease: The lease, in seconds.
        seconds: How long the transaction took until its end was noticed.
    """

    def __init__(self, lease: float, seconds: float) -> None:
        super().__init__(
            f"a projection's transaction was open for {seconds:.1f} s, and Postgres ends it once it waits for longer "
            f"than its lease of {lease:g} s without a statement; nothing was stored, do slow work outside the "
            "projection or raise its lease"
        )
        self.lease = lease
        self.seconds = seconds


class TransactionEnded(EventStoreError):
    """A projection ended its transaction, or tried to, or used the connection after its end.

    Rows and checkpoint would no longer be committed together. Handling: leave `BEGIN`, `COMMIT` and `ROLLBACK` to the
    library (savepoints are fine), and use the connection only until the function returns.
    """


class TooManyParked(EventreeError):
    """A query stops because it has parked as many commits as `max_parked` allows.

    Handling: retry or drop the parked commits, or raise `max_parked`.
    """

    def __init__(self) -> None:
        super().__init__("the query has parked max_parked commits; retry them, drop them, or raise max_parked")


class QueryLeasedElsewhere(EventreeError):
    """Another process holds the lease on this query, and what was asked needs it.

    Handling: use a handle of the query (`EventSourcing.query`, `Query.handle`), which asks that process.

    Attributes:
        name: The query.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"query {name!r} is leased by another process; ask it through a handle of the query")
        self.name = name


class QueryRequestPending(EventreeError, TimeoutError):
    """What was asked of a query was not answered in time; it stays queued in the store, and is done once.

    Handling: wait, and see `stats()` or `parked()` for the effect; asking again would queue it twice.

    Attributes:
        name: The query.
        action: What was asked, such as "pause".
        seconds: How long the answer was waited for.
        holder: The worker of another process that holds the lease and will answer when its handler has returned; None
            if no process works on the query, so that it is done when a process that runs the query claims it next.
    """

    def __init__(self, name: str, action: str, seconds: float, holder: str | None) -> None:
        who = (
            "no process works on the query: it is done when a process claims it next"
            if holder is None
            else f"{holder} works on the query and has not answered yet"
        )
        super().__init__(f"{action} of query {name!r} is queued, and was not done within {seconds:g} s; {who}")
        self.name = name
        self.action = action
        self.seconds = seconds
        self.holder = holder


class QueryRequestFailed(EventreeError):
    """The process that works on a query could not do what was asked of it.

    Handling: see the reason; the log of that process may have more.

    Attributes:
        name: The query.
        action: What was asked, such as "reset".
        error: The class of the error there.
        reason: Its text.
    """

    def __init__(self, name: str, action: str, error: str, reason: str) -> None:
        super().__init__(f"{action} of query {name!r} failed where it runs: {error}: {reason}")
        self.name = name
        self.action = action
        self.error = error
        self.reason = reason


class TooManyRequests(EventreeError):
    """So many requests of this query wait that no more are queued; nothing was done.

    Handling: start a process that runs the query, or wait until the one that works on it answers.

    Attributes:
        name: The query.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"too many requests of query {name!r} wait; start a process that runs it, or try again later")
        self.name = name


class QuerySuperseded(EventreeError):
    """A newer version of a query is live, so this one handles no more events.

    Handling: remove it from the code. To go back, give the older code an even newer version.

    Attributes:
        name: The query.
        version: The older version.
        live_version: The live version.
    """

    def __init__(self, name: str, version: int, live_version: int) -> None:
        super().__init__(
            f"version {live_version} of query {name!r} is live, so version {version} handles no more events; "
            "remove it, or give its code a newer version"
        )
        self.name = name
        self.version = version
        self.live_version = live_version


class ReportedFailure(EventreeError):
    """A failure of a query as the store has it: of another process, or of this one before it started again.

    Handling: see the reason; the log of that process has the traceback.

    Attributes:
        name: The query.
        reason: The class and the text of the error.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"query {name!r} failed, as the store has it: {reason}")
        self.name = name
        self.reason = reason


class NoQueryContext(EventreeError):
    """`query_context()` was called outside a handler of a query. Handling: call it inside the handler."""

    def __init__(self) -> None:
        super().__init__("there is no query context here; call query_context() inside a handler")


class QueryHandlerTimeout(EventreeError, TimeoutError):
    """A function of a query took longer than its `handler_timeout`.

    An async function was cancelled, and `on_failure` applies as to any failure. A plain function cannot be cancelled;
    its commit counts as handled. Handling: find out what it waits for, or raise the limit.

    Attributes:
        name: The query.
        function: The name of its handler.
        seconds: The limit.
        held: For how long a plain function held the event loop, in seconds; 0 if it was cancelled.
    """

    def __init__(self, name: str, function: str, seconds: float, *, held: float = 0.0) -> None:
        what = (
            f": it held the event loop for {held:.1f} s, and a plain function cannot be cancelled; let it await"
            if held
            else " and was cancelled; check what it awaits"
        )
        super().__init__(f"handler {function} of query {name!r} exceeded its handler_timeout of {seconds:g} s{what}")
        self.name = name
        self.function = function
        self.seconds = seconds
        self.held = held


class QueryStopped(EventreeError):
    """A query stopped because its handler failed too often, or it is superseded; the rest of the system runs.

    Handling: fix the handler and restart; the query continues from its checkpoint. If the cause was temporary, `resume`
    it; if the events are at fault, `skip` them. `__cause__` has the last failure.

    Attributes:
        name: The query.
        position: The last position it has handled.
    """

    def __init__(self, name: str, position: int, cause: BaseException | None) -> None:
        super().__init__(
            f"query {name!r} stopped after position {position} ({_cause_text(cause)}); fix the cause, then "
            "resume() it, or skip() the failing commit"
        )
        self.name = name
        self.position = position
        self.__cause__ = cause


class NotCaughtUp(EventreeError):
    """A command was stored, but a query in its `wait_for` has not handled its events in time.

    Handling: do not send the command again; wait with `query(name).caught_up(position)`. `__cause__` has the reason.

    Attributes:
        commit: The commit, which is durable; its events are those of the aggregate type of the command.
        query: The name of the query.
    """

    def __init__(self, commit: Commit[Any], query: str, cause: BaseException | None = None) -> None:
        super().__init__(
            f"the command was stored, but query {query!r} has not handled it yet ({_wait_text(cause)}); "
            "wait for the query, do not send the command again"
        )
        self.commit = commit
        self.query = query
        self.__cause__ = cause


def _wait_text(cause: BaseException | None) -> str:
    # The advice of a timeout, to try again, would contradict that of the error that it caused.
    return cause.detail if isinstance(cause, ActorTimeout) and cause.detail else _cause_text(cause)


def _cause_text(cause: BaseException | None) -> str:
    return "no exception" if cause is None else error_text(cause)


LASTING_ERRORS: Final = (StoreUnusable, StoreReadOnly, WrongEventLoop)
"""Errors that remain while a store is open: returned to the caller; queries stop, and no actor crashes."""

TRANSIENT_ERRORS: Final = (StoreUnavailable, TransactionRolledBack, CommitOutcomeUnknown)
"""Transient errors of a store: returned to the caller or retried, and never a reason to crash an actor."""
