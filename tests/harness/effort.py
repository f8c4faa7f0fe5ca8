"""How much the tests try: a little in every run, all of it with `--slow`."""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import settings

FEW, MANY = 6, 60
"""Examples, or seeds, of each random test; the variable `EVENTREE_EXAMPLES` overrides both."""

_LEFT_OUT: pytest.StashKey[int] = pytest.StashKey()
_OUTPUT = "eventree_slow_tests_left_out"


def load_profile(number: int) -> None:
    """Let each random test try so many examples, unless it sets another number itself."""
    settings.register_profile("eventree", max_examples=number, deadline=None)
    settings.load_profile("eventree")


def examples() -> int:
    """Return how many examples the profile allows, for tests that draw seeds without Hypothesis."""
    return settings().max_examples


def prefer_memory(items: list[pytest.Item], folder: Path) -> None:
    """Mark tests in a folder as slow where their `store` is not in memory, unless they are marked as `durable`."""
    for item in items:
        params: dict[str, object] = getattr(getattr(item, "callspec", None), "params", {})
        in_memory = params.get("store", "memory") == "memory"
        if not in_memory and item.path.is_relative_to(folder) and not item.get_closest_marker("durable"):
            item.add_marker("slow")


def leave_out_slow_tests(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the slow tests and note how many there were."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
    note(config, len(slow))


def note(config: pytest.Config, left_out: int) -> None:
    """Remember how many tests were left out; a worker of pytest-xdist tells the process that prints the summary."""
    config.stash[_LEFT_OUT] = left_out
    output = cast("dict[str, object] | None", getattr(config, "workeroutput", None))
    if output is not None:
        output[_OUTPUT] = left_out


def note_of_worker(config: pytest.Config, output: dict[str, int]) -> None:
    """Take over what a worker of pytest-xdist noted: each of them collects the same tests."""
    config.stash[_LEFT_OUT] = output.get(_OUTPUT, 0)


def summary(config: pytest.Config) -> Iterable[str]:
    """Yield what the summary says of tests that were left out."""
    if left_out := config.stash.get(_LEFT_OUT, 0):
        yield f"{left_out} slow tests were left out: add --slow to run all, -m 'slow or random' --slow to run only them"
