"""The identity of a server: a store must not go on with another database, or with a primary that was replaced."""

from typing import Final

from eventree.errors import StoreUnavailable, StoreUnusable
from eventree.stores.postgres.driver import DRIVER_ERRORS, Connection, is_not_offered

# The control file would name the timeline of the last checkpoint, which may be older than that of a new primary.
_IDENTITY: Final = "SELECT system_identifier, pg_walfile_name(pg_current_wal_lsn()) FROM pg_control_system()"


class KnownServer:
    """Remember the system identifier and the newest timeline of the servers that a store has written to."""

    def __init__(self) -> None:
        """Start without knowing any server."""
        self._system: int | None = None
        self._timeline = 0

    async def check(self, connection: Connection, where: str) -> None:
        """Check the server of a connection that writes; one that does not tell its identity passes.

        Raises:
            StoreUnusable: It is another database system.
            StoreUnavailable: Its timeline is older than one seen before, so another server has replaced it.
        """
        try:
            [(system, file)] = await connection.fetch(_IDENTITY)
        except DRIVER_ERRORS as error:
            if is_not_offered(error):
                return
            raise
        self._compare(int(system), int(file[:8], 16), where)

    def _compare(self, system: int, timeline: int, where: str) -> None:
        if self._system not in (None, system):
            raise StoreUnusable(
                where,
                f"its system identifier is {system}, but this store has worked with {self._system}: another database "
                "system answers at this address; if that is meant, restart the program",
            )
        if timeline < self._timeline:
            raise StoreUnavailable(
                f"{where} is an old primary: its timeline is {timeline}, but this store has seen {self._timeline}; "
                "nothing was stored"
            )
        self._system, self._timeline = system, timeline
