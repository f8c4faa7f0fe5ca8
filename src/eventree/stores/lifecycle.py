"""The lifecycle of a store: the first entry opens it, the last exit closes it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

from eventree.loops import Home


async def _do_nothing() -> None:
    """Open or close a store that holds nothing open."""


class Lifecycle:
    """Count the entries of a store to open and close it once; opening and closing never overlap.

    From its first entry to its last exit a store belongs to one event loop; after that, another one may enter it.
    """

    def __init__(
        self,
        store: object,
        open_: Callable[[], Awaitable[None]] = _do_nothing,
        close: Callable[[], Awaitable[None]] = _do_nothing,
    ) -> None:
        """Create the lifecycle of a closed store.

        Args:
            store: The store, for errors.
            open_: Opens the store; default does nothing.
            close: Closes it; also cleans up after an `open_` that failed. Default does nothing.
        """
        self._store = store
        self._open = open_
        self._close = close
        self._users = 0
        self._entries = 0  # users, and those who wait for the store to be opened
        self._home: Home | None = None
        self._lock = asyncio.Lock()
        self._arrival = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the store is open."""
        return self._users > 0

    def check_loop(self) -> None:
        """Raise `WrongEventLoop` if the store was entered in another event loop or process than the caller's."""
        if self._home is not None:
            self._home.check(self._store)

    async def enter(self) -> None:
        """Count an entry; the first one opens the store.

        Raises:
            WrongEventLoop: The store was entered in another event loop and not left yet.
        """
        self._arrive()
        try:
            async with self._lock:
                if not self._users:
                    await self._open_or_clean_up()
                self._users += 1
        except BaseException:
            self._depart()
            raise

    async def leave(self, error: BaseException | None = None) -> None:
        """Count an exit; the last one closes the store.

        Args:
            error: The exception that ends the block; default none. In a forked process it passes on, and the store is
                left to the process that has entered it.

        Raises:
            WrongEventLoop: The store was entered in another event loop.
        """
        if self._home is not None and self._home.passes_on(error):
            return
        self.check_loop()
        async with self._lock:
            self._users -= 1
            try:
                if not self._users:
                    await self._close()
            finally:
                self._depart()

    async def _open_or_clean_up(self) -> None:
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise

    def _arrive(self) -> None:
        with self._arrival:  # two threads may come at once
            if self._home is None:
                self._home = Home()
                self._lock = asyncio.Lock()  # a lock serves one event loop only
            self._home.check(self._store)
            self._entries += 1

    def _depart(self) -> None:
        self._entries -= 1
        if not self._entries:
            self._home = None
