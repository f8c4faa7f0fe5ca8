"""The connection to Postgres is cut at every point of an append: the store finds out what became of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from eventree.errors import CommitOutcomeUnknown, StoreUnavailable
from eventree.stores.contract import Appended, Conflict, DuplicateCommand, Outcome, RecordedCommand
from servers.postgres import PostgresServer
from servers.proxy import Proxy, Way
from stores.store_values import TYPE, append, log, positions, request

pytest.importorskip("asyncpg")
from eventree.stores.postgres import PostgresStore

CHUNKS = range(1, 7)


async def until_available(operation: Callable[[], Awaitable[list[Outcome]]]) -> list[Outcome]:
    while True:
        try:
            return await operation()
        except StoreUnavailable:
            await asyncio.sleep(0.01)


@pytest.fixture
async def proxy(postgres_server: PostgresServer) -> AsyncIterator[Proxy]:
    async with Proxy(postgres_server.port).running() as proxy:
        yield proxy


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("warm_up", [0, 1], ids=["first append", "later append"])
async def test_a_connection_cut_anywhere_in_an_append_stores_it_once_and_says_so(
    proxy: Proxy, postgres_dsn: str, way: Way, warm_up: int, report: Callable[[str], None]
) -> None:
    head = 0
    async with asyncio.timeout(60):
        for number in CHUNKS:
            async with PostgresStore(proxy.dsn(postgres_dsn), notify=False) as store:
                for _ in range(warm_up):
                    assert await append(store, request(f"warm {number}")) == [Appended(1, head + 1)]
                    head += 1
                proxy.cut_at(way, number)
                sent = request(f"a{number}", events=2, commands=[f"c{number}"])
                refused = request(f"a{number - 1}", after=9)
                outcomes = await append(store, sent, refused, request("none", events=0))
                proxy.pass_on()
                head += 2
                assert outcomes == [Appended(2, head), Conflict(2 if number > 1 else 0), Appended(0, 0)]
                assert positions(await log(store)) == list(range(1, head + 1))
                found = await store.find_commands([f"c{number}"])
                assert found == {f"c{number}": RecordedCommand(f"c{number}", TYPE, f"a{number}", 1, 2)}
    assert proxy.cuts > 0
    report(f"cuts {proxy.cuts} of {len(CHUNKS)} points, lost 0, stored twice 0")


@pytest.mark.parametrize("way", Way)
async def test_an_append_that_records_a_command_only_is_stored_once_however_it_is_cut(
    proxy: Proxy, postgres_dsn: str, way: Way
) -> None:
    async with asyncio.timeout(60):
        for number in CHUNKS:
            async with PostgresStore(proxy.dsn(postgres_dsn), notify=False) as store:
                proxy.cut_at(way, number)
                outcomes = await append(store, request(f"a{number}", events=0, commands=[f"c{number}"]))
                proxy.pass_on()
                assert outcomes in ([Appended(0, 0)], [DuplicateCommand(frozenset({f"c{number}"}))])
                assert set(await store.find_commands([f"c{number}"])) == {f"c{number}"}


async def test_what_cannot_be_found_out_in_time_is_said_to_be_unknown(proxy: Proxy, postgres_dsn: str) -> None:
    async with asyncio.timeout(30), PostgresStore(proxy.dsn(postgres_dsn), timeout=0.5, notify=False) as store:
        await append(store, request("before"))
        proxy.cut_at(Way.TO_CLIENT, 1)
        proxy.is_refusing = True
        with pytest.raises(CommitOutcomeUnknown, match="same command_id"):
            await append(store, request("a", commands=["c"]))
        with pytest.raises(StoreUnavailable):
            await append(store, request("b"))
        proxy.is_refusing = False
        outcome = await until_available(lambda: append(store, request("a", commands=["c"])))
        assert outcome[0] in (Appended(1, 2), Conflict(1))
        assert [event.aggregate_id for event in await log(store)] == ["before", "a"]


async def test_events_of_somebody_else_are_not_taken_for_ours(proxy: Proxy, postgres_dsn: str) -> None:
    async with (
        asyncio.timeout(30),
        PostgresStore(postgres_dsn) as other,
        PostgresStore(proxy.dsn(postgres_dsn), notify=False) as store,
    ):
        await append(store, request("warm"))
        proxy.cut_at(Way.TO_SERVER, 1)
        ours = asyncio.create_task(append(store, request("a")))
        while not proxy.cuts:  # noqa: ASYNC110 - the loop goes on a few steps
            await asyncio.sleep(0)
        assert await append(other, request("a")) == [Appended(1, 2)]
        assert await ours == [Conflict(1)]


async def test_reads_go_on_after_a_cut(proxy: Proxy, postgres_dsn: str) -> None:
    async with asyncio.timeout(30), PostgresStore(proxy.dsn(postgres_dsn), notify=False) as store:
        await append(store, request("a"))
        await store.head()
        proxy.cut_at(Way.TO_CLIENT, 1)
        with pytest.raises(StoreUnavailable):
            await store.head()
        assert await store.head() == 1
