"""What a store promises about watchers."""

import asyncio
from typing import Any

import pytest

from eventree.errors import InvalidArgument
from eventree.stores.contract import EventStore
from eventree.testing.store_values import append, request


class WatchPromises:
    """A watcher hears the newest position after each append that stored events."""

    async def test_watchers_hear_the_newest_position_after_each_append(self, store: EventStore) -> None:
        first: list[int] = []
        second: list[int] = []
        store.watch(first.append)
        await append(store, request("a", events=3), request("b"))
        store.watch(second.append)
        await append(store, request("b"), request("c"))
        assert first == [4, 5]
        assert second == [5]

    async def test_what_a_watcher_hears_of_can_be_read_already(self, store: EventStore) -> None:
        seen: list[asyncio.Task[tuple[int, int]]] = []

        async def look(position: int) -> tuple[int, int]:
            return position, (await store.read(0, 100)).position

        store.watch(lambda position: seen.append(asyncio.create_task(look(position))))
        for number in range(5):
            await append(store, request("a", after=number))
        assert [(told, told <= read) for told, read in await asyncio.gather(*seen)] == [
            (position, True) for position in range(1, 6)
        ]

    @pytest.mark.parametrize("kind", ["no function", "coroutine function"])
    async def test_a_listener_that_would_never_run_is_refused(self, store: EventStore, kind: str) -> None:
        async def never(position: int) -> None: ...

        listener: Any = 7 if kind == "no function" else never
        with pytest.raises(InvalidArgument, match="listener"):
            store.watch(listener)

    async def test_watchers_do_not_hear_of_what_stored_no_event(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c"]))
        heard: list[int] = []
        store.watch(heard.append)
        await append(store, request("a", after=1, events=0), request("b", after=1), request("d", commands=["c"]))
        await append(store, request("a", after=1, events=0, commands=["nothing"]))
        assert heard == []

    async def test_a_watcher_that_left_hears_no_more(self, store: EventStore) -> None:
        left: list[int] = []
        stayed: list[int] = []
        leave = store.watch(left.append)
        store.watch(stayed.append)
        await append(store, request("a"))
        leave()
        leave()
        await append(store, request("b"))
        assert (left, stayed) == ([1], [1, 2])

    async def test_a_function_that_watches_twice_is_called_twice_and_leaves_once(self, store: EventStore) -> None:
        heard: list[int] = []
        store.watch(heard.append)
        leave = store.watch(heard.append)
        await append(store, request("a"))
        leave()
        await append(store, request("b"))
        assert heard == [1, 1, 2]
