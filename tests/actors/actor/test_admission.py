"""What an overloaded actor takes up: what it can still handle in time, in the order of arrival."""

import asyncio

import pytest

from eventree import ActorTimeout
from eventree.actors import MailboxSpec, Request
from eventree.actors.actor.admission import MAX_SURPRISE, Admission, BatchTimes
from eventree.actors.actor.mailbox import Mailbox
from eventree.actors.actor.request import Deadline


def learned(*batches: tuple[int, float]) -> BatchTimes:
    times = BatchTimes()
    for count, seconds in batches:
        times.observe(count, seconds)
    return times


def due_in(left: float, seconds: float = 5.0) -> Deadline:
    return Deadline("execute", seconds, 100 + left)


def begin(times: BatchTimes, waiting: int = 1_000, limit: int = 1_000) -> Admission:
    return Admission(times, 100.0, limit, waiting)


def test_without_experience_no_batch_takes_any_time() -> None:
    assert BatchTimes().seconds(1_000) == 0
    assert begin(BatchTimes()).admits(due_in(0.001))


def test_a_fixed_time_and_a_time_per_request_are_told_apart() -> None:
    times = learned(*[(1, 0.101), (1_000, 1.1), (500, 0.6)] * 10)
    assert times.seconds(0) == pytest.approx(0.1, rel=0.01)
    assert times.seconds(2_000) == pytest.approx(2.1, rel=0.01)
    assert times.count_within(0.6) == pytest.approx(500, rel=0.01)


def test_a_batch_never_shrinks_so_far_that_the_fixed_time_outweighs_its_requests() -> None:
    times = learned(*[(1, 2.001), (1_000, 3.0)] * 10)
    assert times.count_within(0.01) == pytest.approx(2_000, rel=0.01)


def test_batches_of_one_size_say_nothing_of_other_sizes_so_smaller_ones_are_tried_if_they_take_too_long() -> None:
    times = learned(*[(1_000, 1.0)] * 10)
    assert [times.seconds(1_000), times.seconds(1)] == pytest.approx([1.0, 1.0])
    assert times.count_within(1.1) == 2_000
    assert times.count_within(0.9) == pytest.approx(500, abs=1)


def test_small_batches_that_take_long_are_not_made_smaller_as_larger_ones_may_take_no_longer() -> None:
    assert learned(*[(1, 2.0)] * 10).count_within(0.1) == 64
    assert learned(*[(1, 2.0)] * 10, (64, 2.0), (128, 2.0), (256, 2.0), (512, 2.0)).count_within(0.1) == 1_024


def test_a_batch_is_at_most_twice_as_large_as_what_was_seen_unless_it_is_short_in_any_case() -> None:
    """Batches of about one size do not tell what a much larger one takes, though they may seem to."""
    assert learned(*[(160, 0.49)] * 20).count_within(0.5) == 320
    assert learned(*[(158, 0.50), (200, 0.48)] * 20).count_within(0.5) == 400
    assert learned(*[(1, 0.001)] * 20).count_within(0.5) == 500
    assert learned(*[(1, 0.001)] * 20, (500, 0.1)).count_within(0.5) > 1_000


def test_steady_batches_stay_steady() -> None:
    times, counts, count = BatchTimes(), list[int](), 1_000
    for number in range(200):
        times.observe(count, count * 0.003 * (0.98 + 0.04 * (number % 2)))
        count = min(times.count_within(0.5), 1_000)
        counts.append(count)
    assert max(counts[50:]) <= 340


def test_batches_grow_smaller_until_they_fit() -> None:
    times, count = BatchTimes(), 1_000
    for _ in range(50):
        times.observe(count, count * 0.001)
        count = min(times.count_within(0.1), 1_000)
    assert count == pytest.approx(100, abs=2)


def test_what_is_new_outweighs_what_is_old() -> None:
    assert learned(*[(100, 1.0)] * 50, *[(100, 2.0)] * 15).seconds(100) == pytest.approx(2.0, rel=0.05)


def test_a_single_stall_counts_only_as_a_few_batches() -> None:
    assert learned(*[(100, 0.1)] * 50, (100, 60.0)).seconds(100) < 0.1 * MAX_SURPRISE


def test_more_requests_than_expected_are_no_stall() -> None:
    assert learned((1, 0.001), (1_000, 1.0)).seconds(1_000) == pytest.approx(1.0)


def test_what_has_less_time_left_than_twice_its_batch_is_refused() -> None:
    admission = begin(learned(*[(100, 0.1)] * 10), waiting=100)
    assert [admission.admits(due_in(left)) for left in (-1.0, 0.19, 0.21, 4.0)] == [False, False, True, True]


def test_what_has_waited_for_less_than_half_its_patience_is_taken_up_whatever_is_expected() -> None:
    admission = begin(learned(*[(1, 60.0)] * 10), waiting=1)
    assert [admission.admits(due_in(left)) for left in (2.4, 2.6)] == [False, True]


def test_who_waits_for_as_long_as_it_takes_is_always_taken_up() -> None:
    assert begin(learned((1, 60.0))).admits(None)


def test_a_batch_takes_no_more_than_a_part_of_the_patience_of_those_in_it() -> None:
    admission = begin(learned(*[(100, 0.1), (200, 0.2)] * 10))
    assert admission.admits(due_in(5))
    assert admission.limit == pytest.approx(500, abs=1)
    assert admission.admits(due_in(0.5, 0.5))
    assert admission.limit == pytest.approx(50, abs=1)


def opened(times: BatchTimes | None) -> Mailbox[str, str]:
    mailbox: Mailbox[str, str] = Mailbox("owner", MailboxSpec())
    mailbox.open()
    mailbox.batch_times = times
    return mailbox


def asked(message: str, left: float, seconds: float = 5.0) -> Request[str, str]:
    loop = asyncio.get_running_loop()
    return Request(message, loop.create_future(), deadline=Deadline("execute", seconds, loop.time() + left))


async def test_a_mailbox_refuses_what_would_not_be_handled_in_time_and_takes_the_rest_in_order() -> None:
    mailbox = opened(learned(*[(3, 1.2), (2, 0.8)] * 10))
    late, early, patient = asked("late", 0.5), asked("early", 4.9), Request[str, str]("patient")
    for request in (late, early, patient):
        mailbox.put_nowait(request)
    assert [request.message for request in mailbox.take(10)] == ["early"]  # alone: two take more than a tenth of 5 s
    assert [request.message for request in mailbox.take(10)] == ["patient"]
    assert (mailbox.skipped, late.taken, early.taken) == (1, False, True)
    assert late.answer is not None
    error = late.answer.exception()
    assert isinstance(error, ActorTimeout)
    assert (error.operation, error.seconds, error.outcome) == ("execute", 5.0, "not_started")
    assert "too many wait" in error.detail


async def test_a_mailbox_that_learns_nothing_refuses_nothing() -> None:
    mailbox = opened(None)
    mailbox.put_nowait(asked("late", 0.001))
    assert len(mailbox.take(10)) == 1


async def test_after_a_stall_a_mailbox_empties_itself_and_takes_up_what_comes_next() -> None:
    mailbox = opened(learned(*[(1, 60.0)] * 10))
    late = [asked("late", 0.9) for _ in range(100)]
    for request in late:
        mailbox.put_nowait(request)
    assert mailbox.take(10) == []
    assert len(mailbox) == 0
    refused = [request.answer.exception() for request in late if request.answer is not None]
    assert [type(error) for error in refused] == [ActorTimeout] * 100
    mailbox.put_nowait(asked("fresh", 5.0))
    assert [request.message for request in mailbox.take(10)] == ["fresh"]
