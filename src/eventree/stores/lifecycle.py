"""The lifecycle of a store: the first entry opens it, the last exit closes it."""

import asyncio
from collections.abc import Awaitable, Callable


class Lifecycle:
    """Count the entries of a store to open and close it once; opening and closing never overlap."""

    def __init__(self, open_: Callable[[], Awaitable[None]], close: Callable[[], Awaitable[None]]) -> None:
        """Create the lifecycle of a closed store.

        Args:
            open_: Opens the store.
            close: Closes it; also cleans up after an `open_` that failed.
        """
        self._open = open_
        self._close = close
        self._users = 0
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the store is open."""
        return self._users > 0

    async def enter(self) -> None:
        """Count an entry; the first one opens the store."""
        async with self._lock_of_this_loop():
            if not self._users:
                try:
                    await self._open()
                except BaseException:
                    await self._close()
                    raise
            self._users += 1

    async def leave(self) -> None:
        """Count an exit; the last one closes the store."""
        async with self._lock_of_this_loop():
            self._users -= 1
            if not self._users:
                await self._close()

    def _lock_of_this_loop(self) -> asyncio.Lock:
        """Return a lock for the running loop: several loops may use a store in turn, but not a lock."""
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = loop, asyncio.Lock()
        return self._lock[1]
