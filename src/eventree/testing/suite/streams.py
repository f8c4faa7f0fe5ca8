"""Promises about reads of streams, the events of one aggregate."""

import pytest

from eventree.stores.contract import EventStore, StreamRead
from eventree.testing.store_values import TYPE, append, log, positions, request, stream


class StreamPromises:
    """A page has the current sequence and position of its stream, whichever events were read."""

    async def test_a_stream_is_read_from_its_beginning_in_order(self, store: EventStore) -> None:
        await append(store, request("a", events=2), request("b"))
        await append(store, request("a", after=2))
        page = await stream(store, "a")
        assert (page.sequence, page.position) == (3, 4)
        assert [(event.sequence, event.position) for event in page.events] == [(1, 1), (2, 2), (3, 4)]

    async def test_a_stream_is_read_after_a_sequence(self, store: EventStore) -> None:
        await append(store, request("b"), request("a", events=5))
        page = await stream(store, "a", after=2, limit=2)
        assert [event.sequence for event in page.events] == [3, 4]
        assert (page.sequence, page.position) == (5, 6)

    @pytest.mark.parametrize("after", [5, 6, 2**63 - 1])
    async def test_a_read_after_the_end_of_a_stream_returns_its_sequence_and_position(
        self, store: EventStore, after: int
    ) -> None:
        await append(store, request("a", events=5))
        page = await stream(store, "a", after=after)
        assert (page.sequence, page.position, list(page.events)) == (5, 5, [])

    async def test_a_stream_read_with_limit_zero_returns_only_its_sequence_and_position(
        self, store: EventStore
    ) -> None:
        await append(store, request("b"), request("a", events=2))
        page = await stream(store, "a", limit=0)
        assert (page.sequence, page.position, list(page.events)) == (2, 3, [])

    async def test_an_unknown_stream_is_an_empty_page(self, store: EventStore) -> None:
        await append(store, request("a"))
        for page in (await stream(store, "unknown"), await stream(store, "a", type="unknown")):
            assert (page.sequence, page.position, list(page.events)) == (0, 0, [])

    async def test_several_streams_are_read_in_the_order_of_the_reads(self, store: EventStore) -> None:
        await append(store, request("a", events=2), request("b"))
        reads = [StreamRead(TYPE, "b"), StreamRead(TYPE, "?"), StreamRead(TYPE, "a", 1), StreamRead(TYPE, "b", 0, 0)]
        pages = await store.read_streams(reads)
        assert [(page.sequence, positions(page.events)) for page in pages] == [(1, [3]), (0, []), (2, [2]), (1, [])]
        assert list(await store.read_streams([])) == []

    async def test_a_stream_is_read_up_to_a_sequence(self, store: EventStore) -> None:
        await append(store, request("b"), request("a", events=5))
        for up_to, expected in [(0, []), (2, [1, 2]), (5, [1, 2, 3, 4, 5]), (2**63 - 1, [1, 2, 3, 4, 5])]:
            [page] = await store.read_streams([StreamRead(TYPE, "a", up_to=up_to)])
            assert (page.sequence, page.position) == (5, 6)
            assert [event.sequence for event in page.events] == expected
        [page] = await store.read_streams([StreamRead(TYPE, "a", after=1, limit=2, up_to=4)])
        assert [event.sequence for event in page.events] == [2, 3]

    async def test_a_stream_is_read_as_it_was_at_a_position(self, store: EventStore) -> None:
        await append(store, request("a", events=2), request("b", events=3))
        await append(store, request("a", after=2, events=2))
        for position, expected in [
            (0, []),
            (1, [1]),
            (2, [1, 2]),
            (5, [1, 2]),
            (6, [1, 2, 6]),
            (2**63 - 1, [1, 2, 6, 7]),
        ]:
            [page] = await store.read_streams([StreamRead(TYPE, "a", up_to_position=position)])
            assert (page.sequence, page.position) == (4, 7)
            assert positions(page.events) == expected
        [page] = await store.read_streams([StreamRead(TYPE, "a", after=1, up_to=3, up_to_position=6)])
        assert positions(page.events) == [2, 6]

    async def test_one_stream_may_be_read_twice_in_a_call(self, store: EventStore) -> None:
        await append(store, request("a", events=3))
        pages = await store.read_streams([StreamRead(TYPE, "a", 0, 1), StreamRead(TYPE, "a", 2), StreamRead(TYPE, "a")])
        assert [positions(page.events) for page in pages] == [[1], [3], [1, 2, 3]]

    async def test_streams_and_the_log_return_the_same_events(self, store: EventStore) -> None:
        await append(store, request("a", events=2), request("b"))
        assert [*(await stream(store, "a")).events, *(await stream(store, "b")).events] == await log(store)
