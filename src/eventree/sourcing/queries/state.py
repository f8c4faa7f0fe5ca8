"""The state machine of a query: one immutable value that decides what to do next, without I/O or a clock.

`next(now)` returns an action; the worker carries it out and reports the outcome by calling a method, which returns the
next state:

    action          report
    Claim           claimed, or leased_elsewhere
    LoadCheckpoint  checkpoint_loaded
    Renew           renewed
    Verify          verified
    Look            looked
    Read            page_read
    Deliver         delivered
    Save            saved
    GoLive          went_live
    Release         released
    Wait            none: time passes, or a message arrives
    any             failed (a user's function), store_failed, gave_up, fenced, rolled_back

All times are in seconds on the worker's clock. The lease on the checkpoint keeps other workers away; its fencing token
lets the store refuse a worker that has lost the lease without noticing.

The positions, from the lowest to the highest: `stored.checkpoint.position`, as the store last said; that of
`checkpoint`, as this worker last stored it; `settled_position`, which handles show; `position`, up to which everything
was handled; `read_until`, up to which the log was read; `head`, up to which the log is known to go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace as replace_fields
from datetime import UTC, datetime
from math import inf
from typing import Final, Self, assert_never

from msgspec import Struct
from msgspec.structs import replace

from eventree.backoff import Backoff
from eventree.errors import (
    EventreeError,
    EventTooNew,
    InvalidArgument,
    LogRolledBack,
    QueryHandlerTimeout,
    QuerySuperseded,
    ReportedFailure,
    TooManyParked,
    TransactionEnded,
    UnknownEventType,
)
from eventree.errors.stores import LASTING_ERRORS
from eventree.sourcing.queries.actions import (
    HAND_OVER_AGAIN,
    PAGE_SIZE,
    RECLAIM_DELAY,
    SAVE_AFTER,
    SAVE_PASSED_AFTER,
    SAVE_PASSED_LEASES,
    SAVE_WITHIN,
    Action,
    Claim,
    Deliver,
    Delivered,
    Failure,
    GoLive,
    LoadCheckpoint,
    Look,
    Read,
    Release,
    Renew,
    Save,
    Verify,
    Wait,
)
from eventree.sourcing.queries.commits import (
    CommitFilter,
    HandlingFailed,
    Key,
    Rejection,
    StoredCommit,
    keys_of,
    reason_of,
)
from eventree.sourcing.queries.context import QueryContext
from eventree.sourcing.queries.options import FailurePolicy, Options
from eventree.sourcing.queries.status import QueryStatus
from eventree.stores.checked import MAX_LEASE
from eventree.stores.contract import (
    Checkpoint,
    CheckpointUpdate,
    CommitStamp,
    LeaseRequest,
    ParkedCommit,
    StoredCheckpoint,
    StoredFailure,
)

STORE_BACKOFF: Final = Backoff(initial=0.1, maximum=5.0)
"""How long to wait before trying an unavailable store again."""

MAX_FENCES: Final = 10
"""How often the lease is doubled at most."""

_FATAL: Final = (TransactionEnded, TooManyParked)
"""Failures that neither another attempt nor skipping the commit would fix."""

_UNSTORABLE: Final = LASTING_ERRORS
"""What a worker stops for that could not be told to the store either."""

_NEWER: Final = (UnknownEventType, EventTooNew)
"""Failures that show that this code is older than an event: newer code can handle it, so no event is to blame."""

MAX_OUTDATED: Final = 60.0
"""Seconds after which a worker at most looks whether it can handle an event that is newer than its code after all."""

_NONE_REJECTED: Final[Mapping[int, Rejection]] = {}


class QueryState(Struct, frozen=True):
    """Hold everything that a worker knows about its query.

    Attributes:
        options: The query's options.
        owner: Identifies the worker in the store; it stays the same when the actor restarts.
        recheck_after: See `LEASE_RECHECK`; default infinite, for deliveries whose transaction checks the fencing token.
        fencing_token: Allows this worker to move the checkpoint; 0 while it does not hold the lease.
        renewed_at: When the lease was last renewed.
        stored_at: When the checkpoint was last stored or claimed.
        confirmed_at: When the store last confirmed that no other worker has taken the checkpoint over.
        claim_at: The earliest time to claim the checkpoint.
        checkpoint: The checkpoint as this worker last stored or claimed it.
        stored: The checkpoint as last loaded from the store; None if it never was.
        is_live: Whether this version was the live one when the checkpoint was loaded.
        replay_until: The last position of events that were handled before, by another version or before a reset.
        hands_over: Whether this version lets go of its lease so that a newer one can go live.
        hand_over_at: The earliest time to do so.
        blocked: Aggregates that have parked commits.
        load_at: When to load the checkpoint again.
        look_at: When to look whether a newer version waits for this one; with the lease only.
        position: Everything up to here was handled, parked or skipped; the stored checkpoint may be behind.
        stamp: The stamp of the event at the position; None if it is unknown.
        unverified: A position that this worker had handled under an earlier claim, and the stamp of the event there, if
            that is yet to be compared with the log; None if not.
        doubted: The checkpoint at which the log was found rolled back; None if the log has been read since.
        settled_position: Everything up to here will not be delivered again. Handles show it, and callers wait for it.
        is_loaded: Whether the settled position was read from the store.
        save_at: When to store the checkpoint; infinite if nothing was handled since it was stored.
        pending_parked: Commits to park when the checkpoint is stored.
        pending_skipped: The number of commits to count as skipped when the checkpoint is stored.
        commits: The commits to deliver next.
        read_until: The last position of the page that these commits were read from.
        read_stamp: The stamp of the event there.
        head: The highest position of the log that this worker was notified of.
        read_at: When to look whether the log has grown, even without a notification; 0 to read it at once.
        go_live_at: When to try again to go live.
        failure: The failure to be retried; None if nothing fails.
        counted: The failures of the commit at hand, to store with the checkpoint until it is moved past that commit, so
            that the next holder goes on counting; None if it has not failed.
        is_count_unsaved: Whether the store does not have these yet.
        rejected: Commits not to be delivered any more, by the position of their first event.
        isolate_until: Up to this position, commits are delivered one by one, because one of them made a batch fail.
        store_error: The last failure of the store; None after a success.
        store_failures: How often in a row the store has failed.
        is_stalled: Whether the store has failed during deliveries, and none has succeeded since.
        store_retry_at: When to try the store again.
        is_paused: Whether an operator has paused the query.
        is_pause_unsaved: Whether the store does not know yet that it was paused or resumed.
        stopped: Why the query gave up; None if it did not.
        is_stop_reported: Whether the store knows that it gave up.
        superseded: Names the newer version that is live; None if there is none.
        skipped: The number of commits skipped in this process.
        unrenewed: The longest time lately for which a delivery kept the lease from being renewed, in seconds; 0 if that
            was short compared to the lease.
        unrenewed_unsaved: The same, of deliveries since the checkpoint was stored.
        overdue: Reports that the last delivery took longer than the `handler_timeout`, where it could not be cancelled;
            None if it did not.
        fences: How often in a row the lease was lost that way, so that nothing of what was handled could be stored.
    """

    options: Options
    owner: str
    recheck_after: float = inf
    fencing_token: int = 0
    renewed_at: float = 0.0
    stored_at: float = 0.0
    confirmed_at: float = 0.0
    claim_at: float = 0.0
    checkpoint: Checkpoint = Checkpoint(0, 0)
    stored: StoredCheckpoint | None = None
    is_live: bool = False
    replay_until: int = 0
    hands_over: bool = False
    hand_over_at: float = 0.0
    blocked: frozenset[Key] = frozenset()
    load_at: float = 0.0
    look_at: float = inf
    position: int = 0
    stamp: CommitStamp | None = None
    unverified: Verify | None = None
    doubted: Checkpoint | None = None
    settled_position: int = 0
    is_loaded: bool = False
    save_at: float = inf
    pending_parked: Sequence[ParkedCommit] = ()
    pending_skipped: int = 0
    commits: Sequence[StoredCommit] = ()
    read_until: int = 0
    read_stamp: CommitStamp | None = None
    head: int = 0
    read_at: float = 0.0
    go_live_at: float = 0.0
    failure: Failure | None = None
    counted: StoredFailure | None = None
    is_count_unsaved: bool = False
    rejected: Mapping[int, Rejection] = _NONE_REJECTED
    isolate_until: int = 0
    store_error: EventreeError | None = None
    store_failures: int = 0
    store_retry_at: float = 0.0
    is_stalled: bool = False
    is_paused: bool = False
    is_pause_unsaved: bool = False
    stopped: BaseException | None = None
    is_stop_reported: bool = False
    superseded: QuerySuperseded | None = None
    skipped: int = 0
    unrenewed: float = 0.0
    unrenewed_unsaved: float = 0.0
    fences: int = 0
    overdue: QueryHandlerTimeout | None = None

    # --- properties

    @property
    def lease(self) -> float:
        """How long to lease the checkpoint for, in seconds: as the options say, or longer for a slow handler."""
        return max(self.options.lease, min(2.0 ** (1 + self.fences) * self.unrenewed, MAX_LEASE))

    @property
    def has_lease(self) -> bool:
        """Whether this worker holds the lease, as far as it knows."""
        return self.fencing_token > 0

    @property
    def is_transactional(self) -> bool:
        """Whether the handler's own rows are stored together with the checkpoint, and go back in time with it."""
        return self.recheck_after == inf

    @property
    def is_unsaved(self) -> bool:
        """Whether commits were handled since the checkpoint was stored."""
        return self.save_at < inf

    @property
    def is_over(self) -> bool:
        """Whether nothing is delivered any more, unless the query is resumed."""
        return self.stopped is not None or self.superseded is not None

    @property
    def last_error(self) -> BaseException | None:
        """The last failure of the store or the handler; None after a success."""
        failing = self.failure.error if self.failure is not None else None
        errors = (self.stopped, self.superseded, self.store_error, failing, self.overdue)
        return next((error for error in errors if error is not None), None)

    @property
    def status(self) -> QueryStatus:
        """What the query is doing."""
        if self.superseded is not None:
            return QueryStatus.SUPERSEDED
        if self.stopped is not None:
            return QueryStatus.STOPPED
        if self.is_paused:
            return QueryStatus.PAUSED
        if self.failure is not None and self.failure.is_outdated:
            return QueryStatus.OUTDATED
        if self.failure is not None or self.store_failures:
            return QueryStatus.RETRYING
        if not self.is_loaded:
            return QueryStatus.STARTING
        if not self.has_lease:
            return QueryStatus.WAITING
        return QueryStatus.RUNNING if self.is_live else QueryStatus.BUILDING

    # --- what to do next

    def next(self, now: float, *, save: bool = False) -> Action:
        """Return the next action.

        Args:
            now: The time.
            save: Whether a caller is waiting for the checkpoint to be stored; default False.
        """
        if self.has_lease and (self.is_over or self.hands_over or self._waits_for_newer_code(now)):
            return Release()
        if self.is_over:
            return self._next_when_over(now)
        setup_at = self.failure.retry_at if self.failure is not None and self.failure.is_setup else 0.0
        if now < (again := max(self.store_retry_at, setup_at)):
            return Wait(again - now)
        action = self.acquire(now)
        if action is not None:
            return action
        if not self.fencing_token:
            return Wait(max(self.load_at - now, 0.001))
        if now >= self.save_at or (save and self.is_unsaved) or self.is_count_unsaved or self.is_pause_unsaved:
            return Save(self.update())
        if now >= self._renew_at:
            is_due = (
                self.position != self.checkpoint.position and now >= self.stored_at + SAVE_PASSED_LEASES * self.lease
            )
            return Save(self.update()) if is_due else Renew(self.fencing_token)
        return LoadCheckpoint() if now >= self.look_at else self._work(now)

    def _next_when_over(self, now: float) -> Action:
        """Return the next action of a query that gave up: tell the store, then look now and then what it is asked."""
        if self.superseded is not None or isinstance(self.stopped, _UNSTORABLE):
            return Wait(None)
        if now < self.store_retry_at:
            return Wait(self.store_retry_at - now)
        if self.is_count_unsaved:
            return Claim(LeaseRequest(self.owner, self.lease, self.options.start))
        if not self.is_stop_reported:
            return Release()
        return LoadCheckpoint() if now >= self.load_at else Wait(self.load_at - now)

    def _waits_for_newer_code(self, now: float) -> bool:
        failure = self.failure
        return failure is not None and failure.is_outdated and now < failure.retry_at and not self.is_paused

    def acquire(self, now: float) -> Claim | LoadCheckpoint | None:
        """Return the action that obtains or verifies the lease; None if neither is due."""
        if not self.fencing_token and now >= max(self.claim_at, self.load_at):
            return Claim(LeaseRequest(self.owner, self.lease, self.options.start))
        return LoadCheckpoint() if now >= self.load_at else None

    def _work(self, now: float) -> Action:
        if self.unverified is not None:
            return self.unverified
        if self.is_paused:
            return self._wait(now, inf)
        if self.failure is not None and now < self.failure.retry_at:
            return self._wait(now, self.failure.retry_at)
        if self.commits:
            return LoadCheckpoint() if now - self.confirmed_at > self.recheck_after else Deliver()
        if not self.is_live and self._has_caught_up_with_live:
            return self._go_live(now)
        if self.head > self.position or not self.read_at:
            return Read(self.position, self._read_limit, self.stamp)
        if now >= self.read_at:
            return Look(self.position, self.stamp, self.read_at - self.options.poll_interval)
        return self._wait(now, self.read_at)

    @property
    def _has_caught_up_with_live(self) -> bool:
        return self.stored is not None and self.position >= self.stored.live_position

    @property
    def _read_limit(self) -> int:
        """How many positions to read, such that all events of a page are a replay or none is."""
        replay = self.replay_until - self.position
        return min(PAGE_SIZE, replay) if replay > 0 else PAGE_SIZE

    def _go_live(self, now: float) -> Action:
        if now < self.go_live_at:
            return self._wait(now, self.go_live_at)
        return GoLive() if self.position == self.checkpoint.position else Save(self.update())

    def _wait(self, now: float, until: float) -> Wait:
        return Wait(max(min(until, self.save_at, self.look_at, self._renew_at) - now, 0.001))

    @property
    def _renew_at(self) -> float:
        """When to renew the lease, after a third of it at the latest.

        All queries with the same lease do so at the same moments, so that the store can renew their leases together.
        """
        interval = self.lease / 3
        return (self.renewed_at // interval + 1) * interval

    # --- reports: the lease

    def claimed(self, checkpoint: Checkpoint, now: float) -> Self:
        """Continue from the claimed checkpoint, or from this worker's position if no other has held the lease since.

        Args:
            checkpoint: The claimed checkpoint.
            now: When the claim was sent.
        """
        # Each claim raises the token by one, so the next number shows that this worker's claims are consecutive.
        is_alone = checkpoint.fencing_token == self.checkpoint.fencing_token + 1
        continues = is_alone and checkpoint.position == self.checkpoint.position
        failure = self.failure
        is_over = failure is not None and (failure.is_setup or 0 < failure.position <= checkpoint.position)
        state = replace(
            self,
            failure=None if is_over else failure,
            hands_over=False,
            fencing_token=checkpoint.fencing_token,
            renewed_at=now,
            stored_at=now,
            confirmed_at=now,
            checkpoint=checkpoint,
            load_at=0.0,
            settled_position=checkpoint.position,
        )
        if self.counted is not None and (not is_alone or self.counted.position <= checkpoint.position):
            state = replace(state, counted=None, is_count_unsaved=False)
        if continues:
            return replace(state, save_at=now if self.position > checkpoint.position else inf)
        return replace(
            state.lost(),
            fencing_token=checkpoint.fencing_token,
            position=checkpoint.position,
            stamp=checkpoint.stamp,
            unverified=self._to_verify(),
            pending_parked=(),
            pending_skipped=0,
            rejected=self.rejected if is_alone else _NONE_REJECTED,
        )

    def _to_verify(self) -> Verify | None:
        """Return what to compare with the log, so that it is noticed if events that were handled are gone."""
        if self.unverified is not None or self.stamp is None or self.is_transactional:
            return self.unverified
        return Verify(self.position, self.stamp)

    def verified(self) -> Self:
        """Note that the events handled under an earlier claim are still in the log."""
        return replace(self, unverified=None)

    def leased_elsewhere(self, seconds: float, now: float) -> Self:
        """Note that another worker holds the lease.

        Args:
            seconds: The remaining time of that lease.
            now: When the claim was sent.
        """
        delay = max(min(seconds, self.options.lease / 3), RECLAIM_DELAY)
        failure = None if self.failure is not None and self.failure.is_outdated else self.failure
        return replace(self, claim_at=now + delay, load_at=0.0, failure=failure)

    def checkpoint_loaded(self, stored: StoredCheckpoint | None, parked: Sequence[ParkedCommit], now: float) -> Self:
        """Note the loaded checkpoint: the live version and its position, the parked commits, and the lease's token.

        Args:
            stored: The loaded checkpoint; None if there is none.
            parked: Its parked commits.
            now: When the checkpoint was requested.
        """
        if self.is_over and not self.has_lease:
            return self._loaded_when_over(stored, now)
        if stored is None:
            return self.fenced(now)
        if self.has_lease and stored.checkpoint.fencing_token != self.fencing_token:
            return self.fenced(now)
        is_live = stored.live_version == self.options.version
        state = replace(
            self,
            stored=stored,
            is_live=is_live,
            replay_until=stored.replay_until if is_live else max(stored.replay_until, stored.live_position),
            blocked=keys_of(parked),
            is_loaded=True,
        )
        if self.has_lease:
            state = state._counting_on(stored.failure, now)
        if self.has_lease and not self.is_pause_unsaved:
            state = replace(state, is_paused=stored.is_paused)
        if not self.has_lease or state.is_paused:
            state = state._store_recovered(delivers=True)
        if not self.has_lease:
            again = now + self.options.poll_interval
            claim_at = self.claim_at if stored.live_version <= self.options.version else now
            if claim_at > now:  # the lease may be free by then
                again = min(again, claim_at)
            return replace(state, settled_position=stored.checkpoint.position, load_at=again, claim_at=claim_at)
        state = replace(state, confirmed_at=now, load_at=inf, look_at=now + self.options.lease / 3)
        if stored.live_version <= self.options.version:
            return state._handing_over(now) if is_live and stored.next_version else state
        return replace(state, superseded=QuerySuperseded(*self.options.key, stored.live_version))

    def _loaded_when_over(self, stored: StoredCheckpoint | None, now: float) -> Self:
        """Note the checkpoint of a query that gave up here; it stands by again once another worker has got further."""
        again = replace(self._store_recovered(delivers=True), load_at=now + self.options.lease / 3)
        if stored is None:
            return again
        if stored.live_version > self.options.version:
            return replace(again, superseded=QuerySuperseded(*self.options.key, stored.live_version))
        is_mine = stored.owner == self.owner
        is_passed = stored.checkpoint.position > self.position and not isinstance(self.stopped, LogRolledBack)
        if not is_mine and is_passed:
            return replace(again._forgetting_failure(), stopped=None, is_stop_reported=False, load_at=now)
        return replace(again, stored=stored, is_stop_reported=not is_mine or stored.stop is not None)

    def _counting_on(self, stored: StoredFailure | None, now: float) -> Self:
        """Go on counting the failures of a commit where the store says so."""
        if self.is_count_unsaved or stored == self.counted:
            return self
        if stored is None or stored.position <= self.position:
            return replace(self, counted=None)
        error = ReportedFailure(self.options.name, stored.reason)
        failure = Failure(error, stored.attempts, now, stored.position, is_setup=False)
        return replace(self, counted=stored, failure=failure)

    def _handing_over(self, now: float) -> Self:
        """Let a newer version go live, and claim the checkpoint again if it does not do so within a lease."""
        if now < self.hand_over_at:
            return self
        lease = self.options.lease
        return replace(self, hands_over=True, claim_at=now + lease, hand_over_at=now + HAND_OVER_AGAIN * lease)

    def renewed(self, is_kept: bool, now: float) -> Self:  # noqa: FBT001 - it is the answer of the store
        """Note whether the lease was renewed; `now` is when the action was sent."""
        return replace(self, renewed_at=now, confirmed_at=now) if is_kept else self.fenced(now)

    def fenced(self, now: float) -> Self:
        """Note that another worker has taken the checkpoint over; claim it again soon.

        If that happened because a delivery was slow, claim it later, as the other worker may be as slow, and for
        longer. Otherwise the two would take the same events from each other for ever.
        """
        again = now + max(RECLAIM_DELAY, self.unrenewed_unsaved)
        fences = min(self.fences + 1, MAX_FENCES) if self.unrenewed_unsaved else self.fences
        state = replace(self.lost()._forgetting_failure(), claim_at=again, load_at=now + RECLAIM_DELAY)
        return replace(state, fences=fences, unrenewed_unsaved=0.0)

    def _forgetting_failure(self) -> Self:
        return replace(self, failure=None, counted=None, is_count_unsaved=False)

    def kept_from_renewing(self, seconds: float) -> Self:
        """Note for how long a delivery kept the lease from being renewed."""
        if seconds <= self.options.lease / 2:
            return self
        unsaved = max(seconds, self.unrenewed_unsaved)
        return replace(self, unrenewed=max(seconds, self.unrenewed), unrenewed_unsaved=unsaved)

    def released(self) -> Self:
        """Forget the lease: it was released, or it is unknown whether this worker still holds it."""
        return replace(self, fencing_token=0, load_at=0.0, look_at=inf, save_at=inf)

    def lost(self) -> Self:
        """Forget the lease and the commits read: another worker may be handling them."""
        return replace(self.released(), commits=(), read_at=0.0)

    # --- reports: the log

    def notified(self, head: int) -> Self:
        """Note that the log has events up to a position."""
        return replace(self, head=head) if head > self.head else self

    def head_is(self, position: int) -> Self:
        """Note the head of the log; if it is behind this query, read at once, to detect a log rolled back."""
        return self.notified(position) if position >= self.position else replace(self, read_at=0.0)

    def looked(self, position: int, since: float) -> Self:
        """Note a position of the log as it was after a time; if it is not beyond this one, there was nothing new."""
        if position > self.position:
            return self.notified(position)
        return self.page_read((), self.position, since, more=False, stamp=self.stamp)

    def page_read(
        self,
        commits: Sequence[StoredCommit],
        end: int,
        now: float,
        *,
        more: bool,
        stamp: CommitStamp | None = None,
    ) -> Self:
        """Note a page read after the position.

        Args:
            commits: The commits of the page, in order.
            end: The last position that the page covers.
            now: When the page was requested.
            more: Whether the log continues after it.
            stamp: The stamp of the event at `end`; None if it is unknown.
        """
        if self.options.partition.count > 1:
            commits = [commit for commit in commits if self.is_mine(commit)]
        is_end = end <= self.position
        state = replace(
            self._store_recovered(delivers=not commits),
            commits=commits,
            read_until=end,
            read_stamp=self.stamp if is_end else stamp,
            doubted=None,
            head=min(self.head, self.position) if is_end else self.head,
            read_at=0.0 if more and not is_end else now + self.options.poll_interval,
            load_at=self.load_at if self.is_live else 0.0,
        )
        return state if commits or is_end else state._moved_to(end, None)

    def is_mine(self, commit: StoredCommit) -> bool:
        """Return whether a commit belongs to this partition."""
        return self.options.partition.takes(*commit.key)

    def rolled_back(self, error: LogRolledBack, now: float) -> Self:
        """Stop for good, as the query has handled events that the log no longer contains; or start from the checkpoint.

        The rows of a projection are in the database that has gone back in time, and its checkpoint fits them. It stops
        only if it finds the log rolled back at that checkpoint too.

        Args:
            error: What was found.
            now: When it was found.
        """
        here, doubted = self.checkpoint, self.doubted
        is_new = doubted is None or (here.position, here.stamp) != (doubted.position, doubted.stamp)
        if self.is_transactional and is_new:
            return replace(self.fenced(now), doubted=here)
        named = LogRolledBack(f"query {self.options.name!r}", error.known, error.found)
        named.__cause__ = error
        return replace(self.gave_up(named), is_loaded=False)

    def gave_up(self, error: EventreeError) -> Self:
        """Stop because of an error that another attempt would not change."""
        return replace(self.lost(), stopped=error)

    # --- reports: handling

    def delivered(self, outcome: Delivered, now: float) -> Self:
        """Note which commits were handled, parked and skipped."""
        position = outcome.position
        if outcome.update is not None:
            state = self.saved(outcome.update, now)
        else:
            state = self._moved_to(position, outcome.handled_since)
            if outcome.parked or outcome.skipped:
                state = replace(state, pending_parked=outcome.parked, pending_skipped=outcome.skipped, save_at=now)
        left = [commit for commit in self.commits if commit.position > position]
        state = replace(
            state._store_recovered(delivers=position > self.position),
            commits=left,
            load_at=self.load_at if self.is_live else 0.0,
        )
        if self.counted is not None and position >= self.counted.position:
            state = replace(state, counted=None, is_count_unsaved=False)
        if self.failure is None or position < self.failure.position:
            return state
        return replace(state, failure=None)

    def overran(self, overdue: QueryHandlerTimeout | None) -> Self:
        """Note whether the delivery took longer than the `handler_timeout` without failing."""
        return self if overdue is self.overdue else replace(self, overdue=overdue)

    def _moved_to(self, position: int, handled_since: float | None) -> Self:
        """Move on without storing the checkpoint; if commits were handled, that falls due soon."""
        save_at = self.save_at if handled_since is None else min(self.save_at, handled_since + SAVE_WITHIN)
        if position - self.checkpoint.position >= (SAVE_AFTER if save_at < inf else SAVE_PASSED_AFTER):
            save_at = 0.0
        settled = position if save_at == inf else self.settled_position
        return replace(
            self, position=position, stamp=self.stamp_at(position), save_at=save_at, settled_position=settled
        )

    def stamp_at(self, position: int) -> CommitStamp | None:
        """Return the stamp of the event at a position of the last page, or the current one; None if it is unknown."""
        if position == self.position:
            return self.stamp
        if position == self.read_until:
            return self.read_stamp
        ends = (commit.page[commit.stop - 1] for commit in self.commits if commit.last_position == position)
        return next((last.stamp for last in ends), None)

    def saved(self, update: CheckpointUpdate, now: float) -> Self:
        """Note that the checkpoint was stored, with the changes to the parked and skipped commits."""
        position = update.checkpoint.position
        state = replace(
            self,
            fencing_token=update.checkpoint.fencing_token,
            renewed_at=now,
            stored_at=now,
            confirmed_at=now,
            checkpoint=update.checkpoint,
            position=position,
            stamp=update.checkpoint.stamp,
            settled_position=position,
            save_at=inf,
            pending_parked=(),
            pending_skipped=0,
            skipped=self.skipped + update.skipped,
            unrenewed=self.unrenewed_unsaved,
            unrenewed_unsaved=0.0,
            fences=0,
            is_count_unsaved=self.is_count_unsaved and update.failure != self.counted,
            is_pause_unsaved=self.is_pause_unsaved and update.paused is None,
        )
        if position < self.position:
            state = replace(state, commits=(), read_at=0.0)
        if update.unpark:
            state = replace(state, load_at=0.0)
        if update.park and self.stored is not None:
            stored = replace_fields(self.stored, parked=self.stored.parked + len(update.park))
            state = replace(state, stored=stored, blocked=self.blocked | keys_of(update.park))
        if self.rejected:
            rejected = {at: rejection for at, rejection in self.rejected.items() if at > position}
            state = replace(state, rejected=rejected)
        return state

    def went_live(self, now: float) -> Self:
        """Check whether this version is live now; if not, try again after the polling interval."""
        return replace(self, load_at=0.0, go_live_at=now + self.options.poll_interval)

    # --- reports: failures

    def failed(self, failure: HandlingFailed, now: float) -> Self:
        """Note that a user's function raised: isolate the failing commit, retry it, and finally apply the policy."""
        is_setup, error, commits = not self.has_lease, failure.error, failure.commits
        state = (self.released() if failure.is_uncertain else self)._store_recovered(delivers=True)
        is_fatal = isinstance(error, _FATAL)
        if len(commits) > 1 and not is_fatal:
            return replace(state, isolate_until=commits[-1].last_position)
        commit = commits[0] if commits else None
        attempts = self.attempts_at(commit) + 1
        if isinstance(error, _NEWER) and commit is not None:
            return self._store_recovered(delivers=True)._outdated(error, attempts, commit.position, now)
        again = now + self.options.backoff.delay(attempts)
        position = commit.position if commit is not None else 0
        state = replace(state, failure=Failure(error, attempts, again, position, is_setup))
        if is_fatal:
            return replace(state, stopped=error)
        if commit is not None:
            counted = StoredFailure(position, attempts, reason_of(error), datetime.now(UTC))
            state = replace(state, counted=counted, is_count_unsaved=True)
        return state if attempts < self.options.max_attempts else state._apply_policy(commit, error)

    def _outdated(self, error: BaseException, attempts: int, position: int, now: float) -> Self:
        """Let go of the lease for a worker with newer code; claim the checkpoint again later and later."""
        lease = self.options.lease
        again = now + min(lease * 2.0 ** min(attempts - 1, 60), max(lease, MAX_OUTDATED))
        failure = Failure(error, attempts, again, position, is_setup=False, is_outdated=True)
        return replace(self, claim_at=again, failure=failure)

    def attempts_at(self, commit: StoredCommit | None) -> int:
        """Return how often in a row a commit has failed; without one, a `setup`, `swap` or `clear`."""
        if self.failure is None or (commit is not None and self.failure.position != commit.position):
            return 0
        return self.failure.attempts

    def _apply_policy(self, commit: StoredCommit | None, error: BaseException) -> Self:
        """Apply the failure policy after the last attempt."""
        if commit is None:
            return replace(self, stopped=error)
        match self.options.on_failure:
            case FailurePolicy.STOP:
                return replace(self, stopped=error)
            case FailurePolicy.SKIP:
                return self._reject(commit, Rejection(reason_of(error), park=False))
            case FailurePolicy.PARK:
                return self._reject(commit, Rejection(reason_of(error), park=True))
            case _ as never:
                assert_never(never)

    def _reject(self, commit: StoredCommit, rejection: Rejection) -> Self:
        return replace(self, failure=None, rejected={**self.rejected, commit.position: rejection})

    def store_failed(self, error: EventreeError, now: float, *, in_delivery: bool = False) -> Self:
        """Wait for the store, then claim the checkpoint again, as the failed action may have been committed.

        Args:
            error: The error of the store.
            now: The time.
            in_delivery: Whether it failed during a delivery, so that reading alone does not show that it works again;
                default False.
        """
        failures = self.store_failures + 1
        return replace(
            self.lost(),
            store_failures=failures,
            store_retry_at=now + STORE_BACKOFF.delay(failures),
            store_error=error,
            is_stalled=self.is_stalled or in_delivery,
        )

    def _store_recovered(self, *, delivers: bool) -> Self:
        """Forget the failures of the store, but those during deliveries only once it delivers, or need not."""
        if not self.store_failures or (self.is_stalled and not delivers):
            return self
        return replace(self, store_failures=0, store_retry_at=0.0, store_error=None, is_stalled=False)

    # --- control

    def restarted(self) -> Self:
        """Return the initial state of the actor's next incarnation, which reads everything else from the store."""
        return type(self)(
            self.options,
            self.owner,
            self.recheck_after,
            stored=self.stored,
            is_live=self.is_live,
            unverified=self._to_verify(),
            settled_position=self.settled_position,
            is_paused=self.is_paused,
            is_pause_unsaved=self.is_pause_unsaved,
            skipped=self.skipped,
        )

    def stale(self) -> Self:
        """Load the checkpoint before anything else, and claim it even if this code is older than an event."""
        is_outdated = self.failure is not None and self.failure.is_outdated
        return replace(self, load_at=0.0, claim_at=0.0 if is_outdated else self.claim_at)

    def paused(self) -> Self:
        """Deliver nothing until the query is resumed."""
        return replace(self, is_paused=True, is_pause_unsaved=True)

    def resumed(self) -> Self:
        """Continue after a pause or a failure, and count failures anew."""
        return replace(
            self._forgetting_failure(),
            is_count_unsaved=True,
            stopped=None,
            is_stop_reported=False,
            is_paused=False,
            is_pause_unsaved=True,
        )

    def stop_reported(self, now: float) -> Self:
        """Note that the store knows that this query gave up; look later what it is asked."""
        return replace(self, is_stop_reported=True, load_at=now + self.options.lease / 3)

    def with_skipped(self, position: int) -> Self:
        """Skip the failing commit.

        Raises:
            InvalidArgument: Another commit is failing, or none.
        """
        failing_at = self.failing_at
        if not failing_at or failing_at != position:
            fails = f"the failing commit is at position {failing_at}" if failing_at else "no commit is failing"
            raise InvalidArgument("expected_position", f"is {position}, but {fails}; check again before you skip")
        return replace(self, rejected={**self.rejected, position: Rejection("skipped by hand", park=False)})

    # --- values for the store and for handlers

    def update(
        self,
        position: int | None = None,
        *,
        park: Sequence[ParkedCommit] = (),
        unpark: Sequence[int] = (),
        skipped: int = 0,
    ) -> CheckpointUpdate:
        """Return the checkpoint update to store, including the commits still to be parked or counted as skipped.

        Args:
            position: Everything up to here was handled, parked or skipped; default the position of the query.
            park: Further commits to park; default none.
            unpark: The positions of commits that are no longer parked; default none.
            skipped: The number of further commits to count as skipped; default 0.
        """
        position = self.position if position is None else position
        return CheckpointUpdate(
            Checkpoint(position, self.fencing_token, self.stamp_at(position)),
            self.lease,
            moved_from=self.checkpoint.position,
            park=[*self.pending_parked, *park],
            unpark=unpark,
            skipped=self.pending_skipped + skipped,
            failure=self.counted if self.counted is not None and position < self.counted.position else None,
            paused=self.is_paused if self.is_pause_unsaved else None,
        )

    def skip_update(self, position: int, stamp: CommitStamp | None) -> CheckpointUpdate:
        """Return the checkpoint update to skip the next commit, given the position and the stamp of its last event."""
        update = self.update(skipped=1)
        return replace_fields(update, checkpoint=Checkpoint(position, self.fencing_token, stamp), failure=None)

    def reset_update(self, parked: Sequence[ParkedCommit], head: int) -> CheckpointUpdate:
        """Return the checkpoint update to start over, with nothing parked.

        Args:
            parked: All parked commits.
            head: The last position of the log.
        """
        position = min(self.options.start or 0, self.position)
        return CheckpointUpdate(
            Checkpoint(position, self.fencing_token),
            self.lease,
            moved_from=self.checkpoint.position,
            unpark=[commit.position for commit in parked],
            replay_until=min(max(self.position, self.replay_until), head),
        )

    def commit_filter(self) -> CommitFilter:
        """Return the filter that decides which commits are delivered."""
        return CommitFilter(self.blocked, self.rejected, max(self.options.max_parked - self.parked_count, 0))

    def context(self, position: int) -> QueryContext:
        """Return the query context for a call with the events from a position on."""
        attempt = self.attempts + 1 if position == self.failing_at else 1
        is_replay = not self.is_live or position <= self.replay_until
        return QueryContext(self.options.name, self.options.version, attempt, is_replay=is_replay)

    @property
    def attempts(self) -> int:
        """How often in a row the handler has failed on the same events."""
        return self.failure.attempts if self.failure is not None else 0

    @property
    def parked_count(self) -> int:
        """How many commits are parked, as far as this worker knows."""
        return self.stored.parked if self.stored is not None else 0

    @property
    def failing_at(self) -> int:
        """The position of the failing commit; 0 if none is failing."""
        return self.failure.position if self.failure is not None else 0
