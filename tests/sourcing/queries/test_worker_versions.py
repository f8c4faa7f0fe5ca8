"""Versions of a query beside each other: every event counts for one of them, and what is a replay says so."""

import asyncio
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from eventree import EventSourcing, EventStore, MemoryStore, Ok, Projection, SQLiteStore
from eventree.errors import QuerySuperseded
from eventree.sourcing import QueryStatus
from eventree.stores.contract import LeaseRequest
from eventree.testing import FailingStore
from sourcing.ledger import Added, add, ledger
from sourcing.reading import Contexts, Events, Seen, before, patient
from sourcing.teller import open_store
from sourcing.totals import Connection, Events as Projected, count, project, setup, totals
from sourcing.waiting import becomes, until

LEASE = 0.6
"""Seconds; a version looks every third of them whether a newer one waits for it."""

HINTS_ONLY = 3600.0
"""An interval that is never over in a test: such a query looks at the log when it is told to."""


@pytest.mark.durable
async def test_an_idle_old_version_hands_nothing_over_after_a_newer_one_went_live(store: EventStore) -> None:
    old, new = Contexts(), Contexts()
    idle = patient(old, poll_interval=HINTS_ONLY, lease=LEASE)
    async with EventSourcing(ledger, store, queries=[idle]) as one, EventSourcing(ledger, store) as two:
        await one.execute("a", add(1), wait_for=["q"])
        await asyncio.sleep(0.15)  # it has saved, and nothing tells it of what comes now
        await two.register_queries([patient(new, version=2)])
        await until(lambda: two.query("q").is_live)
        await two.execute("a", add(2), wait_for=["q"])
        await becomes(one.query("q"), QueryStatus.SUPERSEDED)
    assert (old.amounts, old.replays) == ([("a", [1])], [False])
    assert (new.amounts, new.replays) == ([("a", [1]), ("a", [2])], [True, False])


async def test_an_idle_old_projection_counts_nothing_after_a_newer_one_went_live(place: str) -> None:
    async def setup_new(connection: Connection) -> None:
        await connection.execute("CREATE TABLE new (id TEXT PRIMARY KEY, amount BIGINT, events BIGINT)")

    async def project_new(connection: Connection, events: Projected) -> None:
        for event in events:
            await count(connection, event, "new")

    old: Projection[Added] = Projection("q", project, setup=setup, poll_interval=HINTS_ONLY, lease=LEASE)
    new: Projection[Added] = Projection("q", project_new, setup=setup_new, version=2, poll_interval=0.01)
    async with (
        open_store(place) as here,
        open_store(place) as there,
        EventSourcing(ledger, here, queries=[old]) as one,
        EventSourcing(ledger, there) as two,
    ):
        await one.execute("a", add(1), wait_for=["q"])
        await two.register_queries([new])
        await until(lambda: two.query("q").is_live)
        await two.execute("a", add(2), wait_for=["q"])
        await one.execute("a", add(3))
        await becomes(one.query("q"), QueryStatus.SUPERSEDED)
        await two.query("q").caught_up()
    assert await totals(place) == {"a": (1, 1)}


async def test_a_version_that_begins_at_the_end_begins_no_later_than_the_live_one(store: EventStore) -> None:
    old, new = Contexts(), Contexts()
    async with EventSourcing(ledger, store, queries=[patient(old)]) as system:
        await system.execute_many([("a", add(number)) for number in range(2)])
        await system.query("q").caught_up()
        await system.query("q").pause()
        await system.execute_many([("a", add(number)) for number in range(2, 5)])
        await system.register_queries([patient(new, version=2, start="end")])
        await system.query("q", 2).caught_up()
        await system.execute("a", add(5), wait_for=["q"])
    assert [amounts for _, amounts in old.amounts] == [[0], [1]]
    assert [amounts for _, amounts in new.amounts] == [[2], [3], [4], [5]]
    assert new.replays == [False] * 4


async def test_a_version_that_goes_live_on_one_that_was_just_reset_replays_as_far_as_that_had_been(
    store: EventStore,
) -> None:
    old, new = Contexts(), Contexts()
    is_held, free, entered = False, asyncio.Event(), asyncio.Event()

    async def waits(_: str, __: Events) -> None:
        if is_held:
            entered.set()
            await free.wait()

    async with EventSourcing(ledger, store, queries=[patient(before(old, waits), lease=LEASE)]) as system:
        await system.execute_many([("a", add(number)) for number in range(5)])
        await system.query("q").caught_up()
        is_held = True
        await system.query("q").reset()
        await entered.wait()
        await system.register_queries([patient(new, version=2)])
        await becomes(system.query("q", 2), QueryStatus.BUILDING)
        free.set()
        await until(lambda: system.query("q", 2).is_live)
        await system.query("q", 2).caught_up()
        await system.execute("a", add(5), wait_for=["q"])
        await becomes(system.query("q", 1), QueryStatus.SUPERSEDED)
    assert [amounts for _, amounts in new.amounts] == [[number] for number in range(6)]
    assert new.replays == [True] * 5 + [False]
    assert old.replays.count(False) == 5


async def test_pages_that_are_cut_where_a_replay_ends_miss_nothing(store: EventStore) -> None:
    new = Contexts()
    async with EventSourcing(ledger, store, queries=[patient(Seen())]) as system:
        for _ in range(3):
            await system.execute_many([(f"a{number % 3}", add(*range(1 + number % 7))) for number in range(60)])
        await system.execute("a", add(*range(600)))  # more than a page
        await system.query("q").caught_up()
        await system.query("q").pause()
        handled = await store.head()
        await system.execute_many([(f"a{number % 3}", add(*range(1 + number % 4))) for number in range(60)])
        await system.register_queries([patient(new, version=2)])
        await system.query("q", 2).caught_up()
        head = await store.head()
    positions = [[event.position for event in events] for _, events in new.commits]
    assert [position for commit in positions for position in commit] == list(range(1, head + 1))
    assert new.replays == [commit[-1] <= handled for commit in positions]
    assert {True, False} == set(new.replays)


async def test_a_reset_after_an_older_backup_was_restored_marks_only_what_there_is(tmp_path: Path) -> None:
    """The checkpoint is ahead of the log, as it is of a newer backup; what is written later was never handled."""
    file, newer, seen = tmp_path / "events.db", tmp_path / "newer.db", Contexts()
    async with SQLiteStore(file) as store, EventSourcing(ledger, store) as system:
        await system.execute_many([("a", add(0)), ("a", add(1))])
    newer.write_bytes(file.read_bytes())
    async with SQLiteStore(newer) as store, EventSourcing(ledger, store, queries=[patient(Seen())]) as system:
        await system.execute_many([("a", add(number)) for number in range(2, 5)])
        await system.query("q").caught_up()
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("ATTACH ? AS newer", (str(newer),))
        db.execute("INSERT INTO checkpoints SELECT * FROM newer.checkpoints")
    async with SQLiteStore(file) as store, EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        handle = system.query("q")
        await becomes(handle, QueryStatus.STOPPED)
        assert handle.position == 5
        await handle.reset()
        await handle.caught_up()
        await system.execute_many([("a", add(number)) for number in range(100, 104)])
        await handle.caught_up()
        stored = await store.load_checkpoint("q", 1)
        assert stored is not None
        assert (stored.replay_until, stored.checkpoint.position) == (2, 6)
    assert [amounts for _, amounts in seen.amounts] == [[0], [1], [100], [101], [102], [103]]
    assert seen.replays == [True] * 2 + [False] * 4


async def test_who_waits_for_a_query_is_answered_by_the_version_that_goes_live_meanwhile(store: EventStore) -> None:
    async with EventSourcing(ledger, store, queries=[patient(Seen())]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        await system.query("q").pause()
        waiting = asyncio.ensure_future(system.execute("a", add(2), wait_for=["q"], timeout=20))
        new = Seen()
        await system.register_queries([patient(new, version=2)])
        await until(lambda: system.query("q", 2).is_live)
        await system.query("q", 2).caught_up()
        await new.reaches(2)
        with suppress(QuerySuperseded):  # it may have noticed already
            await system.query("q", 1).resume()
        answer = await waiting
        assert isinstance(answer, Ok)
        assert system.query("q").position >= answer.value.position


async def test_writers_that_wait_for_a_query_see_nothing_of_its_new_versions(store: EventStore) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store, queries=[patient(Seen())]) as system:

        async def write(number: int) -> list[object]:
            return [await system.execute(f"a{number}", add(1), wait_for=["q"], timeout=20) for _ in range(30)]

        writing = asyncio.gather(*map(write, range(4)))
        for version in range(2, 6):
            await system.register_queries([patient(seen if version == 5 else Seen(), version=version)])
            await until(lambda version=version: system.query("q", version).is_live)  # type: ignore[misc]
        answers = [answer for each in await writing for answer in each]
        assert [answer for answer in answers if not isinstance(answer, Ok)] == []
        await system.query("q", 5).caught_up()
    assert len(seen.commits) == len(answers) == 120


@pytest.mark.durable
@pytest.mark.parametrize("pause", [0.0, 0.05, 0.2])
async def test_no_event_comes_to_both_versions_as_no_replay(
    store: EventStore, pause: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "eventree")
    for number in range(5):
        old, new = Contexts(), Contexts()
        async with EventSourcing(ledger, store) as system:
            queries = [patient(seen, f"q{number}", version=v, lease=LEASE) for v, seen in ((1, old), (2, new))]
            await system.register_queries(queries[:1])
            await system.execute("a", add(1))
            await system.query(f"q{number}").caught_up()
            await system.register_queries(queries[1:])
            await until(lambda: system.query(f"q{number}", 2).is_live)  # noqa: B023
            await asyncio.sleep(pause)
            await system.execute("a", add(2))
            await system.query(f"q{number}", 2).caught_up()
        assert live(old) & live(new) == set()
        assert live(old) | live(new) == set(range(1, await store.head() + 1))
    assert "taken over" not in caplog.text


@pytest.mark.durable
async def test_nor_does_it_under_load(store: EventStore, caplog: pytest.LogCaptureFixture) -> None:
    versions = [Contexts() for _ in range(4)]
    async with EventSourcing(ledger, store) as system:

        async def write() -> None:
            while not is_done:
                await system.execute("a", add(1))
                await asyncio.sleep(0.002)

        is_done, writing = False, asyncio.create_task(write())
        for version, seen in enumerate(versions, 1):
            await system.register_queries([patient(seen, version=version, lease=LEASE)])
            await until(lambda version=version: system.query("q", version).is_live)  # type: ignore[misc]
            await system.execute("b", add(1))
        is_done = True
        await writing
        await system.query("q", 4).caught_up()
        told = [live(seen) for seen in versions]
        assert set().union(*told) == set(range(1, await store.head() + 1))
        assert sum(map(len, told)) == await store.head()
    assert "taken over" not in caplog.text


def live(seen: Contexts) -> set[int]:
    """Return the positions that came as no replay."""
    commits = zip(seen.commits, seen.replays, strict=True)
    return {event.position for (_, events), is_replay in commits if not is_replay for event in events}


async def test_a_version_that_crashed_is_replaced_when_its_lease_is_over(place: str) -> None:
    async with open_store(place) as store, EventSourcing(ledger, store) as system:
        clock = asyncio.get_running_loop().time
        began = clock()
        await store.claim_checkpoint("q", 1, LeaseRequest("crashed", 1.0))
        new = Contexts()
        await system.execute("a", add(1))
        await system.register_queries([patient(new, version=2, lease=LEASE)])
        await new.reaches(1)
        assert clock() - began > 0.9  # the clocks of stores are not exact
        await system.execute("a", add(2))
        await system.query("q", 2).caught_up()
    assert new.amounts == [("a", [1]), ("a", [2])]


async def test_a_newer_version_that_never_gets_there_does_not_stop_the_live_one() -> None:
    old, stuck = Contexts(), Contexts()
    stuck.poison.add(1)
    failing = patient(stuck, version=2, lease=LEASE, max_attempts=1_000_000)
    async with (
        MemoryStore() as store,
        EventSourcing(ledger, store, queries=[patient(old, lease=LEASE), failing]) as system,
    ):
        for number in range(1, 8):
            await system.execute("a", add(number))
            await old.reaches(number)
        assert not system.query("q", 2).is_live
    assert [amounts for _, amounts in old.amounts] == [[number] for number in range(1, 8)]


async def test_a_version_that_woke_up_too_late_is_not_called_taken_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "eventree")
    memory = MemoryStore()
    async with (
        FailingStore(memory) as store,
        EventSourcing(ledger, store, queries=[patient(Contexts(), lease=LEASE)]) as system,
    ):
        await system.query("q").caught_up()
        gate = store.hold("save_checkpoint")
        await system.execute("a", add(1))
        await gate.reached()
        memory._checkpoints["q", 1].lease_until = 0.0
        newer = await memory.claim_checkpoint("q", 2)
        assert await memory.make_live("q", 2, newer.fencing_token)
        gate.open()
        await becomes(system.query("q"), QueryStatus.SUPERSEDED)
    assert "taken over" not in caplog.text
    assert "version 2 of query 'q' is live" in caplog.text
