"""Waiting for what no event tells."""

import asyncio
from collections.abc import Callable

from eventree import ActorCrashed, QueryHandle, QueryStatus


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event for everything
            await asyncio.sleep(0.005)


async def becomes(handle: QueryHandle, status: QueryStatus) -> None:
    await until(lambda: handle.status is status)


async def caught_up_after_a_crash(handle: QueryHandle, incarnation: int = 2) -> None:
    """Wait for another incarnation of the actor, and until that one has caught up."""
    await until(lambda: handle.incarnation >= incarnation)
    while True:
        try:
            await handle.caught_up()
        except ActorCrashed:
            continue
        return
