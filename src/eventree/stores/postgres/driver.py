"""Types for the parts of asyncpg in use, and the translation of its errors."""

import configparser
from collections.abc import Callable, Mapping
from traceback import walk_tb
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from eventree.errors import (
    EventreeError,
    EventStoreError,
    StatementOutdated,
    StoreBusy,
    StoreFull,
    StoreUnavailable,
    StoreUnusable,
    TransactionFailed,
)
from eventree.errors.root import causes

Row: TypeAlias = tuple[Any, ...]
"""A row of a result: the driver's own class, used by position only."""


class Transaction(Protocol):
    """A transaction that commits at the end of `async with`, or rolls back if anything is raised."""

    async def start(self) -> None: ...
    async def commit(self) -> None: ...
    async def rollback(self) -> None: ...
    async def __aenter__(self) -> object: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> object: ...


class Connection(Protocol):
    """The methods of an asyncpg connection that are used here."""

    async def execute(self, query: str, *values: object) -> str: ...
    async def fetch(self, query: str, *values: object) -> list[Row]: ...
    async def fetchval(self, query: str, *values: object) -> Any: ...  # noqa: ANN401 - a value of the database
    def transaction(self) -> Transaction: ...
    def is_in_transaction(self) -> bool: ...
    def is_closed(self) -> bool: ...
    def terminate(self) -> None: ...
    def get_server_pid(self) -> int: ...
    async def close(self, *, timeout: float) -> None: ...
    async def add_listener(self, channel: str, callback: Callable[[object, int, str, object], None]) -> None: ...
    def add_log_listener(self, callback: Callable[["Connection", Any], None]) -> None: ...
    def add_termination_listener(self, callback: Callable[[object], None]) -> None: ...


class ConnectionLost(StoreUnavailable):
    """The connection was lost during a statement, which may have been executed."""


class SessionChanged(Exception):
    """A session has lost the settings of the store; nothing was stored."""


DRIVER_ERRORS: Final[tuple[type[Exception], ...]] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # a timeout too
    EOFError,
)
"""All errors that the driver raises."""

# Codes and prefixes of https://www.postgresql.org/docs/current/errcodes-appendix.html; the first match counts.
_LOST = ("08", "57P", "25P03", "25P04")  # connection exceptions; shutdown, crash, starting up; transaction timeouts
_UNAVAILABLE = (
    "53300",
    "53200",
    "58030",
    "25006",
)  # too many connections, out of memory, I/O error, read-only (a failover)
_BUSY = ("55P03", "57014", "40001", "40P01")  # lock not available, query cancelled, serialization failure, deadlock
_FULL = ("53100",)
_VALUES = "22"  # data exceptions, some of them the driver's own
_NOT_ALLOWED = ("28", "3D", "3F", "42501", "XX001", "XX002")  # login, database, schema, privilege; corruption
_ANOTHER_SESSION = ("26000", "42P05")  # a prepared statement that is missing, or there already
_FINAL = ("42", "22", "0A")  # at connecting: settings of the DSN or the role that the server does not take
_FINAL_WORDS = (
    "unsupported startup parameter",
    "no such database",
    "pooling mode",
)  # of poolers, in 08P01 like all else
_MEANING: Final[tuple[tuple[tuple[str, ...], type[EventStoreError], str], ...]] = (
    (_LOST, ConnectionLost, "was lost during a statement"),
    (_UNAVAILABLE, StoreUnavailable, "cannot work now; nothing was stored"),
    (_BUSY, StoreBusy, "was busy for too long; nothing was stored, try again"),
    (_FULL, StoreFull, "has a full disk; nothing was stored, free space and try again"),
)


_OUTDATED: Final = (asyncpg.InvalidCachedStatementError, asyncpg.exceptions.OutdatedSchemaCacheError)
"""The driver's errors about statements and types that it knows from before a table or type was altered."""


def outdated(error: BaseException, where: str) -> StatementOutdated | None:
    """Return the error for a statement that was prepared before a table was altered, if that is the cause."""
    if isinstance(error, EventreeError) or not any(isinstance(cause, _OUTDATED) for cause in causes(error)):
        return None
    return StatementOutdated(f"{where} has altered a table since a statement was prepared; nothing was stored")


def translate(error: BaseException, where: str) -> EventStoreError:
    """Translate an error of the driver into a store error.

    Details are removed from the driver's error itself, because they contain stored values; so are messages about
    invalid values.
    """
    if isinstance(error, asyncpg.ClientConfigurationError):
        return StoreUnusable(where, f"{error_text(error)}; check the DSN, and the files and variables of libpq")
    if isinstance(error, asyncpg.InternalClientError):  # its words are about the driver's own state
        return ConnectionLost(f"{where} was lost during a statement")
    if not isinstance(error, asyncpg.PostgresError):
        return ConnectionLost(f"{where} was lost during a statement ({error_text(error)})")
    cast("Any", error).detail = None
    code = _code(error)
    if code.startswith(_VALUES):
        error.args, error.__cause__, error.__context__ = ("a value that it cannot take",), None, None
    if code in _ANOTHER_SESSION or "pooling mode" in str(error):
        return pooled(where, error_text(error).partition("\n")[0])  # without the driver's advice
    for codes, kind, meaning in _MEANING:
        if code.startswith(codes):
            return kind(f"{where} {meaning} ({error_text(error)})")
    if code.startswith(_NOT_ALLOWED):
        return StoreUnusable(where, f"{error_text(error)}; may this user read and write the schema?")
    return TransactionFailed(f"{where} refused a statement ({error_text(error)}); nothing was stored")


def pooled(where: str, found: str) -> StoreUnusable:
    """Return the error for a pooler that does not keep sessions, given what shows it."""
    return StoreUnusable(
        where,
        f"a pooler shares its server processes between sessions ({found}), so the settings that make commits safe get "
        "lost; connect directly, or set the pooler to session mode",
    )


def translate_refusal(error: Exception, where: str) -> EventStoreError:
    """Translate an error of connecting: `StoreUnusable` if it would never pass by itself."""
    failure = translate(error, where)
    if isinstance(failure, StoreUnusable):
        return failure
    words = error_text(error)
    if isinstance(error, PermissionError) and error.filename is not None:
        return StoreUnusable(
            where, f"{words}; the driver looks for certificates there, so let this user read it, or change HOME"
        )
    if isinstance(error, asyncpg.PostgresError) and (
        _code(error).startswith(_FINAL) or any(part in words for part in _FINAL_WORDS)
    ):
        return StoreUnusable(where, f"{words}; check the options of the DSN, or connect directly, not through a pooler")
    return StoreUnavailable(f"{where} cannot be reached ({words}); nothing was stored")


def is_transient(error: BaseException, connection: Connection) -> bool:
    """Return whether a user's statement failed with a transient error, or the error was raised because one did.

    A timeout is transient too: what the statement waited for, perhaps a lock, says nothing about the statement.
    """
    if isinstance(error, EventreeError):
        return False
    return connection.is_closed() or any(map(_is_transient, causes(error)))


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return _code(error).startswith((*_LOST, *_UNAVAILABLE, *_BUSY, *_FULL))
    return isinstance(error, TimeoutError) and _was_raised_in_driver(error)


def _was_raised_in_driver(error: BaseException) -> bool:
    """Return whether a timeout is the driver's, and not that of something else that the user's function waits for."""
    frames = walk_tb(error.__traceback__)
    return any(str(frame.f_globals.get("__name__")).partition(".")[0] == "asyncpg" for frame, _ in frames)


def violates(error: Exception, constraint: str) -> bool:
    """Return whether a statement violated this constraint."""
    return cast("Any", error).constraint_name == constraint if isinstance(error, asyncpg.PostgresError) else False


def is_not_offered(error: Exception) -> bool:
    """Return whether the server lacks a function, or does not let this user call it."""
    return isinstance(error, asyncpg.PostgresError) and _code(error).startswith(("42", "0A", "55"))


def is_not_supported(error: Exception) -> bool:
    """Return whether the server does not support a feature, in general or while it is a replica."""
    return isinstance(error, asyncpg.PostgresError) and _code(error).startswith(("0A", "25006"))


async def connect(dsn: str, *, timeout: float, command_timeout: float, settings: Mapping[str, str]) -> Connection:
    """Return a new connection.

    Args:
        dsn: The address.
        timeout: How long connecting may take, in seconds.
        command_timeout: How long each statement may take, in seconds.
        settings: The settings of the session.

    Raises:
        ClientConfigurationError: The driver cannot parse the DSN, or the files and variables of libpq.
    """
    open_: Any = asyncpg.connect  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    try:
        connection = await open_(dsn, timeout=timeout, command_timeout=command_timeout, server_settings=dict(settings))
    except DRIVER_ERRORS:
        raise
    except (ValueError, LookupError, ArithmeticError, configparser.Error) as error:
        raise asyncpg.ClientConfigurationError(f"the driver cannot read it ({type(error).__name__})") from None
    return cast("Connection", connection)


def _code(error: BaseException) -> str:
    return str(cast("Any", error).sqlstate or "")


def error_text(error: BaseException) -> str:
    """Return the class of an error and its words."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
