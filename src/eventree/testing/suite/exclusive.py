"""Promises about appends that are decided while no other writer can append."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from eventree.errors import InvalidArgument
from eventree.stores.contract import (
    Appended,
    AppendRequest,
    Conflict,
    DuplicateCommand,
    EventStore,
    StreamPage,
    StreamRead,
)
from eventree.testing.store_values import TYPE, append, log, positions, request


def one_more(pages: Sequence[StreamPage]) -> Sequence[AppendRequest]:
    """Decide one more event of the aggregate "a"."""
    return [request("a", after=pages[0].sequence)]


class ExclusivePromises:
    """What `read_and_append` reads is still current when it appends."""

    async def test_what_is_decided_on_the_pages_is_appended(self, store: EventStore) -> None:
        await append(store, request("a", events=2), request("b"))
        seen: list[tuple[int, list[int]]] = []

        def decide(pages: Sequence[StreamPage]) -> Sequence[AppendRequest]:
            seen.extend((page.sequence, positions(page.events)) for page in pages)
            return [request("a", after=2, events=2, commands=["c"]), request("new"), request("b", after=1, events=0)]

        reads = [StreamRead(TYPE, "a", after=1), StreamRead(TYPE, "b"), StreamRead(TYPE, "new")]
        outcomes = await store.read_and_append(reads, decide)
        assert seen == [(2, [2]), (1, [3]), (0, [])]
        assert list(outcomes) == [Appended(4, 5), Appended(1, 6), Appended(1, 3)]
        events = await log(store)
        assert positions(events) == [1, 2, 3, 4, 5, 6]
        assert isinstance(outcomes[0], Appended)
        assert outcomes[0].stamp == events[4].stamp
        assert set(await store.find_commands(["c"])) == {"c"}

    async def test_many_that_compete_meet_no_conflict(self, store: EventStore) -> None:
        reads = [StreamRead(TYPE, "a", limit=0)]
        outcomes = await asyncio.gather(*(store.read_and_append(reads, one_more) for _ in range(20)))
        assert sorted(outcome.sequence for [outcome] in outcomes if isinstance(outcome, Appended)) == [*range(1, 21)]

    async def test_others_append_before_or_after_it(self, store: EventStore) -> None:
        reads = [StreamRead(TYPE, "a", limit=0)]
        exclusive = [store.read_and_append(reads, one_more) for _ in range(10)]
        await asyncio.gather(*exclusive, *(append(store, request(f"b{number}")) for number in range(10)))
        assert positions(await log(store)) == [*range(1, 21)]

    async def test_nothing_may_be_decided(self, store: EventStore) -> None:
        assert list(await store.read_and_append([StreamRead(TYPE, "a")], lambda _: [])) == []
        assert list(await store.read_and_append([], lambda _: [request("a")])) == [Appended(1, 1)]

    async def test_a_request_is_refused_as_by_an_append(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c"]))
        requests = [
            request("a", after=1, commands=["c"]),
            request("b", after=1, commands=["c"]),
            request("d", commands=["d"]),
        ]
        outcomes = await store.read_and_append([], lambda _: requests)
        assert list(outcomes) == [DuplicateCommand(frozenset({"c"})), Conflict(0), Appended(1, 2)]

    async def test_a_command_id_twice_is_recorded_once(self, store: EventStore) -> None:
        requests = [request("a", commands=["c"]), request("b", commands=["c"])]
        outcomes = await store.read_and_append([], lambda _: requests)
        assert list(outcomes) == [Appended(1, 1), DuplicateCommand(frozenset({"c"}))]

    async def test_nothing_is_stored_if_the_function_raises(self, store: EventStore) -> None:
        def fail(_: Sequence[StreamPage]) -> Sequence[AppendRequest]:
            raise ZeroDivisionError

        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await store.read_and_append([StreamRead(TYPE, "a")], fail)
        assert await store.head() == 0
        assert await append(store, request("a")) == [Appended(1, 1)]

    async def test_a_wish_to_leave_the_program_is_raised_to_the_caller(self, store: EventStore) -> None:
        """In a task of the store's own it would end the event loop at once, before anything is cleaned up."""

        def leave(_: Sequence[StreamPage]) -> Sequence[AppendRequest]:
            raise SystemExit(3)

        with pytest.raises(SystemExit) as left:
            await store.read_and_append([StreamRead(TYPE, "a")], leave)
        assert left.value.code == 3
        assert await append(store, request("a")) == [Appended(1, 1)]

    async def test_one_that_is_cancelled_is_stored_or_not_and_holds_up_nobody(self, store: EventStore) -> None:
        for turns in range(12):
            task = asyncio.ensure_future(store.read_and_append([StreamRead(TYPE, "a", limit=0)], one_more))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await append(store, request("b"))
        assert [event.aggregate_id for event in await log(store)].count("b") == 1
        assert positions(await log(store)) == [*range(1, await store.head() + 1)]

    async def test_what_is_invalid_is_refused(self, store: EventStore) -> None:
        invalid: Any = "no function"
        with pytest.raises(InvalidArgument):
            await store.read_and_append([], invalid)
        with pytest.raises(InvalidArgument):
            await store.read_and_append([StreamRead(TYPE, "")], lambda _: [])
        for requests in ([request("a"), request("a")], [request("")]):
            with pytest.raises(InvalidArgument):
                await store.read_and_append([], lambda _, requests=requests: requests)  # type: ignore[misc]
        assert await append(store, request("a")) == [Appended(1, 1)]
