"""Promises about the listeners of `watch`."""

import asyncio
from typing import Any

import pytest

from eventree.errors import InvalidArgument
from eventree.stores.contract import EventStore
from eventree.testing.store_values import append, request


class WatchPromises:
    """Listeners are notified of the newest position after each append that stored events."""

    async def test_listeners_are_notified_of_the_newest_position_after_each_append(self, store: EventStore) -> None:
        first: list[int] = []
        second: list[int] = []
        store.watch(first.append)
        await append(store, request("a", events=3), request("b"))
        store.watch(second.append)
        await append(store, request("b"), request("c"))
        assert first == [4, 5]
        assert second == [5]

    async def test_listeners_for_some_types_are_notified_of_commits_with_events_of_these_only(
        self, store: EventStore
    ) -> None:
        heard: dict[str, list[int]] = {"all": [], "a": [], "a and b": [], "c": [], "none": []}
        store.watch(heard["all"].append)
        store.watch(heard["a"].append, types=["a"])
        store.watch(heard["a and b"].append, ("b", "a"))
        store.watch(heard["c"].append, {"c"})
        store.watch(heard["none"].append, [])
        await append(store, request("1", type="a"))
        await append(store, request("1", type="b"), request("2", type="b", events=2))
        await append(store, request("1", type="a", after=1), request("2", type="b", after=2))
        await append(store, request("1", type="a", after=7), request("1", type="c", events=0), request("1", type="d"))
        assert heard == {"all": [1, 4, 6, 7], "a": [1, 6], "a and b": [1, 4, 6], "c": [], "none": []}

    async def test_a_listener_for_some_types_that_was_removed_is_not_notified(self, store: EventStore) -> None:
        removed: list[int] = []
        kept: list[int] = []
        remove = store.watch(removed.append, ["a", "b"])
        store.watch(kept.append, ["a"])
        await append(store, request("1", type="a"))
        remove()
        remove()
        await append(store, request("2", type="a"))
        assert (removed, kept) == ([1], [1, 2])

    async def test_events_can_be_read_when_their_listeners_are_notified(self, store: EventStore) -> None:
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

    @pytest.mark.parametrize("types", ["a", 7, [7], [""]], ids=str)
    async def test_types_that_are_none_are_refused(self, store: EventStore, types: object) -> None:
        given: Any = types
        with pytest.raises(InvalidArgument, match="types"):
            store.watch(lambda _: None, given)

    async def test_listeners_are_not_notified_when_no_event_was_stored(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c"]))
        heard: list[int] = []
        store.watch(heard.append)
        await append(store, request("a", after=1, events=0), request("b", after=1), request("d", commands=["c"]))
        await append(store, request("a", after=1, events=0, commands=["nothing"]))
        assert heard == []

    async def test_a_listener_that_was_removed_is_not_notified(self, store: EventStore) -> None:
        removed: list[int] = []
        kept: list[int] = []
        remove = store.watch(removed.append)
        store.watch(kept.append)
        await append(store, request("a"))
        remove()
        remove()
        await append(store, request("b"))
        assert (removed, kept) == ([1], [1, 2])

    async def test_a_listener_added_twice_is_called_twice_and_removed_once(self, store: EventStore) -> None:
        heard: list[int] = []
        store.watch(heard.append)
        remove = store.watch(heard.append)
        await append(store, request("a"))
        remove()
        await append(store, request("b"))
        assert heard == [1, 1, 2]
