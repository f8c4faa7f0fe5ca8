"""Synchronous standbys: what only the primary has is no answer yet, as a failover would lose it."""

from typing import Final, Protocol

from eventree.errors import CommitOutcomeUnknown
from eventree.stores.postgres.driver import DRIVER_ERRORS
from eventree.stores.postgres.schema import SchemaConnection

IS_AWAITED: Final = (
    "current_setting('synchronous_standby_names', true) <> '' AND current_setting('transaction_read_only') = 'off'"
)
"""SQL: whether commits wait for a standby, and this session may commit."""

_COMMIT: Final = "UPDATE {schema}.head SET position = position WHERE id"


class LogMessage(Protocol):
    """The field of a server's message that is used here, since it is in no language."""

    server_source_filename: str | None


class NotReplicated(Exception):
    """A commit is stored by the primary, but no synchronous standby has confirmed it."""


def unconfirmed(where: str) -> CommitOutcomeUnknown:
    """Return the error for a commit that no synchronous standby has confirmed."""
    return CommitOutcomeUnknown(
        f"{where} has committed, but its synchronous standby has not confirmed it, so a failover may lose it; "
        "send the command again with the same command_id"
    )


def tells_of_unconfirmed_commit(message: LogMessage) -> bool:
    """Return whether a server warns that it no longer waits for a standby, after which a commit counts as done."""
    return (message.server_source_filename or "").endswith("syncrep.c")


async def wait_for_standby(db: SchemaConnection) -> None:
    """Commit something that changes nothing, which waits until a standby has everything committed before.

    An earlier commit need not have been waited for: the wait may have been cancelled, or have ended with the server.

    Raises:
        NotReplicated: It failed, or took too long.
    """
    try:
        await db.fetch(_COMMIT)
    except DRIVER_ERRORS as error:
        raise NotReplicated from error
