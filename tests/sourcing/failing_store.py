"""A store whose methods fail, wait or let something else happen first, as a test orders."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from eventree import EventStoreError, MemoryStore
from eventree.stores.contract import (
    ANYBODY,
    AppendRequest,
    Checkpoint,
    Claim,
    LogPage,
    Move,
    Outcome,
    ParkedCommit,
    RecordedCommand,
    StoredCheckpoint,
    StoredSnapshot,
    StreamPage,
    StreamRead,
)


class Gate:
    """Hold a call until it is opened."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._opened = asyncio.Event()

    async def __call__(self) -> None:
        self._reached.set()
        await self._opened.wait()

    async def reached(self) -> None:
        async with asyncio.timeout(10):
            await self._reached.wait()

    def open(self) -> None:
        self._opened.set()


class FailingStore(MemoryStore):
    """A `MemoryStore` that does what was ordered before the next call of a method.

    Attributes:
        appended: The requests of each call of `append`.
        loaded: The reads of each call of `read_streams`.
        moved: The moves of checkpoints that took place.
        calls: How often each method was called.
        away: What every method raises as long as it is there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.appended: list[Sequence[AppendRequest]] = []
        self.loaded: list[Sequence[StreamRead]] = []
        self.moved: list[Move] = []
        self.calls: Counter[str] = Counter()
        self.away: EventStoreError | None = None
        self._orders: dict[str, deque[Callable[[], Awaitable[None]]]] = defaultdict(deque)

    def before(self, method: str, order: Callable[[], Awaitable[None]], *, times: int = 1) -> None:
        self._orders[method].extend([order] * times)

    def fail(self, method: str, error: BaseException, *, times: int = 1) -> None:
        async def fail() -> None:
            raise error

        self.before(method, fail, times=times)

    def hold(self, method: str) -> Gate:
        gate = Gate()
        self.before(method, gate)
        return gate

    async def calls_within(self, seconds: float) -> int:
        """Return how many calls there are from now on."""
        self.calls.clear()
        await asyncio.sleep(seconds)
        return self.calls.total()

    async def _obey(self, method: str) -> None:
        self.calls[method] += 1
        if self.away is not None:
            raise self.away
        if self._orders[method]:
            await self._orders[method].popleft()()

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        self.appended.append(requests)
        await self._obey("append")
        return await super().append(requests)

    async def find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        await self._obey("find_commands")
        return await super().find_commands(command_ids)

    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        self.loaded.append(reads)
        await self._obey("read_streams")
        return await super().read_streams(reads)

    async def read(self, after: int, limit: int, types: Collection[str] | None = None) -> LogPage:
        await self._obey("read")
        return await super().read(after, limit, types)

    async def save_checkpoint(self, name: str, version: int, move: Move) -> None:
        await self._obey("save_checkpoint")
        await super().save_checkpoint(name, version, move)
        self.moved.append(move)

    async def claim_checkpoint(self, name: str, version: int, claim: Claim = ANYBODY) -> Checkpoint:
        await self._obey("claim_checkpoint")
        return await super().claim_checkpoint(name, version, claim)

    async def renew_checkpoint(self, name: str, version: int, fence: int, seconds: float) -> bool:
        await self._obey("renew_checkpoint")
        return await super().renew_checkpoint(name, version, fence, seconds)

    async def load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        await self._obey("load_checkpoint")
        return await super().load_checkpoint(name, version)

    async def load_parked(
        self, name: str, version: int, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ParkedCommit]:
        await self._obey("load_parked")
        return await super().load_parked(name, version, after=after, limit=limit)

    async def make_live(self, name: str, version: int, fence: int) -> bool:
        await self._obey("make_live")
        return await super().make_live(name, version, fence)

    async def save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        await self._obey("save_snapshots")
        await super().save_snapshots(snapshots)
