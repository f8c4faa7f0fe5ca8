"""A projection takes few events at a time while others write or events are slow, and many alone."""

import pytest

from eventree.sourcing.queries.pace import CONTENDED, CONTENDED_LONGEST, LONGEST, PAGE, Pace


def learnt(seconds_per_event: float) -> Pace:
    pace = Pace()
    for _ in range(30):
        pace.took(10, 10 * seconds_per_event)
    return pace


def test_it_begins_with_one_event() -> None:
    assert (Pace().room(is_contended=False), Pace().room(is_contended=True)) == (1, 1)


def test_fast_events_fill_a_page_alone_and_less_beside_others() -> None:
    pace = learnt(1e-6)
    assert (pace.room(is_contended=False), pace.room(is_contended=True)) == (PAGE, CONTENDED)


@pytest.mark.parametrize("seconds", [0.0005, 0.002, 0.02])
def test_a_transaction_takes_no_longer_than_it_may(seconds: float) -> None:
    pace = learnt(seconds)
    assert pace.room(is_contended=False) <= max(LONGEST / seconds, 1)
    assert pace.room(is_contended=True) <= max(CONTENDED_LONGEST / seconds, 1)


def test_what_becomes_slow_counts_at_once_and_what_becomes_fast_by_and_by() -> None:
    pace = learnt(1e-6)
    pace.took(1, 5.0)
    assert pace.room(is_contended=False) == 1
    rooms: list[int] = []
    for _ in range(12):
        pace.took(1, 1e-6)
        rooms.append(pace.room(is_contended=False))
    assert rooms == sorted(rooms)
    assert rooms[0] == 1
    assert 1 < rooms[-1] <= PAGE


async def test_a_transaction_that_fails_is_learnt_from_too() -> None:
    pace = learnt(1e-6)
    with pytest.raises(ValueError, match="boom"), pace.timing(0):
        raise ValueError("boom")
    assert pace.room(is_contended=True) <= CONTENDED
