"""Who may do what in the database: a role that owns nothing runs the store, and nobody rewrites the log."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import asyncpg
import pytest

from eventree import EventSourcing, Projection
from eventree.errors import StoreUnusable
from eventree.stores import EventStore
from eventree.stores.contract import Appended, CheckpointUpdate, QueryRequest, RequestAnswer
from eventree.stores.postgres import PostgresStore
from eventree.testing.store_values import append, parked, request, snapshot
from eventree.testing.suite.appends import AppendPromises
from eventree.testing.suite.checkpoints import CheckpointPromises
from eventree.testing.suite.commands import CommandPromises
from eventree.testing.suite.log import LogPromises
from eventree.testing.suite.snapshots import SnapshotPromises
from eventree.testing.suite.streams import StreamPromises
from servers.postgres import PostgresServer
from sourcing.ledger import Added, Boom, add, ledger
from sourcing.reading import AT_ONCE
from sourcing.totals import Connection, Events, clear, project, setup
from stores.postgres.backends import psql

USER = "bank_service"
GRANTS = (
    f"GRANT USAGE ON SCHEMA eventree TO {USER}",
    f"GRANT SELECT, UPDATE (position) ON eventree.head TO {USER}",
    f"GRANT SELECT, INSERT, UPDATE (sequence) ON eventree.streams TO {USER}",
    f"GRANT SELECT, INSERT ON eventree.events, eventree.commands TO {USER}",
    f"GRANT SELECT, INSERT, UPDATE ON eventree.checkpoints, eventree.snapshots TO {USER}",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON eventree.parked, eventree.query_requests TO {USER}",
)
"""All that a role needs which runs the store on a schema that its owner has created by opening it once."""


async def create_and_grant(dsn: str, schema: str = "eventree") -> None:
    async with PostgresStore(dsn, schema=schema, notify=False):
        pass
    async with psql(dsn) as db:
        await db.execute("; ".join(GRANTS).replace("eventree", schema))


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """Return a database for the tests that change nothing in it, with a role that owns nothing."""
    postgres_server.start()
    postgres_server.execute(f"CREATE ROLE {USER} LOGIN NOSUPERUSER")
    dsn = postgres_server.new_database()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, create_and_grant(dsn)).result()
    yield dsn
    postgres_server.drop_database(dsn)
    postgres_server.execute(f"DROP ROLE {USER}")


def as_user(dsn: str) -> str:
    return dsn.replace("eventree@", f"{USER}@")


class TestAUserThatOwnsNothing(
    AppendPromises, CommandPromises, StreamPromises, LogPromises, CheckpointPromises, SnapshotPromises
):
    """The promises hold with these grants and no more."""

    @pytest.fixture
    async def store(self, database: str) -> AsyncIterator[EventStore]:
        schema = f"of_{uuid4().hex}"
        await create_and_grant(database, schema)
        async with PostgresStore(as_user(database), schema=schema) as store:
            yield store


async def test_every_grant_is_needed(database: str) -> None:
    """Each privilege is taken away, and something fails."""
    pieces = [
        (privilege, match["what"])
        for grant in GRANTS
        if (match := re.match(r"GRANT (?P<privileges>.*) ON (?P<what>.*) TO", grant))
        for privilege in re.split(r", (?![^(]*\))", match["privileges"])
    ]
    assert len(pieces) == 15
    schema = "revoked"
    await create_and_grant(database, schema)

    async def use() -> None:
        async with PostgresStore(as_user(database), schema=schema) as store:
            id = uuid4().hex
            await append(store, request(id, commands=[id]))
            assert isinstance((await append(store, request(id, after=1)))[0], Appended)
            await store.save_snapshots([snapshot(id, 1)])
            await store.save_snapshots([snapshot(id, 2)])
            await store.load_snapshots("thing", [id], "v1")
            held = await store.claim_checkpoint("query", 1)
            await store.save_checkpoint("query", 1, CheckpointUpdate(held, park=[parked(id, 1)]))
            await store.save_checkpoint("query", 1, CheckpointUpdate(held, park=[parked(id, 1)]))
            await store.save_checkpoint("query", 1, CheckpointUpdate(held, unpark=[1]))
            await store.load_parked("query", 1)
            asked = QueryRequest(uuid4(), "query", 1, "pause")
            assert await store.put_request(asked)
            await store.save_checkpoint("query", 1, CheckpointUpdate(held, answers=[RequestAnswer(asked.id)]))
            assert await store.take_answer(asked.id) is not None
            await store.find_commands([id])
            await store.read(0, 10)

    await use()
    async with psql(database) as db:
        for privilege, what in pieces:
            for place in what.replace("eventree", schema).split(", "):
                await db.execute(f"REVOKE {privilege} ON {place} FROM {USER}")
                with pytest.raises(StoreUnusable, match="may this user read and write the schema"):
                    await use()
                await db.execute(f"GRANT {privilege} ON {place} TO {USER}")
    await use()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "DROP TRIGGER events_are_append_only ON events",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "SET session_replication_role = replica",
        "ALTER TABLE events DROP CONSTRAINT events_pkey",
        "DROP TABLE events",
        "DROP VIEW event_log",
        "CREATE TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "DELETE FROM streams",
        "UPDATE streams SET aggregate_id = 'b'",
        "DELETE FROM commands",
        "UPDATE commands SET command_id = 'b'",
        "DELETE FROM head",
        "INSERT INTO head (position, schema_version) VALUES (0, 1)",
        "UPDATE head SET schema_version = 2",
        "TRUNCATE head, streams, commands, checkpoints, snapshots",
    ],
)
async def test_the_user_changes_nothing_that_is_history(database: str, statement: str) -> None:
    async with psql(as_user(database)) as db:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(statement)


async def test_a_projection_of_the_user_needs_no_more_than_a_place_for_its_own_tables(
    postgres_server: PostgresServer, database: str
) -> None:
    schema, is_broken = "projecting", True
    await create_and_grant(database, schema)
    postgres_server.execute(f"CREATE SCHEMA {USER} AUTHORIZATION {USER}", database)

    async def counts(connection: Connection, events: Events) -> None:
        await project(connection, events)
        if is_broken and any(event.aggregate_id == "bad" for event in events):
            raise Boom

    totals: Projection[Added] = Projection(
        "totals", counts, setup=setup, clear=clear, on_failure="park", max_attempts=2, backoff=AT_ONCE
    )
    store = PostgresStore(as_user(database), schema=schema)
    async with store, EventSourcing(ledger, store, queries=[totals]) as system:
        await system.execute_many([("good", add(1)), ("bad", add(2)), ("good", add(3))])
        handle = system.query("totals")
        await handle.caught_up()
        assert [commit.aggregate_id for commit in await handle.parked()] == ["bad"]
        is_broken = False
        assert await handle.retry_parked() == 1
        counted = f"SELECT id, amount FROM {USER}.totals ORDER BY id"
        assert postgres_server.execute(counted, database) == [("bad", 2), ("good", 4)]
        await handle.reset()
        await handle.caught_up()
        assert postgres_server.execute(counted, database) == [("bad", 2), ("good", 4)]
    async with store, store.transaction() as transaction:
        two = await transaction.claim_checkpoint("totals", 2)
        assert not await transaction.make_live("totals", 2, two.fencing_token)  # it has read nothing
        for statement in (f"DELETE FROM {schema}.checkpoints", f"UPDATE {schema}.events SET payload = '1'"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with transaction.connection.transaction():
                    await transaction.connection.execute(statement)


async def test_a_user_that_may_not_create_the_schema_is_told(database: str) -> None:
    with pytest.raises(StoreUnusable, match="permission denied for database"):
        await PostgresStore(as_user(database), schema="missing").__aenter__()


@pytest.mark.parametrize("statement", ["UPDATE events SET payload = '1'", "DELETE FROM events", "TRUNCATE events"])
async def test_even_the_owner_does_not_rewrite_the_log_by_mistake(
    store: PostgresStore, postgres_dsn: str, statement: str
) -> None:
    await append(store, request("a", events=2))
    before = await store.read(0, 10)
    async with psql(postgres_dsn) as db:
        for where in ("", " WHERE false" if "TRUNCATE" not in statement else " CASCADE"):
            with pytest.raises(asyncpg.RaiseError, match="events are append-only"):
                await db.execute(statement + where)
    assert await store.read(0, 10) == before


_EVENT = {
    "position": "1",
    "stream": "1",
    "sequence": "1",
    "event_type": "'e'",
    "event_version": "1",
    "payload": "'{}'",
    "metadata": "'{}'",
    "commit_id": "gen_random_uuid()",
}
_ROWS = {
    "events": _EVENT,
    "streams": {"aggregate_type": "'t'", "aggregate_id": "'a'", "sequence": "0"},
    "commands": {"command_id": "'c'", "stream": "1", "first_sequence": "1", "last_sequence": "0"},
    "snapshots": {
        "stream": "1",
        "state_version": "'v'",
        "sequence": "1",
        "state_type": "'s'",
        "payload": "'{}'",
        "checksum": "1",
        "taken_at": "now()",
    },
    "checkpoints": {
        "name": "'q'",
        "version": "1",
        "position": "0",
        "fencing_token": "1",
        "owner": "'o'",
        "lease_until": "now()",
        "lease_length": "interval '1 s'",
    },
    "head": {"position": "0", "schema_version": "1"},
}
_LONG, _FITS = "repeat('ä', 128)", "repeat('ä', 127) || 'x'"


def _json(bytes_: int) -> str:
    return f"""('"' || repeat('x', {bytes_ - 2}) || '"')::json"""


async def insert(db: asyncpg.Connection, table: str, **changed: str) -> None:
    row = {**_ROWS[table], **changed}
    await db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(row.values())})")


@pytest.mark.parametrize(
    ("table", "column", "too_much", "at_most"),
    [
        ("events", "position", "0", "1"),
        ("events", "sequence", "0", "1"),
        ("events", "event_version", "0", "1"),
        ("events", "event_type", "''", "'e'"),
        ("events", "event_type", _LONG, _FITS),
        ("events", "payload", _json(2**20 + 1), _json(2**20)),
        ("events", "metadata", _json(2**16 + 1), _json(2**16)),
        ("streams", "aggregate_type", "''", "'t'"),
        ("streams", "aggregate_type", _LONG, _FITS),
        ("streams", "aggregate_id", "''", "'a'"),
        ("streams", "aggregate_id", _LONG, _FITS),
        ("streams", "sequence", "-1", "0"),
        ("commands", "command_id", "''", "'c'"),
        ("commands", "command_id", _LONG, _FITS),
        ("commands", "first_sequence", "0", "1"),
        ("commands", "last_sequence", "-1", "0"),
        ("snapshots", "payload", _json(2**20 + 1), _json(2**20)),
        ("snapshots", "sequence", "0", "1"),
        ("checkpoints", "position", "-1", "0"),
    ],
)
async def test_the_tables_hold_the_limits_themselves(
    database: str, table: str, column: str, too_much: str, at_most: str
) -> None:
    async with psql(database) as db:
        with pytest.raises(asyncpg.CheckViolationError):
            await insert(db, table, **{column: too_much})
        await db.execute("BEGIN")
        await insert(db, table, **{column: at_most})
        await db.execute("ROLLBACK")


@pytest.mark.usefixtures("store")
async def test_there_is_one_head_one_event_per_place_and_one_command_per_id(postgres_dsn: str) -> None:
    async with psql(postgres_dsn) as db:
        with pytest.raises(asyncpg.UniqueViolationError):
            await insert(db, "head")
        with pytest.raises(asyncpg.CheckViolationError):
            await insert(db, "head", id="false")
        await insert(db, "events")
        await insert(db, "commands")
        for table, changed in [("events", {"sequence": "2"}), ("events", {"position": "2"}), ("commands", {})]:
            with pytest.raises(asyncpg.UniqueViolationError):
                await insert(db, table, **changed)


async def test_people_read_the_log_with_names(store: PostgresStore, postgres_dsn: str) -> None:
    await append(store, request("a", events=2), request("b"))
    async with psql(postgres_dsn) as db:
        rows = await db.fetch("SELECT position, aggregate_id, sequence, payload->>'number' FROM event_log")
    assert [tuple(row) for row in rows] == [(1, "a", 1, "1"), (2, "a", 2, "2"), (3, "b", 1, "1")]
