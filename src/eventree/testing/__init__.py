"""Tools for tests of your own domain."""

from eventree.testing.scenario import Scenario, scenario

__all__ = ["Scenario", "scenario"]
