"""Commit hints between processes by NOTIFY and LISTEN; they may get lost, so queries also poll."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Collection
from contextvars import Context
from typing import Annotated, Final, TypeAlias

import msgspec

from eventree.backoff import Backoff
from eventree.errors import EventStoreError, StoreUnavailable
from eventree.stores.checked import MAX_NUMBER
from eventree.stores.postgres.connections import close
from eventree.stores.postgres.driver import DRIVER_ERRORS, Connection, is_not_supported

logger = logging.getLogger("eventree")

_Position: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]
_decode: Final = msgspec.json.Decoder(tuple[_Position, list[str] | None]).decode

_OWN_PROCESS = "SELECT pg_backend_pid()"
_NOTIFY = "SELECT pg_notify($1, $2)"
_RECONNECT = Backoff(initial=1.0, maximum=1.0, jitter=0)
_TOO_LONG = 20  # a position has at most 19 digits
_MAX_TEXT = 7_000  # the server's limit is 8,000 bytes, and as JSON is ASCII here


class CommitNotifier:
    """Announce commits to other processes and listen for theirs, on a separate connection.

    NOTIFY runs in its own transaction after the append; within the append it would serialize all commits of the
    server. Commits in quick succession share one notification.
    """

    def __init__(
        self,
        channel: str,
        connect: Callable[[], Awaitable[Connection]],
        notify: Callable[[int, Collection[str] | None], None],
    ) -> None:
        """Start connecting in the background.

        Args:
            channel: The name of the channel, shared only by stores on the same schema.
            connect: Returns a new connection.
            notify: Called with the newest position committed by another process, and the aggregate types of its events;
                None if they are unknown.
        """
        self._channel = channel
        self._connect = connect
        self._notify = notify
        self._newest = self._announced = 0
        self._types: set[str] = set()
        self._wake = asyncio.Event()
        # The task gets a new context, as it outlives the work in whose context it is created.
        self._task = asyncio.create_task(self._run(), name=f"notifier of {channel}", context=Context())

    def announce(self, position: int, types: Collection[str]) -> None:
        """Announce a position, and the aggregate types of the events up to it, to other processes soon."""
        self._newest = max(self._newest, position)
        self._types.update(types)
        self._wake.set()

    async def close(self) -> None:
        """Stop listening; a pending announcement is dropped, as other processes poll anyway."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await self._work()
            except StoreUnavailable:
                await asyncio.sleep(_RECONNECT.delay(1))
            except EventStoreError as error:
                logger.warning(
                    "commit notifications do not work, so queries find events of other processes by polling: %s", error
                )
                break
            except DRIVER_ERRORS as error:
                if is_not_supported(error):
                    break
                await asyncio.sleep(_RECONNECT.delay(1))

    async def _work(self) -> None:
        connection = await self._connect()
        try:
            connection.add_termination_listener(lambda _: self._wake.set())
            own = await connection.fetchval(_OWN_PROCESS)  # the driver knows the process that a pooler pretends to be
            await connection.add_listener(
                self._channel, lambda _, process, __, text: self._on_notification(process == own, text)
            )
            while not connection.is_closed():
                if self._newest == self._announced:
                    await self._wake.wait()
                    self._wake.clear()
                else:
                    await self._send(connection)
        finally:
            with contextlib.suppress(*DRIVER_ERRORS):
                await close(connection)

    async def _send(self, connection: Connection) -> None:
        newest, types = self._newest, self._types
        self._types = set()
        try:
            await connection.execute(_NOTIFY, self._channel, _text_of(newest, types))
        except BaseException:
            self._types |= types
            raise
        self._announced = newest

    def _on_notification(self, is_own: bool, text: object) -> None:  # noqa: FBT001 - a callback
        """Pass on a commit of another process; listeners already know those of this one."""
        if is_own or not isinstance(text, str):
            return
        if len(text) < _TOO_LONG and text.isdecimal():
            self._notify(int(text), None)
        with contextlib.suppress(msgspec.MsgspecError):  # anyone may send anything on the channel
            self._notify(*_decode(text))


def _text_of(position: int, types: Collection[str]) -> str:
    """Return a notification as JSON; without the types if they are too long."""
    text = json.dumps([position, sorted(types)])
    return text if len(text) <= _MAX_TEXT else json.dumps([position, None])
