"""What a store promises about its lists: aggregates, their types, and queries."""

from eventree.stores.contract import (
    AggregateSummary,
    Checkpoint,
    CheckpointUpdate,
    EventStore,
    LeaseRequest,
    QuerySummary,
)
from eventree.testing.store_values import append, parked, request

IDS = ["a", "B", "\uffff", "é", "e\u0301", "😀", "a ", "ab", "z", "\x01", "Z"]
"""Ids that a collation, or an order by UTF-16, would sort otherwise."""


def outline(query: QuerySummary) -> tuple[str, int, int, str, bool, bool]:
    """Return a query without its counts, and whether it is leased instead of for how long."""
    return (
        query.name,
        query.version,
        query.checkpoint.position,
        query.owner,
        query.lease_seconds > 0,
        query.is_live,
    )


class ListingPromises:
    """Lists are complete, and in the same order on every store."""

    async def test_aggregates_are_listed_with_their_last_event(self, store: EventStore) -> None:
        await append(store, request("b", events=2), request("a", type="x"))
        await append(store, request("b", after=2), request("c"))
        assert list(await store.list_aggregates()) == [
            AggregateSummary("thing", "b", 3, 4),
            AggregateSummary("thing", "c", 1, 5),
            AggregateSummary("x", "a", 1, 3),
        ]

    async def test_aggregates_of_one_type_are_listed(self, store: EventStore) -> None:
        await append(store, *(request("a", type=type) for type in ("x", "X", "y", "xx")), request("b", type="x"))
        assert [one.key for one in await store.list_aggregates("x")] == [("x", "a"), ("x", "b")]
        assert list(await store.list_aggregates("unknown")) == []

    async def test_lists_are_ordered_by_bytes_of_utf_8(self, store: EventStore) -> None:
        await append(store, *(request(id, type=type) for id in IDS for type in ("é", "f", "F", "😀", "\uffff")))
        in_order = sorted(IDS, key=str.encode)
        assert [one.aggregate_id for one in await store.list_aggregates("f")] == in_order
        assert [one.key for one in await store.list_aggregates()] == [
            (type, id) for type in ("F", "f", "é", "\uffff", "😀") for id in in_order
        ]
        assert list(await store.list_aggregate_types()) == ["F", "f", "é", "\uffff", "😀"]

    async def test_lists_are_read_in_pages(self, store: EventStore) -> None:
        await append(store, *(request(id, type=type) for id in "abcde" for type in "xyz"))
        for type, expected in ((None, 15), ("y", 5)):
            whole = [one.key for one in await store.list_aggregates(type)]
            found, after = list[tuple[str, str]](), None
            while page := await store.list_aggregates(type, after=after, limit=2):
                assert len(page) <= 2
                found += [one.key for one in page]
                after = page[-1].key
            assert found == whole
            assert len(found) == expected

    async def test_a_list_goes_on_after_a_key_that_does_not_exist(self, store: EventStore) -> None:
        await append(store, *(request(id, type=type) for id in "bd" for type in "xz"))
        assert [one.key for one in await store.list_aggregates(after=("x", "c"))] == [
            ("x", "d"),
            ("z", "b"),
            ("z", "d"),
        ]
        assert [one.key for one in await store.list_aggregates("x", after=("a", "c"))] == [("x", "b"), ("x", "d")]
        assert [one.key for one in await store.list_aggregates("x", after=("x", "c"))] == [("x", "d")]
        assert list(await store.list_aggregates("x", after=("y", "a"))) == []

    async def test_what_has_no_event_is_not_listed(self, store: EventStore) -> None:
        assert list(await store.list_aggregates()) == []
        assert list(await store.list_aggregate_types()) == []
        await append(store, request("refused", after=1), request("command", type="x", events=0, commands=["c"]))
        assert list(await store.list_aggregates()) == list(await store.list_aggregates("x")) == []
        assert list(await store.list_aggregate_types()) == []
        await append(store, request("command", type="x"))
        assert [one.key for one in await store.list_aggregates()] == [("x", "command")]

    async def test_types_are_listed_once(self, store: EventStore) -> None:
        await append(store, *(request(id, type=type) for type in ("b", "a", "c") for id in "12"))
        assert list(await store.list_aggregate_types()) == ["a", "b", "c"]

    async def test_queries_are_listed_by_name_and_version(self, store: EventStore) -> None:
        assert list(await store.list_queries()) == []
        await append(store, request("a", events=3))
        for name, version, lease in [
            ("q", 2, LeaseRequest("one", 60, start=2)),
            ("é", 1, LeaseRequest("two", start=None)),
            ("q", 10, LeaseRequest("three", start=1)),
            ("Q", 1, LeaseRequest("four", 60)),
        ]:
            await store.claim_checkpoint(name, version, lease)
        assert [outline(query) for query in await store.list_queries()] == [
            ("Q", 1, 0, "four", True, True),
            ("q", 2, 2, "one", True, True),
            ("q", 10, 1, "three", False, False),
            ("é", 1, 3, "two", False, True),
        ]

    async def test_a_list_of_queries_shows_who_has_the_lease_and_for_how_long(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1, LeaseRequest("one", 60))
        [query] = await store.list_queries()
        assert 50 < query.lease_seconds <= 61
        assert await store.renew_checkpoint("query", 1, held.fencing_token, 0)
        [query] = await store.list_queries()
        assert (query.owner, query.lease_seconds) == ("one", 0)

    async def test_a_list_of_queries_shows_what_each_has_parked_and_skipped(self, store: EventStore) -> None:
        held = await store.claim_checkpoint("query", 1)
        await store.claim_checkpoint("other", 1)
        await store.save_checkpoint(
            "query",
            1,
            CheckpointUpdate(
                Checkpoint(9, held.fencing_token),
                park=[parked("a", 2), parked("b", 4)],
                skipped=3,
                replay_until=7,
            ),
        )
        [other, query] = await store.list_queries()
        assert query.checkpoint == Checkpoint(9, held.fencing_token)
        assert (query.parked, query.skipped, query.replay_until) == (2, 3, 7)
        assert (other.parked, other.skipped, other.replay_until) == (0, 0, 0)

    async def test_a_list_of_queries_shows_which_version_is_live(self, store: EventStore) -> None:
        await store.claim_checkpoint("query", 1)
        two = await store.claim_checkpoint("query", 2)
        assert [query.is_live for query in await store.list_queries()] == [True, False]
        await store.make_live("query", 2, two.fencing_token)
        assert [query.is_live for query in await store.list_queries()] == [False, True]
