"""Work in another event loop, in a thread of its own, as a synchronous endpoint of a web framework does it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def in_another_loop(work: Callable[[], Awaitable[T]]) -> T:
    """Await something in a loop of its own, while this one runs on."""

    async def run() -> T:
        async with asyncio.timeout(20):
            return await work()

    return await asyncio.to_thread(asyncio.run, run())
