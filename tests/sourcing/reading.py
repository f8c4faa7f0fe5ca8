"""Handlers for the tests of queries."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from eventree import Backoff, EventEnvelope, Query
from sourcing.ledger import Added

Events: TypeAlias = Sequence[EventEnvelope[Added]]

AT_ONCE = Backoff(initial=0.001, maximum=0.001)


class Seen:
    """Remember what was handed over, one entry per commit."""

    def __init__(self) -> None:
        self.commits: list[tuple[str, Events]] = []
        self._news = asyncio.Event()

    def __call__(self, id: str, events: Events) -> None:
        self.commits.append((id, events))
        self._news.set()

    @property
    def amounts(self) -> list[tuple[str, list[int]]]:
        return [(id, [event.payload.amount for event in events]) for id, events in self.commits]

    async def reaches(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.commits) < count:
                self._news.clear()
                await self._news.wait()


def before(seen: Seen, first: Callable[[str, Events], Awaitable[None]]) -> Callable[[str, Events], Awaitable[None]]:
    """Return a handler that does something before it remembers."""

    async def handler(id: str, events: Events) -> None:
        await first(id, events)
        seen(id, events)

    return handler


def query(name: str, handler: Callable[[str, Events], Awaitable[None] | None], max_attempts: int = 3) -> Query[Added]:
    return Query(name, handler, max_attempts=max_attempts, backoff=AT_ONCE, poll_interval=0.01)
