"""The head of each store, read once for all queries that look whether its log has grown."""

import asyncio
from math import inf
from typing import Final
from weakref import WeakKeyDictionary

from eventree.errors import EventStoreError
from eventree.stores.contract import EventStore


class SharedHead:
    """Read the head of a store for whoever needs it first; others who look at about the same time share the answer."""

    def __init__(self) -> None:
        """Start without having looked."""
        self.loop: Final = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._since = -inf
        self._head = 0
        self._error: EventStoreError | None = None

    async def after(self, since: float, store: EventStore) -> tuple[int, float]:
        """Return the head of the store as it was at some moment after a time.

        Args:
            since: The time, on the event loop's clock.
            store: The store.

        Returns:
            The head, and a time since when it was asked for.

        Raises:
            EventStoreError: The store could not be read.
        """
        async with self._lock:
            if self._since <= since:
                asked = self.loop.time()
                self._error = None
                try:
                    self._head = await store.head()
                except EventStoreError as error:
                    self._error = error
                self._since = asked
            if self._error is not None:
                raise self._error
            return self._head, self._since


_shared: Final[WeakKeyDictionary[EventStore, SharedHead]] = WeakKeyDictionary()


def shared_head(store: EventStore) -> SharedHead:
    """Return what the queries of a store in the running event loop share; if it allows no weak reference, a new one."""
    try:
        head = _shared.get(store)
        if head is None or head.loop is not asyncio.get_running_loop():
            head = _shared[store] = SharedHead()
    except TypeError:
        return SharedHead()
    return head
