"""A projection's rows and its checkpoint are one: each event counts exactly once, whatever happens in between."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec import structs

from eventree import EventSourcing, InvalidArgument, MemoryStore, Ok, Projection, Query, QueryStopped
from eventree.errors import TransactionEnded
from eventree.sourcing import QueryStatus
from sourcing.ledger import Added, Boom, LedgerSystem, add, ledger
from sourcing.reading import AT_ONCE
from sourcing.teller import open_store
from sourcing.totals import Connection, Events, before, clear, count, project, rows, setup, totals

Project = Callable[[Connection, Events], Awaitable[None]]


def projection(project: Project = project, *, on_failure: str = "stop", max_attempts: int = 3) -> Projection[Added]:
    return Projection(
        "totals",
        project,
        setup=setup,
        clear=clear,
        on_failure=on_failure,  # type: ignore[arg-type]
        max_attempts=max_attempts,
        backoff=AT_ONCE,
        poll_interval=0.01,
    )


async def test_every_event_is_counted_once_and_seen_by_others(place: str) -> None:
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[projection()]) as system:
        await system.execute_many([(id, add(number, 10)) for number in range(300) for id in "ab"])
        await system.query("totals").caught_up()
        total = sum(range(300)) + 3_000
        assert await totals(place) == {"a": (total, 600), "b": (total, 600)}
        answer = await system.execute("a", add(5), wait_for=["totals"])
        assert isinstance(answer, Ok)
        assert (await totals(place))["a"] == (total + 5, 601)
        assert system.query("totals").status is QueryStatus.RUNNING


async def test_a_projection_goes_on_where_it_was_when_the_system_starts_again(place: str) -> None:
    for amount in (1, 2, 3):
        async with open_store(place) as store, EventSourcing(ledger, store, queries=[projection()]) as system:
            await system.execute("a", add(amount), wait_for=["totals"])
    assert await totals(place) == {"a": (6, 3)}


async def test_what_fails_is_stored_in_no_part_and_tried_again(place: str) -> None:
    calls: list[int] = []

    async def fails_twice(events: Events) -> None:
        calls.append(len(events))
        if len(calls) < 3:
            raise Boom

    failing = projection(before(fails_twice))
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[failing]) as system:
        await system.execute("a", add(1, 2, 3))
        await system.query("totals").caught_up()
        assert await totals(place) == {"a": (6, 3)}
        assert calls == [3, 3, 3]
        assert system.query("totals").last_error is None


async def not_seven(events: Events) -> None:
    if any(event.payload.amount == 7 for event in events):
        raise Boom


async def write_with_seven(system: LedgerSystem) -> None:
    commands = [("a", add(1)), ("b", add(7)), ("a", add(2)), ("b", add(3)), ("c", add(4)), ("b", add(5))]
    await system.execute_many(commands)


async def test_a_poison_event_stops_a_projection_just_before_it(place: str) -> None:
    async with open_store(place) as store, EventSourcing(ledger, store) as system:
        await write_with_seven(system)
        await system.register_queries([projection(before(not_seven))])
        with pytest.raises(QueryStopped) as stopped:
            await system.query("totals").caught_up()
        assert isinstance(stopped.value.__cause__, Boom)
        assert await totals(place) == {"a": (3, 2)}
        first_bad = (await system.load_events("b")).unwrap()[0].position
        assert stopped.value.position == system.query("totals").position == first_bad - 1
        assert isinstance(await system.execute("a", add(1)), Ok)
        assert (await system.system_stats()).actor_restarts == 0


async def test_a_poison_event_is_skipped_where_that_is_wanted(place: str) -> None:
    async with open_store(place) as store, EventSourcing(ledger, store) as system:
        await write_with_seven(system)
        await system.register_queries([projection(before(not_seven), on_failure="skip")])
        await system.query("totals").caught_up()
        assert await totals(place) == {"a": (3, 2), "b": (8, 2), "c": (4, 1)}
        stored = await store.load_checkpoint("totals", 1)
        assert stored is not None
        assert (stored.skipped, stored.parked) == (1, 0)
        assert (await system.query("totals").stats()).skipped == 1


async def test_a_poison_event_is_parked_with_all_that_follows_of_its_aggregate(place: str) -> None:
    is_broken = True

    async def fails(events: Events) -> None:
        if is_broken:
            await not_seven(events)

    async with open_store(place) as store, EventSourcing(ledger, store) as system:
        await write_with_seven(system)
        await system.register_queries([projection(before(fails), on_failure="park")])
        handle = system.query("totals")
        await handle.caught_up()
        assert await totals(place) == {"a": (3, 2), "c": (4, 1)}
        await system.execute("b", add(6), wait_for=["totals"])
        parked = await handle.parked()
        positions = [event.position for event in (await system.load_events("b")).unwrap()]
        assert [commit.position for commit in parked] == positions
        assert [commit.reason for commit in parked] == ["Boom: ", "", "", ""]
        assert (await handle.stats()).parked == 4
        assert await handle.retry_parked() == 0
        assert len(await handle.parked()) == 4
        is_broken = False
        assert await handle.retry_parked("a") == 0
        assert await handle.retry_parked("b") == 4
        assert await totals(place) == {"a": (3, 2), "b": (21, 4), "c": (4, 1)}
        await system.execute("b", add(100), wait_for=["totals"])
        assert (await totals(place))["b"] == (121, 5)
        assert await handle.parked() == []


async def test_a_parked_commit_is_dropped_by_hand(place: str) -> None:
    async with open_store(place) as store, EventSourcing(ledger, store) as system:
        await write_with_seven(system)
        await system.register_queries([projection(before(not_seven), on_failure="park")])
        handle = system.query("totals")
        await handle.caught_up()
        bad = (await handle.parked())[0].position
        with pytest.raises(InvalidArgument):
            await handle.drop_parked(bad - 1)
        await handle.drop_parked(bad)
        await system.execute("b", add(6), wait_for=["totals"])
        assert len(await handle.parked()) == 3
        assert await handle.retry_parked() == 3
        assert (await totals(place))["b"] == (14, 3)


async def test_a_reset_empties_the_tables_and_counts_again(place: str) -> None:
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[projection()]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2))])
        await system.query("totals").caught_up()
        await system.query("totals").reset()
        await system.query("totals").caught_up()
        assert await totals(place) == {"a": (1, 1), "b": (2, 1)}


async def test_a_projection_that_cannot_clear_its_tables_is_not_reset(place: str) -> None:
    unclear: Projection[Added] = Projection("totals", project, setup=setup)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[unclear]) as system:
        await system.execute("a", add(1), wait_for=["totals"])
        with pytest.raises(InvalidArgument, match="clear"):
            await system.query("totals").reset()
        await system.execute("a", add(1), wait_for=["totals"])
        assert await totals(place) == {"a": (2, 2)}


async def test_a_setup_that_fails_leaves_no_checkpoint_and_is_tried_again(place: str) -> None:
    tries = 0

    async def fails_once(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await setup(connection)
        if tries < 3:
            raise Boom

    late: Projection[Added] = Projection("totals", project, setup=fails_once, backoff=AT_ONCE, poll_interval=0.01)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[late]) as system:
        await system.execute("a", add(1), wait_for=["totals"])
        assert tries == 3
        assert await totals(place) == {"a": (1, 1)}


async def test_a_new_version_is_built_beside_the_old_one_and_swapped_in(place: str) -> None:
    swaps = 0

    async def setup_two(connection: Connection) -> None:
        await connection.execute("CREATE TABLE totals_two (id TEXT PRIMARY KEY, amount BIGINT, events BIGINT)")

    async def swap(connection: Connection) -> None:
        nonlocal swaps
        swaps += 1
        await connection.execute("DROP TABLE totals")
        await connection.execute("ALTER TABLE totals_two RENAME TO totals")

    async def project_two(connection: Connection, events: Events) -> None:
        for event in events:
            ten_times = structs.replace(event, payload=Added(10 * event.payload.amount))
            await count(connection, ten_times, "totals" if swaps else "totals_two")

    two: Projection[Added] = Projection(
        "totals", project_two, setup=setup_two, swap=swap, version=2, poll_interval=0.01
    )
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[projection()]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2))])
        await system.query("totals").caught_up()
        await system.register_queries([two])
        async with asyncio.timeout(20):
            while not system.query("totals", 2).is_live or system.query("totals", 1).status.value != "superseded":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await totals(place) == {"a": (10, 1), "b": (20, 1)}
        await system.execute("a", add(3), wait_for=["totals"])
        assert await totals(place) == {"a": (40, 2), "b": (20, 1)}
        assert (swaps, system.query("totals").version) == (1, 2)
        with pytest.raises(QueryStopped):
            await system.query("totals", 1).caught_up()


async def test_a_projection_needs_a_store_with_tables() -> None:
    async with MemoryStore() as store:
        with pytest.raises(InvalidArgument, match="use SQLiteStore or PostgresStore"):
            EventSourcing(ledger, store, queries=[projection()])


async def test_a_projection_that_ends_its_transaction_stops_at_once(place: str) -> None:
    calls = 0

    async def commits(connection: Connection, events: Events) -> None:
        nonlocal calls
        calls += 1
        await project(connection, events)
        await connection.execute("COMMIT")

    async with open_store(place) as store, EventSourcing(ledger, store, queries=[projection(commits)]) as system:
        await system.execute("a", add(1))
        with pytest.raises(QueryStopped) as stopped:
            await system.query("totals").caught_up()
        assert isinstance(stopped.value.__cause__, TransactionEnded)
        assert "the library" in str(stopped.value.__cause__)
        assert calls == 1
        if not place.startswith("postgresql"):
            assert await rows(place, "SELECT * FROM totals") == []


async def sync_project(connection: Connection, events: Events, more: int) -> None: ...


def not_async(connection: Connection, events: Events) -> None: ...


async def one_argument(connection: Connection) -> None: ...


@pytest.mark.parametrize("wrong", [sync_project, not_async, one_argument, 7, None, lambda _, __: None])
def test_a_function_that_cannot_work_is_refused_when_it_is_given(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="project"):
        Projection("totals", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [sync_project, one_argument, 7, None, lambda: None])
def test_a_handler_that_cannot_be_called_is_refused_when_it_is_given(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="handler"):
        Query("q", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["setup", "swap", "clear"])
def test_a_step_that_cannot_work_is_refused_when_it_is_given(role: str) -> None:
    with pytest.raises(InvalidArgument, match=role):
        Projection("totals", project, **{role: project})  # type: ignore[arg-type]
