"""What all tests of faults share: how long they run, and a line about what each of them saw."""

from collections.abc import Callable

import pytest

_REPORTS = pytest.StashKey[list[str]]()


@pytest.fixture
def effort(request: pytest.FixtureRequest) -> int:
    """Return how many times as long as usual a test should try."""
    return 25 if request.config.getoption("faults") == "long" else 1


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return what prints a line in the summary of the run."""
    lines = request.config.stash.setdefault(_REPORTS, [])
    return lambda line: lines.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_REPORTS, []):
        terminalreporter.write_line(line)
