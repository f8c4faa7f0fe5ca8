"""Restart intensity: how many restarts a window admits."""

import math

import pytest

from actors.crew import Boom, Clock
from eventree import InvalidArgument, Supervisor
from eventree.actors.supervision.intensity import RestartWindow
from eventree.errors import NonPositiveArgument


def test_a_window_admits_as_many_restarts_as_it_holds_and_no_more() -> None:
    window = RestartWindow(2, 5.0, Clock())
    assert [window.admit(None) for _ in range(4)] == [True, True, False, False]


def test_a_restart_exactly_as_old_as_the_window_still_counts() -> None:
    clock = Clock()
    window = RestartWindow(1, 5.0, clock)
    assert window.admit(None)
    clock.now = 5.0
    assert not window.admit(None)


def test_a_restart_older_than_the_window_is_forgotten() -> None:
    clock = Clock()
    window = RestartWindow(1, 5.0, clock)
    assert window.admit(None)
    clock.now = 5.001
    assert window.admit(None)


def test_a_window_of_no_restarts_admits_none() -> None:
    assert not RestartWindow(0, 5.0, Clock()).admit(None)


def test_spaced_restarts_are_admitted_for_ever() -> None:
    clock = Clock()
    window = RestartWindow(1, 5.0, clock)
    for _ in range(1_000):
        assert window.admit(Boom())
        clock.now += 5.1
    assert len(window.crashes) == 1


def test_a_window_remembers_its_errors_oldest_first_and_no_kills() -> None:
    clock = Clock()
    window = RestartWindow(3, 5.0, clock)
    first, second, third = Boom(1), Boom(2), Boom(3)
    window.admit(first)
    clock.now = 3.0
    window.admit(second)
    window.admit(None)
    clock.now = 6.0
    window.admit(third)
    assert window.crashes == [second, third]


def test_a_window_cannot_hold_fewer_than_no_restarts() -> None:
    with pytest.raises(InvalidArgument, match="max_restarts"):
        Supervisor(max_restarts=-1)


@pytest.mark.parametrize("max_seconds", [0, -1.0, math.nan])
def test_a_window_has_a_length(max_seconds: float) -> None:
    with pytest.raises(NonPositiveArgument, match="max_seconds"):
        Supervisor(max_seconds=max_seconds)
