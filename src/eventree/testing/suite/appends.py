"""Promises about appends."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from eventree.stores.contract import Appended, AppendRequest, Conflict, DuplicateCommand, EventStore
from eventree.testing.store_values import append, event, log, positions, request, stream


class AppendPromises:
    """Each request is kept or refused by itself: all of its events and commands are stored, or none."""

    async def test_an_append_returns_sequence_and_position_of_the_last_event(self, store: EventStore) -> None:
        assert await append(store, request("a", events=3)) == [Appended(3, 3)]
        [outcome] = await append(store, request("a", after=3, events=2))
        assert outcome == Appended(5, 5)
        assert isinstance(outcome, Appended)
        assert {type(number) for number in (outcome.sequence, outcome.position)} == {int}

    async def test_acknowledged_events_can_be_read_at_once(self, store: EventStore) -> None:
        for number in range(20):
            [outcome] = await append(store, request("a", after=number))
            assert (await store.read(number, 10)).position == await store.head() == number + 1
            assert outcome == Appended((await stream(store, "a")).sequence, number + 1)

    async def test_outcomes_come_in_the_order_of_the_requests(self, store: EventStore) -> None:
        await append(store, request("b"))
        outcomes = await append(store, request("c", events=2), request("b"), request("a"), request("b2", after=7))
        assert outcomes == [Appended(2, 3), Conflict(1), Appended(1, 4), Conflict(0)]

    async def test_an_append_of_no_requests_returns_no_outcomes(self, store: EventStore) -> None:
        assert await append(store) == []
        assert await store.head() == 0

    async def test_positions_are_gapless_from_one_in_the_order_of_requests_and_events(self, store: EventStore) -> None:
        await append(store, request("b", events=2), request("a", events=3))
        await append(store, request("c"), request("a", after=3))
        places = [(event.position, event.aggregate_id, event.sequence) for event in await log(store)]
        assert places == [(1, "b", 1), (2, "b", 2), (3, "a", 1), (4, "a", 2), (5, "a", 3), (6, "c", 1), (7, "a", 4)]

    async def test_refused_requests_leave_no_gap(self, store: EventStore) -> None:
        await append(store, request("a", commands=["once"]))
        outcomes = await append(store, request("b"), request("a"), request("c", commands=["once"]), request("d"))
        assert outcomes == [Appended(1, 2), Conflict(1), DuplicateCommand(frozenset({"once"})), Appended(1, 3)]
        assert [(event.position, event.aggregate_id) for event in await log(store)] == [(1, "a"), (2, "b"), (3, "d")]

    async def test_a_conflict_stores_nothing_and_the_other_requests_are_kept(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        refused = request("a", after=1, commands=["refused"])
        assert await append(store, refused, request("b", commands=["kept"])) == [Conflict(2), Appended(1, 3)]
        assert len((await stream(store, "a")).events) == 2
        assert set(await store.find_commands(["refused", "kept"])) == {"kept"}
        assert positions((await stream(store, "b")).events) == [3]

    async def test_a_conflict_returns_the_current_sequence(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        assert await append(store, request("a", after=1)) == [Conflict(2)]
        assert await append(store, request("a", after=3)) == [Conflict(2)]
        assert await append(store, request("new", after=1)) == [Conflict(0)]

    async def test_a_refused_request_does_not_create_its_aggregate(self, store: EventStore) -> None:
        await append(store, request("a", after=1))
        page = await stream(store, "a")
        assert (page.sequence, page.position, list(page.events)) == (0, 0, [])
        assert await append(store, request("a")) == [Appended(1, 1)]

    async def test_the_same_id_in_two_types_is_two_aggregates(self, store: EventStore) -> None:
        outcomes = await append(store, request("a", type="x", events=2), request("a", type="y"))
        assert outcomes == [Appended(2, 2), Appended(1, 3)]
        assert (await stream(store, "a", type="x")).sequence == 2
        assert (await stream(store, "a", type="y")).sequence == 1

    async def test_ids_that_look_alike_are_different_aggregates(self, store: EventStore) -> None:
        ids = ["a", "A", " a", "a ", "1", "01", "1.0", "é", "e\u0301", '"', "'", "%", "[0]", "null", "\n", "\x7f", "😀"]
        assert await append(store, *(request(id) for id in ids)) == [Appended(1, at) for at in range(1, len(ids) + 1)]
        assert [event.aggregate_id for event in await log(store)] == ids

    async def test_a_request_without_events_checks_the_sequence_and_stores_nothing(self, store: EventStore) -> None:
        await append(store, request("b"), request("a", events=2))
        assert await append(store, request("a", after=2, events=0)) == [Appended(2, 3)]
        assert await append(store, request("a", after=1, events=0)) == [Conflict(2)]
        assert await append(store, request("new", events=0)) == [Appended(0, 0)]
        assert await append(store, request("new", after=1, events=0)) == [Conflict(0)]
        assert await store.head() == 3

    async def test_one_of_many_concurrent_writers_wins_and_the_others_conflict(self, store: EventStore) -> None:
        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*(append(store, request("a")) for _ in range(20)))
        assert (outcomes.count([Appended(1, 1)]), outcomes.count([Conflict(1)])) == (1, 19)
        assert await store.head() == 1

    async def test_many_tasks_can_append_and_read_concurrently(self, store: EventStore) -> None:
        async def one(id: str) -> None:
            assert isinstance((await append(store, request(id, events=2)))[0], Appended)
            assert (await stream(store, id)).sequence == 2

        async with asyncio.timeout(30):
            await asyncio.gather(*(one(f"a{number}") for number in range(30)))
        assert positions(await log(store)) == list(range(1, 61))

    async def test_a_cancelled_append_is_atomic_and_does_not_affect_others(self, store: EventStore) -> None:
        for steps in range(25):
            cancelled = asyncio.create_task(append(store, request(f"{steps}", events=3, commands=[f"{steps}"])))
            other = asyncio.create_task(append(store, request(f"other {steps}")))
            for _ in range(steps):
                await asyncio.sleep(0)
            cancelled.cancel()
            async with asyncio.timeout(30):
                await asyncio.wait([cancelled])
                assert isinstance((await other)[0], Appended)
        await append(store, request("last"))
        stored = Counter(event.aggregate_id for event in await log(store))
        assert [id for id, events in stored.items() if events != (3 if id.isdecimal() else 1)] == []
        assert set(await store.find_commands([f"{steps}" for steps in range(25)])) == set(filter(str.isdecimal, stored))
        assert positions(await log(store)) == list(range(1, stored.total() + 1))

    async def test_recorded_at_is_the_current_time_in_utc(self, store: EventStore) -> None:
        before = datetime.now(UTC)
        await append(store, request("a"))
        after = datetime.now(UTC)
        [event] = await log(store)
        assert event.recorded_at.utcoffset() == timedelta(0)
        # The store may use the clock of another machine.
        assert before - timedelta(minutes=1) <= event.recorded_at <= after + timedelta(minutes=1)

    async def test_every_field_of_an_event_is_read_as_it_was_stored(self, store: EventStore) -> None:
        payload, metadata = '{"tëxt":  "日本😀", "b": 1, "a": "\\u0000"}', '{"ключ": "\\u0000\u2028"}'
        new = event(payload, metadata=metadata, event_type="täuft", event_version=7)
        await append(store, AppendRequest("tÿpe", "ïd \x01 😀", 0, [new]))
        [kept] = await log(store)
        assert (kept.aggregate_type, kept.aggregate_id, kept.event_type) == ("tÿpe", "ïd \x01 😀", "täuft")
        assert (kept.payload, kept.metadata) == (payload, metadata)
        assert (kept.event_version, kept.commit_id) == (7, new.commit_id)
        assert list((await stream(store, "ïd \x01 😀", type="tÿpe")).events) == [kept]

    async def test_changing_a_list_after_the_call_does_not_change_the_store(self, store: EventStore) -> None:
        one, two = event("1"), event("2", commit_id=uuid4())
        given = [one]
        requests = [AppendRequest("x", "a", 0, given)]
        await store.append(requests)
        given.append(two)
        requests.clear()
        for _ in range(2):
            page, read = await store.read(0, 10), await stream(store, "a", type="x")
            assert [[kept.payload for kept in shown.events] for shown in (page, read)] == [["1"], ["1"]]
            for shown in (page, read):
                if isinstance(shown.events, list):
                    shown.events.clear()
