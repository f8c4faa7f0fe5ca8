"""The kit as a whole: what it has, and what it needs."""

import subprocess
import sys

import pytest

from eventree import testing

SUITES = {"EventStoreSuite", "SharedStoreSuite", "TransactionalStoreSuite"}


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", sorted({*testing.__all__} - SUITES))
def test_what_is_no_suite_needs_no_pytest(name: str) -> None:
    result = run(f"import sys; sys.modules['pytest'] = None\nfrom eventree.testing import {name}")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(SUITES))
def test_a_suite_says_that_it_needs_pytest(name: str) -> None:
    result = run(f"import sys; sys.modules['pytest'] = None\nfrom eventree.testing import {name}")
    assert f"{name} needs pytest and pytest-asyncio; pip install pytest pytest-asyncio" in result.stderr


def test_everything_that_is_listed_is_there_and_documented() -> None:
    assert set(testing.__all__) >= SUITES
    for name in testing.__all__:
        assert getattr(testing, name).__doc__, name


def test_what_is_not_there_is_no_attribute() -> None:
    assert not hasattr(testing, "settle")
