"""Promises about recorded commands."""

import asyncio
from dataclasses import replace

from eventree.stores.contract import Appended, Conflict, DuplicateCommand, EventStore, NewCommand, RecordedCommand
from eventree.testing.store_values import TYPE, append, request, stream


class CommandPromises:
    """A command id is recorded in the same transaction as the events of its command, and only once."""

    async def test_commands_are_recorded_with_their_aggregate_and_sequences(self, store: EventStore) -> None:
        await append(store, request("a", events=2, commands=["c1"]), request("a", type="other", commands=["c2"]))
        await append(store, request("a", after=2, commands=["c3"]))
        assert await store.find_commands(["c3", "c1", "c2"]) == {
            "c1": RecordedCommand("c1", TYPE, "a", 1, 2),
            "c2": RecordedCommand("c2", "other", "a", 1, 1),
            "c3": RecordedCommand("c3", TYPE, "a", 3, 3),
        }

    async def test_a_fingerprint_is_kept_with_its_command(self, store: EventStore) -> None:
        longest = "f" * 255
        commands = [NewCommand("c1", 1, 1, "fingerprint"), NewCommand("c2", 1, 1, longest), NewCommand("c3", 1, 1)]
        await append(store, replace(request("a"), commands=commands))
        found = await store.find_commands(["c1", "c2", "c3"])
        assert [found[id].fingerprint for id in ("c1", "c2", "c3")] == ["fingerprint", longest, None]

    async def test_unknown_command_ids_are_left_out(self, store: EventStore) -> None:
        await append(store, request("a", commands=["known"]))
        assert set(await store.find_commands(["unknown", "known", "KNOWN", "known "])) == {"known"}
        assert await store.find_commands(["unknown"]) == {}
        assert await store.find_commands([]) == {}

    async def test_command_ids_may_be_repeated_and_in_any_collection(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c"]))
        assert set(await store.find_commands(["c", "c"])) == {"c"}
        assert set(await store.find_commands({"c", "d"})) == {"c"}
        assert set(await store.find_commands({"c": 1}.keys())) == {"c"}

    async def test_a_command_without_events_is_recorded(self, store: EventStore) -> None:
        await append(store, request("a", events=2))
        assert await append(store, request("a", after=2, events=0, commands=["nothing"])) == [Appended(2, 2)]
        assert await store.find_commands(["nothing"]) == {"nothing": RecordedCommand("nothing", TYPE, "a", 3, 2)}
        assert await store.head() == 2

    async def test_a_command_without_events_of_an_aggregate_without_events_is_recorded(self, store: EventStore) -> None:
        assert await append(store, request("new", events=0, commands=["nothing"])) == [Appended(0, 0)]
        assert await store.find_commands(["nothing"]) == {"nothing": RecordedCommand("nothing", TYPE, "new", 1, 0)}
        page = await stream(store, "new")
        assert (page.sequence, page.position, list(page.events)) == (0, 0, [])
        assert await append(store, request("new")) == [Appended(1, 1)]

    async def test_a_duplicate_command_refuses_its_request_and_is_named(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c1", "c2"]))
        again = request("a", after=1, commands=["c2", "new", "c1"])
        assert await append(store, again, request("b")) == [DuplicateCommand(frozenset({"c1", "c2"})), Appended(1, 2)]
        assert set(await store.find_commands(["c1", "c2", "new"])) == {"c1", "c2"}
        assert (await stream(store, "a")).sequence == 1

    async def test_a_duplicate_command_is_refused_for_another_aggregate(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c"]))
        assert await append(store, request("b", commands=["c"])) == [DuplicateCommand(frozenset({"c"}))]
        assert (await store.find_commands(["c"]))["c"].aggregate_id == "a"
        assert (await stream(store, "b")).sequence == 0

    async def test_a_duplicate_command_without_events_is_refused(self, store: EventStore) -> None:
        await append(store, request("a", events=0, commands=["c"]))
        assert await append(store, request("a", events=0, commands=["c"])) == [DuplicateCommand(frozenset({"c"}))]

    async def test_a_conflict_takes_precedence_over_a_duplicate_command(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c"]))
        assert await append(store, request("a", commands=["c"])) == [Conflict(1)]

    async def test_a_conflict_takes_precedence_beside_another_duplicate_command(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c1"]), request("b", commands=["c2"]))
        outcomes = await append(store, request("a", commands=["c1"]), request("b", after=1, commands=["c2"]))
        assert outcomes == [Conflict(1), DuplicateCommand(frozenset({"c2"}))]

    async def test_the_first_of_two_requests_with_the_same_command_id_is_kept(self, store: EventStore) -> None:
        outcomes = await append(store, request("a", commands=["c"]), request("b", commands=["c"]), request("d"))
        assert outcomes == [Appended(1, 1), DuplicateCommand(frozenset({"c"})), Appended(1, 2)]
        assert (await store.find_commands(["c"]))["c"].aggregate_id == "a"

    async def test_a_refused_request_records_none_of_its_commands(self, store: EventStore) -> None:
        await append(store, request("a", commands=["c"]))
        refused = request("b", commands=["c", "free"]), request("d", after=5, commands=["also free"])
        await append(store, *refused)
        assert await append(store, request("e", commands=["free", "also free"])) == [Appended(1, 2)]

    async def test_one_of_many_concurrent_requests_with_the_same_command_id_is_kept(self, store: EventStore) -> None:
        async with asyncio.timeout(30):
            calls = (append(store, request(f"a{number}", commands=["c"])) for number in range(20))
            outcomes = [outcome for [outcome] in await asyncio.gather(*calls)]
        assert outcomes.count(DuplicateCommand(frozenset({"c"}))) == 19
        assert outcomes.count(Appended(1, 1)) == 1
        assert await store.head() == 1
