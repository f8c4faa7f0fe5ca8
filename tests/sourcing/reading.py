"""Handlers for the tests of queries."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, Unpack

from eventree import Backoff, EventEnvelope, Query, query_context
from eventree.sourcing import QueryContext, QueryOptions
from sourcing.ledger import Added, Boom

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


class Contexts(Seen):
    """Remember what each call was told about itself, and fail at chosen amounts."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[QueryContext] = []
        self.poison: set[int] = set()

    def __call__(self, id: str, events: Events) -> None:
        self.contexts.append(query_context())
        if any(event.payload.amount in self.poison for event in events):
            raise Boom
        super().__call__(id, events)

    @property
    def replays(self) -> list[bool]:
        return [context.is_replay for context in self.contexts]


def before(seen: Seen, first: Callable[[str, Events], Awaitable[None]]) -> Callable[[str, Events], Awaitable[None]]:
    """Return a handler that does something before it remembers."""

    async def handler(id: str, events: Events) -> None:
        await first(id, events)
        seen(id, events)

    return handler


def query(name: str, handler: Callable[[str, Events], Awaitable[None] | None], max_attempts: int = 3) -> Query[Added]:
    return Query(name, handler, max_attempts=max_attempts, backoff=AT_ONCE, poll_interval=0.01)


def patient(
    handler: Callable[[str, Events], Awaitable[None] | None], name: str = "q", **options: Unpack[QueryOptions]
) -> Query[Added]:
    """Return a query that fails fast, unless the options say otherwise."""
    options = {"max_attempts": 2, "backoff": AT_ONCE, "poll_interval": 0.01, **options}
    return Query(name, handler, **options)
