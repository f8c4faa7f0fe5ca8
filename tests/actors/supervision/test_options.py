"""The rules of restarting, as pure values: who is restarted after which exit."""

import itertools

import pytest

from eventree import Restart, Strategy
from eventree.actors import ExitKind, ExitReason
from eventree.actors.supervision.options import is_restarted, restart_group

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
