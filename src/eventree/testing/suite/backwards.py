"""What a store promises about reading the log backwards, and about filters by the names of events."""

import pytest

from eventree.stores.contract import AppendRequest, EventStore
from eventree.testing.store_values import TYPE, append, event, log, positions, request
from eventree.testing.suite.log import EIGHTHS, append_large, outline


async def append_named(store: EventStore, *names: str, type: str = TYPE) -> None:
    """Append events with these names, each a commit and an aggregate of its own."""
    head = await store.head()
    requests = [AppendRequest(type, f"{head + at}", 0, [event(event_type=name)]) for at, name in enumerate(names)]
    await append(store, *requests)


class BackwardsPromises:
    """A reader who goes on before each page sees every event once, newest first, and whole commits."""

    async def test_the_log_is_read_backwards_in_pages_to_its_beginning(self, store: EventStore) -> None:
        await append(store, *(request(f"a{number}") for number in range(5)))
        assert outline(await store.read_backwards(None, 3)) == (3, [5, 4, 3], True)
        assert outline(await store.read_backwards(3, 3)) == (1, [2, 1], False)
        assert outline(await store.read_backwards(3, 2)) == (1, [2, 1], False)
        assert outline(await store.read_backwards(1, 3)) == (1, [], False)

    async def test_what_is_read_backwards_is_what_is_read_forwards(self, store: EventStore) -> None:
        await append(store, request("a", events=2), request("b", type="x"))
        assert list((await store.read_backwards(None, 10)).events) == [*reversed(await log(store))]

    async def test_an_empty_log_read_backwards_is_an_empty_page(self, store: EventStore) -> None:
        for before in (None, 1, 7):
            assert outline(await store.read_backwards(before, 10)) == (1, [], False)

    @pytest.mark.parametrize("before", [4, 100, 2**63 - 1])
    async def test_a_position_beyond_the_log_is_its_end(self, store: EventStore, before: int) -> None:
        await append(store, request("a", events=2), request("b"))
        assert outline(await store.read_backwards(before, 1)) == (3, [3], True)

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 8])
    async def test_a_page_read_backwards_never_ends_inside_a_commit(self, store: EventStore, limit: int) -> None:
        await append(store, request("a", events=3), request("b", events=1))
        await append(store, request("a", after=3, events=4))
        ends: list[int] = []
        before = 9
        while (page := await store.read_backwards(before, limit)).events:
            assert positions(page.events) == list(range(before - 1, page.position - 1, -1))
            assert page.more == (page.position > 1)
            before = page.position
            ends.append(before)
        assert set(ends) <= {1, 4, 5}
        assert ends[-1] == 1

    async def test_the_longest_page_read_backwards_is_the_whole_log(self, store: EventStore) -> None:
        await append(store, request("a", events=3), request("b"))
        assert outline(await store.read_backwards(None, 2**31 - 1)) == (1, [4, 3, 2, 1], False)

    async def test_a_read_before_a_position_inside_a_commit_begins_there(self, store: EventStore) -> None:
        await append(store, request("a", events=3))
        assert outline(await store.read_backwards(3, 1)) == (1, [2, 1], False)

    async def test_types_that_are_left_out_are_examined_backwards_too(self, store: EventStore) -> None:
        await append(store, request("a", type="x"), request("a", type="y"), request("a", type="z", events=2))
        assert outline(await store.read_backwards(None, 2, ["x"])) == (3, [], True)
        assert outline(await store.read_backwards(3, 10, ["x"])) == (1, [1], False)
        assert outline(await store.read_backwards(None, 10, {"z", "x"})) == (1, [4, 3, 1], False)
        assert outline(await store.read_backwards(None, 10, [])) == (1, [], False)

    @pytest.mark.parametrize("eighth", EIGHTHS)
    async def test_a_page_read_backwards_holds_at_most_8_mib(self, store: EventStore, eighth: str) -> None:
        await append_large(store, *[1] * 9, eighth=eighth)
        assert outline(await store.read_backwards(None, 100)) == (2, [9, 8, 7, 6, 5, 4, 3, 2], True)
        assert outline(await store.read_backwards(9, 100)) == (1, [8, 7, 6, 5, 4, 3, 2, 1], False)

    async def test_a_large_page_read_backwards_ends_before_the_commit_that_is_too_much(self, store: EventStore) -> None:
        await append_large(store, 1, 3, 3, 3)
        assert outline(await store.read_backwards(None, 100)) == (5, [10, 9, 8, 7, 6, 5], True)
        assert outline(await store.read_backwards(5, 100)) == (1, [4, 3, 2, 1], False)

    async def test_a_commit_larger_than_a_page_comes_whole_and_alone_backwards(self, store: EventStore) -> None:
        await append_large(store, 1, 10, 1)
        assert outline(await store.read_backwards(None, 2)) == (12, [12], True)
        assert outline(await store.read_backwards(12, 1)) == (2, list(range(11, 1, -1)), True)
        assert outline(await store.read_backwards(12, 100)) == (2, list(range(11, 1, -1)), True)
        assert outline(await store.read_backwards(2, 100)) == (1, [1], False)

    async def test_what_is_left_out_has_no_bytes_backwards(self, store: EventStore) -> None:
        await append_large(store, 10, 1)
        await append_large(store, 10, type="other")
        await append_large(store, 1)
        assert outline(await store.read_backwards(None, 100, [TYPE])) == (11, [22, 11], True)
        assert outline(await store.read_backwards(None, 100, ["unknown"])) == (1, [], False)


class EventTypePromises:
    """Filters leave events out of a page; the positions are examined all the same."""

    async def test_only_events_with_these_names_are_read(self, store: EventStore) -> None:
        await append_named(store, "opened", "closed", "Opened", "opened")
        assert outline(await store.read(0, 10, None, ["opened"])) == (4, [1, 4], False)
        assert outline(await store.read(0, 3, None, {"closed", "opened"})) == (3, [1, 2], True)
        assert outline(await store.read(1, 10, None, ["unknown"])) == (4, [], False)
        assert outline(await store.read(0, 10, None, [])) == (4, [], False)

    async def test_only_events_with_these_names_are_read_backwards(self, store: EventStore) -> None:
        await append_named(store, "opened", "closed", "Opened", "opened")
        assert outline(await store.read_backwards(None, 10, None, ["opened"])) == (1, [4, 1], False)
        assert outline(await store.read_backwards(4, 2, None, ["closed"])) == (2, [2], True)

    async def test_both_filters_hold_together(self, store: EventStore) -> None:
        await append_named(store, "opened", "closed", type="x")
        await append_named(store, "opened", "closed", type="y")
        assert outline(await store.read(0, 10, ["x"], ["closed"])) == (4, [2], False)
        assert outline(await store.read_backwards(None, 10, ["y", "x"], ["closed"])) == (1, [4, 2], False)

    async def test_a_reader_that_follows_live_gets_the_same_events(self, store: EventStore) -> None:
        store.watch(lambda _: None)
        await append_named(store, "opened", "closed", "opened")
        page = await store.read(0, 10, [TYPE], ["opened"], live=True)
        assert page == await store.read(0, 10, [TYPE], ["opened"])
        assert outline(page) == (3, [1, 3], False)

    async def test_events_that_are_left_out_have_no_bytes(self, store: EventStore) -> None:
        await append_large(store, 9)
        await append_named(store, "small")
        await append_large(store, 1)
        assert outline(await store.read(0, 100, None, ["small"])) == (11, [10], False)
        assert outline(await store.read_backwards(None, 100, None, ["small"])) == (1, [10], False)
