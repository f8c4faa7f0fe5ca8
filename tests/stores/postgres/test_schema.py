"""Opening: who comes first creates the schema, others find it, and a database that will not do says why."""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from eventree import InvalidArgument, StoreUnavailable
from eventree.errors import NonPositiveArgument, SchemaTooNew, StoreUnusable, TransactionFailed
from eventree.stores.contract import Appended
from eventree.stores.postgres import PostgresStore
from eventree.stores.postgres.driver import Connection
from eventree.testing.store_values import append, request
from servers.postgres import PostgresServer, running_server
from servers.processes import python
from stores.postgres.backends import psql

OPEN = """
import asyncio, sys
from eventree import PostgresStore
async def main():
    store = PostgresStore(sys.argv[1])
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    async with store:
        print(await store.head())
asyncio.run(main())
"""
TABLES = {"head", "streams", "events", "commands", "checkpoints", "parked", "query_requests", "snapshots"}
_TABLES_OF = "SELECT table_name FROM information_schema.tables WHERE table_schema = $1 AND table_type = 'BASE TABLE'"


async def tables(dsn: str, schema: str = "eventree") -> set[str]:
    async with psql(dsn) as db:
        return {name for (name,) in await db.fetch(_TABLES_OF, schema)}


async def test_any_number_may_open_an_empty_database_at_once(postgres_dsn: str) -> None:
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(python("-c", OPEN, postgres_dsn)) for _ in range(3)]
        assert [await other.line() for other in others] == ["ready"] * 3
        for other in others:
            other.say("go")
        here = [PostgresStore(postgres_dsn) for _ in range(6)]
        await asyncio.gather(*(stack.enter_async_context(store) for store in here))
        assert [await other.line() for other in others] == ["0"] * 3
        assert await append(here[0], request("a")) == [Appended(1, 1)]
        assert [await store.head() for store in here] == [1] * 6
    assert await tables(postgres_dsn) == TABLES


async def test_schemas_of_one_database_are_stores_of_their_own(postgres_dsn: str) -> None:
    async with PostgresStore(postgres_dsn) as one, PostgresStore(postgres_dsn, schema="_2") as two:
        await append(one, request("a", events=3))
        assert await append(two, request("a", commands=["c"])) == [Appended(1, 1)]
        assert (await one.head(), await two.head()) == (3, 1)
        assert await one.find_commands(["c"]) == {}
    assert await tables(postgres_dsn) == await tables(postgres_dsn, "_2") == TABLES


async def test_a_schema_that_is_there_already_is_filled(postgres_dsn: str) -> None:
    async with psql(postgres_dsn) as db:
        await db.execute("CREATE SCHEMA eventree; CREATE TABLE eventree.of_somebody_else (x int)")
    async with PostgresStore(postgres_dsn) as store:
        assert await append(store, request("a")) == [Appended(1, 1)]
    assert await tables(postgres_dsn) == TABLES | {"of_somebody_else"}


@pytest.mark.parametrize("schema", ["a", "_", "z9_", "select", "a" * 41])
async def test_a_schema_may_have_any_plain_name(postgres_dsn: str, schema: str) -> None:
    async with PostgresStore(postgres_dsn, schema=schema) as store:
        assert await append(store, request("a")) == [Appended(1, 1)]
    assert await tables(postgres_dsn, schema) == TABLES


@pytest.mark.parametrize(
    "schema",
    ["", "a" * 42, "A", "1a", 'a"b', "a;b", "a b", "a.b", "a\n", "a-b", "$user", "ä", "a\0", "ａ", "a'", None, 7, b"a"],  # noqa: RUF001
)
def test_a_schema_has_no_other_name(schema: str) -> None:
    with pytest.raises(InvalidArgument, match="schema"):
        PostgresStore("postgresql://127.0.0.1:1/nowhere", schema=schema)


async def test_a_schema_of_a_newer_version_is_left_alone(postgres_dsn: str) -> None:
    async with PostgresStore(postgres_dsn) as store:
        await append(store, request("a"))
    async with psql(postgres_dsn) as db:
        await db.execute("UPDATE head SET schema_version = 7")
        before = await db.fetchrow("SELECT * FROM head")
        with pytest.raises(SchemaTooNew) as caught:
            await PostgresStore(postgres_dsn).__aenter__()
        assert (caught.value.found, caught.value.supported) == (7, 1)
        assert await db.fetchrow("SELECT * FROM head") == before


@pytest.mark.parametrize("theirs", ["events (position bigint)", "head (position bigint)", "snapshots (name text)"])
async def test_tables_of_somebody_else_are_left_alone(postgres_dsn: str, theirs: str) -> None:
    async with psql(postgres_dsn) as db:
        await db.execute(f"CREATE SCHEMA eventree; CREATE TABLE eventree.{theirs}")
    with pytest.raises(
        StoreUnusable, match=rf"not created by eventree \({theirs.partition(' ')[0]}\); use another schema"
    ):
        await PostgresStore(postgres_dsn).__aenter__()
    assert await tables(postgres_dsn) == {theirs.partition(" ")[0]}


async def test_a_head_without_its_row_is_no_store(postgres_dsn: str) -> None:
    async with PostgresStore(postgres_dsn):
        pass
    async with psql(postgres_dsn) as db:
        await db.execute("DELETE FROM head")
    with pytest.raises(StoreUnusable, match=r"head .* has lost its row; restore a backup"):
        await PostgresStore(postgres_dsn).__aenter__()


async def test_a_failed_creation_leaves_nothing(postgres_dsn: str) -> None:
    async with psql(postgres_dsn) as db:
        await db.execute("CREATE SCHEMA eventree; CREATE DOMAIN eventree.checkpoints AS int")  # tables are types too
        with pytest.raises(TransactionFailed, match='"checkpoints" already exists'):
            await PostgresStore(postgres_dsn).__aenter__()
        assert await tables(postgres_dsn) == set()
        await db.execute("DROP DOMAIN eventree.checkpoints")
    async with PostgresStore(postgres_dsn) as store:
        assert await append(store, request("a")) == [Appended(1, 1)]


@pytest.fixture(scope="module")
def strict_server(postgres_binaries: Path) -> Iterator[PostgresServer]:
    """Run a server that asks for passwords, with its disk syncs off."""
    with running_server(postgres_binaries, settings={"fsync": "off"}) as server:
        server.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
        access = server._data / "pg_hba.conf"
        access.write_text("host all eventree 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server.execute("SELECT pg_reload_conf()")
        yield server


async def opening(dsn: str) -> Exception:
    """Return why a store cannot be opened."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each test says which
        await PostgresStore(dsn, timeout=5).__aenter__()
    return caught.value


async def test_a_server_without_fsync_is_refused(strict_server: PostgresServer) -> None:
    error = await opening(strict_server.new_database())
    assert isinstance(error, StoreUnusable)
    assert "fsync is off" in str(error)


@pytest.mark.parametrize(
    ("user", "database", "means"),
    [
        ("eventree", "missing", "does not exist"),
        ("nobody", "postgres", "password authentication failed"),
        ("guest:wrong", "postgres", "password authentication failed"),
        ("guest:right", "postgres", "fsync is off"),  # the way in is open, so the others fail for what they say
    ],
)
async def test_who_is_not_let_in_is_told(strict_server: PostgresServer, user: str, database: str, means: str) -> None:
    error = await opening(f"postgresql://{user}@127.0.0.1:{strict_server.port}/{database}")
    assert isinstance(error, StoreUnusable)
    assert means in str(error)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    error = await opening("postgresql://u@127.0.0.1:1/db")
    assert isinstance(error, StoreUnavailable)
    assert "postgresql://127.0.0.1:1/db cannot be reached" in str(error)


async def test_a_server_that_does_not_speak_is_unavailable_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with asyncio.timeout(4):
            with pytest.raises(StoreUnavailable):
                await PostgresStore(f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/db", timeout=0.5).__aenter__()


async def test_a_server_that_speaks_something_else_is_unavailable() -> None:
    def answer(server: socket.socket) -> None:
        with server.accept()[0] as client:
            client.sendall(b"NO! This is no database.\r\n" * 10)

    with socket.create_server(("127.0.0.1", 0)) as server:
        speaking = asyncio.create_task(asyncio.to_thread(answer, server))
        assert isinstance(await opening(f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/db"), StoreUnavailable)
        await speaking


async def test_a_store_that_could_not_be_opened_can_be_opened_later(postgres_server: PostgresServer) -> None:
    dsn = f"{postgres_server.dsn()}_later"
    store = PostgresStore(dsn)
    with pytest.raises(StoreUnusable):
        await store.__aenter__()
    postgres_server.execute("CREATE DATABASE postgres_later TEMPLATE template0")
    try:
        async with store:
            assert await store.head() == 0
    finally:
        postgres_server.drop_database(dsn)


async def show(name: str, db: Connection) -> str:
    return str(await db.fetchval(f"SHOW {name}"))


async def settings_of(store: PostgresStore, *names: str) -> dict[str, str]:
    """Return settings as the connections for appends and for reads have them; they must be the same."""
    found: list[Mapping[str, str]] = []
    for connections in (store._writer, store._reader):
        assert connections is not None
        found.append({name: await connections.run(partial(show, name)) for name in names})
    assert found[0] == found[1]
    return dict(found[0])


@pytest.mark.parametrize(
    ("configured", "used"), [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")]
)
async def test_commits_are_durable_whatever_is_configured(
    postgres_dsn: str, postgres_server: PostgresServer, configured: str, used: str
) -> None:
    role = f"careless_{configured}"
    postgres_server.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
    postgres_server.execute(f"ALTER ROLE {role} SET synchronous_commit = {configured}")
    try:
        async with PostgresStore(postgres_dsn.replace("eventree@", f"{role}@")) as store:
            assert await settings_of(store, "synchronous_commit") == {"synchronous_commit": used}
    finally:
        postgres_server.execute(f"DROP OWNED BY {role}", postgres_dsn)
        postgres_server.execute(f"DROP ROLE {role}")


async def test_what_the_dsn_sets_does_not_break_the_promises(postgres_dsn: str) -> None:
    dsn = f"{postgres_dsn}?synchronous_commit=off&search_path=public&application_name=mine&statement_timeout=1"
    async with PostgresStore(dsn, timeout=7) as store:
        assert await append(store, request("a")) == [Appended(1, 1)]
        assert await settings_of(store, "synchronous_commit", "search_path", "statement_timeout") == {
            "synchronous_commit": "on",
            "search_path": '"eventree"',
            "statement_timeout": "7s",
        }


@pytest.mark.parametrize(
    ("timeout", "limit"), [(float("inf"), "2147483647ms"), (10**9, "2147483647ms"), (1.5, "1500ms")]
)
async def test_any_timeout_is_a_limit_on_the_server_too(postgres_dsn: str, timeout: float, limit: str) -> None:
    async with PostgresStore(postgres_dsn, timeout=timeout) as store:
        assert await append(store, request("a")) == [Appended(1, 1)]
        assert await settings_of(store, "statement_timeout") == {"statement_timeout": limit}


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True, "1", None])
def test_a_timeout_is_a_positive_number(timeout: float) -> None:
    with pytest.raises(NonPositiveArgument, match="timeout"):
        PostgresStore("postgresql://127.0.0.1:1/nowhere", timeout=timeout)


async def test_the_smallest_timeout_is_still_one(postgres_dsn: str) -> None:
    with pytest.raises(StoreUnavailable):
        await PostgresStore(postgres_dsn, timeout=1e-9).__aenter__()


async def test_a_replica_is_unavailable_and_says_why(postgres_binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server(postgres_binaries) as server:
        dsn = server.new_database()
        async with PostgresStore(dsn) as store:
            await append(store, request("a"))
        server.stop()
        (server._data / "standby.signal").touch()
        monkeypatch.setattr("servers.postgres._READY", "database system is ready to accept read-only connections")
        server.start()
        error = await opening(dsn)
        assert isinstance(error, StoreUnavailable)
        assert "is a replica now; commands need the primary" in str(error)
