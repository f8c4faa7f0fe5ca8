"""Hints between stores: each commit is heard of soon, once, and nothing depends on it."""

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Sequence
from decimal import Decimal
from typing import Any

import pytest

from bank import BankEvent, Deposit, OpenAccount, bank_account
from eventree import EventEnvelope, EventSourcing, Query
from eventree.instrumentation.context import CARRIED, Carried
from eventree.stores.contract import Appended
from eventree.stores.postgres import PostgresStore
from eventree.testing.store_values import append, request
from servers.processes import python
from stores.postgres.backends import backends, psql, terminate, within

SOON = 20.0
"""Far more than a hint takes, and far less than a poll that never comes."""

APPEND = """
import asyncio, sys
from eventree import PostgresStore
from eventree.testing.store_values import append, request
async def main():
    async with PostgresStore(sys.argv[1]) as store:
        print(await append(store, request("a", events=3)), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


class Listener:
    """Hear what a store tells, and wait for it."""

    def __init__(self, store: PostgresStore, types: Collection[str] | None = None) -> None:
        self.heard: list[int] = []
        self._something = asyncio.Event()
        store.watch(self, types)

    def __call__(self, position: int) -> None:
        self.heard.append(position)
        self._something.set()

    async def until(self, position: int, seconds: float = SOON) -> None:
        while position not in self.heard:
            self._something.clear()
            await within(seconds, self._something)


@pytest.fixture
async def other(store: PostgresStore, postgres_dsn: str) -> AsyncIterator[PostgresStore]:
    """Return a second store on the same schema, when both of them listen."""
    async with PostgresStore(postgres_dsn) as other, psql(postgres_dsn) as db:
        await listening(db, 2)
        assert store is not other
        yield other


_LISTENS = re.compile(r"LISTEN|SELECT pg_notify")


async def listening(db: Any, count: int) -> list[int]:
    """Return the server processes that listen, as soon as there are so many."""
    async with asyncio.timeout(SOON):
        while True:
            found = [process for process, _, query, _ in await backends(db) if _LISTENS.match(query)]
            if len(found) == count:
                return found
            await asyncio.sleep(0.01)  # the server tells nobody


async def test_an_append_of_another_process_is_heard_of(store: PostgresStore, postgres_dsn: str) -> None:
    listener = Listener(store)
    async with psql(postgres_dsn) as db:
        await listening(db, 1)
    async with python("-c", APPEND, postgres_dsn) as process:
        assert await process.line() == str([Appended(3, 3)])
        await listener.until(3)
    assert listener.heard == [3]
    assert await store.head() == 3


async def test_every_append_is_heard_of_in_the_end_by_all_and_once_by_its_own_store(
    store: PostgresStore, other: PostgresStore
) -> None:
    here, there = Listener(store), Listener(other)
    for number in range(20):
        await append(store if number % 2 else other, request("a", after=number))
    await here.until(19)
    await there.until(20)
    assert sorted(set(here.heard)) == sorted(here.heard)
    assert set(here.heard) >= set(range(2, 21, 2))
    assert set(there.heard) >= set(range(1, 20, 2))


async def test_who_listens_is_told_outside_of_all_that_was_done_where_the_store_was_opened(
    store: PostgresStore, postgres_dsn: str
) -> None:
    carried: list[object] = []
    with Carried[str]("note").propagate("where it was opened"):
        async with PostgresStore(postgres_dsn) as other, psql(postgres_dsn) as db:
            await listening(db, 2)
            other.watch(lambda _: carried.append(CARRIED.get()))
            there = Listener(other)
            await append(store, request("a"))
            await there.until(1)
    assert carried == [None]


async def test_a_store_does_not_hear_of_its_own_appends_again(store: PostgresStore, other: PostgresStore) -> None:
    here = Listener(store)
    there = Listener(other)
    await append(store, request("a"))
    await there.until(1)
    await append(other, request("b"))  # what the first store said has come back to it before this
    await here.until(2)
    assert here.heard == [1, 2]


async def test_appends_that_follow_closely_share_a_hint(store: PostgresStore, other: PostgresStore) -> None:
    there = Listener(other)
    for number in range(100):
        await append(store, request("a", after=number))
    await there.until(100)
    assert len(there.heard) <= 100
    assert there.heard == sorted(set(there.heard))


async def test_a_hint_tells_the_types_of_the_events(store: PostgresStore, other: PostgresStore) -> None:
    all_types, some = Listener(other), Listener(other, ["b"])
    await append(store, request("a", type="a"))
    await all_types.until(1)
    await append(store, request("b", type="b"), request("a", type="a", after=1))
    await some.until(3)
    assert some.heard == [3]
    assert all_types.heard == [1, 3]


async def test_a_hint_with_too_many_types_to_tell_reaches_everybody(store: PostgresStore, other: PostgresStore) -> None:
    listener = Listener(other, ["elsewhere"])
    await append(store, *(request("a", type=f"{number:02}" + 100 * "ä") for number in range(40)))
    await listener.until(40)
    assert listener.heard == [40]


async def test_stores_on_other_schemas_hear_nothing(store: PostgresStore, postgres_dsn: str) -> None:
    async with (
        PostgresStore(postgres_dsn, schema="eventree_2") as other,
        PostgresStore(postgres_dsn) as same,
        psql(postgres_dsn) as db,
    ):
        await listening(db, 3)
        apart, together = Listener(other), Listener(same)
        await append(store, request("a"))
        await together.until(1)
        await append(other, request("b", events=7))  # its own is told at once
        assert apart.heard == [7]


@pytest.mark.parametrize(
    "nonsense",
    [
        *("", "x", "-1", "1.5", "1e3", "0x10", "²", "9" * 4_000, "9" * 5_000, "1 ", "7; DROP TABLE events"),
        *("[1]", "[0, null]", "[-1, null]", '[1, "a"]', "[1, [2]]", "[1, null, 3]", f"[{10**30}, null]", "[" * 4_000),
    ],
    ids=lambda text: text[:20],
)
async def test_what_is_no_position_is_not_told(store: PostgresStore, postgres_dsn: str, nonsense: str) -> None:
    listener = Listener(store)
    async with psql(postgres_dsn) as db:
        await listening(db, 1)
        await db.execute("SELECT pg_notify('eventree_eventree', $1)", nonsense)
        await db.execute("SELECT pg_notify('eventree_eventree', '5')")
        await listener.until(5)
    assert listener.heard == [5]


async def test_a_listener_whose_connection_was_lost_listens_again(store: PostgresStore, postgres_dsn: str) -> None:
    listener = Listener(store)
    async with psql(postgres_dsn) as db:
        for position in (7, 8):
            before = await listening(db, 1)
            await terminate(db, before)
            assert await listening(db, 1) != before
            await db.execute("SELECT pg_notify('eventree_eventree', $1)", str(position))
            await listener.until(position)
    assert listener.heard == [7, 8]


async def test_hints_go_on_after_nobody_listened_for_a_while(
    store: PostgresStore, other: PostgresStore, postgres_dsn: str
) -> None:
    there = Listener(other)
    async with psql(postgres_dsn) as db:
        await terminate(db, await listening(db, 2))
        await append(store, request("a"))
        await listening(db, 2)
    await append(store, request("a", after=1))
    await there.until(2)


async def test_without_hints_nobody_listens_and_nobody_is_told(postgres_dsn: str) -> None:
    async with PostgresStore(postgres_dsn, notify=False) as quiet, PostgresStore(postgres_dsn) as other:
        quiet_one, loud_one = Listener(quiet), Listener(other)
        async with psql(postgres_dsn) as db:
            await listening(db, 1)
        await append(quiet, request("a"))
        await append(other, request("b"))
        assert (quiet_one.heard, loud_one.heard) == ([1], [2])
        assert await other.head() == await quiet.head() == 2


@pytest.mark.parametrize(("notify", "poll_interval"), [(True, 60.0), (False, 0.1)])
async def test_a_query_hears_of_another_store_with_hints_and_finds_out_without(
    postgres_dsn: str, *, notify: bool, poll_interval: float
) -> None:
    seen: list[int] = []
    all_seen = asyncio.Event()

    def collect(_: str, events: Sequence[EventEnvelope[BankEvent]]) -> None:
        seen.extend(event.position for event in events)
        if len(seen) == 4:
            all_seen.set()

    query = Query("collect", collect, poll_interval=poll_interval)
    async with (
        PostgresStore(postgres_dsn, notify=notify) as writes,
        PostgresStore(postgres_dsn, notify=notify) as reads,
        EventSourcing(bank_account, writes) as accounts,
        EventSourcing(bank_account, reads, queries=[query]) as others,
        psql(postgres_dsn) as db,
    ):
        await listening(db, 2 if notify else 0)
        await others.query("collect").caught_up()
        (await accounts.execute("a", OpenAccount("a"))).unwrap()
        for amount in (1, 2, 3):
            (await accounts.execute("a", Deposit(Decimal(amount)))).unwrap()
        await within(SOON, all_seen)
    assert seen == [1, 2, 3, 4]
