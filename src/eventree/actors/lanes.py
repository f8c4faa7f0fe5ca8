"""Who may work on which child of a supervisor: one job at a time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from eventree.actors.orders import AnyChild


class Lanes:
    """Let jobs on the same child, or on all, take turns in the order they came."""

    def __init__(self) -> None:
        """Begin with all lanes free."""
        self._entrance = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def of(self, child: AnyChild) -> AsyncGenerator[None, None]:
        """Wait for the lane of one child, and hold it."""
        async with self._entrance:
            self._inside += 1
            self._empty.clear()
        try:
            async with child.lane:
                yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @asynccontextmanager
    async def of_all(self) -> AsyncGenerator[None, None]:
        """Wait for the lanes of all children, and hold them."""
        async with self._entrance:
            await self._empty.wait()
            yield
