"""Where the suite was before it moved to `eventree.testing`."""

from eventree.testing import EventStoreSuite
from eventree.testing.suite.lifecycle import assert_closed

__all__ = ["EventStoreSuite", "assert_closed"]
