"""The rules of restarting, as pure values."""

import itertools
import math

import pytest

from actors.crew import Boom, Clock
from eventree import Actor, Backoff, ChildSpec, InvalidArgument, Restart, Strategy, Supervisor
from eventree.actors import ExitKind, ExitReason
from eventree.actors.supervision.intensity import RestartWindow
from eventree.actors.supervision.options import is_restarted, restart_group
from eventree.errors import NonPositiveArgument

RESTARTED_AFTER = {
    Restart.PERMANENT: set(ExitKind),
    Restart.TRANSIENT: {ExitKind.CRASH, ExitKind.KILLED},
    Restart.TEMPORARY: set[ExitKind](),
}


@pytest.mark.parametrize(("restart", "kind"), list(itertools.product(Restart, ExitKind)))
def test_the_kind_of_end_and_the_restart_type_decide_about_a_restart(restart: Restart, kind: ExitKind) -> None:
    assert is_restarted(restart, ExitReason(kind)) == (kind in RESTARTED_AFTER[restart])


@pytest.mark.parametrize(
    ("strategy", "group"),
    [(Strategy.ONE_FOR_ONE, ["b"]), (Strategy.ONE_FOR_ALL, ["a", "b", "c"]), (Strategy.REST_FOR_ONE, ["b", "c"])],
)
def test_the_strategy_says_which_children_restart_together_in_start_order(strategy: Strategy, group: list[str]) -> None:
    assert list(restart_group(strategy, ["a", "b", "c"], "b")) == group


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


def test_a_child_is_described_by_a_factory_not_by_an_actor() -> None:
    with pytest.raises(InvalidArgument, match="start: must be a function that returns a new actor"):
        ChildSpec(id="a", start=Actor[str, str]())  # type: ignore[arg-type]


def test_a_child_is_described_by_a_factory_not_by_a_coroutine() -> None:
    async def make() -> Actor[str, str]:
        return Actor()

    coroutine = make()
    with pytest.raises(InvalidArgument, match="start: must be a function"):
        ChildSpec(id="a", start=coroutine)  # type: ignore[arg-type]
    coroutine.close()


@pytest.mark.parametrize("shutdown", [-0.1, -math.inf, math.nan])
def test_a_child_cannot_stop_in_less_than_no_time(shutdown: float) -> None:
    with pytest.raises(InvalidArgument, match="shutdown"):
        ChildSpec(id="a", start=Actor[str, str], shutdown=shutdown)


@pytest.mark.parametrize("start_timeout", [0, -1.0, math.nan])
def test_a_child_needs_time_to_start(start_timeout: float) -> None:
    with pytest.raises(NonPositiveArgument, match="start_timeout"):
        ChildSpec(id="a", start=Actor[str, str], start_timeout=start_timeout)


def test_a_child_needs_an_id_that_can_be_a_key() -> None:
    with pytest.raises(InvalidArgument, match="id: must be hashable, got list"):
        ChildSpec(id=["a"], start=Actor[str, str])  # type: ignore[arg-type]
