"""Waiting for what no event tells."""

import asyncio
from collections.abc import Callable

from eventree import ActorCrashed
from eventree.sourcing import QueryHandle, QueryStatus
from sourcing.ledger import LedgerSystem


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


async def written(system: LedgerSystem, count: int) -> None:
    """Wait until so many snapshots were written; the writer has no other way to tell."""
    async with asyncio.timeout(10):
        while (await system.system_stats()).snapshots_written < count:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def nothing_to_write(system: LedgerSystem) -> None:
    """Wait until it is known of every snapshot that fell due what became of it."""
    async with asyncio.timeout(10):
        while (writer := await system._tree._writer.inspect()).queued or writer.in_progress:  # noqa: ASYNC110
            await asyncio.sleep(0)
