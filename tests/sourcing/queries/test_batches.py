"""A projection's transactions grow while their time does not grow with them, and stay short where it does."""

import random

import pytest

from eventree.sourcing.queries.actions import PAGE_SIZE
from eventree.sourcing.queries.batches import (
    MAX_CONTENDED_EVENTS,
    MAX_CONTENDED_SECONDS,
    MAX_SECONDS,
    BatchSizer,
)

LEASE = 5.0
EVENTS = 1_500


class Run:
    """Transactions until all events are handled, with numbers for time.

    Attributes:
        sizes: How many events each handled.
        times: How long each took, in seconds.
    """

    def __init__(
        self,
        fixed: float,
        per_event: float = 2e-6,
        *,
        lease: float = LEASE,
        events: int = EVENTS,
        is_contended: bool = False,
        spikes: random.Random | None = None,
        sizer: BatchSizer | None = None,
    ) -> None:
        self.sizer = sizer or BatchSizer(lease)
        self.sizes: list[int] = []
        self.times: list[float] = []
        while events:
            size = min(events, self.sizer.batch_size(is_contended=is_contended))
            spike = 1 + spikes.expovariate(10) if spikes is not None else 1.0
            seconds = (fixed + size * per_event) * spike
            self.sizer.record(size, seconds)
            self.sizes.append(size)
            self.times.append(seconds)
            events -= size


def test_it_begins_with_one_event_and_doubles() -> None:
    assert BatchSizer(1.0).batch_size(is_contended=False) == 1
    assert Run(0.001).sizes == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 477]


@pytest.mark.parametrize("is_contended", [False, True])
@pytest.mark.parametrize("fixed", [0.0, 0.02, 0.04, 0.06, 0.12, 0.3, 0.8])
def test_a_fixed_cost_does_not_keep_transactions_small(fixed: float, *, is_contended: bool) -> None:
    run = Run(fixed, is_contended=is_contended)
    assert len(run.sizes) <= 20
    assert max(run.sizes) >= MAX_CONTENDED_EVENTS


@pytest.mark.parametrize("lease", [0.3, 1.0, 5.0, 60.0])
@pytest.mark.parametrize("part", [0.1, 0.3, 0.6, 0.7])
def test_so_it_is_with_any_lease_that_has_room_for_it(lease: float, part: float) -> None:
    run = Run(lease / 3 * part, lease=lease)
    assert len(run.sizes) <= 80
    assert max(run.times) <= lease / 3


@pytest.mark.parametrize("per_event", [0.0001, 0.0005, 0.002, 0.005, 0.02, 0.5])
@pytest.mark.parametrize("fixed", [0.001, 0.06])
def test_the_events_of_a_transaction_take_no_longer_than_they_may(per_event: float, fixed: float) -> None:
    for is_contended, most in ((False, MAX_SECONDS), (True, MAX_CONTENDED_SECONDS)):
        run = Run(fixed, per_event, is_contended=is_contended)
        middle = sorted(run.sizes)[len(run.sizes) // 2]
        assert middle <= max(1.25 * most / per_event, 1)
        assert max(run.sizes) <= max(2 * most / per_event, 2)  # a larger one is tried now and then


@pytest.mark.parametrize("per_event", [0.001, 0.003, 0.01])
def test_a_transaction_never_takes_more_than_a_third_of_the_lease(per_event: float) -> None:
    for fixed in (0.001, 0.05):
        assert max(Run(fixed, per_event, lease=0.3).times) <= 0.1 + 1e-9


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("fixed", [0.02, 0.06, 0.12])
def test_a_slow_transaction_now_and_then_does_not_keep_them_small(fixed: float, seed: int) -> None:
    run = Run(fixed, spikes=random.Random(seed))  # noqa: S311 - not a secret
    assert len(run.sizes) <= 60


def test_events_that_become_slow_count_at_once() -> None:
    sizer = Run(0.001).sizer
    after = Run(0.001, 0.005, sizer=sizer)
    assert after.sizes[1] * 0.005 <= LEASE / 3
    assert max(after.sizes[2:]) <= 2 * MAX_SECONDS / 0.005


def test_events_that_become_fast_soon_fill_a_page() -> None:
    sizer = Run(0.001, 0.005).sizer
    assert max(Run(0.001, sizer=sizer, events=10_000).sizes[:12]) == PAGE_SIZE


def test_a_stall_is_soon_forgotten() -> None:
    sizer = Run(0.001).sizer
    sizer.record(500, 30.0)
    assert sizer.batch_size(is_contended=False) <= 500 * LEASE / 3 / 30
    assert max(Run(0.001, sizer=sizer, events=10_000).sizes[:14]) == PAGE_SIZE


def test_a_cost_that_once_looked_like_that_of_events_is_doubted() -> None:
    """Where one slow transaction is not disproved, as all are of one size, the next ones try another size."""
    sizer = BatchSizer(LEASE)
    for events, seconds in ((1, 0.06), (2, 0.085), (1, 0.06)):
        sizer.record(events, seconds)
    assert sizer.batch_size(is_contended=True) == 1
    assert len(Run(0.06, is_contended=True, sizer=sizer).sizes) < 80


async def test_a_transaction_that_fails_is_learnt_from_if_it_was_slow() -> None:
    sizer = Run(0.001).sizer
    before = sizer.batch_size(is_contended=False)
    with pytest.raises(ValueError, match="boom"), sizer.timed(0):
        raise ValueError("boom")
    assert sizer.batch_size(is_contended=False) == before
