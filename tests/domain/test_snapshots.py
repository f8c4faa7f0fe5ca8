"""When a snapshot falls due."""

import pytest
from hypothesis import given, strategies as st

from eventree import InvalidArgument, SnapshotConfig
from eventree.errors import NonPositiveArgument


@pytest.mark.parametrize("frequency", [0, -1, 1.5, "3", True, float("nan")])
def test_a_frequency_is_a_positive_whole_number(frequency: int) -> None:
    with pytest.raises(NonPositiveArgument) as refused:
        SnapshotConfig(frequency)
    assert refused.value.name == "frequency"
    assert refused.value.value is frequency


@pytest.mark.parametrize("seconds", [0, -0.1, "3", True, float("nan"), float("-inf")])
def test_the_longest_replay_is_a_positive_number_of_seconds(seconds: float) -> None:
    with pytest.raises(NonPositiveArgument) as refused:
        SnapshotConfig(frequency=100, max_replay_seconds=seconds)
    assert refused.value.name == "max_replay_seconds"
    assert refused.value.value is seconds


def test_the_longest_replay_is_finite() -> None:
    with pytest.raises(InvalidArgument, match="finite") as refused:
        SnapshotConfig(max_replay_seconds=float("inf"))
    assert refused.value.name == "max_replay_seconds"


def test_a_policy_without_any_limit_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="frequency: is required unless max_replay_seconds is given"):
        SnapshotConfig()


def test_the_frequency_comes_first() -> None:
    assert SnapshotConfig(100) == SnapshotConfig(frequency=100, max_replay_seconds=None)


@pytest.mark.parametrize(
    ("before", "after", "due"),
    [(0, 99, False), (99, 100, True), (100, 101, False), (98, 103, True), (100, 100, False), (150, 420, True)],
)
def test_a_snapshot_is_due_where_a_multiple_is_reached_or_passed(before: int, after: int, due: bool) -> None:  # noqa: FBT001
    assert SnapshotConfig(frequency=100).is_due(before, after) is due


@pytest.mark.parametrize(
    ("seconds", "due"), [(0.0, False), (0.4999, False), (0.5, True), (0.5001, True), (10**400, True)]
)
def test_a_snapshot_is_due_where_a_replay_reached_the_limit_whatever_the_sequence(seconds: float, due: bool) -> None:  # noqa: FBT001
    assert SnapshotConfig(max_replay_seconds=0.5).is_due(0, 1, seconds) is due
    assert SnapshotConfig(frequency=100, max_replay_seconds=0.5).is_due(100, 101, seconds) is due


def test_either_limit_is_enough() -> None:
    both = SnapshotConfig(frequency=100, max_replay_seconds=0.5)
    assert both.is_due(99, 100, 0.0)
    assert both.is_due(0, 1, 0.5)
    assert both.is_due(99, 100, 0.5)
    assert not both.is_due(0, 99, 0.4)
    assert not SnapshotConfig(frequency=100).is_due(0, 1, 1_000.0)
    assert not SnapshotConfig(max_replay_seconds=0.5).is_due(0, 1_000, 0.4)


@given(st.integers(1, 50), st.integers(0, 500), st.integers(0, 100))
def test_a_snapshot_is_due_exactly_if_a_multiple_lies_in_the_commit(frequency: int, before: int, count: int) -> None:
    passed = any(sequence % frequency == 0 for sequence in range(before + 1, before + count + 1))
    assert SnapshotConfig(frequency).is_due(before, before + count) is passed
