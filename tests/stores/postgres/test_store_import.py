"""The driver is an extra: what does not need it works without it, and what does says how to get it."""

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules['asyncpg'] = None\n"


def run(code: str) -> str:
    """Return what a Python process prints that runs this; it must end well."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import eventree",
        "from eventree import *; SQLiteStore, EventSourcing",
        "import eventree.stores, eventree.sourcing, eventree.testing",
        "import eventree; [getattr(eventree, name) for name in eventree.__all__]",
        "import eventree; assert not hasattr(eventree, 'PostgressStore')",
    ],
)
def test_everything_else_works_without_the_driver(code: str) -> None:
    run(WITHOUT + code)


@pytest.mark.parametrize("module", ["eventree", "eventree.stores.postgres"])
def test_the_store_without_its_driver_names_the_extra(module: str) -> None:
    code = f"try:\n  from {module} import PostgresStore\nexcept ImportError as error:\n  print(error)"
    assert "pip install 'eventree[postgres]'" in run(WITHOUT + code)


def test_the_store_is_imported_when_it_is_asked_for() -> None:
    code = """
import sys, eventree
assert "asyncpg" not in sys.modules
from eventree import PostgresStore
assert "asyncpg" in sys.modules and eventree.PostgresStore is PostgresStore
print(PostgresStore.__module__)
"""
    assert run(code) == "eventree.stores.postgres.store"
