"""A store whose calls fail before or after they took effect, or crash who calls, as a seeded chance has it."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from eventree import CommitOutcomeUnknown, EventStore, StoreUnavailable

T = TypeVar("T")

STRUCK = {
    "read",
    "claim_checkpoint",
    "load_checkpoint",
    "load_parked",
    "make_live",
    "renew_checkpoint",
    "save_checkpoint",
    "stop_checkpoint",
    "load_requests",
}
"""What queries call."""


class Chaos:
    """Pass calls on to a store; while it is on, some of them fail.

    Attributes:
        is_on: Whether calls fail.
        weather: How likely it is that the store is away before a call, and that its answer is lost after one.
        crashes: How likely it is that a call raises what nobody expects; before it, and after it.
    """

    def __init__(self, store: EventStore, chance: random.Random, *, weather: float, crashes: float) -> None:
        self.is_on = False
        self.weather = weather
        self.crashes = crashes
        self._store: Any = store
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        if name == "transaction":
            return self._transaction
        if name not in STRUCK:
            return call

        async def struck(*args: Any, **options: Any) -> object:
            return await self._strike(lambda: call(*args, **options))

        return struck

    async def _strike(self, call: Callable[[], Awaitable[T]]) -> T:
        await self._before()
        answer = await call()
        if self._happens(self.weather):
            raise CommitOutcomeUnknown("chaos")
        if self._happens(self.crashes):
            raise RuntimeError("chaos")
        return answer

    @asynccontextmanager
    async def _transaction(self, lease: float) -> AsyncIterator[Any]:
        await self._before()
        async with self._store.transaction(lease) as transaction:
            yield transaction
        if self._happens(self.weather):
            raise CommitOutcomeUnknown("chaos")
        if self._happens(self.crashes):
            raise RuntimeError("chaos")

    async def _before(self) -> None:
        if self.is_on:
            await asyncio.sleep(0)
        if self._happens(self.weather):
            raise StoreUnavailable("chaos")
        if self._happens(self.crashes):
            raise RuntimeError("chaos")

    def _happens(self, probability: float) -> bool:
        return self.is_on and self._chance.random() < probability
