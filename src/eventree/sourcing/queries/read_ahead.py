"""The next page of the log, read while this one is handed over."""

import asyncio
from collections.abc import Sequence

from eventree.stores.contract import EventStore, LogPage


class ReadAhead:
    """Read pages of the log, one of them before it is asked for."""

    def __init__(self, store: EventStore, types: Sequence[str]) -> None:
        """Name the log, and the aggregate types whose events are read."""
        self._store = store
        self._types = types
        self._place = (0, 0)
        self._task: asyncio.Task[LogPage] | None = None

    def begin(self, after: int, limit: int) -> None:
        """Begin to read a page that is going to be asked for."""
        self.cancel()
        self._place = (after, limit)
        self._task = asyncio.create_task(self._read(after, limit), name="eventree read ahead")
        self._task.add_done_callback(_look_at)

    async def take(self, after: int, limit: int) -> LogPage:
        """Return a page: the one that is being read, if it is that one."""
        task, self._task = self._task, None
        if task is None or self._place != (after, limit):
            if task is not None:
                task.cancel()
            return await self._read(after, limit)
        try:
            return await task
        finally:
            task.cancel()

    def cancel(self) -> None:
        """Forget what is being read."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _read(self, after: int, limit: int) -> LogPage:
        return await self._store.read(after, limit, self._types)


def _look_at(task: "asyncio.Task[LogPage]") -> None:
    """Look at how a task ended, as perhaps nobody else does."""
    if not task.cancelled():
        task.exception()
