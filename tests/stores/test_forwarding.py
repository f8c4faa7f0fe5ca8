"""A store around a store: what it is given goes through unchanged."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from eventree import EventStore, InvalidArgument, MemoryStore
from eventree.stores.contract import AppendRequest, Conflict, Outcome
from eventree.stores.forwarding import ForwardingStore
from eventree.testing import EventStoreSuite, FailingStore
from eventree.testing.store_values import append, request


class TestForwarding(EventStoreSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[EventStore]:
        async with ForwardingStore(MemoryStore()) as store:
            yield store


async def test_a_store_can_change_one_method() -> None:
    class Twice(ForwardingStore):
        async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
            await super().append(requests)
            return await super().append(requests)

    async with Twice(MemoryStore()) as store:
        assert repr(store) == "<Twice around <MemoryStore with 0 events>>"
        assert await append(store, request("a")) == [Conflict(1)]


@pytest.mark.parametrize("store", ["postgresql://me:secret@localhost/bank", MemoryStore, object()])
@pytest.mark.parametrize("wrapper", [ForwardingStore, FailingStore])
def test_a_store_around_what_is_none_is_refused(wrapper: Any, store: object) -> None:
    with pytest.raises(InvalidArgument, match="must be an event store") as refused:
        wrapper(store)
    assert refused.value.name == "inner"
    assert "secret" not in str(refused.value)
