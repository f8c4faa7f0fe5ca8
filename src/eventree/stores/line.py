"""The line of writers: a lock that is granted in the order in which it was asked for."""

import asyncio
from collections import deque


class Line:
    """A lock for which a caller can take a place now, to wait for it later or in another task.

    `asyncio.Lock` is as fair, but its place is that of the task which waits.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._places: deque[asyncio.Future[None]] = deque()  # the first one has the lock

    @property
    def is_empty(self) -> bool:
        """Whether the lock is free, and no place waits for it."""
        return not self._places

    def enter(self) -> asyncio.Future[None]:
        """Return a place at the end, which is done as soon as it has the lock; `leave` must follow."""
        place = asyncio.get_running_loop().create_future()
        self._places.append(place)
        if len(self._places) == 1:
            place.set_result(None)
        return place

    async def reach(self, place: asyncio.Future[None], within: float | None) -> bool:
        """Wait until a place has the lock; return whether it was in time.

        Args:
            place: The place.
            within: How long to wait, in seconds; None for without limit.
        """
        try:
            async with asyncio.timeout(within):
                await place
        except TimeoutError:
            return False
        return True

    def leave(self, place: asyncio.Future[None]) -> None:
        """Release the lock, or give up a place that waits for it; left again, a place does nothing."""
        if place not in self._places:
            return
        had_lock = self._places[0] is place
        self._places.remove(place)
        if had_lock and self._places and not self._places[0].done():
            self._places[0].set_result(None)

    def is_last(self, place: asyncio.Future[None]) -> bool:
        """Return whether no place comes after this one."""
        return bool(self._places) and self._places[-1] is place

    async def __aenter__(self) -> None:
        place = self.enter()
        try:
            await place
        except BaseException:
            self.leave(place)
            raise

    async def __aexit__(self, *_: object) -> None:
        self.leave(self._places[0])
