"""A projection takes few events at a time while others write or events are slow, and many alone."""

import pytest

from eventree.sourcing.queries.exactly_once import (
    MAX_CONTENDED_EVENTS,
    MAX_CONTENDED_SECONDS,
    MAX_SECONDS,
    BatchSizer,
)
from eventree.sourcing.queries.requests import PAGE_SIZE


def learnt(seconds_per_event: float) -> BatchSizer:
    sizer = BatchSizer()
    for _ in range(30):
        sizer.record(10, 10 * seconds_per_event)
    return sizer


def test_it_begins_with_one_event() -> None:
    assert (BatchSizer().batch_size(is_contended=False), BatchSizer().batch_size(is_contended=True)) == (1, 1)


def test_fast_events_fill_a_page_alone_and_less_beside_others() -> None:
    sizer = learnt(1e-6)
    assert (sizer.batch_size(is_contended=False), sizer.batch_size(is_contended=True)) == (
        PAGE_SIZE,
        MAX_CONTENDED_EVENTS,
    )


@pytest.mark.parametrize("seconds", [0.0005, 0.002, 0.02])
def test_a_transaction_takes_no_longer_than_it_may(seconds: float) -> None:
    sizer = learnt(seconds)
    assert sizer.batch_size(is_contended=False) <= max(MAX_SECONDS / seconds, 1)
    assert sizer.batch_size(is_contended=True) <= max(MAX_CONTENDED_SECONDS / seconds, 1)


def test_what_becomes_slow_counts_at_once_and_what_becomes_fast_by_and_by() -> None:
    sizer = learnt(1e-6)
    sizer.record(1, 5.0)
    assert sizer.batch_size(is_contended=False) == 1
    rooms: list[int] = []
    for _ in range(12):
        sizer.record(1, 1e-6)
        rooms.append(sizer.batch_size(is_contended=False))
    assert rooms == sorted(rooms)
    assert rooms[0] == 1
    assert 1 < rooms[-1] <= PAGE_SIZE


async def test_a_transaction_that_fails_is_learnt_from_too() -> None:
    sizer = learnt(1e-6)
    with pytest.raises(ValueError, match="boom"), sizer.timed(0):
        raise ValueError("boom")
    assert sizer.batch_size(is_contended=True) <= MAX_CONTENDED_EVENTS
