"""What a query is handed: every commit, once, in order, from a checkpoint that survives."""

import asyncio
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from eventree import (
    ActorStopped,
    ActorTimeout,
    AggregateType,
    EventSourcing,
    EventStore,
    InvalidArgument,
    Query,
    QueryStopped,
    SQLiteStore,
    StoreUnavailable,
)
from eventree.sourcing import QueryStatus
from eventree.sourcing.queries import at_least_once, state
from eventree.testing import FailingStore
from eventree.testing.failing_store import StoreMethod
from sourcing.ledger import Added, Ledger, add, apply, crash, handle, ledger
from sourcing.reading import Events, Seen, before, query


@pytest.mark.durable
async def test_a_query_gets_each_commit_once_in_order_with_all_its_events(store: EventStore) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store, queries=[query("q", seen)]) as system:
        await system.execute("a", add(1, 2, 3))
        await system.execute_many([("b", add(4)), ("a", add(5, 6)), ("b", add()), ("a", crash), ("b", add(7))])
        await system.execute("a", add(8))
        await system.query("q").caught_up()
        log = (await store.read(0, 100)).events
    expected = [[event.position for event in commit] for _, commit in groupby(log, key=lambda event: event.commit_id)]
    assert [[event.position for event in events] for _, events in seen.commits] == expected
    assert sorted(seen.amounts) == sorted([("a", [1, 2, 3]), ("b", [4]), ("a", [5, 6]), ("b", [7]), ("a", [8])])


async def test_a_query_sees_the_envelopes_that_a_load_gives(store: EventStore) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store, queries=[query("q", seen)]) as system:
        await system.execute("a", add(1, 2), metadata={"user": "456"})
        await system.query("q").caught_up()
        assert seen.commits == [("a", (await system.load_events("a")).unwrap())]
    first = seen.commits[0][1][0]
    assert (first.aggregate_type, first.event_type, first.event_version) == ("ledger", "Added", 1)
    assert (first.sequence, first.position, first.metadata) == (1, 1, {"user": "456"})


async def test_a_handler_may_be_sync_or_async(store: EventStore) -> None:
    plain, awaited = Seen(), Seen()

    async def rest(_: str, __: Events) -> None:
        await asyncio.sleep(0)

    async with EventSourcing(ledger, store, queries=[query("p", plain), query("a", before(awaited, rest))]) as system:
        await system.execute("a", add(1))
        await asyncio.gather(system.query("p").caught_up(), system.query("a").caught_up())
    assert plain.amounts == awaited.amounts == [("a", [1])]


@pytest.mark.durable
async def test_nothing_comes_twice_and_nothing_is_lost_after_a_clean_stop(store: EventStore) -> None:
    seen = Seen()
    system = EventSourcing(ledger, store, queries=[query("q", seen)])
    for number in range(3):
        async with system:
            await system.execute("a", add(number))
            await system.query("q").caught_up()
    async with EventSourcing(ledger, store) as other:
        await other.execute("a", add(3))
    async with EventSourcing(ledger, store, queries=[query("q", seen)]) as system:
        await system.query("q").caught_up()
    assert seen.amounts == [("a", [number]) for number in range(4)]


@pytest.mark.durable
@pytest.mark.parametrize("stop_at", [0, 1, 7])
async def test_a_stop_in_the_middle_of_a_backlog_loses_and_repeats_nothing(store: EventStore, stop_at: int) -> None:
    async with EventSourcing(ledger, store) as system:
        await system.execute_many([("a", add(number)) for number in range(20)])
    seen = Seen()

    async def rest(_: str, __: Events) -> None:
        await asyncio.sleep(0)

    async with EventSourcing(ledger, store, queries=[query("q", before(seen, rest))]):
        await seen.reaches(stop_at)
    async with EventSourcing(ledger, store, queries=[query("q", before(seen, rest))]) as system:
        await system.query("q").caught_up()
    assert seen.amounts == [("a", [number]) for number in range(20)]


@pytest.mark.durable
async def test_a_query_catches_up_over_more_than_two_pages(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as system:
        await system.execute_many([(f"a{number % 5}", add(number, number)) for number in range(700)])
    seen = Seen()
    async with EventSourcing(ledger, store, queries=[query("q", seen)]) as system:
        await system.query("q").caught_up()
        assert system.query("q").position == 1_400
    positions = [event.position for _, events in seen.commits for event in events]
    assert positions == list(range(1, 1_401))
    assert {len(events) for _, events in seen.commits} == {2}


@pytest.mark.durable
async def test_events_of_another_system_on_the_same_store_arrive(store: EventStore) -> None:
    seen = Seen()
    patient = Query("q", seen, poll_interval=1_000)
    async with EventSourcing(ledger, store, queries=[patient]), EventSourcing(ledger, store) as other:
        await other.execute("a", add(1))
        await seen.reaches(1)
    assert seen.amounts == [("a", [1])]


async def test_events_of_another_store_object_on_the_same_file_arrive(tmp_path: Path) -> None:
    seen = Seen()
    async with (
        SQLiteStore(tmp_path / "events.db") as here,
        SQLiteStore(tmp_path / "events.db") as there,
        EventSourcing(ledger, here, queries=[query("q", seen)]) as reader,
        EventSourcing(ledger, there) as writer,
    ):
        for number in range(3):
            await writer.execute("a", add(number))
            await reader.query("q").caught_up()
            assert seen.amounts[-1] == ("a", [number])
        await writer.execute("a", add(3))
        await seen.reaches(4)


async def test_events_of_other_types_are_passed_over_but_counted_as_read(store: EventStore) -> None:
    other_type = AggregateType("other", handle=handle, apply=apply, empty_state=Ledger)
    seen = Seen()
    async with (
        EventSourcing(ledger, store, queries=[query("q", seen)]) as system,
        EventSourcing(other_type, store) as other,
    ):
        await system.execute("a", add(1))
        await other.execute("a", add(2))
        await system.query("q").caught_up()
        assert system.query("q").position == 2
    assert seen.amounts == [("a", [1])]


async def test_another_version_of_a_query_begins_anew(store: EventStore) -> None:
    old, new = Seen(), Seen()
    async with EventSourcing(ledger, store, queries=[Query("q", old)]) as system:
        await system.execute("a", add(1))
        await system.query("q").caught_up()
    async with EventSourcing(ledger, store, queries=[Query("q", new, version=2)]) as system:
        await system.query("q").caught_up()
    assert old.amounts == new.amounts == [("a", [1])]


async def test_a_query_may_be_registered_before_the_start_or_while_running(store: EventStore) -> None:
    early, late = Seen(), Seen()
    system = EventSourcing(ledger, store)
    await system.register_queries([query("early", early)])
    async with system:
        await system.execute("a", add(1))
        await system.register_queries([query("late", late)])
        await system.execute("a", add(2))
        await asyncio.gather(system.query("early").caught_up(), system.query("late").caught_up())
        assert (await system.system_stats()).query_actors_count == 2
    assert early.amounts == late.amounts == [("a", [1]), ("a", [2])]
    async with system:
        await system.execute("a", add(3))
        await system.query("late").caught_up()
    assert late.amounts[-1] == ("a", [3])


async def test_a_query_registered_while_the_system_starts_is_started(store: EventStore) -> None:
    for ticks in range(25):
        system = EventSourcing(ledger, store, queries=[query(f"first {ticks}", Seen())])

        async def register(system: Any = system, ticks: int = ticks) -> None:
            for _ in range(ticks):
                await asyncio.sleep(0)
            await system.register_queries([query(f"second {ticks}", Seen())])

        registering = asyncio.ensure_future(register())
        async with system:
            await registering
            await system.query(f"second {ticks}").caught_up()


async def test_query_names_are_unique_and_nothing_is_added_if_one_is_taken(store: EventStore) -> None:
    with pytest.raises(InvalidArgument, match="two called 'q'"):
        EventSourcing(ledger, store, queries=[query("q", Seen()), query("q", Seen())])
    async with EventSourcing(ledger, store, queries=[query("q", Seen())]) as system:
        with pytest.raises(InvalidArgument, match="two called 'q'"):
            await system.register_queries([query("fresh", Seen()), query("q", Seen())])
        assert (await system.system_stats()).query_actors_count == 1
        with pytest.raises(InvalidArgument, match=r"no query 'fresh'; there are: q"):
            system.query("fresh")


BAD: list[tuple[dict[str, Any], str]] = [
    *[({"name": name}, "name") for name in ("", "a" * 256, "a\0", 7)],
    *[({"version": version}, "version") for version in (0, -1, 1.5, True)],
    *[({"max_attempts": attempts}, "max_attempts") for attempts in (0, 1.5, None)],
    *[({"poll_interval": seconds}, "poll_interval") for seconds in (0, -1, float("nan"))],
    ({"handler": "print"}, "handler"),
]


@pytest.mark.parametrize(("bad", "name"), BAD, ids=str)
def test_a_query_refuses_what_cannot_work(bad: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Query(**{"name": "q", "handler": Seen(), **bad})
    assert refused.value.name == name


def test_only_queries_can_be_registered() -> None:
    with pytest.raises(InvalidArgument, match="must hold queries and projections, got function"):
        EventSourcing(ledger, FailingStore(), queries=[add])  # type: ignore[list-item]


async def test_waiting_for_a_query_has_an_end(store: EventStore) -> None:
    system = EventSourcing(ledger, store, queries=[query("q", Seen())])
    with pytest.raises(ActorStopped):
        await system.query("q").caught_up()
    async with system:
        await system.query("q").caught_up(0)
        with pytest.raises(ActorTimeout) as late:
            await system.query("q").caught_up(1, timeout=0.01)
        assert (late.value.operation, late.value.seconds) == ("caught_up", 0.01)
        assert "(query 'q' is running after position 0)" in str(late.value)
        with pytest.raises(InvalidArgument):
            await system.query("q").caught_up(timeout=0)
        waiting = asyncio.ensure_future(system.query("q").caught_up(1))
        await system.execute("a", add(1))
        await waiting


async def test_a_stop_answers_whoever_waits_for_a_query(store: EventStore) -> None:
    async with EventSourcing(ledger, store, queries=[query("q", Seen())]) as system:
        waiting = asyncio.ensure_future(system.query("q").caught_up(99))
        await system.query("q").caught_up()
    with pytest.raises(ActorStopped):
        await waiting


@pytest.mark.parametrize("step", ["read", "save_checkpoint"])
async def test_a_query_waits_for_a_store_that_is_away(step: StoreMethod) -> None:
    seen = Seen()
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[query("q", seen)]) as system:
        await system.query("q").caught_up()
        store.fail(step, StoreUnavailable("away"), times=2)
        await system.execute("a", add(1))
        await system.query("q").caught_up()
        assert (system.query("q").incarnation, system.query("q").status) == (1, QueryStatus.RUNNING)
    assert {("a", (1,))} == {(id, tuple(amounts)) for id, amounts in seen.amounts}
    assert Added(1) in [event.payload for _, events in seen.commits for event in events]


@pytest.mark.parametrize(
    ("start", "expected"), [("beginning", [1, 2, 3, 4]), ("end", [4]), (0, [1, 2, 3, 4]), (2, [3, 4])]
)
async def test_a_new_query_begins_where_it_says_and_goes_on_from_its_checkpoint(
    store: EventStore, start: Any, expected: list[int]
) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store) as system:
        for amount in (1, 2, 3):
            await system.execute("a", add(amount))
        await system.register_queries([Query("q", seen, start=start)])
        await system.query("q").caught_up()
        await system.execute("a", add(4))
        await system.query("q").caught_up()
    async with EventSourcing(ledger, store, queries=[Query("q", seen, start=start)]) as system:
        await system.query("q").caught_up()
    assert [amount for _, amounts in seen.amounts for amount in amounts] == expected


async def test_a_query_that_begins_in_front_of_the_log_stops_visibly(store: EventStore) -> None:
    async with EventSourcing(ledger, store, queries=[Query("q", Seen(), start=7)]) as system:
        await system.execute("a", add(1))
        with pytest.raises(QueryStopped):
            await system.query("q").caught_up()


@pytest.mark.parametrize("start", ["now", -1, True, 1.5, None, 2**63])
def test_a_starting_point_that_is_none_is_refused(start: Any) -> None:
    with pytest.raises(InvalidArgument, match="start: must be 'beginning', 'end' or a position"):
        Query("q", Seen(), start=start)


async def test_a_hint_that_comes_too_late_is_no_dead_letter(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store, queries=[query("q", seen)]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        await system.execute("a", add(2))
    assert "lost" not in caplog.text


@pytest.mark.durable
async def test_a_crash_repeats_at_most_five_hundred_positions_of_what_was_handled_fast(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, unsaved = Seen(), list[int]()

    async def look(_: str, events: Events) -> None:
        position = events[0].position
        if position % 100 == 0:
            stored = await store.load_checkpoint("q", 1)
            unsaved.append(position - (stored.checkpoint.position if stored is not None else 0))
        if position == 691:  # here its time is up, in the middle of a page
            monkeypatch.setattr(at_least_once, "MAX_TURN_SECONDS", -1.0)
            monkeypatch.setattr(state, "SAVE_WITHIN", -1.0)
        elif position == 692:
            monkeypatch.undo()

    async with EventSourcing(ledger, store) as system:
        await system.execute_many([("a", add(number)) for number in range(2_000)])
        await system.register_queries([query("q", before(seen, look))])
        await system.query("q").caught_up()
    assert len(seen.commits) == 2_000
    assert max(unsaved) <= 500
