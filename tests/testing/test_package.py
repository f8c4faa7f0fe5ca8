"""The package `eventree.testing`: its public names, and which of them need pytest."""

import subprocess
import sys

import pytest

from eventree import testing

SUITES = {"EventStoreSuite", "SharedStoreSuite", "TransactionalStoreSuite"}


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", sorted({*testing.__all__} - SUITES))
def test_only_the_suites_need_pytest(name: str) -> None:
    result = run(f"import sys; sys.modules['pytest'] = None\nfrom eventree.testing import {name}")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(SUITES))
def test_a_suite_without_pytest_names_the_packages_to_install(name: str) -> None:
    result = run(f"import sys; sys.modules['pytest'] = None\nfrom eventree.testing import {name}")
    assert f"{name} needs pytest and pytest-asyncio; pip install pytest pytest-asyncio" in result.stderr


def test_every_public_name_exists_and_is_documented() -> None:
    assert set(testing.__all__) >= SUITES
    for name in testing.__all__:
        assert getattr(testing, name).__doc__, name


def test_an_unknown_name_is_no_attribute() -> None:
    assert not hasattr(testing, "settle")
