"""Promises about opening and closing."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from eventree.errors import StoreUnavailable
from eventree.stores.contract import Appended, Checkpoint, CheckpointUpdate, EventStore, StreamRead
from eventree.testing.store_values import TYPE, append, request, snapshot, stream

OPERATIONS: dict[str, Callable[[EventStore], Awaitable[object]]] = {
    "append": lambda store: store.append([request("a")]),
    "append nothing": lambda store: store.append([]),
    "find_commands": lambda store: store.find_commands(["c"]),
    "read_streams": lambda store: store.read_streams([StreamRead(TYPE, "a")]),
    "read": lambda store: store.read(0, 10),
    "read live": lambda store: store.read(0, 10, live=True),
    "read_backwards": lambda store: store.read_backwards(None, 10),
    "list_aggregates": lambda store: store.list_aggregates(),
    "list_aggregate_types": lambda store: store.list_aggregate_types(),
    "list_queries": lambda store: store.list_queries(),
    "head": lambda store: store.head(),
    "claim_checkpoint": lambda store: store.claim_checkpoint("query", 1),
    "save_checkpoint": lambda store: store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(1, 1))),
    "save_snapshots": lambda store: store.save_snapshots([snapshot("a", 1)]),
    "load_snapshots": lambda store: store.load_snapshots(TYPE, ["a"], "v1"),
}


async def leave(store: EventStore) -> None:
    """Leave a store that was entered before."""
    await store.__aexit__(None, None, None)


async def assert_closed(store: EventStore) -> None:
    """Assert that every operation of the store raises `StoreUnavailable`."""
    for operation in OPERATIONS.values():
        with pytest.raises(StoreUnavailable):
            await operation(store)


class LifecyclePromises:
    """A store is open from its first entry to its last exit, and can be entered again."""

    async def test_entering_a_store_returns_it(self, store: EventStore) -> None:
        async with store as entered:
            assert entered is store

    @pytest.mark.parametrize("operation", OPERATIONS)
    async def test_a_store_that_was_left_is_unavailable(self, store: EventStore, operation: str) -> None:
        await append(store, request("a", commands=["c"]))
        await store.claim_checkpoint("query", 1)
        await OPERATIONS[operation](store)
        await leave(store)
        try:
            with pytest.raises(StoreUnavailable):
                await OPERATIONS[operation](store)
        finally:
            await store.__aenter__()

    async def test_a_store_entered_again_has_what_was_stored(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        await leave(store)
        await store.__aenter__()
        assert (await stream(store, "a")).sequence == 2
        assert await append(store, request("a", after=2)) == [Appended(3, 3)]

    async def test_a_store_entered_twice_is_open_until_it_is_left_twice(self, store: EventStore) -> None:
        async with store:
            await append(store, request("a"))
        assert await store.head() == 1
        await leave(store)
        try:
            await assert_closed(store)
        finally:
            await store.__aenter__()

    async def test_an_error_inside_the_block_closes_the_store_and_is_raised(self, store: EventStore) -> None:
        await leave(store)
        try:
            with pytest.raises(ZeroDivisionError):
                async with store:
                    await append(store, request(f"{1 / 0}"))
            await assert_closed(store)
        finally:
            await store.__aenter__()

    async def test_a_store_can_be_entered_concurrently(self, store: EventStore) -> None:
        async def use() -> int:
            async with store:
                return await store.head()

        await append(store, request("a"))
        await leave(store)
        try:
            async with asyncio.timeout(30):
                assert await asyncio.gather(*(use() for _ in range(3))) == [1, 1, 1]
        finally:
            await store.__aenter__()
