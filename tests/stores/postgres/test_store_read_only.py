"""A Postgres store that is opened only for reading: by a role that may only select, and on a replica."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from eventree.errors import SchemaTooNew, StoreReadOnly, StoreUnavailable, StoreUnusable
from eventree.stores.contract import Checkpoint, CheckpointUpdate
from eventree.stores.postgres import PostgresStore, schema
from eventree.testing.store_values import append, log, positions, request, snapshot
from servers.postgres import PostgresServer, running_server

WRITES: dict[str, Callable[[PostgresStore], Awaitable[object]]] = {
    "append": lambda store: store.append([request("a", after=2)]),
    "a check": lambda store: store.append([request("a", after=2, events=0)]),
    "claim_checkpoint": lambda store: store.claim_checkpoint("query", 1),
    "save_checkpoint": lambda store: store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(1, 1))),
    "make_live": lambda store: store.make_live("query", 1, 1),
    "renew_checkpoint": lambda store: store.renew_checkpoint("query", 1, 1, 5),
    "save_snapshots": lambda store: store.save_snapshots([snapshot("a", 1)]),
}


@pytest.fixture
async def filled(postgres_dsn: str) -> str:
    """Return the DSN of a database with two events and a checkpoint."""
    async with PostgresStore(postgres_dsn) as store:
        await append(store, request("a", events=2))
        await store.claim_checkpoint("query", 1)
    return postgres_dsn


async def shows_everything(store: PostgresStore) -> None:
    assert positions(await log(store)) == [1, 2]
    assert positions((await store.read_backwards(None, 10)).events) == [2, 1]
    assert [one.key for one in await store.list_aggregates()] == [("thing", "a")]
    assert list(await store.list_aggregate_types()) == ["thing"]
    assert [query.name for query in await store.list_queries()] == ["query"]


async def test_a_role_that_may_only_select_sees_everything(filled: str, postgres_server: PostgresServer) -> None:
    for statement in (
        "CREATE ROLE dashboard LOGIN",
        "GRANT USAGE ON SCHEMA eventree TO dashboard",
        "GRANT SELECT ON ALL TABLES IN SCHEMA eventree TO dashboard",
    ):
        postgres_server.execute(statement, filled)
    try:
        async with PostgresStore(filled.replace("eventree@", "dashboard@"), read_only=True) as store:
            await shows_everything(store)
    finally:
        postgres_server.execute("DROP OWNED BY dashboard", filled)
        postgres_server.execute("DROP ROLE dashboard")


async def test_it_hears_of_what_others_store(filled: str) -> None:
    heard = asyncio.Event()
    async with PostgresStore(filled, read_only=True) as reader, PostgresStore(filled) as writer, asyncio.timeout(20):
        reader.watch(lambda _: heard.set())
        after = 2
        while not heard.is_set():  # it begins to listen in the background
            await append(writer, request("a", after=after))
            after += 1
            await asyncio.sleep(0.05)
        assert await reader.head() == after


@pytest.mark.parametrize("write", WRITES)
async def test_what_would_write_is_refused(filled: str, write: str) -> None:
    async with PostgresStore(filled, read_only=True) as store:
        with pytest.raises(StoreReadOnly) as caught:
            await WRITES[write](store)
        assert "password" not in caught.value.store
        with pytest.raises(StoreReadOnly):
            store.transaction()


async def test_the_server_would_refuse_too(filled: str) -> None:
    async with PostgresStore(filled, read_only=True) as store:
        assert store._reader is not None
        with pytest.raises(StoreUnavailable, match="read-only"):
            await store._reader.run(lambda db: db.execute("DELETE FROM parked"))


async def test_a_schema_that_does_not_exist_is_not_created(postgres_dsn: str, postgres_server: PostgresServer) -> None:
    with pytest.raises(StoreUnusable, match="no tables of eventree"):
        await PostgresStore(postgres_dsn, read_only=True).__aenter__()
    assert not postgres_server.execute("SELECT FROM pg_namespace WHERE nspname = 'eventree'", postgres_dsn)


async def test_an_older_schema_is_not_migrated(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 2)
    with pytest.raises(StoreUnusable, match="is 1, this eventree needs 2"):
        await PostgresStore(filled, read_only=True).__aenter__()


async def test_a_newer_schema_is_too_new(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 0)
    with pytest.raises(SchemaTooNew):
        await PostgresStore(filled, read_only=True).__aenter__()


async def test_it_works_on_a_replica(postgres_binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server(postgres_binaries) as server:
        dsn = server.new_database()
        async with PostgresStore(dsn) as store:
            await append(store, request("a", events=2))
            await store.claim_checkpoint("query", 1)
        server.stop()
        (server._data / "standby.signal").touch()
        monkeypatch.setattr("servers.postgres._READY", "database system is ready to accept read-only connections")
        server.start()
        async with PostgresStore(dsn, read_only=True) as store, asyncio.timeout(20):
            await shows_everything(store)
            with pytest.raises(StoreReadOnly):
                await append(store, request("b"))
            assert store._notifier is not None
            await asyncio.wait([store._notifier._task])  # there is nothing to listen to
