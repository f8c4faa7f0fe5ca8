"""The schema of the Postgres store; create or check it when a store is opened."""

import re
from functools import lru_cache
from typing import Any, Final

from eventree.errors import InvalidArgument, SchemaTooNew, StoreUnusable
from eventree.stores.postgres.driver import Connection, Row, Transaction

SCHEMA_VERSION: Final = 1

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}\Z")

# The type is `json`, not `jsonb`, to preserve NUL escapes and the order of keys. Ids compare bytewise. A stream's row
# does not hold the position of its last event, because one statement cannot write a row twice; the key of `events`
# finds it. Tables whose rows change often leave free space in their pages, so that updates need not touch an index
# (HOT).
_TABLES: Final = """
CREATE TABLE {schema}.head (
  id boolean PRIMARY KEY DEFAULT true CHECK (id),
  position bigint NOT NULL CHECK (position >= 0),
  schema_version int NOT NULL,
  epoch uuid NOT NULL DEFAULT gen_random_uuid()
) WITH (fillfactor = 10);
INSERT INTO {schema}.head (position, schema_version) VALUES (0, 1);

CREATE TABLE {schema}.streams (
  stream bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  aggregate_type text COLLATE "C" NOT NULL CHECK (octet_length(aggregate_type) BETWEEN 1 AND 255),
  aggregate_id text COLLATE "C" NOT NULL CHECK (octet_length(aggregate_id) BETWEEN 1 AND 255),
  sequence bigint NOT NULL CHECK (sequence >= 0),
  UNIQUE (aggregate_type, aggregate_id)
) WITH (fillfactor = 80);

CREATE TABLE {schema}.events (
  position bigint PRIMARY KEY CHECK (position >= 1),
  stream bigint NOT NULL,
  sequence bigint NOT NULL CHECK (sequence >= 1),
  event_type text COLLATE "C" NOT NULL CHECK (octet_length(event_type) BETWEEN 1 AND 255),
  event_version int NOT NULL CHECK (event_version >= 1),
  payload json NOT NULL CHECK (octet_length(payload::text) <= 1048576),
  metadata json NOT NULL CHECK (octet_length(metadata::text) <= 65536),
  commit_id uuid NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (stream, sequence)
);
CREATE FUNCTION {schema}.refuse_change() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$;
CREATE TRIGGER events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema}.events
  FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_change();

CREATE TABLE {schema}.commands (
  command_id text COLLATE "C" CONSTRAINT commands_key PRIMARY KEY CHECK (octet_length(command_id) BETWEEN 1 AND 255),
  stream bigint NOT NULL,
  first_sequence bigint NOT NULL CHECK (first_sequence >= 1),
  last_sequence bigint NOT NULL CHECK (last_sequence >= first_sequence - 1),
  fingerprint text
);

CREATE TABLE {schema}.checkpoints (
  name text COLLATE "C" NOT NULL,
  version int NOT NULL,
  position bigint NOT NULL CHECK (position >= 0),
  commit_id uuid,
  recorded_at timestamptz,
  fencing_token bigint NOT NULL,
  owner text NOT NULL,
  lease_until timestamptz NOT NULL,
  lease_length interval NOT NULL,
  skipped bigint NOT NULL DEFAULT 0,
  replay_until bigint NOT NULL DEFAULT 0,
  live boolean NOT NULL DEFAULT false,
  paused boolean NOT NULL DEFAULT false,
  failed_position bigint,
  failed_attempts int,
  failed_reason text,
  failed_at timestamptz,
  stop_kind text,
  stop_reason text,
  PRIMARY KEY (name, version)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX one_version_is_live ON {schema}.checkpoints (name) WHERE live;

CREATE TABLE {schema}.parked (
  name text COLLATE "C" NOT NULL,
  version int NOT NULL,
  position bigint NOT NULL,
  last_position bigint NOT NULL,
  aggregate_type text COLLATE "C" NOT NULL,
  aggregate_id text COLLATE "C" NOT NULL,
  reason text NOT NULL,
  parked_at timestamptz NOT NULL,
  PRIMARY KEY (name, version, position)
);

CREATE TABLE {schema}.query_requests (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id uuid NOT NULL UNIQUE,
  name text COLLATE "C" NOT NULL,
  version int NOT NULL,
  action text NOT NULL,
  argument text NOT NULL,
  answered_at timestamptz,
  result bigint,
  error text,
  detail text
);
CREATE INDEX waiting_requests ON {schema}.query_requests (name, version) WHERE answered_at IS NULL;

CREATE TABLE {schema}.snapshots (
  stream bigint NOT NULL,
  state_version text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL CHECK (sequence >= 1),
  state_type text NOT NULL,
  payload json NOT NULL CHECK (octet_length(payload::text) <= 1048576),
  checksum bigint NOT NULL,
  taken_at timestamptz NOT NULL,
  commit_id uuid,
  recorded_at timestamptz,
  PRIMARY KEY (stream, state_version)
);

CREATE VIEW {schema}.event_log AS
  SELECT position, aggregate_type, aggregate_id, e.sequence, event_type, event_version, payload, metadata,
         recorded_at, commit_id
  FROM {schema}.events e JOIN {schema}.streams USING (stream)
  ORDER BY position;
"""
_OURS: Final = [
    *("head", "streams", "events", "commands", "checkpoints", "parked", "query_requests", "snapshots", "event_log"),
]
_TAKEN = "SELECT c.relname FROM pg_class c WHERE c.relnamespace = to_regnamespace($1) AND c.relname = ANY($2::text[])"
_IS_HEAD_OURS = """
SELECT count(*) = 2 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = to_regnamespace($1) AND c.relname = 'head' AND a.attname IN ('schema_version', 'position')
  AND NOT a.attisdropped
"""


def quoted(schema: str) -> str:
    """Return the name of a schema, quoted for SQL.

    Raises:
        InvalidArgument: It is not 1 to 41 of a to z, 0 to 9 and _, starting with a letter or _.
    """
    if not isinstance(schema, str) or not _NAME.match(schema):
        raise InvalidArgument("schema", f"must match [a-z_][a-z0-9_]{{0,40}}, got {schema!r}")
    return f'"{schema}"'


class SchemaConnection:
    """Run statements that write the store's schema as `{schema}`.

    The search path is not relied on, because a pooler may drop it, and another store's tables may be on it.
    """

    def __init__(self, connection: Connection, schema: str) -> None:
        """Wrap a connection, for a schema given as a quoted name."""
        self._connection = connection
        self._schema = schema

    async def execute(self, statement: str, *values: object) -> str:
        """Run a statement and return its status."""
        return await self._connection.execute(_named(statement, self._schema), *values)

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        """Run a statement and return its rows."""
        return await self._connection.fetch(_named(statement, self._schema), *values)

    async def fetchval(self, statement: str, *values: object) -> Any:  # noqa: ANN401 - a value of the database
        """Run a statement and return the first value of its first row."""
        return await self._connection.fetchval(_named(statement, self._schema), *values)

    def transaction(self) -> Transaction:
        """Return a transaction: committed at the end of `async with`, rolled back if anything is raised."""
        return self._connection.transaction()


@lru_cache(maxsize=256)
def _named(statement: str, schema: str) -> str:
    return statement.replace("{schema}", schema)


async def create_or_check(connection: Connection, schema: str, where: str) -> None:
    """Create the tables in a schema if they are missing, and check their version.

    Processes that do so concurrently wait for each other; otherwise some would get errors from the system catalogue.

    Args:
        connection: A connection.
        schema: Its name, quoted.
        where: The database, for error messages.

    Raises:
        SchemaTooNew: A newer version of the library wrote them.
        StoreUnusable: There are tables of these names not created by eventree, or the store is damaged.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = 0")  # others may take long to create them
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"eventree {schema}")
        if not await _check_owner(connection, schema, where):
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            await connection.execute(_named(_TABLES, schema))
        await _check_version(connection, schema, where)


async def check(connection: Connection, schema: str, where: str) -> None:
    """Check that the tables in a schema are those of this version, without changing anything.

    Args:
        connection: A connection.
        schema: Its name, quoted.
        where: The database, for error messages.

    Raises:
        SchemaTooNew: A newer version of the library wrote them.
        StoreUnusable: They are missing, of an older version, or not created by eventree, or the store is damaged.
    """
    if not await _check_owner(connection, schema, where):
        raise StoreUnusable(
            where, f"schema {schema} has no tables of eventree; open it once without read_only, which creates them"
        )
    version = await _check_version(connection, schema, where)
    if version < SCHEMA_VERSION:
        raise StoreUnusable(
            where,
            f"the version of schema {schema} is {version}, this eventree needs {SCHEMA_VERSION}; "
            "open it once without read_only, which migrates it",
        )


async def _check_owner(connection: Connection, schema: str, where: str) -> bool:
    """Return whether our tables exist; raise if they are not ours."""
    taken = await connection.fetch(_TAKEN, schema, _OURS)
    if taken and not await connection.fetchval(_IS_HEAD_OURS, schema):
        names = ", ".join(sorted(name for (name,) in taken))
        raise StoreUnusable(
            where, f"schema {schema} already has tables not created by eventree ({names}); use another schema"
        )
    return bool(taken)


async def _check_version(connection: Connection, schema: str, where: str) -> int:
    """Return the version of the schema; raise if it is newer than this library, or lost."""
    version = await connection.fetchval(f"SELECT schema_version FROM {schema}.head")  # noqa: S608 - quoted
    if version is None:
        raise StoreUnusable(where, f"the table head of schema {schema} has lost its row; restore a backup")
    if version > SCHEMA_VERSION:
        raise SchemaTooNew(where, version, SCHEMA_VERSION)
    return int(version)
