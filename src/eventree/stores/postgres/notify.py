"""Hints between processes: NOTIFY after a commit, LISTEN for those of others; polling is the guarantee."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context

from eventree.errors import EventStoreError, StoreUnavailable
from eventree.stores.postgres.connections import close
from eventree.stores.postgres.driver import DRIVER_ERRORS, Connection, is_not_supported

logger = logging.getLogger("eventree")

_NOTIFY = "SELECT pg_notify($1, $2)"
_PAUSE = 1.0
_TOO_LONG = 20  # a position has 19 digits at most


class CommitNotifier:
    """Tell other processes of commits and hear of theirs, on a connection of its own.

    Notifying is a transaction of its own after the append: inside of it, it would make all commits of the server wait
    for each other. Commits that follow each other closely share one notification.
    """

    def __init__(
        self, channel: str, connect: Callable[[], Awaitable[Connection]], notify: Callable[[int], None]
    ) -> None:
        """Connect to nothing yet.

        Args:
            channel: The name of the channel, which only stores on the same schema share.
            connect: Returns a new connection.
            notify: Called with the newest position that others have committed.
        """
        self._channel = channel
        self._connect = connect
        self._notify = notify
        self._newest = self._told = 0
        self._wake = asyncio.Event()
        # In a context of its own: it outlives whatever is being done where it was made.
        self._task = asyncio.create_task(self._run(), name=f"notifier of {channel}", context=Context())

    def committed(self, position: int) -> None:
        """Tell other processes of a position soon."""
        self._newest = max(self._newest, position)
        self._wake.set()

    async def close(self) -> None:
        """Stop listening; a hint that waits is sent by nobody, as others look by themselves."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await self._work()
            except StoreUnavailable:
                await asyncio.sleep(_PAUSE)
            except EventStoreError as error:
                logger.warning("no hints between processes, queries find new events by polling: %s", error)
                break
            except DRIVER_ERRORS as error:
                if is_not_supported(error):
                    break
                await asyncio.sleep(_PAUSE)

    async def _work(self) -> None:
        connection = await self._connect()
        try:
            connection.add_termination_listener(lambda _: self._wake.set())
            own = connection.get_server_pid()
            await connection.add_listener(self._channel, lambda _, process, __, text: self._heard(process == own, text))
            while not connection.is_closed():
                if self._newest == self._told:
                    await self._wake.wait()
                    self._wake.clear()
                else:
                    newest = self._newest
                    await connection.execute(_NOTIFY, self._channel, str(newest))
                    self._told = newest
        finally:
            with contextlib.suppress(*DRIVER_ERRORS):
                await close(connection)

    def _heard(self, is_own: bool, text: object) -> None:  # noqa: FBT001 - a callback
        """Pass on what another process said; our own commits were told already."""
        if not is_own and isinstance(text, str) and len(text) < _TOO_LONG and text.isdecimal():
            self._notify(int(text))
