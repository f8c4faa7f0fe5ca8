"""Tools for tests of your own: of a domain, of a system of actors and queries, of an event store.

- `scenario`: given events, when a command, then events. No store, no event loop.
- `settled`: wait until commands and queries have nothing left to do.
- `FailingStore`: a store that fails, before or after the effect, or waits, as a test orders.
- `EventStoreSuite` and its sisters: every promise of the contract as a test, for a store of your own.

Only the suites need pytest.
"""

import sys
from typing import TYPE_CHECKING

from eventree.testing.failing_store import FailingStore
from eventree.testing.gate import Gate
from eventree.testing.golden import GoldenFiles
from eventree.testing.scenario import Scenario, scenario
from eventree.testing.settled import settled

if TYPE_CHECKING:
    from eventree.testing.suite import EventStoreSuite, SharedStoreSuite, TransactionalStoreSuite

__all__ = [
    "EventStoreSuite",
    "FailingStore",
    "Gate",
    "GoldenFiles",
    "Scenario",
    "SharedStoreSuite",
    "TransactionalStoreSuite",
    "scenario",
    "settled",
]

_SUITE = "eventree.testing.suite"


def __getattr__(name: str) -> object:
    # The suites need pytest, a scenario does not.
    if name not in {"EventStoreSuite", "SharedStoreSuite", "TransactionalStoreSuite"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} needs pytest and pytest-asyncio; pip install pytest pytest-asyncio") from error
    if _SUITE not in sys.modules:
        pytest.register_assert_rewrite(_SUITE)  # a failed promise shows both sides
    from eventree.testing import suite  # noqa: PLC0415

    return getattr(suite, name)
