"""What a store promises about the log of all its events."""

import asyncio

import pytest

from eventree.errors import LogRolledBack
from eventree.stores.contract import EventStore
from eventree.testing.store_values import append, positions, request


class LogPromises:
    """A reader who goes on after each page sees every event once, in order, and whole commits."""

    async def test_the_log_is_read_in_pages_to_its_end(self, store: EventStore) -> None:
        await append(store, *(request(f"a{number}") for number in range(5)))
        first, second = await store.read(0, 3), await store.read(3, 3)
        assert (first.position, positions(first.events)) == (3, [1, 2, 3])
        assert (second.position, positions(second.events)) == (5, [4, 5])

    async def test_the_page_at_the_end_of_the_log_is_empty_and_stays_there(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        for types in (None, ["thing"], ["unknown"]):
            page = await store.read(2, 10, types)
            assert (page.position, list(page.events)) == (2, [])

    async def test_an_empty_log_is_an_empty_page(self, store: EventStore) -> None:
        page = await store.read(0, 10)
        assert (page.position, list(page.events)) == (0, [])

    @pytest.mark.parametrize("after", [3, 100, 2**63 - 1])
    async def test_a_reader_ahead_of_the_log_is_told_that_it_was_rolled_back(
        self, store: EventStore, after: int
    ) -> None:
        await append(store, request("a", events=2))
        for types in (None, ["thing"]):
            with pytest.raises(LogRolledBack) as caught:
                await store.read(after, 10, types)
            assert (caught.value.subject, caught.value.known, caught.value.found) == ("a reader", after, 2)

    async def test_a_reader_ahead_of_an_empty_log_is_told_too(self, store: EventStore) -> None:
        with pytest.raises(LogRolledBack) as caught:
            await store.read(1, 1)
        assert (caught.value.known, caught.value.found) == (1, 0)

    async def test_events_of_other_types_are_left_out_and_the_position_moves_past_them(self, store: EventStore) -> None:
        await append(store, request("a", type="x"), request("a", type="y"), request("a", type="z", events=2))
        page = await store.read(0, 2, ["x"])
        assert (page.position, positions(page.events)) == (2, [1])
        page = await store.read(2, 10, ["x"])
        assert (page.position, list(page.events)) == (4, [])
        page = await store.read(0, 10, {"z", "x", "unknown"})
        assert (page.position, positions(page.events)) == (4, [1, 3, 4])

    async def test_no_types_are_no_events(self, store: EventStore) -> None:
        await append(store, request("a"))
        page = await store.read(0, 10, [])
        assert (page.position, list(page.events)) == (1, [])

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 8])
    async def test_a_page_never_ends_inside_a_commit(self, store: EventStore, limit: int) -> None:
        await append(store, request("a", events=3), request("b", events=1))
        await append(store, request("a", after=3, events=4))
        ends: list[int] = []
        position = 0
        while (page := await store.read(position, limit)).events:
            assert positions(page.events) == list(range(position + 1, page.position + 1))
            position = page.position
            ends.append(position)
        assert set(ends) <= {3, 4, 8}
        assert ends[-1] == 8

    async def test_a_commit_larger_than_the_limit_comes_whole(self, store: EventStore) -> None:
        await append(store, request("a", events=50), request("b"))
        page = await store.read(0, 7)
        assert (page.position, len(page.events)) == (50, 50)

    async def test_the_longest_page_is_the_whole_log(self, store: EventStore) -> None:
        await append(store, request("a", events=3), request("b"))
        page = await store.read(0, 2**31 - 1)
        assert (page.position, positions(page.events)) == (4, [1, 2, 3, 4])

    async def test_a_page_of_one_type_does_not_end_inside_a_commit_of_another(self, store: EventStore) -> None:
        await append(store, request("a", type="x"), request("a", type="y", events=3), request("b", type="x"))
        page = await store.read(0, 2, ["x"])
        assert page.position in {1, 4}
        assert positions(page.events) == [1]

    async def test_the_head_is_the_newest_position(self, store: EventStore) -> None:
        assert await store.head() == 0
        await append(store, request("a", events=3), request("b"))
        assert await store.head() == 4

    async def test_a_reader_beside_writers_sees_no_hole_and_no_half_commit(self, store: EventStore) -> None:
        async def write(name: str) -> None:
            for number in range(15):
                await append(store, request(f"{name}{number}", events=3), request(f"{name}-{number}", events=3))

        async with asyncio.timeout(30):
            writers = [asyncio.create_task(write(name)) for name in "abc"]
            position = 0
            while position < 270:
                page = await store.read(position, 7)
                assert positions(page.events) == list(range(position + 1, page.position + 1))
                assert page.position % 3 == 0
                position = page.position
                await asyncio.sleep(0)  # a store may answer without giving the writers a turn
            await asyncio.gather(*writers)
        assert await store.head() == position == 270
