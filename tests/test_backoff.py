"""The delays of a backoff, and the numbers it refuses."""

import math

import pytest

from eventree import Backoff, InvalidArgument
from eventree.errors import NonPositiveArgument


def test_a_backoff_doubles_up_to_its_maximum() -> None:
    backoff = Backoff(initial=1.0, maximum=10.0, jitter=0.0)
    assert [backoff.delay(failures) for failures in range(1, 7)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_backoff_adds_its_random_part() -> None:
    backoff = Backoff(initial=1.0, jitter=0.5)
    assert backoff.delay(1, spread=lambda: 0.0) == 1.0
    assert backoff.delay(1, spread=lambda: 1.0) == 1.5
    assert 1.0 <= backoff.delay(1) <= 1.5


@pytest.mark.parametrize("factor", [2.0, 10.0])
def test_a_backoff_takes_any_number_of_failures(factor: float) -> None:
    assert Backoff(factor=factor, jitter=0.0).delay(1_000_000) == 30.0


def test_a_backoff_takes_any_factor() -> None:
    assert Backoff(factor=1e6, jitter=0.0).delay(100) == 30.0


@pytest.mark.parametrize("name", ["initial", "maximum", "factor"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_backoff_refuses_numbers_that_do_not_wait(name: str, value: float) -> None:
    with pytest.raises(NonPositiveArgument, match=name):
        Backoff(**{name: value})


@pytest.mark.parametrize("jitter", [-0.1, 1.1, math.nan])
def test_a_backoff_refuses_a_jitter_out_of_range(jitter: float) -> None:
    with pytest.raises(InvalidArgument, match="jitter"):
        Backoff(jitter=jitter)
