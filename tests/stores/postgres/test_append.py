"""The corners of the append statement, where one attempt cannot tell why a request was refused."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from eventree.stores.contract import (
    Appended,
    AppendRequest,
    Conflict,
    DuplicateCommand,
    NewCommand,
    Outcome,
    RecordedCommand,
)
from eventree.stores.postgres import PostgresStore
from eventree.testing.store_values import TYPE, append, event, log, positions, request, stream
from stores.postgres.backends import held_head, psql, wait_for_locks


@pytest.fixture
async def other(postgres_dsn: str) -> AsyncIterator[PostgresStore]:
    """Return a second store on the same schema."""
    async with PostgresStore(postgres_dsn) as other:
        yield other


def id_only(id: str, command_id: str, after: int = 0) -> AppendRequest:
    """Return a request that records a command without events."""
    return request(id, after, events=0, commands=[command_id])


async def all_at_once(dsn: str, *calls: tuple[PostgresStore, list[AppendRequest]]) -> list[list[Outcome]]:
    """Let the appends of several stores take their snapshots before any of them gets the head."""
    async with held_head(dsn) as holder, psql(dsn) as db, asyncio.TaskGroup() as group:
        tasks = [group.create_task(append(store, *requests)) for store, requests in calls]
        await wait_for_locks(db, len(calls))
        await holder.execute("COMMIT")
    return [task.result() for task in tasks]


async def test_an_aggregate_whose_first_command_had_no_events_takes_events(store: PostgresStore) -> None:
    assert await append(store, id_only("a", "c0")) == [Appended(0, 0)]
    assert await append(store, id_only("a", "c1"), request("b")) == [Appended(0, 0), Appended(1, 1)]
    assert await append(store, request("a", events=2, commands=["c2"])) == [Appended(2, 3)]
    assert await store.find_commands(["c0", "c1", "c2"]) == {
        "c0": RecordedCommand("c0", TYPE, "a", 1, 0),
        "c1": RecordedCommand("c1", TYPE, "a", 1, 0),
        "c2": RecordedCommand("c2", TYPE, "a", 1, 2),
    }


async def test_a_row_that_appears_without_events_while_an_append_waits_is_no_conflict(
    store: PostgresStore, other: PostgresStore, postgres_dsn: str
) -> None:
    """Whoever waited sees neither the new row nor may create it: only a second attempt can tell."""
    for id in ("a", "b", "c", "d"):
        first, second = await all_at_once(
            postgres_dsn, (store, [id_only(id, f"none {id}")]), (other, [request(id, events=2)])
        )
        # Either may come first; if the events did, the command without events was decided on an old state.
        assert second[0] == Appended(2, await store.head())
        assert first[0] in {Appended(0, 0), Conflict(2)}
        assert (await stream(store, id)).sequence == 2


async def test_two_commands_without_events_at_once_are_both_recorded(
    store: PostgresStore, other: PostgresStore, postgres_dsn: str
) -> None:
    both = await all_at_once(postgres_dsn, (store, [id_only("a", "c1")]), (other, [id_only("a", "c2")]))
    assert both == [[Appended(0, 0)], [Appended(0, 0)]]
    assert set(await store.find_commands(["c1", "c2"])) == {"c1", "c2"}
    assert await append(store, request("a", events=0)) == [Appended(0, 0)]


async def test_an_id_that_two_send_at_once_is_stored_for_one_of_them(
    store: PostgresStore, other: PostgresStore, postgres_dsn: str
) -> None:
    for number in range(5):
        id = f"c{number}"
        here, there = await all_at_once(
            postgres_dsn,
            (store, [request(f"a{number}", commands=[id]), request(f"x{number}")]),
            (other, [request(f"b{number}", commands=[id]), request(f"y{number}")]),
        )
        assert {type(here[0]), type(there[0])} == {Appended, DuplicateCommand}
        assert [type(each[1]) for each in (here, there)] == [Appended, Appended]
        winner = f"a{number}" if isinstance(here[0], Appended) else f"b{number}"
        assert (await store.find_commands([id]))[id].aggregate_id == winner
    assert positions(await log(store)) == list(range(1, 16))


async def test_one_command_that_two_send_at_once_is_stored_once(
    store: PostgresStore, other: PostgresStore, postgres_dsn: str
) -> None:
    for after in range(5):
        here, there = await all_at_once(
            postgres_dsn,
            (store, [request("a", after, commands=[f"c{after}"])]),
            (other, [request("a", after, commands=[f"c{after}"])]),
        )
        assert {here[0], there[0]} == {Appended(after + 1, after + 1), Conflict(after + 1)}


async def test_of_ids_that_come_back_in_one_call_the_first_that_is_kept_counts(store: PostgresStore) -> None:
    await append(store, request("old", events=3))
    outcomes = await append(
        store,
        request("old", commands=["c"]),  # refused for its sequence: the id stays free
        request("a", commands=["c"]),
        request("b", commands=["c", "d"]),
        request("e", commands=["d"]),
        request("f", events=0, commands=["d"]),
    )
    assert outcomes == [
        Conflict(3),
        Appended(1, 4),
        DuplicateCommand(frozenset({"c"})),
        Appended(1, 5),
        DuplicateCommand(frozenset({"d"})),
    ]
    found = await store.find_commands(["c", "d"])
    assert {id: each.aggregate_id for id, each in found.items()} == {"c": "a", "d": "e"}
    assert positions(await log(store)) == [1, 2, 3, 4, 5]


async def test_every_known_id_of_a_request_is_told_and_the_others_stay_free(store: PostgresStore) -> None:
    await append(store, request("a", commands=["c1"]), request("b", commands=["c2"]))
    first, second = uuid4(), uuid4()
    mixed = AppendRequest(
        TYPE,
        "z",
        0,
        [event(commit_id=first), event(commit_id=second)],
        [NewCommand("c1", 1, 1), NewCommand("new", 2, 2), NewCommand("c2", 3, 2)],
    )
    assert await append(store, mixed) == [DuplicateCommand(frozenset({"c1", "c2"}))]
    assert await store.find_commands(["new"]) == {}
    assert (await stream(store, "z")).sequence == 0
    assert await append(store, request("y", commands=["new"])) == [Appended(1, 3)]


async def test_many_requests_with_the_same_id_end(store: PostgresStore) -> None:
    outcomes = await append(store, *(request(f"a{number}", commands=["c"]) for number in range(60)))
    assert outcomes == [Appended(1, 1)] + [DuplicateCommand(frozenset({"c"}))] * 59


async def test_a_call_of_all_kinds_gives_each_its_own_outcome(store: PostgresStore) -> None:
    await append(store, request("a", events=2, commands=["known"]), request("b"))
    outcomes = await append(
        store,
        request("a", after=2, events=0),
        request("b", after=1, events=2),
        request("c", events=0),
        id_only("d", "d0"),
        request("e", after=4, events=0),
        request("f", after=9),
        request("g", commands=["known"]),
        id_only("h", "known"),
        id_only("i", "i0", after=1),
        request("j", events=3, commands=["j0"]),
    )
    known = DuplicateCommand(frozenset({"known"}))
    assert outcomes == [
        Appended(2, 2),
        Appended(3, 5),
        Appended(0, 0),
        Appended(0, 0),
        Conflict(0),
        Conflict(0),
        known,
        known,
        Conflict(0),
        Appended(3, 8),
    ]
    assert positions(await log(store)) == list(range(1, 9))


async def test_a_check_in_a_call_that_stores_is_judged_on_the_newest_state_that_was_committed(
    store: PostgresStore, other: PostgresStore
) -> None:
    for number in range(20):
        await append(other, request("checked", after=number))
        assert await append(store, request("checked", after=number, events=0), request(f"a{number}")) == [
            Conflict(number + 1),
            Appended(1, 2 * number + 2),
        ]


async def test_a_conflict_tells_where_the_aggregate_stands_after_all_that_went_before(
    store: PostgresStore, other: PostgresStore, postgres_dsn: str
) -> None:
    await append(store, request("a", events=4))
    calls = [(store, [request("a", after=4, events=3)]), (other, [request("a", after=4, events=5)])]
    outcomes = [outcome for [outcome] in await all_at_once(postgres_dsn, *calls)]
    [kept] = [outcome for outcome in outcomes if isinstance(outcome, Appended)]
    [refused] = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert kept.sequence == kept.position == refused.sequence == (await stream(store, "a")).sequence


async def test_outcomes_are_whole_numbers(store: PostgresStore) -> None:
    """Sums of the database are of other types, which are equal to whole numbers and yet cannot be written as JSON."""
    outcomes = await append(store, request("a", events=3), request("b"), id_only("c", "c"), request("d", events=0))
    numbers = [number for each in outcomes if isinstance(each, Appended) for number in (each.sequence, each.position)]
    assert [type(number) for number in numbers] == [int] * 8


async def test_a_large_call_is_one_transaction(store: PostgresStore, postgres_dsn: str) -> None:
    outcomes = await append(store, *(request(f"a{number}", commands=[f"c{number}"]) for number in range(2_000)))
    assert outcomes == [Appended(1, number) for number in range(1, 2_001)]
    async with psql(postgres_dsn) as db:
        assert await db.fetchval("SELECT count(DISTINCT xmin::text) FROM events") == 1
