"""Promises about the log, which has the events of all aggregates."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import pytest

from eventree.errors import LogRolledBack
from eventree.stores.contract import MAX_PAGE_BYTES, AppendRequest, EventStore, LogPage
from eventree.testing.store_values import TYPE, append, event, positions, request

EIGHTHS: Final = {
    "payload of ASCII": ('"' + "x" * (2**20 - 4) + '"', "{}"),
    "payload of UTF-8": ('"' + "é" * (2**19 - 2) + '"', "{}"),
    "metadata of ASCII": ('"' + "x" * (2**20 - 2**16 - 2) + '"', '{"k":"' + "x" * (2**16 - 8) + '"}'),
    "metadata of UTF-8": ('"' + "x" * (2**20 - 2**16 - 2) + '"', '{"k":"' + "é" * (2**15 - 4) + '"}'),
}
"""Payload and metadata whose bytes are together an eighth of `MAX_PAGE_BYTES`."""


async def append_large(store: EventStore, *commits: int, type: str = TYPE, eighth: str = "payload of ASCII") -> None:
    """Append commits with these numbers of events, each event an eighth of `MAX_PAGE_BYTES`."""
    payload, metadata = EIGHTHS[eighth]
    assert 8 * (len(payload.encode()) + len(metadata.encode())) == MAX_PAGE_BYTES
    for events in commits:
        commit = uuid4()
        large = [event(payload, metadata=metadata, commit_id=commit) for _ in range(events)]
        await append(store, AppendRequest(type, f"large {commit}", 0, large))


def outline(page: LogPage) -> tuple[int, Sequence[int], bool]:
    """Return the position of a page, the positions of its events, and whether more follow."""
    return page.position, positions(page.events), page.more


class LogPromises:
    """A reader that continues after each page reads every event once, in order, and only whole commits."""

    async def test_the_log_is_read_in_pages_to_its_end(self, store: EventStore) -> None:
        await append(store, *(request(f"a{number}") for number in range(5)))
        first, second = await store.read(0, 3), await store.read(3, 3)
        assert (first.position, positions(first.events)) == (3, [1, 2, 3])
        assert (second.position, positions(second.events)) == (5, [4, 5])

    async def test_a_page_at_the_end_of_the_log_is_empty_and_keeps_its_position(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        for types in (None, ["thing"], ["unknown"]):
            page = await store.read(2, 10, types)
            assert (page.position, list(page.events)) == (2, [])

    async def test_an_empty_log_is_an_empty_page(self, store: EventStore) -> None:
        page = await store.read(0, 10)
        assert (page.position, list(page.events)) == (0, [])

    @pytest.mark.parametrize("after", [3, 100, 2**63 - 1])
    async def test_a_read_after_the_end_of_the_log_raises_log_rolled_back(self, store: EventStore, after: int) -> None:
        await append(store, request("a", events=2))
        for types in (None, ["thing"]):
            with pytest.raises(LogRolledBack) as caught:
                await store.read(after, 10, types)
            assert (caught.value.subject, caught.value.known, caught.value.found) == ("a reader", after, 2)

    async def test_a_read_ahead_of_an_empty_log_raises_log_rolled_back(self, store: EventStore) -> None:
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

    async def test_a_page_of_no_types_has_no_events(self, store: EventStore) -> None:
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

    async def test_a_commit_larger_than_the_limit_is_read_whole(self, store: EventStore) -> None:
        await append(store, request("a", events=50), request("b"))
        page = await store.read(0, 7)
        assert (page.position, len(page.events)) == (50, 50)

    async def test_a_page_with_the_highest_limit_has_the_whole_log(self, store: EventStore) -> None:
        await append(store, request("a", events=3), request("b"))
        page = await store.read(0, 2**31 - 1)
        assert (page.position, positions(page.events)) == (4, [1, 2, 3, 4])

    async def test_a_page_of_one_type_does_not_end_inside_a_commit_of_another(self, store: EventStore) -> None:
        await append(store, request("a", type="x"), request("a", type="y", events=3), request("b", type="x"))
        page = await store.read(0, 2, ["x"])
        assert page.position in {1, 4}
        assert positions(page.events) == [1]

    async def test_a_page_says_whether_the_log_has_more_events(self, store: EventStore) -> None:
        assert not (await store.read(0, 10)).more
        await append(store, request("a", events=2), request("b", type="x"), request("c"))
        for types in (None, [TYPE], ["x"]):
            pages = [await store.read(after, limit, types) for after, limit in [(0, 1), (0, 3), (0, 4), (3, 1), (4, 1)]]
            assert [(page.position, page.more) for page in pages] == [
                (2, True),
                (3, True),
                (4, False),
                (4, False),
                (4, False),
            ]

    @pytest.mark.parametrize("eighth", EIGHTHS)
    async def test_a_page_holds_at_most_8_mib_of_payload_and_metadata(self, store: EventStore, eighth: str) -> None:
        await append_large(store, *[1] * 9, eighth=eighth)
        assert outline(await store.read(0, 8)) == (8, [1, 2, 3, 4, 5, 6, 7, 8], True)
        assert outline(await store.read(0, 100)) == (8, [1, 2, 3, 4, 5, 6, 7, 8], True)
        assert outline(await store.read(1, 100)) == (9, [2, 3, 4, 5, 6, 7, 8, 9], False)

    async def test_a_page_with_one_byte_more_ends_before_the_last_commit(self, store: EventStore) -> None:
        await append_large(store, *[1] * 7)
        payload, metadata = EIGHTHS["payload of ASCII"]
        await append(store, AppendRequest(TYPE, "a", 0, [event(payload + " ", metadata=metadata)]))
        assert outline(await store.read(0, 100)) == (7, [1, 2, 3, 4, 5, 6, 7], True)
        assert outline(await store.read(7, 100)) == (8, [8], False)

    async def test_a_large_page_ends_before_the_commit_that_exceeds_8_mib(self, store: EventStore) -> None:
        await append_large(store, 3, 3, 3, 1)
        assert outline(await store.read(0, 100)) == (6, [1, 2, 3, 4, 5, 6], True)
        assert outline(await store.read(6, 100)) == (10, [7, 8, 9, 10], False)
        assert outline(await store.read(0, 7)) == (6, [1, 2, 3, 4, 5, 6], True)
        assert outline(await store.read(1, 100)) == (9, [2, 3, 4, 5, 6, 7, 8, 9], True)

    async def test_a_commit_larger_than_8_mib_is_a_page_of_its_own(self, store: EventStore) -> None:
        await append_large(store, 1, 10, 1)
        assert outline(await store.read(0, 2)) == (1, [1], True)
        assert outline(await store.read(1, 1)) == (11, list(range(2, 12)), True)
        assert outline(await store.read(1, 100)) == (11, list(range(2, 12)), True)
        assert outline(await store.read(11, 100)) == (12, [12], False)

    async def test_events_of_other_types_do_not_count_towards_the_size_of_a_page(self, store: EventStore) -> None:
        await append_large(store, *[1] * 4)
        await append_large(store, 3, 10, type="other")
        await append_large(store, *[1] * 4)
        await append_large(store, 1, type="other")
        await append_large(store, 1)
        await append_large(store, 1, 9, type="other")
        wanted = [1, 2, 3, 4, 18, 19, 20, 21]
        assert outline(await store.read(0, 100, [TYPE])) == (22, wanted, True)
        assert outline(await store.read(0, 21, [TYPE])) == (21, wanted, True)
        assert outline(await store.read(22, 100, [TYPE])) == (33, [23], False)
        assert outline(await store.read(0, 100, ["unknown"])) == (33, [], False)
        assert outline(await store.read(0, 100, ["other"])) == (7, [5, 6, 7], True)
        assert outline(await store.read(3, 100, ["other"])) == (7, [5, 6, 7], True)
        assert outline(await store.read(7, 100, ["other"])) == (17, list(range(8, 18)), True)
        assert outline(await store.read(22, 100, ["other"])) == (24, [24], True)
        assert outline(await store.read(22, 1, ["other"])) == (23, [], True)

    async def test_the_head_is_the_newest_position(self, store: EventStore) -> None:
        assert await store.head() == 0
        await append(store, request("a", events=3), request("b"))
        assert await store.head() == 4

    async def test_a_reader_beside_concurrent_writers_sees_no_gap_and_no_partial_commit(
        self, store: EventStore
    ) -> None:
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
                await asyncio.sleep(0)  # a store may answer without yielding to the writers
            await asyncio.gather(*writers)
        assert await store.head() == position == 270
