"""What is done to a projection on Postgres: connections are cut, servers go down, and every event counts once."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from eventree import Ok
from eventree.sourcing import QueryStatus
from eventree.stores.contract import StoreTransaction
from eventree.stores.postgres import PostgresStore
from servers.postgres import PostgresServer
from servers.proxy import Proxy, Way
from sourcing.ledger import add
from sourcing.totals import Connection, Events, project, totals
from stores.postgres.backends import backends, psql, terminate
from stores.postgres.projecting import apart, opened, projection, write


@pytest.mark.parametrize("way", Way)
async def test_wherever_the_connection_of_a_projection_is_cut_it_counts_every_event_once(
    postgres_dsn: str, proxy: Proxy, way: Way
) -> None:
    """Among the places are its statements, those of the checkpoint, COMMIT, and whatever comes next."""
    cut_at = 0

    async def cut(connection: Connection, events: Events) -> None:
        nonlocal cut_at
        if cut_at:
            proxy.cut_at(way, cut_at)
            cut_at = 0
        await project(connection, events)

    cut_off = apart(proxy.dsn(postgres_dsn), projection(cut, max_attempts=1))
    async with opened(postgres_dsn) as (system, _), cut_off as handle:
        await write(system, handle, 0)
        for chunk in range(1, 9):
            cut_at = chunk
            await write(system, handle, chunk)
            async with asyncio.timeout(20):
                while proxy.cuts < chunk:  # noqa: ASYNC110 - what comes next is a look at the log
                    await asyncio.sleep(0.01)
            assert await totals(postgres_dsn) == {"a": (sum(range(chunk + 1)), chunk + 1)}
        await write(system, handle, 100)
        assert (handle.status, handle.incarnation) == (QueryStatus.RUNNING, 1)
    assert await totals(postgres_dsn) == {"a": (136, 10)}


@pytest.mark.parametrize("way", Way)
async def test_a_projection_whose_transactions_cannot_begin_goes_on_by_itself(
    postgres_dsn: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    is_cut = False
    original = PostgresStore.transaction

    def begin(store: PostgresStore, lease: float = 5.0) -> AbstractAsyncContextManager[StoreTransaction[Any]]:
        nonlocal is_cut
        if is_cut:
            is_cut = False
            proxy.cut_at(way, 1)
        return original(store, lease)

    monkeypatch.setattr(PostgresStore, "transaction", begin)
    cut_off = apart(proxy.dsn(postgres_dsn), projection(project, max_attempts=1))
    async with opened(postgres_dsn) as (system, _), cut_off as handle:
        for amount in range(4):
            await write(system, handle, amount)
            assert proxy.cuts == amount
            is_cut = True
    assert await totals(postgres_dsn) == {"a": (6, 4)}


async def test_a_projection_whose_server_hangs_when_a_transaction_begins_goes_on_by_itself(
    postgres_server: PostgresServer, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = 0.0
    original = PostgresStore.transaction

    def begin(store: PostgresStore, lease: float = 5.0) -> AbstractAsyncContextManager[StoreTransaction[Any]]:
        nonlocal hangs
        if hangs:
            postgres_server.pause()
            asyncio.get_running_loop().call_later(hangs, postgres_server.resume)
            hangs = 0.0
        return original(store, lease)

    monkeypatch.setattr(PostgresStore, "transaction", begin)
    timeout = 0.2
    cut_off = apart(postgres_dsn, projection(project, max_attempts=1), timeout=timeout)
    async with opened(postgres_dsn) as (system, _), cut_off as handle:
        await write(system, handle, 1)
        hangs = timeout + 2.5  # the driver gives up 2 s after the server should have
        await write(system, handle, 2)
        await write(system, handle, 3)
        assert handle.incarnation == 1
    assert await totals(postgres_dsn) == {"a": (6, 3)}


async def test_a_projection_whose_server_process_is_ended_counts_every_event_once(postgres_dsn: str) -> None:
    is_ended = False

    async def ended(connection: Any, events: Events) -> None:
        nonlocal is_ended
        await project(connection, events)
        if is_ended:
            is_ended = False
            async with psql(postgres_dsn) as db:
                await terminate(db, [connection.get_server_pid()])

    async with opened(postgres_dsn, projection(ended, max_attempts=1)) as (system, _):
        handle = system.query("totals")
        for amount in range(4):
            await write(system, handle, amount)
            is_ended = True
        assert handle.incarnation == 1
        async with psql(postgres_dsn) as db:
            await terminate(db, [process for process, *_ in await backends(db)])
        is_ended = False
        await write(system, handle, 4)
    assert await totals(postgres_dsn) == {"a": (10, 5)}


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_projection_whose_server_goes_down_in_the_middle_counts_every_event_once(
    postgres_server: PostgresServer, postgres_dsn: str, how: str
) -> None:
    is_inside, go_on = asyncio.Event(), asyncio.Event()

    async def waits(connection: Connection, events: Events) -> None:
        await project(connection, events)
        is_inside.set()
        await go_on.wait()

    async with opened(postgres_dsn, projection(waits, max_attempts=1, lease=600)) as (system, _):
        for amount in (1, 2, 4):
            is_inside.clear()
            go_on.clear()
            answer = await system.execute("a", add(amount))
            assert isinstance(answer, Ok)
            await is_inside.wait()
            await asyncio.to_thread(getattr(postgres_server, how))
            await asyncio.to_thread(postgres_server.start)
            go_on.set()
            await system.query("totals").caught_up(answer.value.position, timeout=20)
    assert await totals(postgres_dsn) == {"a": (7, 3)}
