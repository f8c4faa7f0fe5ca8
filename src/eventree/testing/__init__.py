"""Test helpers for a domain, for a running system, and for your own event store.

- `scenario`: given events, when a command, then events; without a store or an event loop.
- `GoldenFiles`: check that events stored by earlier releases are still decoded to the same values.
- `settled`: wait until commands and queries have nothing left to do.
- `FailingStore`: a store whose calls fail or wait at a `Gate`, as a test demands.
- `EventStoreSuite`, `SharedStoreSuite`, `TransactionalStoreSuite`: the contract of event stores as tests.

Only the suites need pytest.
"""

import sys
from typing import TYPE_CHECKING

from eventree.testing.failing_store import FailingStore, Gate
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
    # Only the suites need pytest, so they are imported on first use.
    if name not in {"EventStoreSuite", "SharedStoreSuite", "TransactionalStoreSuite"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} needs pytest and pytest-asyncio; pip install pytest pytest-asyncio") from error
    if _SUITE not in sys.modules:
        pytest.register_assert_rewrite(_SUITE)  # a failed assertion then shows both values
    from eventree.testing import suite  # noqa: PLC0415

    return getattr(suite, name)
