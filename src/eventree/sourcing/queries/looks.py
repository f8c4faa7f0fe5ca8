"""Look whether the log of a store goes on: once for all queries that wait at its end."""

import asyncio
from math import inf
from typing import Final
from weakref import WeakKeyDictionary

from eventree.errors import EventStoreError
from eventree.stores.contract import CommitStamp, EventStore


class SharedLook:
    """Look once for all queries that ask at about the same time, and share the answer."""

    def __init__(self) -> None:
        """Start without having looked."""
        self.loop: Final = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._since = -inf
        self._seen: tuple[int, CommitStamp | None] = (0, None)
        self._error: EventStoreError | None = None

    async def at(self, store: EventStore, position: int, stamp: CommitStamp | None, since: float) -> tuple[int, float]:
        """Look whether the log goes on after a position.

        Args:
            store: The store.
            position: The position.
            stamp: The stamp of the event there; None if it is unknown.
            since: The answer must have been asked for after this time, on the event loop's clock.

        Returns:
            A later position of the log, or the same if there is none, and the time when that was asked for.

        Raises:
            LogRolledBack: Another event is there, or the log ends before it.
            EventStoreError: The store could not be read.
        """
        async with self._lock:
            if self._since <= since or not (self._seen[0] > position or self._seen == (position, stamp)):
                await self._ask(store, position, stamp)
            if self._error is not None:
                raise self._error
            return self._seen[0], self._since

    async def _ask(self, store: EventStore, position: int, stamp: CommitStamp | None) -> None:
        asked, error = self.loop.time(), None
        seen = position, stamp
        try:
            page = await store.read(position, 1, (), live=True, after_stamp=stamp)
        except EventStoreError as failure:
            error = failure
        else:
            seen = (page.position, page.stamp) if page.position > position else seen
        self._since, self._seen, self._error = asked, seen, error


_shared: Final[WeakKeyDictionary[EventStore, SharedLook]] = WeakKeyDictionary()


def shared_look(store: EventStore) -> SharedLook:
    """Return what the queries of a store in the running event loop share; if it allows no weak reference, a new one."""
    try:
        look = _shared.get(store)
        if look is None or look.loop is not asyncio.get_running_loop():
            look = _shared[store] = SharedLook()
    except TypeError:
        return SharedLook()
    return look
