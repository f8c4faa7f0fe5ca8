"""Who uses a store: the first one in opens it, the last one out closes it."""

import asyncio
from collections.abc import Awaitable, Callable


class Lifecycle:
    """Count the users of a store; one at a time may open or close it."""

    def __init__(self, open_: Callable[[], Awaitable[None]], close: Callable[[], Awaitable[None]]) -> None:
        """Remember how the store is opened and closed; `close` also clears up after an `open_` that failed."""
        self._open = open_
        self._close = close
        self._users = 0
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    @property
    def is_open(self) -> bool:
        """Whether anybody uses the store."""
        return self._users > 0

    async def enter(self) -> None:
        """Open the store for its first user, and count."""
        async with self._lock_of_this_loop():
            if not self._users:
                try:
                    await self._open()
                except BaseException:
                    await self._close()
                    raise
            self._users += 1

    async def leave(self) -> None:
        """Close the store behind its last user."""
        async with self._lock_of_this_loop():
            self._users -= 1
            if not self._users:
                await self._close()

    def _lock_of_this_loop(self) -> asyncio.Lock:
        """Return a lock of the running loop: it belongs to one loop, a store to one after the other."""
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = loop, asyncio.Lock()
        return self._lock[1]
