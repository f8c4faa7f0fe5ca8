"""Sessions: settings are made after connecting, no statement relies on the search path, and poolers are found out."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from eventree.errors import StoreUnavailable, StoreUnusable
from eventree.stores.contract import Appended, Checkpoint, CheckpointUpdate, StreamRead
from eventree.stores.postgres import PostgresStore
from eventree.stores.postgres.address import Address
from eventree.stores.postgres.connections import CircuitBreaker, Connections
from eventree.stores.postgres.driver import Connection
from eventree.stores.postgres.sessions import Timeouts
from eventree.testing.store_values import append, log, positions, request, snapshot
from servers.pgbouncer import running_pgbouncer
from servers.postgres import PostgresServer
from stores.postgres.backends import psql

TABLES = ("head", "streams", "events", "commands", "checkpoints", "parked", "snapshots")
DROPPED = "ignore_startup_parameters = search_path,statement_timeout,default_transaction_isolation"


async def on_all(store: PostgresStore, statement: str) -> None:
    """Run a statement on each connection that the store has or will use for its own statements."""
    for connections, size in ((store._writer, 1), (store._reader, 4)):
        assert connections is not None
        barrier = asyncio.Barrier(size)
        await asyncio.gather(*(run_at_once(connections, barrier, statement) for _ in range(size)))


async def run_at_once(connections: Connections, barrier: asyncio.Barrier, statement: str) -> None:
    async def run(db: Connection) -> None:
        await barrier.wait()
        await db.execute(statement)

    await connections.run(run)


async def uses_everything(store: PostgresStore) -> None:
    """Call every method that has a statement of its own, on a store with nothing in it."""
    assert await append(store, request("a", events=2, commands=["c"])) == [Appended(2, 2)]
    assert await append(store, request("a", after=2, events=0)) == [Appended(2, 2)]
    await append(store, request("b", after=7), request("c", commands=["c"]))
    assert set(await store.find_commands(["c"])) == {"c"}
    assert positions(await log(store)) == positions((await store.read(0, 10)).events) == [1, 2]
    assert positions((await store.read_backwards(None, 10)).events) == [2, 1]
    assert [page.sequence for page in await store.read_streams([StreamRead("thing", "a")])] == [2]
    assert [one.key for one in await store.list_aggregates()] == [("thing", "a")]
    assert [one.key for one in await store.list_aggregates("thing")] == [("thing", "a")]
    assert list(await store.list_aggregate_types()) == ["thing"]
    assert await store.head() == 2
    await store.save_snapshots([snapshot("a", 2)])
    assert set(await store.load_snapshots("thing", ["a"], snapshot("a", 2).state_version)) == {"a"}
    claimed = await store.claim_checkpoint("query", 1)
    await store.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(1, claimed.fencing_token)))
    assert await store.renew_checkpoint("query", 1, claimed.fencing_token, 5)
    assert [query.checkpoint.position for query in await store.list_queries()] == [1]
    async with store.transaction() as transaction:
        await transaction.save_checkpoint("query", 1, CheckpointUpdate(Checkpoint(2, claimed.fencing_token)))


@pytest.fixture
async def of_another(postgres_dsn: str) -> AsyncIterator[None]:
    """Another store in the schema that every role looks in, which must stay as it is."""
    async with PostgresStore(postgres_dsn, schema="public") as other:
        await append(other, request("theirs", events=3, commands=["theirs"]))
    yield
    async with PostgresStore(postgres_dsn, schema="public") as other:
        assert positions(await log(other)) == [1, 2, 3]
        assert [one.key for one in await other.list_aggregates()] == [("thing", "theirs")]
        assert await other.list_queries() == []
    async with psql(postgres_dsn) as db:
        for name in TABLES:
            await db.execute(f"DROP TABLE public.{name} CASCADE")
        await db.execute("DROP FUNCTION public.refuse_change")


@pytest.mark.usefixtures("of_another")
async def test_a_search_path_that_is_lost_leads_to_no_other_store(postgres_dsn: str) -> None:
    async with PostgresStore(postgres_dsn) as store:
        await on_all(store, "SET search_path = public")
        await uses_everything(store)


async def test_temporary_tables_are_not_taken_for_those_of_the_store(store: PostgresStore) -> None:
    await on_all(store, "; ".join(f"CREATE TEMPORARY TABLE {name} AS SELECT 1 AS id" for name in TABLES))
    await uses_everything(store)


async def test_a_projection_keeps_the_search_path_of_its_role(
    postgres_dsn: str, postgres_server: PostgresServer
) -> None:
    postgres_server.execute("CREATE ROLE reporting LOGIN SUPERUSER")
    postgres_server.execute("ALTER ROLE reporting SET search_path = reports, public")
    try:
        dsn = postgres_dsn.replace("eventree@", "reporting@")
        async with PostgresStore(dsn) as store, store.transaction() as transaction:
            assert await transaction.connection.fetchval("SHOW search_path") == "reports, public"
    finally:
        postgres_server.execute("DROP OWNED BY reporting CASCADE", postgres_dsn)
        postgres_server.execute("DROP ROLE reporting")


@pytest.mark.parametrize("statement", ["DISCARD ALL", "SET eventree.session = 'of another'", "RESET eventree.session"])
async def test_an_append_without_its_settings_stores_nothing(store: PostgresStore, statement: str) -> None:
    await append(store, request("a"))
    assert store._writer is not None
    await store._writer.run(lambda db: db.execute(statement))
    with pytest.raises(StoreUnusable, match="session mode"):
        await append(store, request("a", after=1, events=2), request("b", commands=["c"]), request("d", events=0))
    assert positions(await log(store)) == [1]
    assert await store.find_commands(["c"]) == {}
    assert await append(store, request("a", after=1)) == [Appended(2, 2)]  # in a new session


async def test_an_append_to_a_head_without_its_row_says_so(store: PostgresStore, postgres_dsn: str) -> None:
    async with psql(postgres_dsn) as db:
        await db.execute("DELETE FROM head")
    with pytest.raises(Exception, match="head has lost its row"):
        await append(store, request("a"))


async def test_a_role_with_the_shortest_timeout_can_open_a_store(
    postgres_dsn: str, postgres_server: PostgresServer
) -> None:
    postgres_server.execute("CREATE ROLE hasty LOGIN SUPERUSER")
    postgres_server.execute("ALTER ROLE hasty SET statement_timeout = '5ms'")
    postgres_server.execute("ALTER ROLE hasty SET client_encoding = 'LATIN1'")
    try:
        async with PostgresStore(postgres_dsn.replace("eventree@", "hasty@")) as store:
            assert await append(store, request("Łódź")) == [Appended(1, 1)]
    finally:
        postgres_server.execute("DROP OWNED BY hasty CASCADE", postgres_dsn)
        postgres_server.execute("DROP ROLE hasty")


async def test_text_of_any_kind_is_stored_whatever_encoding_the_dsn_names(postgres_dsn: str) -> None:
    async with PostgresStore(f"{postgres_dsn}?client_encoding=LATIN1") as store:
        await append(store, request("Łódź 😀"))
        assert [event.aggregate_id for event in await log(store)] == ["Łódź 😀"]


@pytest.mark.parametrize("encoding", ["LATIN1", "LATIN9", "WIN1252", "EUC_JP"])
@pytest.mark.parametrize("read_only", [False, True])
async def test_a_database_that_cannot_store_every_text_is_refused(
    postgres_server: PostgresServer,
    encoding: str,
    read_only: bool,  # noqa: FBT001
) -> None:
    with encoded_database(postgres_server, encoding) as dsn:
        with pytest.raises(StoreUnusable, match=f"encoding is {encoding}.*ENCODING 'UTF8'"):
            await PostgresStore(dsn, read_only=read_only).__aenter__()
        assert not postgres_server.execute("SELECT FROM pg_namespace WHERE nspname = 'eventree'", dsn)


async def test_a_database_of_plain_bytes_stores_every_text(postgres_server: PostgresServer) -> None:
    with encoded_database(postgres_server, "SQL_ASCII") as dsn:
        async with PostgresStore(dsn) as store:
            for position, id in enumerate(["Łódź", "😀", "naïve €", "\x01", "é", "e\u0301", "ß" * 127], 1):
                assert await append(store, request(id, commands=[id])) == [Appended(1, position)]
                assert set(await store.find_commands([id])) == {id}
                [page] = await store.read_streams([StreamRead("thing", id)])
                assert [event.aggregate_id for event in page.events] == [id]
            assert (await store.claim_checkpoint("😀", 1)).position == 0
            assert [query.name for query in await store.list_queries()] == ["😀"]


@contextmanager
def encoded_database(server: PostgresServer, encoding: str) -> Iterator[str]:
    """Create a database with another encoding."""
    server.execute(f"CREATE DATABASE other_{encoding} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    dsn = server.dsn(f"other_{encoding}".lower())
    try:
        yield dsn
    finally:
        server.drop_database(dsn)


# --- poolers


@pytest.mark.parametrize("more", ["", DROPPED])
async def test_pgbouncer_in_session_mode_works_as_it_comes(postgres_dsn: str, more: str) -> None:
    with running_pgbouncer(postgres_dsn, "session", more) as dsn:
        async with PostgresStore(dsn) as store, PostgresStore(dsn) as other, asyncio.timeout(60):
            heard = asyncio.Event()
            await uses_everything(store)
            other.watch(lambda _: heard.set())
            after = 0
            while not heard.is_set():  # it begins to listen in the background
                await append(store, request("x", after=after))
                after += 1
                await asyncio.sleep(0.05)
            assert store._writer is not None
            assert await store._writer.run(lambda db: db.fetchval("SHOW statement_timeout")) == "10s"


async def test_what_it_announces_through_a_pooler_it_does_not_hear_itself(postgres_dsn: str) -> None:
    """The process id that the driver got from a pooler is none of the server's."""
    with running_pgbouncer(postgres_dsn, "session") as dsn:
        async with PostgresStore(dsn) as store, PostgresStore(postgres_dsn) as other, asyncio.timeout(60):
            heard: list[int] = []
            told = asyncio.Event()
            store.watch(heard.append)
            other.watch(lambda _: told.set())
            after = 0
            while not told.is_set():
                await append(store, request("x", after=after))
                after += 1
                await asyncio.sleep(0.05)
            assert heard == list(range(1, after + 1))


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("read_only", [False, True])
async def test_pgbouncer_that_shares_sessions_is_refused(postgres_dsn: str, mode: str, read_only: bool) -> None:  # noqa: FBT001
    async with PostgresStore(postgres_dsn) as store:
        await append(store, request("a"))
    with running_pgbouncer(postgres_dsn, mode) as dsn, pytest.raises(StoreUnusable, match="session mode"):
        await PostgresStore(dsn, read_only=read_only).__aenter__()
    async with PostgresStore(postgres_dsn) as store:
        assert await store.head() == 1


async def test_an_option_that_a_pooler_does_not_know_is_named(postgres_dsn: str) -> None:
    named = pytest.raises(StoreUnusable, match="unsupported startup parameter: lock_timeout")
    with running_pgbouncer(postgres_dsn, "session") as dsn, named:
        await PostgresStore(f"{dsn}?lock_timeout=5").__aenter__()


# --- refusals


@asynccontextmanager
async def server_that_says(code: str, words: str) -> AsyncIterator[str]:
    """Run a server that answers every connection with an error; return its DSN."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        [length] = struct.unpack("!I", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        fields = b"".join(f"{kind}{text}\0".encode() for kind, text in (("S", "FATAL"), ("C", code), ("M", words)))
        writer.write(b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    try:
        yield f"postgresql://u@127.0.0.1:{server.sockets[0].getsockname()[1]}/db?sslmode=disable"
    finally:
        server.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("08P01", "unsupported startup parameter: search_path"),
        ("08P01", "no such database: db"),
        ("42704", 'unrecognized configuration parameter "colour"'),
        ("0A000", "unsupported frontend protocol 3.0"),
        ("28000", 'no pg_hba.conf entry for host "10.0.0.1"'),
        ("3D000", 'database "db" does not exist'),
    ],
)
async def test_a_refusal_that_never_passes_is_told_in_the_words_of_the_server(code: str, words: str) -> None:
    async with server_that_says(code, words) as dsn:
        with pytest.raises(StoreUnusable) as caught:
            await PostgresStore(dsn).__aenter__()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("08P01", "server login has been failing, try again later"),
        ("57P03", "the database system is starting up"),
        ("53300", "sorry, too many clients already"),
        ("XX000", "max clients reached"),
        ("55000", 'database "db" is not currently accepting connections'),
    ],
)
async def test_a_refusal_that_may_pass_is_told_in_the_words_of_the_server(code: str, words: str) -> None:
    async with server_that_says(code, words) as dsn:
        with pytest.raises(StoreUnavailable) as caught:
            await PostgresStore(dsn).__aenter__()
    assert words in str(caught.value)


async def test_while_a_server_is_away_its_words_are_repeated() -> None:
    async with server_that_says("53300", "sorry, too many clients already") as dsn:
        connections = Connections(Address(dsn, "there"), None, 1, Timeouts(5), CircuitBreaker("there"))
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="sorry, too many clients already"):
                await connections.connect()


async def test_an_option_that_the_server_does_not_know_is_named(postgres_dsn: str) -> None:
    with pytest.raises(StoreUnusable, match='unrecognized configuration parameter "colour"'):
        await PostgresStore(f"{postgres_dsn}?colour=red").__aenter__()


async def test_a_file_that_the_driver_may_not_read_is_named(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = "~/.postgresql/postgresql.key"

    async def connect(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", file)

    monkeypatch.setattr("asyncpg.connect", connect)
    with pytest.raises(StoreUnusable, match=file):
        await PostgresStore(postgres_dsn).__aenter__()
