"""What a query does next: each hard case as a table of reports and requests, with numbers for time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings, strategies as st

from eventree import Backoff, InvalidArgument, StoreUnavailable
from eventree.errors import LogRolledBack, QuerySuperseded, TooManyParked
from eventree.sourcing import QueryStatus
from eventree.sourcing.queries.actions import (
    PAGE_SIZE,
    SAVE_PASSED_AFTER,
    Action,
    Claim,
    Deliver,
    Delivered,
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
from eventree.sourcing.queries.commits import HandlingFailed, StoredCommit, commits_of
from eventree.sourcing.queries.options import FailurePolicy, Options
from eventree.sourcing.queries.state import QueryState
from eventree.stores.contract import (
    Checkpoint,
    CheckpointUpdate,
    CommitStamp,
    LeaseRequest,
    ParkedCommit,
    RecordedEvent,
    StoredCheckpoint,
    StoredFailure,
)

LEASE = 6.0
POLL = 1.0
OPTIONS = Options(
    "q", lease=LEASE, poll_interval=POLL, max_attempts=3, backoff=Backoff(initial=1.0, maximum=100.0, jitter=0.0)
)
BOOM = ValueError("boom")
AWAY = StoreUnavailable("away")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
STAMP = CommitStamp(UUID(int=99), NOW)
ROLLED_BACK = LogRolledBack("a reader", 5, 3)


def options(**changes: object) -> Options:
    return replace(OPTIONS, **changes)  # type: ignore[arg-type]


def commits(first: int, last: int, *, aggregate: Callable[[int], str] = lambda _: "a") -> list[StoredCommit]:
    """Return commits of one event each."""
    return commits_of(
        [
            RecordedEvent(n, "ledger", aggregate(n), n, "Added", 1, "{}", "{}", UUID(int=n), NOW)
            for n in range(first, last + 1)
        ]
    )


def stored(position: int = 0, fence: int = 1, **changes: Any) -> StoredCheckpoint:
    fields: dict[str, Any] = {
        "owner": "me",
        "parked": 0,
        "skipped": 0,
        "replay_until": 0,
        "live_version": 1,
        "live_position": position,
        **changes,
    }
    return StoredCheckpoint(Checkpoint(position, fence), **fields)


def with_lease(
    now: float = 0.0, *, of: Options = OPTIONS, position: int = 0, fence: int = 1, recheck: float = inf
) -> QueryState:
    """Return the state of a worker that has just claimed the checkpoint and looked it up."""
    state = QueryState(of, "me", recheck).claimed(Checkpoint(position, fence), now)
    live = of.version if of.version == 1 else 1
    return state.checkpoint_loaded(stored(position, fence, live_version=live), (), now)


def reading(last: int, now: float = 0.0, *, of: Options = OPTIONS, recheck: float = inf) -> QueryState:
    """Return the state of a worker that has read commits 1 to `last`."""
    return with_lease(now, of=of, recheck=recheck).page_read(commits(1, last), last, now, more=False)


def failing(error: BaseException = BOOM, position: int = 1) -> HandlingFailed:
    return HandlingFailed(error, commits(position, position))


def kept(state: QueryState, now: float = 0.0) -> QueryState:
    """Store what the state has to store of a failure."""
    action = state.next(now)
    assert isinstance(action, Save)
    return state.saved(action.update, now)


def waits(action: Action, seconds: float) -> bool:
    return isinstance(action, Wait) and action.seconds == pytest.approx(seconds)


# --- getting the lease


def test_a_new_worker_claims_looks_up_and_reads() -> None:
    state = QueryState(OPTIONS, "me")
    assert state.status is QueryStatus.STARTING
    action = state.next(0.0)
    assert isinstance(action, Claim)
    assert (action.lease.owner, action.lease.seconds, action.lease.start) == ("me", LEASE, 0)
    state = state.claimed(Checkpoint(7, 1), 0.0)
    assert state.next(0.0) == LoadCheckpoint()
    state = state.checkpoint_loaded(stored(7), (), 0.0)
    assert state.next(0.0) == Read(7, PAGE_SIZE)
    assert (state.status, state.settled_position, state.is_loaded) == (QueryStatus.RUNNING, 7, True)


def test_where_another_has_the_lease_it_looks_at_once_and_then_polls_and_claims_when_the_lease_may_be_over() -> None:
    state = QueryState(OPTIONS, "me").leased_elsewhere(10.0, 0.0)
    assert state.next(0.0) == LoadCheckpoint()
    state = state.checkpoint_loaded(stored(5, 9), (), 0.0)
    assert (state.status, state.settled_position) == (QueryStatus.WAITING, 5)
    assert state.next(0.0) == Wait(POLL)
    assert state.next(POLL) == LoadCheckpoint()  # a third of the lease is not over
    state = state.checkpoint_loaded(stored(6, 9), (), POLL)
    assert state.settled_position == 6
    assert isinstance(state.next(LEASE / 3), Claim)


def test_a_claim_that_is_refused_with_no_time_left_is_not_repeated_at_once() -> None:
    state = QueryState(OPTIONS, "me").leased_elsewhere(0.0, 0.0)
    assert state.next(0.0) == LoadCheckpoint()
    assert state.checkpoint_loaded(stored(0, 9), (), 0.0).next(0.0) == Wait(0.05)


def test_it_claims_when_the_lease_of_the_other_may_be_over_even_if_that_is_before_the_next_poll() -> None:
    state = (
        QueryState(options(poll_interval=60.0), "me")
        .leased_elsewhere(1.5, 0.0)
        .checkpoint_loaded(stored(0, 9), (), 0.0)
    )
    assert state.next(0.0) == Wait(1.5)
    assert isinstance(state.next(1.5), Claim)


def test_the_lease_is_renewed_every_third_of_it_while_there_is_nothing_to_do() -> None:
    state = with_lease().page_read([], 0, 0.0, more=False)
    assert state.next(0.5) == Wait(0.5)  # the next poll
    assert state.next(LEASE / 3) == Renew(1)
    state = state.renewed(True, 2.0)
    assert state.next(2.0) == LoadCheckpoint()  # as often, to see what is asked
    assert state.checkpoint_loaded(stored(), (), 2.0).next(2.0) == Look(0, None, 0.0)


def test_a_checkpoint_that_has_moved_is_stored_now_and_then_in_place_of_a_renewal() -> None:
    state = with_lease().page_read([], 7, 0.0, more=False)
    assert state.next(LEASE / 3) == Renew(1)
    assert state.next(6 * LEASE) == Save(state.update(7))


def test_a_worker_that_was_frozen_past_its_lease_makes_sure_of_it_before_anything_else() -> None:
    state = reading(3)
    assert state.next(LEASE + 1) == Renew(1)
    lost = state.renewed(False, LEASE + 1)
    assert (lost.has_lease, lost.commits) == (False, ())
    assert waits(lost.next(LEASE + 1), 0.05)
    assert isinstance(lost.next(LEASE + 1.05), Claim)


def test_what_cannot_be_undone_is_delivered_only_if_the_lease_was_seen_just_now() -> None:
    state = reading(3, recheck=0.1)
    assert state.next(0.05) == Deliver()
    assert state.next(0.2) == LoadCheckpoint()
    assert state.checkpoint_loaded(stored(0, 1), (), 0.2).next(0.2) == Deliver()
    fenced = state.checkpoint_loaded(stored(0, 2), (), 0.2)
    assert (fenced.has_lease, fenced.commits) == (False, ())


@pytest.mark.parametrize(
    ("fence", "position", "continues_at", "keeps"),
    [
        (2, 0, 3, True),  # it alone has worked, and just not stored how far
        (2, 2, 2, False),  # what it does not know about was stored after all
        (3, 0, 0, False),  # another has worked in between
        (3, 5, 5, False),
    ],
)
def test_after_a_lost_lease_it_continues_where_it_was_only_if_no_other_has_worked(
    fence: int, position: int, continues_at: int, *, keeps: bool
) -> None:
    state = reading(5).delivered(Delivered(3, 0.0, skipped=1), 0.0)
    state = state.store_failed(AWAY, 0.0).claimed(Checkpoint(position, fence), 10.0)
    assert (state.position, state.pending_skipped, state.settled_position) == (continues_at, int(keeps), position)
    due = state.checkpoint_loaded(stored(position, fence), (), 10.0).next(10.0)
    assert isinstance(due, Save) is keeps


# --- delivering and storing


def test_the_checkpoint_of_what_was_handled_is_stored_within_a_tenth_of_a_second() -> None:
    state = reading(5).delivered(Delivered(5, 0.5), 0.52)
    assert (state.position, state.settled_position) == (5, 0)
    assert waits(state.next(0.52), 0.08)
    action = state.next(0.6)
    assert isinstance(action, Save)
    assert action.update.checkpoint == Checkpoint(5, 1)
    state = state.saved(action.update, 0.6)
    assert (state.settled_position, state.is_unsaved, state.renewed_at) == (5, False, 0.6)


def test_what_is_handled_later_does_not_put_the_storing_off() -> None:
    state = reading(5).delivered(Delivered(2, 0.5), 0.51).delivered(Delivered(5, 0.55), 0.56)
    assert waits(state.next(0.56), 0.04)


def test_it_is_stored_at_once_where_a_caller_waits_or_500_positions_have_passed() -> None:
    state = reading(600).delivered(Delivered(499, 1.0), 1.0)
    assert isinstance(state.next(1.0, save=True), Save)
    assert state.next(1.0) == Deliver()
    assert isinstance(state.delivered(Delivered(500, 1.0), 1.0).next(1.0), Save)


def test_what_was_only_passed_by_needs_no_storing() -> None:
    state = with_lease().page_read([], 900, 0.0, more=True)
    assert (state.position, state.settled_position, state.is_unsaved) == (900, 900, False)
    assert state.next(0.0) == Read(900, PAGE_SIZE)


def test_rows_and_checkpoint_that_were_committed_together_need_no_storing_either() -> None:
    state = reading(5)
    state = state.delivered(Delivered(5, update=state.update(5)), 2.0)
    assert (state.position, state.settled_position, state.is_unsaved, state.renewed_at) == (5, 5, False, 2.0)


def test_it_reads_on_when_it_hears_of_events_and_waits_for_the_poll_when_there_was_nothing() -> None:
    state = with_lease().page_read([], 0, 0.0, more=False)
    assert waits(state.next(0.1), 0.9)
    heard = state.notified(4)
    assert heard.next(0.1) == Read(0, PAGE_SIZE)
    assert waits(heard.page_read([], 0, 0.1, more=False).next(0.1), 1.0)  # a hint is no promise


def test_a_caller_that_knows_the_newest_position_makes_it_read_only_where_something_is_new() -> None:
    state = reading(5).delivered(Delivered(5, update=CheckpointUpdate(Checkpoint(5, 1), LEASE)), 0.0)
    assert isinstance(state.head_is(5).next(0.1), Wait)
    assert state.head_is(6).next(0.1) == Read(5, PAGE_SIZE)
    assert state.head_is(4).next(0.1) == Read(5, PAGE_SIZE)  # the log was rolled back: reading tells


def test_a_log_that_was_rolled_back_stops_a_query_with_side_effects_for_good() -> None:
    state = reading(5, recheck=0.1).rolled_back(ROLLED_BACK, 1.0)
    assert (state.status, state.is_loaded) == (QueryStatus.STOPPED, False)
    assert isinstance(state.last_error, LogRolledBack)
    assert state.next(1e9) == Release()  # which says so
    state = state.released().stop_reported(1e9)
    assert waits(state.next(1e9), LEASE / 3)
    passed = state.checkpoint_loaded(stored(9, 5, owner="another"), (), 1e9 + 2)
    assert passed.status is QueryStatus.STOPPED


def test_a_projection_starts_again_from_the_checkpoint_that_was_rolled_back_with_its_rows() -> None:
    state = reading(5).delivered(Delivered(5), 0.0).rolled_back(ROLLED_BACK, 1.0)
    assert (state.has_lease, state.last_error) == (False, None)
    assert isinstance(state.next(2.0), Claim)
    state = state.claimed(Checkpoint(2, 9, STAMP), 2.0).checkpoint_loaded(stored(2, 9), (), 2.0)
    assert (state.position, state.next(2.0)) == (2, Read(2, PAGE_SIZE, STAMP))


def test_a_projection_whose_stored_checkpoint_is_no_longer_in_the_log_stops_for_good() -> None:
    state = with_lease(position=5).rolled_back(ROLLED_BACK, 1.0)
    state = state.claimed(Checkpoint(5, 2), 2.0).rolled_back(ROLLED_BACK, 2.0)
    assert (state.status, isinstance(state.last_error, LogRolledBack)) == (QueryStatus.STOPPED, True)


def test_what_was_handled_under_an_earlier_claim_is_compared_with_the_log_before_anything_else() -> None:
    state = with_lease(recheck=0.1).page_read(commits(1, 5), 5, 0.0, more=False, stamp=STAMP)
    state = state.delivered(Delivered(5, handled_since=0.0), 0.0).fenced(0.0)
    state = state.claimed(Checkpoint(1, 9), 1.0).checkpoint_loaded(stored(1, 9), (), 1.0)
    assert state.next(1.0) == Verify(5, STAMP)
    assert state.verified().next(1.0) == Read(1, PAGE_SIZE)
    assert state.restarted().unverified == Verify(5, STAMP)


def test_a_projection_has_nothing_to_compare_with_the_log_after_a_claim() -> None:
    state = with_lease().page_read(commits(1, 5), 5, 0.0, more=False, stamp=STAMP)
    state = state.delivered(Delivered(5), 0.0).fenced(0.0).claimed(Checkpoint(1, 9), 1.0)
    assert state.unverified is None


def test_the_stamp_of_a_position_is_that_of_the_last_event_handled() -> None:
    page = commits(1, 3)
    state = with_lease().page_read(page, 4, 0.0, more=False, stamp=STAMP)
    assert state.delivered(Delivered(2), 0.0).stamp == CommitStamp(UUID(int=2), NOW)
    assert state.delivered(Delivered(4), 0.0).stamp == STAMP
    update = state.update(4)
    assert (update.checkpoint.stamp, update.moved_from, state.stamp) == (STAMP, 0, None)


# --- failures


def test_a_batch_that_fails_is_delivered_one_by_one_and_counts_no_attempt() -> None:
    state = reading(5).failed(HandlingFailed(BOOM, commits(1, 4)), 0.0)
    assert (state.isolate_until, state.failure, state.next(0.0)) == (4, None, Deliver())


def test_a_commit_that_fails_is_tried_again_with_backoff_and_the_handler_knows_the_attempt() -> None:
    state = kept(reading(2, of=options(lease=60.0)).failed(failing(), 0.0))
    assert (state.status, state.last_error, state.failing_at) == (QueryStatus.RETRYING, BOOM, 1)
    assert state.next(0.5) == Wait(0.5)
    assert state.next(1.0) == Deliver()
    assert (state.context(1).attempt, state.context(2).attempt) == (2, 1)
    again = kept(state.failed(failing(), 1.0), 1.0)
    assert again.next(1.5) == Wait(1.5)  # twice as long
    assert again.failed(failing(position=2), 1.0).attempts == 1  # another commit has attempts of its own
    worked = state.delivered(Delivered(1, 1.0), 1.0)
    assert (worked.failure, worked.last_error, worked.status) == (None, None, QueryStatus.RUNNING)


def test_the_lease_is_kept_while_it_waits_to_try_again() -> None:
    slow = options(backoff=Backoff(initial=60.0, maximum=60.0, jitter=0.0))
    state = kept(reading(2, of=slow).failed(failing(), 0.0))
    assert state.next(0.0) == Wait(LEASE / 3)
    assert state.next(LEASE / 3) == Renew(1)


@pytest.mark.parametrize("policy", FailurePolicy)
def test_the_last_attempt_applies_the_policy(policy: FailurePolicy) -> None:
    state = reading(3, of=options(on_failure=policy))
    for attempt in range(3):
        assert not state.rejected
        assert state.stopped is None
        state = state.failed(failing(position=1), float(attempt * 10))
    if policy is FailurePolicy.STOP:
        assert (state.status, state.stopped, state.attempts) == (QueryStatus.STOPPED, BOOM, 3)
        assert state.next(99.0) == Release()
        assert isinstance(state.released().next(99.0), Claim)  # what the store does not know is to be told
        state = state.saved(state.update(), 99.0).released().stop_reported(99.0)
        assert waits(state.next(99.0), LEASE / 3)
        assert state.next(101.0) == LoadCheckpoint()  # what is asked of it
        left = state.checkpoint_loaded(stored(0, 9, owner="another"), (), 101.0)
        assert left.status is QueryStatus.STOPPED
        passed = state.checkpoint_loaded(stored(1, 9, owner="another"), (), 101.0)
        assert (passed.status, passed.next(101.0)) == (QueryStatus.WAITING, Claim(LeaseRequest("me", LEASE, 0)))
        return
    assert (state.status, state.failure, state.last_error) == (QueryStatus.RUNNING, None, None)
    accepted = state.commit_filter()
    assert [accepted.accepts(commit) for commit in state.commits] == [False, *[policy is FailurePolicy.SKIP] * 2]
    expected = ([], 1) if policy is FailurePolicy.SKIP else ([1, 2, 3], 0)  # the later ones wait behind the first
    assert ([parked.position for parked in accepted.parked], accepted.skipped) == expected


def test_what_is_parked_or_skipped_is_stored_before_anything_else_and_blocks_its_aggregate() -> None:
    state = reading(3, of=options(on_failure=FailurePolicy.PARK))
    parked = [state.commits[0].parked("boom")]
    state = state.delivered(Delivered(1, 0.0, parked, 2), 0.0)
    action = state.next(0.0)
    assert isinstance(action, Save)
    assert (action.update.park, action.update.skipped) == (parked, 2)
    state = state.saved(action.update, 0.0)
    assert (state.parked_count, state.skipped, state.pending_parked, state.pending_skipped) == (1, 2, (), 0)
    assert not state.commit_filter().accepts(state.commits[0])


@pytest.mark.parametrize("parked", [1_000, 999])
def test_more_than_may_be_parked_stops_it_and_no_policy_helps(parked: int) -> None:
    state = with_lease(of=options(on_failure=FailurePolicy.PARK))
    state = state.checkpoint_loaded(stored(0, 1, parked=parked), [dead_letter(1)], 0.0)
    state = state.page_read(commits(2, 3), 3, 0.0, more=False)
    accepted = state.commit_filter()
    with pytest.raises(HandlingFailed) as failed:
        for commit in state.commits:
            accepted.accepts(commit)
    assert len(accepted.parked) == 1_000 - parked
    stopped = state.failed(failed.value, 0.0)
    assert isinstance(stopped.stopped, TooManyParked)


def test_whatever_is_stored_next_takes_what_waits_to_be_parked_along() -> None:
    state = reading(3, of=options(on_failure=FailurePolicy.PARK))
    state = state.delivered(Delivered(1, 0.0, [dead_letter(1)], 2), 0.0)
    update = state.update(park=[dead_letter(7)], unpark=[5], skipped=1)
    assert (update.checkpoint.position, update.unpark, update.skipped) == (1, [5], 3)
    assert [parked.position for parked in update.park] == [1, 7]


def dead_letter(position: int) -> ParkedCommit:
    return ParkedCommit(position, position, "ledger", "a", "boom", NOW)


def test_setup_that_fails_is_tried_again_without_the_lease_and_stops_in_the_end() -> None:
    state = QueryState(options(on_failure=FailurePolicy.SKIP), "me")
    for attempt, delay in enumerate([1.0, 2.0], 1):
        state = state.failed(HandlingFailed(BOOM), 0.0)
        assert (state.attempts, state.next(0.0)) == (attempt, Wait(delay))
        assert isinstance(state.next(delay), Claim)
    assert state.claimed(Checkpoint(0, 1), 3.0).failure is None
    assert state.failed(HandlingFailed(BOOM), 3.0).status is QueryStatus.STOPPED  # there is no commit to skip


def test_where_it_is_unknown_whether_a_transaction_took_place_the_checkpoint_is_claimed_again() -> None:
    state = reading(3).failed(HandlingFailed(BOOM, commits(1, 1), is_uncertain=True), 0.0)
    assert isinstance(state.next(0.0), Claim)
    after = state.claimed(Checkpoint(3, 2), 0.0).checkpoint_loaded(stored(3, 2), (), 0.0)
    assert (after.position, list(after.commits)) == (3, [])


def test_a_store_that_is_away_is_waited_for_and_counts_no_attempt() -> None:
    state = reading(3).store_failed(AWAY, 0.0)
    assert (state.status, state.last_error, state.failure, state.has_lease) == (QueryStatus.RETRYING, AWAY, None, False)
    action = state.next(0.0)
    assert isinstance(action, Wait)
    assert action.seconds is not None
    assert 0.1 <= action.seconds <= 0.2
    state = state.claimed(Checkpoint(0, 2), 1.0).checkpoint_loaded(stored(0, 2), (), 1.0)
    assert state.next(1.0) == Read(0, PAGE_SIZE)
    assert state.store_failures == 1  # it may fail again at reading
    works = state.page_read([], 0, 1.0, more=False)
    assert (works.status, works.last_error, works.store_failures) == (QueryStatus.RUNNING, None, 0)


def test_a_store_that_fails_during_each_delivery_is_waited_for_longer_and_longer_and_the_status_says_so() -> None:
    state, delays = reading(3), []
    for fence in range(2, 9):
        now = 100.0 * fence
        state = state.store_failed(AWAY, now, in_delivery=True)
        assert (state.status, state.last_error, state.failure) == (QueryStatus.RETRYING, AWAY, None)
        action = state.next(now)
        assert isinstance(action, Wait)
        delays.append(action.seconds or 0.0)
        later = now + 50.0
        state = with_pages(state.claimed(Checkpoint(0, fence), later), fence, later)
        assert (state.next(later), state.status, state.last_error) == (Deliver(), QueryStatus.RETRYING, AWAY)
    assert delays[0] < 0.3
    assert delays[-1] > 2.0
    works = state.delivered(Delivered(1, 900.0), 900.0)
    assert (works.status, works.last_error, works.store_failures) == (QueryStatus.RUNNING, None, 0)


def test_a_store_that_works_again_leaves_the_failure_of_the_handler() -> None:
    state = reading(3).failed(failing(), 0.0).store_failed(AWAY, 0.0)
    assert state.last_error is AWAY
    works = (
        state.claimed(Checkpoint(0, 2), 1.0).checkpoint_loaded(stored(0, 2), (), 1.0).page_read([], 0, 1.0, more=False)
    )
    assert (works.attempts, works.last_error, works.status) == (1, BOOM, QueryStatus.RETRYING)


def test_what_was_read_under_a_lost_lease_is_read_again_at_once() -> None:
    state = reading(3).fenced(0.0).claimed(Checkpoint(0, 2), 0.1).checkpoint_loaded(stored(0, 2), (), 0.1)
    assert state.next(0.1) == Read(0, PAGE_SIZE)


# --- handlers that are slower than the lease


def claimed_with(state: QueryState, now: float) -> LeaseRequest:
    action = state.next(now)
    assert isinstance(action, Claim)
    return action.lease


def test_a_worker_that_was_fenced_after_a_slow_delivery_claims_later_and_for_longer_each_time() -> None:
    state = reading(2).kept_from_renewing(10.0).delivered(Delivered(1, 0.0), 10.0)
    for fences, at in enumerate((10.0, 40.0, 70.0), 1):
        state = state.fenced(at)
        loading = state.next(at + 0.05)
        assert loading == LoadCheckpoint()
        state = state.checkpoint_loaded(stored(0, 2 * fences), (), at + 0.05)
        assert isinstance(state.next(at + 9.9), LoadCheckpoint)  # the other one may be as slow
        lease = claimed_with(state, at + 10.0)
        assert lease.seconds == 10.0 * 2 ** (1 + fences)
        state = with_pages(state.claimed(Checkpoint(0, 2 * fences + 1), at + 10.0), 2 * fences + 1, at + 10.0)
        state = state.kept_from_renewing(10.0).delivered(Delivered(1, at + 10.0), at + 20.0)
    action = state.next(91.0)
    assert isinstance(action, Save)
    assert action.update.seconds >= 20.0
    moved = state.saved(action.update, 91.0)
    assert moved.lease == 20.0  # at least twice what the handler took
    assert moved.saved(action.update, 91.0).lease == LEASE  # since then, nothing was slow


def with_pages(state: QueryState, fence: int, now: float) -> QueryState:
    return state.checkpoint_loaded(stored(0, fence), (), now).page_read(commits(1, 2), 2, now, more=False)


def test_a_worker_whose_query_is_taken_for_another_reason_claims_soon() -> None:
    state = reading(2).delivered(Delivered(1, 0.0), 1.0).fenced(1.0)
    assert isinstance(state.next(1.05), Claim)
    assert claimed_with(state, 1.05).seconds == LEASE


@pytest.mark.parametrize("seconds", [2.9, 3.1])
def test_a_lease_is_longer_than_its_deliveries_once_they_are_slow(seconds: float) -> None:
    state = reading(2).kept_from_renewing(seconds)
    assert state.lease == max(LEASE, 2 * seconds)
    assert state.update().seconds == state.lease


def test_no_lease_is_longer_than_a_day() -> None:
    state = reading(2).kept_from_renewing(80_000.0)
    for _ in range(2_000):
        state = state.fenced(0.0).kept_from_renewing(80_000.0)
    assert state.lease == 86_400


# --- versions


def building(position: int = 0, live: int = 10, **changes: int) -> QueryState:
    of = options(version=2)
    state = QueryState(of, "me").claimed(Checkpoint(position, 1), 0.0)
    return state.checkpoint_loaded(stored(position, 1, live_version=1, live_position=live, **changes), (), 0.0)


def test_a_new_version_reads_as_far_as_the_live_one_and_then_goes_live() -> None:
    state = building()
    assert (state.status, state.is_live, state.next(0.0)) == (QueryStatus.BUILDING, False, Read(0, 10))
    assert state.context(1).is_replay
    state = state.page_read(commits(1, 10), 10, 0.0, more=False)
    assert state.next(0.0) == LoadCheckpoint()  # how far the live one is by now
    state = state.checkpoint_loaded(stored(0, 1, live_version=1, live_position=10), (), 0.0)
    assert state.next(0.0) == Deliver()
    state = state.delivered(Delivered(10, 0.0), 0.0)
    assert state.next(0.0) == LoadCheckpoint()
    state = state.checkpoint_loaded(stored(0, 1, live_version=1, live_position=10), (), 0.0)
    action = state.next(0.0)
    assert isinstance(action, Save)  # the store judges by the stored checkpoint
    state = state.saved(action.update, 0.0)
    assert state.next(0.0) == GoLive()
    state = state.went_live(0.0)
    assert state.next(0.0) == LoadCheckpoint()
    live = state.checkpoint_loaded(stored(10, 1, live_version=2, replay_until=10), (), 0.0)
    assert (live.status, live.context(10).is_replay, live.context(11).is_replay) == (QueryStatus.RUNNING, True, False)


def test_a_version_that_may_not_go_live_yet_tries_again_after_the_polling_interval() -> None:
    state = building(position=10).went_live(0.0)
    state = state.checkpoint_loaded(stored(10, 1, live_version=1, live_position=10), (), 0.0)
    assert state.next(0.0) == Wait(POLL)
    assert state.next(POLL) == GoLive()


def test_a_version_whose_successor_is_live_gives_the_lease_back_and_ends() -> None:
    state = reading(3).checkpoint_loaded(stored(0, 1, live_version=2), (), 0.0)
    assert (state.status, state.next(0.0)) == (QueryStatus.SUPERSEDED, Release())
    assert isinstance(state.last_error, QuerySuperseded)
    assert state.released().next(0.0) == Wait(None)


def test_leases_of_the_same_length_are_renewed_at_the_same_moments_after_a_third_at_the_latest() -> None:
    third = LEASE / 3
    for claimed_at in (0.0, 0.1, 1.9, 2.0, 17.3):
        state = with_lease(claimed_at).page_read((), 0, claimed_at, more=False)
        due = next(at / 10 for at in range(int(claimed_at * 10) + 1, 1_000) if state.next(at / 10) == Renew(1))
        assert due % third == pytest.approx(0.0)
        assert 0 < due - claimed_at <= third + 1e-9


# --- what operators want


def test_a_paused_query_keeps_its_lease_stores_what_is_due_and_delivers_nothing() -> None:
    state = kept(reading(3).paused()).delivered(Delivered(1, 0.0), 0.0)
    assert state.status is QueryStatus.PAUSED
    assert waits(state.next(0.0), 0.1)
    action = state.next(0.1)
    assert isinstance(action, Save)
    state = state.saved(action.update, 0.1)
    assert waits(state.next(1.0), 1.0)
    assert state.next(3.0) == Renew(1)
    resumed = kept(state.resumed(), 3.0).stale().lost()
    assert isinstance(resumed.next(3.0), Claim)  # whose it is, is asked again


def test_only_the_failing_commit_can_be_skipped_by_hand() -> None:
    with pytest.raises(InvalidArgument, match="no commit is failing"):
        reading(3).with_skipped(1)
    state = reading(3).failed(failing(position=1), 0.0)
    with pytest.raises(InvalidArgument, match="the failing commit is at position 1"):
        state.with_skipped(2)
    skipping = state.with_skipped(1).resumed().claimed(Checkpoint(0, 2), 0.0)
    assert [skipping.commit_filter().accepts(commit) for commit in commits(1, 2)] == [False, True]
    other = state.with_skipped(1).resumed().claimed(Checkpoint(0, 9), 0.0)
    assert other.commit_filter().accepts(commits(1, 1)[0])  # another worker has tried it meanwhile


def test_a_reset_begins_where_the_query_began_and_what_it_repeats_is_a_replay() -> None:
    state = with_lease(position=50).page_read(commits(51, 60), 60, 0.0, more=False)
    update = state.reset_update([dead_letter(7)], 58)
    assert (update.checkpoint, update.unpark, update.replay_until) == (Checkpoint(0, 1), [7], 50)
    assert state.reset_update([], 20).replay_until == 20  # where the log ends by now
    state = state.saved(update, 0.0)
    assert (state.position, state.settled_position, list(state.commits)) == (0, 0, [])
    assert state.next(0.0) == LoadCheckpoint()  # what is parked by now
    state = state.checkpoint_loaded(stored(0, 1, replay_until=50), (), 0.0)
    assert (state.next(0.0), state.context(50).is_replay) == (Read(0, 50), True)


@pytest.mark.parametrize(("start", "begins_at"), [(0, 0), (10, 10), (None, 0), (99, 50)])
def test_a_reset_goes_back_to_the_start_of_the_query_and_never_forward(start: int | None, begins_at: int) -> None:
    state = with_lease(of=options(start=start), position=50)
    assert state.reset_update([], 60).checkpoint.position == begins_at


def test_a_new_incarnation_keeps_the_pause_and_the_counts_and_claims_anew() -> None:
    state = reading(3).saved(CheckpointUpdate(Checkpoint(2, 1), LEASE, skipped=4), 0.0).failed(failing(), 0.0)
    again = state.paused().restarted()
    assert (again.is_paused, again.skipped, again.settled_position, again.attempts) == (True, 4, 2, 0)
    assert (again.status, again.has_lease) == (QueryStatus.PAUSED, False)
    assert isinstance(again.next(0.0), Claim)


# --- any sequence of reports


class Machine:
    """Give any replies to a state, and hold what must be true whatever they are."""

    def __init__(self, of: Options, recheck: float) -> None:
        self.state = QueryState(of, "me", recheck)
        self.now = 0.0
        self.claimed = 0
        self.newest = 0
        self.position = 0
        self.failure: StoredFailure | None = None
        self.is_paused = False
        self.log_end = 0

    def answer(self, action: Action, draw: Callable[[int], int]) -> None:
        """Report one of the outcomes that a action can have."""
        state, choice = self.state, draw(9)
        if isinstance(action, Wait):
            self.wait(action, draw)
        elif choice == 0:
            self.state = state.store_failed(AWAY, self.now)
        elif choice == 1:
            self.newest += 1
            self.state = state.fenced(self.now)
        else:
            self.state = self.succeed(action, draw)

    def wait(self, action: Wait, draw: Callable[[int], int]) -> None:
        assert action.seconds is None or action.seconds > 0
        self.now += action.seconds or 1.0
        match draw(6):
            case 0:
                self.log_end += draw(30)
                self.state = self.state.notified(self.log_end)
            case 1:
                self.state = self.state.resumed() if self.state.is_paused else self.state.paused()
            case 2:
                self.state = self.state.resumed()
            case 3:
                self.state = self.state.head_is(self.log_end)
            case 4:
                self.now += 100.0  # a process that was frozen
            case 5:
                self.state = self.state.restarted()
            case _:
                pass

    def succeed(self, action: Action, draw: Callable[[int], int]) -> QueryState:  # noqa: PLR0911 - one for each action
        state = self.state
        match action:
            case Claim():
                if draw(3) == 0:
                    return state.leased_elsewhere(float(draw(8)), self.now)
                self.newest += 1 + (draw(3) == 0)
                return state.claimed(Checkpoint(self.position, self.newest), self.now)
            case LoadCheckpoint():
                live = draw(5) + 1 if state.options.version == 1 and draw(9) == 9 else state.options.version
                kept = {"live_version": live, "failure": self.failure, "is_paused": self.is_paused}
                return state.checkpoint_loaded(stored(self.position, self.newest, **kept), (), self.now)
            case Renew(token):
                return state.renewed(token == self.newest, self.now)
            case Read(after, limit):
                end = min(after + limit, self.log_end)
                return state.page_read(commits(after + 1, end), max(end, after), self.now, more=end < self.log_end)
            case Deliver():
                return self.deliver(draw)
            case Save(update):
                self.store(update)
                return state.saved(update, self.now)
            case GoLive():
                return state.went_live(self.now)
            case _:
                released = state.released()
                return released if state.stopped is None else released.stop_reported(self.now)

    def store(self, update: CheckpointUpdate) -> None:
        self.position, self.failure = update.checkpoint.position, update.failure
        self.is_paused = self.is_paused if update.paused is None else update.paused

    def deliver(self, draw: Callable[[int], int]) -> QueryState:
        state = self.state
        count = draw(len(state.commits) - 1) + 1
        last = state.commits[count - 1]
        match draw(4):
            case 0:
                return state.failed(HandlingFailed(BOOM, state.commits[:count], is_uncertain=draw(1) == 1), self.now)
            case 1:
                update = state.update(last.position)
                self.store(update)
                return state.delivered(Delivered(last.position, update=update), self.now)
            case 2:
                parked = [last.parked("boom")]
                return state.delivered(Delivered(last.position, self.now, parked, 1), self.now)
            case _:
                return state.delivered(Delivered(last.position, self.now), self.now)


@settings(max_examples=300)
@given(
    choices=st.lists(st.integers(0, 1_000), min_size=20, max_size=200),
    policy=st.sampled_from(FailurePolicy),
    recheck=st.sampled_from([0.1, inf]),
    version=st.sampled_from([1, 2]),
)
def test_every_reply_is_accepted_nothing_is_repeated_for_ever_and_nothing_delivered_under_an_old_fence(
    choices: Sequence[int], policy: FailurePolicy, recheck: float, version: int
) -> None:
    machine = Machine(options(on_failure=policy, version=version), recheck)
    numbers = iter(choices)

    def draw(highest: int) -> int:
        return next(numbers) % (highest + 1)

    same, before = 0, None
    try:
        while True:
            state, action = machine.state, machine.state.next(machine.now)
            if isinstance(action, Deliver):
                assert state.has_lease
                assert state.commits
                assert state.commits[0].position > state.position
                assert not state.is_paused
                assert not state.is_over
                assert machine.now - state.renewed_at < LEASE
                assert machine.now - state.confirmed_at <= recheck
            if isinstance(action, Save | Renew | GoLive | Deliver):
                assert state.fencing_token <= machine.newest
            assert state.settled_position <= max(state.position, machine.position, state.settled_position)
            # Without new events, time or failures, the same action comes again only if it moved the query.
            key = (action, machine.now, state.position, len(state.commits), state.attempts, state.isolate_until)
            same = same + 1 if key == before else 0
            assert same < 3, action
            before = key
            machine.answer(action, draw)
    except StopIteration:
        pass


def test_left_alone_it_always_comes_to_rest() -> None:
    """With every action granted and no new events, some requests later there is only waiting left."""
    machine = Machine(OPTIONS, 0.1)
    machine.log_end = 2_500
    for _ in range(60):
        action = machine.state.next(machine.now, save=True)
        if isinstance(action, Wait) and machine.state.settled_position == 2_500:
            break
        assert not isinstance(action, Wait)
        machine.state = machine.succeed(action, lambda highest: highest if highest > 9 else min(highest, 3))
    assert machine.state.settled_position == 2_500


def test_a_look_leads_to_a_read_only_where_the_log_goes_on() -> None:
    state = with_lease().page_read([], 5, 0.0, more=False)
    assert state.next(POLL / 2) == Wait(POLL / 2)
    assert state.next(POLL) == Look(5, None, 0.0)
    assert state.looked(5, 0.75).next(POLL) == Wait(0.75)  # it goes by the time of the look that it shared
    assert state.looked(7, 0.75).next(POLL) == Read(5, PAGE_SIZE)


def test_a_checkpoint_does_not_stay_far_behind_where_no_event_is_followed() -> None:
    near = with_lease().page_read([], SAVE_PASSED_AFTER - 1, 0.0, more=False)
    assert near.next(0.0) == Wait(POLL)
    far = with_lease().page_read([], SAVE_PASSED_AFTER, 0.0, more=False)
    assert far.next(0.0) == Save(far.update())
    assert far.update().checkpoint.position == SAVE_PASSED_AFTER
