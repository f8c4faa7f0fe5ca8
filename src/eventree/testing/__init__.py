"""Tools for tests: of your own domain with `scenario`, and of your own event store with `EventStoreSuite`."""

import sys
from typing import TYPE_CHECKING

from eventree.testing.golden import GoldenFiles
from eventree.testing.scenario import Scenario, scenario

if TYPE_CHECKING:
    from eventree.testing.suite import EventStoreSuite, SharedStoreSuite, TransactionalStoreSuite

__all__ = [
    "EventStoreSuite",
    "GoldenFiles",
    "Scenario",
    "SharedStoreSuite",
    "TransactionalStoreSuite",
    "scenario",
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
