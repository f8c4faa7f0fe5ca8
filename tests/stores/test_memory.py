from collections.abc import AsyncIterator

import pytest

from eventree.stores import EventStore, MemoryStore
from eventree.testing import EventStoreSuite
from eventree.testing.suite.lifecycle import assert_closed


class TestMemoryStore(EventStoreSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[EventStore]:
        async with MemoryStore() as store:
            yield store


async def test_a_memory_store_is_unavailable_before_it_is_entered() -> None:
    await assert_closed(MemoryStore())
