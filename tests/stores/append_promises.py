"""What a store promises about appends and recorded commands."""

import asyncio
from datetime import UTC, datetime, timedelta

from eventree.stores.contract import Appended, AppendRequest, Conflict, DuplicateCommand, EventStore, RecordedCommand
from stores.store_values import TYPE, append, event, log, positions, request, stream


class AppendPromises:
    async def test_events_are_kept_and_the_outcome_tells_where_the_last_one_is(self, store: EventStore) -> None:
        assert await append(store, request("a", events=3)) == [Appended(3, 3)]
        assert await append(store, request("a", after=3, events=2)) == [Appended(5, 5)]

    async def test_outcomes_come_in_the_order_of_the_requests(self, store: EventStore) -> None:
        await append(store, request("b"))
        outcomes = await append(store, request("c", events=2), request("b"), request("a"), request("b2", after=7))
        assert outcomes == [Appended(2, 3), Conflict(1), Appended(1, 4), Conflict(0)]

    async def test_no_requests_have_no_outcomes(self, store: EventStore) -> None:
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

    async def test_a_conflict_leaves_no_trace_and_the_other_requests_are_kept(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        refused = request("a", after=1, commands=["refused"])
        assert await append(store, refused, request("b", commands=["kept"])) == [Conflict(2), Appended(1, 3)]
        assert len((await stream(store, "a")).events) == 2
        assert set(await store.find_commands(["refused", "kept"])) == {"kept"}
        assert positions((await stream(store, "b")).events) == [3]

    async def test_a_conflict_tells_where_the_aggregate_stands(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        assert await append(store, request("a", after=1)) == [Conflict(2)]
        assert await append(store, request("a", after=3)) == [Conflict(2)]
        assert await append(store, request("new", after=1)) == [Conflict(0)]

    async def test_a_refused_request_does_not_create_its_aggregate(self, store: EventStore) -> None:
        await append(store, request("a", after=1))
        page = await stream(store, "a")
        assert (page.sequence, page.position, list(page.events)) == (0, 0, [])
        assert await append(store, request("a")) == [Appended(1, 1)]

    async def test_aggregates_of_different_types_with_one_id_are_two(self, store: EventStore) -> None:
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

    async def test_of_many_writers_at_once_one_wins_and_the_others_see_where_it_stands(self, store: EventStore) -> None:
        outcomes = [outcome for [outcome] in await asyncio.gather(*(append(store, request("a")) for _ in range(20)))]
        assert (outcomes.count(Appended(1, 1)), outcomes.count(Conflict(1))) == (1, 19)
        assert await store.head() == 1

    async def test_many_tasks_may_append_and_read_at_once(self, store: EventStore) -> None:
        async def one(id: str) -> None:
            assert isinstance((await append(store, request(id, events=2)))[0], Appended)
            assert (await stream(store, id)).sequence == 2

        await asyncio.gather(*(one(f"a{number}") for number in range(30)))
        assert positions(await log(store)) == list(range(1, 61))

    async def test_recorded_at_is_aware_utc_and_about_now(self, store: EventStore) -> None:
        before = datetime.now(UTC)
        await append(store, request("a"))
        after = datetime.now(UTC)
        [event] = await log(store)
        assert event.recorded_at.utcoffset() == timedelta(0)
        assert before - timedelta(seconds=1) <= event.recorded_at <= after + timedelta(seconds=1)

    async def test_commands_are_recorded_with_their_place(self, store: EventStore) -> None:
        await append(store, request("a", events=2, commands=["c1"]), request("a", type="other", commands=["c2"]))
        await append(store, request("a", after=2, commands=["c3"]))
        assert await store.find_commands(["c3", "c1", "c2"]) == {
            "c1": RecordedCommand("c1", TYPE, "a", 1, 2),
            "c2": RecordedCommand("c2", "other", "a", 1, 1),
            "c3": RecordedCommand("c3", TYPE, "a", 3, 3),
        }

    async def test_commands_that_are_not_recorded_are_left_out(self, store: EventStore) -> None:
        await append(store, request("a", commands=["known"]))
        assert set(await store.find_commands(["unknown", "known", "KNOWN", "known "])) == {"known"}
        assert await store.find_commands(["unknown"]) == {}
        assert await store.find_commands([]) == {}

    async def test_a_command_without_events_is_recorded(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        assert await append(store, request("a", after=2, events=0, commands=["nothing"])) == [Appended(2, 2)]
        assert await store.find_commands(["nothing"]) == {"nothing": RecordedCommand("nothing", TYPE, "a", 3, 2)}
        assert await store.head() == 2

    async def test_a_command_without_events_of_an_aggregate_without_events_is_recorded(self, store: EventStore) -> None:
        assert await append(store, request("new", events=0, commands=["nothing"])) == [Appended(0, 0)]
        assert await store.find_commands(["nothing"]) == {"nothing": RecordedCommand("nothing", TYPE, "new", 1, 0)}
        assert await append(store, request("new")) == [Appended(1, 1)]

    async def test_a_recorded_command_refuses_its_request_and_names_the_ids(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c1", "c2"]))
        again = request("a", after=1, commands=["c2", "new", "c1"])
        assert await append(store, again, request("b")) == [DuplicateCommand(frozenset({"c1", "c2"})), Appended(1, 2)]
        assert set(await store.find_commands(["c1", "c2", "new"])) == {"c1", "c2"}
        assert (await stream(store, "a")).sequence == 1

    async def test_a_recorded_command_is_refused_for_another_aggregate_too(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c"]))
        assert await append(store, request("b", commands=["c"])) == [DuplicateCommand(frozenset({"c"}))]
        assert (await store.find_commands(["c"]))["c"].aggregate_id == "a"
        assert (await stream(store, "b")).sequence == 0

    async def test_a_recorded_command_is_refused_without_events_too(self, store: EventStore) -> None:
        await append(store, request("a", events=0, commands=["c"]))
        assert await append(store, request("a", events=0, commands=["c"])) == [DuplicateCommand(frozenset({"c"}))]

    async def test_a_conflict_wins_over_a_recorded_command(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c"]))
        assert await append(store, request("a", commands=["c"])) == [Conflict(1)]

    async def test_of_two_requests_with_one_command_in_a_call_the_first_is_kept(self, store: EventStore) -> None:
        outcomes = await append(store, request("a", commands=["c"]), request("b", commands=["c"]), request("d"))
        assert outcomes == [Appended(1, 1), DuplicateCommand(frozenset({"c"})), Appended(1, 2)]
        assert (await store.find_commands(["c"]))["c"].aggregate_id == "a"

    async def test_every_field_comes_back_as_it_was_given(self, store: EventStore) -> None:
        new = event('{"tëxt": "日本😀", "nul": "\\u0000"}', metadata='{"ключ": "\\u0000\u2028"}', event_type="täuft")
        await append(store, AppendRequest("tÿpe", "ïd \x01 😀", 0, [new]))
        [kept] = await log(store)
        assert (kept.aggregate_type, kept.aggregate_id, kept.event_type) == ("tÿpe", "ïd \x01 😀", "täuft")
        assert (kept.payload, kept.metadata) == (new.payload, new.metadata)
        assert (kept.event_version, kept.commit_id) == (1, new.commit_id)
        assert list((await stream(store, "ïd \x01 😀", type="tÿpe")).events) == [kept]

    async def test_ids_and_names_may_have_255_bytes(self, store: EventStore) -> None:
        long = "é" * 127 + "x"
        assert len(long.encode()) == 255
        new = request(long, type=long, commands=[long])
        await append(store, AppendRequest(long, long, 0, [event(event_type=long)], new.commands))
        [kept] = await log(store)
        assert (kept.aggregate_type, kept.aggregate_id, kept.event_type) == (long, long, long)
        assert await store.find_commands([long]) == {long: RecordedCommand(long, long, long, 1, 1)}

    async def test_a_payload_of_one_mebibyte_and_metadata_of_64_kibibytes_come_back(self, store: EventStore) -> None:
        payload, metadata = '"' + "é" * (2**19 - 1) + '"', '{"k":"' + "x" * (2**16 - 8) + '"}'
        assert (len(payload.encode()), len(metadata.encode())) == (2**20, 2**16)
        await append(store, AppendRequest(TYPE, "a", 0, [event(payload, metadata=metadata)]))
        [kept] = await log(store)
        assert kept.payload == payload
        assert kept.metadata == metadata
