"""The identity of a server: another one at the same address, or a primary that was replaced, is not written to."""

import asyncio
from pathlib import Path

import pytest

from eventree.errors import StoreUnavailable, StoreUnusable
from eventree.stores.contract import Appended, Outcome
from eventree.stores.postgres import PostgresStore
from eventree.testing.store_values import append, log, positions, request
from servers.postgres import PostgresServer, running_server
from servers.proxy import Proxy
from servers.standby import promote, running_standby

_SYSTEM = "SELECT system_identifier FROM pg_control_system()"


def lead(proxy: Proxy, server: PostgresServer) -> None:
    """Let an address lead to another server."""
    proxy._port = server.port
    proxy._cut()


async def appended(store: PostgresStore, id: str, after: int = 0) -> list[Outcome] | BaseException:
    """Append one event as soon as the server can be reached, or return why it is refused."""
    async with asyncio.timeout(30):
        while True:
            [outcome] = await asyncio.gather(append(store, request(id, after=after)), return_exceptions=True)
            if not isinstance(outcome, StoreUnavailable):
                return outcome
            await asyncio.sleep(0.05)


async def test_another_database_system_at_the_address_is_not_used(
    postgres_server: PostgresServer, postgres_binaries: Path
) -> None:
    with running_server(postgres_binaries) as other:
        one = postgres_server.new_database()
        other.execute(f"CREATE DATABASE {one.rpartition('/')[2]} TEMPLATE template0")
        theirs = other.dsn(one.rpartition("/")[2])
        async with PostgresStore(theirs) as store:
            await append(store, request("a"))
        async with Proxy(postgres_server.port).running() as proxy, PostgresStore(proxy.dsn(one)) as store:
            assert await appended(store, "a") == [Appended(1, 1)]
            lead(proxy, other)
            with pytest.raises(StoreUnusable) as caught:
                await store.head()
            for server in (postgres_server, other):
                [(system,)] = server.execute(_SYSTEM)
                assert str(system) in caught.value.reason
            assert isinstance(await appended(store, "a", after=1), StoreUnusable)
            lead(proxy, postgres_server)
            assert await append(store, request("a", after=1)) == [Appended(2, 2)]
        async with PostgresStore(theirs) as store:
            assert positions(await log(store)) == [1]
        postgres_server.drop_database(one)


@pytest.mark.slow
async def test_a_primary_that_was_replaced_is_not_written_to(postgres_binaries: Path) -> None:
    with running_server(postgres_binaries) as old, running_standby(old) as new:
        async with Proxy(old.port).running() as proxy, PostgresStore(proxy.dsn(old.dsn())) as store:
            assert await appended(store, "a") == [Appended(1, 1)]
            await replayed(old, new)
            promote(new)
            lead(proxy, new)
            assert await appended(store, "a", after=1) == [Appended(2, 2)]
            lead(proxy, old)
            with pytest.raises(StoreUnavailable, match="old primary: its timeline is 1, but this store has seen 2"):
                await store.head()
            with pytest.raises(StoreUnavailable):
                await append(store, request("b"))
            lead(proxy, new)
            assert await appended(store, "c") == [Appended(1, 3)]
            assert positions(await log(store)) == [1, 2, 3]
        async with PostgresStore(old.dsn()) as store:
            assert positions(await log(store)) == [1]


async def replayed(primary: PostgresServer, standby: PostgresServer) -> None:
    """Wait until a standby shows all that its primary has committed."""
    [(lsn,)] = primary.execute("SELECT pg_current_wal_flush_lsn()::text")
    async with asyncio.timeout(60):
        while True:
            if standby.execute(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn") == [(True,)]:
                return
            await asyncio.sleep(0.05)  # the server tells nobody


async def test_a_role_that_may_not_ask_for_the_identity_goes_without(
    postgres_dsn: str, postgres_server: PostgresServer
) -> None:
    postgres_server.execute("CREATE ROLE curious LOGIN")
    postgres_server.execute(f"GRANT CREATE ON DATABASE {postgres_dsn.rpartition('/')[2]} TO curious")
    postgres_server.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC", postgres_dsn)
    try:
        async with PostgresStore(postgres_dsn.replace("eventree@", "curious@")) as store:
            assert await append(store, request("a")) == [Appended(1, 1)]
    finally:
        postgres_server.execute("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC", postgres_dsn)
        postgres_server.execute("DROP OWNED BY curious CASCADE", postgres_dsn)
        postgres_server.execute("DROP ROLE curious")
