"""When a snapshot falls due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventree import NonPositiveArgument, SnapshotConfig


@pytest.mark.parametrize("frequency", [0, -1, 1.5, "3", None, True, float("nan")])
def test_a_frequency_is_a_positive_whole_number(frequency: int) -> None:
    with pytest.raises(NonPositiveArgument) as refused:
        SnapshotConfig(frequency)
    assert refused.value.name == "frequency"
    assert refused.value.value is frequency


@pytest.mark.parametrize(
    ("before", "after", "due"),
    [(0, 99, False), (99, 100, True), (100, 101, False), (98, 103, True), (100, 100, False), (150, 420, True)],
)
def test_a_snapshot_is_due_where_a_multiple_is_reached_or_passed(before: int, after: int, due: bool) -> None:  # noqa: FBT001
    assert SnapshotConfig(frequency=100).is_due(before, after) is due


@given(st.integers(1, 50), st.integers(0, 500), st.integers(0, 100))
def test_a_snapshot_is_due_exactly_if_a_multiple_lies_in_the_commit(frequency: int, before: int, count: int) -> None:
    passed = any(sequence % frequency == 0 for sequence in range(before + 1, before + count + 1))
    assert SnapshotConfig(frequency).is_due(before, before + count) is passed
