"""The settings of each session, made after connecting, and the checks that a server is fit and keeps them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from eventree.errors import StoreUnavailable, StoreUnusable
from eventree.stores.postgres.driver import Connection, SessionChanged
from eventree.stores.postgres.identity import KnownServer

_MAX_MILLISECONDS = 2**31 - 1
"""The highest timeout that Postgres accepts."""

_ENCODINGS: Final = ("UTF8", "SQL_ASCII")
"""Encodings of a database that keep every text: the second one stores bytes as they come."""

# Plans are cached while tables grow, and a plan made for ten rows must not be used for a million. Every statement of
# the store finds its rows by an index, so other kinds of plan are disabled.
_CHECK: Final = """
SELECT current_setting('eventree.session', true), current_setting('server_encoding'), pg_is_in_recovery(),
  current_setting('fsync') = 'on',
  CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
       THEN set_config('synchronous_commit', 'on', false) END,
  (SELECT count(set_config(name, 'off', false)) FROM pg_settings
   WHERE $1 AND name IN ('jit', 'enable_seqscan', 'enable_mergejoin'))
"""
_MARKER: Final = "SELECT current_setting('eventree.session', true)"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the statements of a session may take.

    Attributes:
        statement: For a statement, in seconds.
        lock: For each lock that it waits for, in seconds; default None: as long as the role's settings allow.
    """

    statement: float
    lock: float | None = None


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Make and check the settings of sessions.

    They are made by statements, because poolers refuse or drop settings that come with the connection.

    Attributes:
        server: The server that the store has written to.
        where: The database, for messages.
        schema: The schema, as a quoted name; None for connections that run users' statements.
        timeouts: How long statements may take.
        read_only: Whether the session only reads.
        marker: The value of the setting `eventree.session`, by which a statement knows that it runs in such a session.
    """

    server: KnownServer
    where: str
    schema: str | None
    timeouts: Timeouts
    read_only: bool
    marker: str = field(default_factory=lambda: uuid4().hex)

    def at_startup(self, options: Collection[str]) -> Mapping[str, str]:
        """Return what must come with the connection: a timeout that replaces one of the DSN, which may be too short."""
        return {"statement_timeout": self._milliseconds} if "statement_timeout" in options else {}

    async def apply(self, connection: Connection) -> None:
        """Make the settings, then check that the server keeps them, and that it is fit for a store.

        Raises:
            StoreUnavailable: It is a replica, or a primary that was replaced.
            StoreUnusable: Commits would not be durable, or not all text can be stored, or it is another server.
            SessionChanged: The settings are gone.
        """
        await connection.execute(self._script())
        [(marker, encoding, is_replica, syncs, *_)] = await connection.fetch(_CHECK, self.schema is not None)
        if marker != self.marker:
            raise SessionChanged
        if encoding not in _ENCODINGS:
            raise StoreUnusable(
                self.where,
                f"its encoding is {encoding}, which cannot store every id and payload; "
                "create the database with ENCODING 'UTF8' TEMPLATE template0",
            )
        if self.read_only:
            return
        if is_replica:
            raise StoreUnavailable(f"{self.where} is a replica now; commands need the primary")
        if not syncs:
            raise StoreUnusable(self.where, "its fsync is off, so commits would not be durable; turn it on")
        await self.server.check(connection, self.where)

    async def check(self, connection: Connection) -> None:
        """Check that a connection has its settings still; raise `SessionChanged` if it has not."""
        if await connection.fetchval(_MARKER) != self.marker:
            raise SessionChanged

    @property
    def _milliseconds(self) -> str:
        return _milliseconds(self.timeouts.statement)

    def _script(self) -> str:
        settings = {
            "application_name": "eventree",
            "client_encoding": "UTF8",
            "default_transaction_isolation": "read committed",  # appends depend on it, whatever the role's default
            "idle_in_transaction_session_timeout": self._milliseconds,
            "eventree.session": self.marker,
        }
        if self.schema is not None:
            settings["search_path"] = self.schema  # for triggers of others on our tables: no statement relies on it
        if self.timeouts.lock is not None:
            settings["lock_timeout"] = _milliseconds(self.timeouts.lock)
        if self.read_only:
            settings["default_transaction_read_only"] = "on"
        calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
        # The timeout comes first, so that one of the role cannot end the rest.
        return f"SET statement_timeout = {self._milliseconds}; SELECT {calls}"


def _milliseconds(seconds: float) -> str:
    return str(max(1, int(min(seconds * 1000, _MAX_MILLISECONDS))))  # 0 would mean no limit
