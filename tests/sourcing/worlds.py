"""A log that is written, workers that follow it with failing handlers on a failing store, and people who steer them.

What became of each commit is compared to the log: it was handled, is parked, or was left out as somebody wanted it.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import cast

from eventree import EventreeError, EventStore, Projection, Query, Supervisor
from eventree.sourcing import QueryHandle, QueryOptions
from eventree.sourcing.queries.subscriptions import Subscription
from sourcing.chaos import Chaos
from sourcing.ledger import Added, Boom, LedgerSystem, add, ledger
from sourcing.reading import AT_ONCE, Events
from sourcing.totals import Connection, Events as Projected, rows

LIVES, STEPS = 3, 12
STEER = ["pause", "resume", "resume", "retry", "retry", "drop", "skip"]


class World(ABC):
    """One run of many.

    Attributes:
        chance: Decides.
        policy: What becomes of commits that fail for the last time.
        log: The aggregate of each commit, by the position of its first event.
        left_out: Commits that somebody wanted to drop or to skip, perhaps in vain.
    """

    def __init__(self, seed: int, store: EventStore, writer: LedgerSystem, *, workers: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - not a secret
        choice = self.chance.choice
        self.policy = choice(["park", "park", "skip", "stop"])
        self.failing = choice([0.0, 0.1, 0.4])
        self.chaos = Chaos(store, self.chance, weather=choice([0, 0.05, 0.15]), crashes=choice([0, 0, 0.03]))
        self.store = store
        self.writer = writer
        self.workers = workers
        self.log: dict[int, str] = {}
        self.left_out: set[int] = set()

    @property
    def options(self) -> QueryOptions:
        return cast(
            "QueryOptions",
            {
                "on_failure": self.policy,
                "max_attempts": self.chance.choice([1, 2]),
                "backoff": AT_ONCE,
                "poll_interval": 0.005,
                "lease": 0.2 if self.workers > 1 else self.chance.choice([0.2, 5.0]),
            },
        )

    @abstractmethod
    def subscription(self) -> Subscription[Added]:
        """Return what a new worker runs."""

    @abstractmethod
    async def handled(self) -> set[int]:
        """Return the commits that were handled."""

    async def live(self) -> None:
        for _ in range(self.chance.choice([0, 5, 30])):
            await self.write()
        for life in range(LIVES):
            handles = [self.subscription().handle(cast("EventStore", self.chaos)) for _ in range(self.workers)]
            specs = [replace(handle.child_spec(), id=number) for number, handle in enumerate(handles)]
            self.chaos.is_on = True
            async with Supervisor(specs, max_restarts=10**6):
                for _ in range(STEPS):
                    await self.step(self.chance.choice(handles))
                if life == LIVES - 1:
                    await self.end_well(handles)
            self.chaos.is_on = False
            await self.check_at_rest()

    async def write(self) -> None:
        id, count = self.chance.choice("abcd"), self.chance.choice([1, 1, 2, 3])
        commit = (await self.writer.execute(id, add(*range(count)))).unwrap()
        self.log[commit.position - count + 1] = id

    async def step(self, handle: QueryHandle) -> None:
        what = self.chance.choice(["write"] * 6 + ["rest", "rest", "wait"] + ["steer"] * 4)
        if what == "write":
            await self.write()
        elif what == "rest":
            await asyncio.sleep(self.chance.random() * (0.02 if self.workers == 1 else 0.2))
        else:
            with suppress(EventreeError, Boom, RuntimeError):  # the last two where a claim was to be made for it
                await (self.wait(handle) if what == "wait" else self.steer(handle))

    async def wait(self, handle: QueryHandle) -> None:
        """Wait for a query that has caught up, and see that it has."""
        head = max(self.log, default=0)
        await handle.caught_up(timeout=0.2)
        await self.check(head)

    async def steer(self, handle: QueryHandle) -> None:
        match self.chance.choice(STEER):
            case "pause":
                await handle.pause()
            case "resume":
                await handle.resume()
            case "retry":
                await handle.retry_parked(self.chance.choice([None, "a"]))
            case "skip":
                self.left_out.add(handle.position + 1)
                await handle.skip(handle.position + 1)
            case _:
                parked = await self.store.load_parked("q", 1)
                if parked:
                    position = self.chance.choice(parked).position
                    self.left_out.add(position)
                    await handle.drop_parked(position)

    async def end_well(self, handles: list[QueryHandle]) -> None:
        """Let nothing fail any more, and wait until all is handled."""
        self.chaos.is_on, self.failing = False, 0.0
        async with asyncio.timeout(30):
            while not await self.is_done():
                for handle in handles:
                    with suppress(EventreeError):
                        await handle.resume()
                        await handle.caught_up(timeout=1)
                        await handle.retry_parked()
                await asyncio.sleep(0.01)

    async def is_done(self) -> bool:
        stored = await self.store.load_checkpoint("q", 1)
        return stored is not None and stored.checkpoint.position == await self.store.head() and not stored.parked

    async def check(self, until: int) -> None:
        """See that everything up to a position was handled, is parked or was left out."""
        parked = {commit.position for commit in await self.store.load_parked("q", 1)}
        missing = {position for position in self.log if position <= until} - parked - await self.handled()
        stored = await self.store.load_checkpoint("q", 1)
        skipped = stored.skipped if stored is not None and self.policy == "skip" else 0
        assert len(missing - self.left_out) <= skipped, (until, missing - self.left_out, parked, stored)

    async def check_at_rest(self) -> None:
        """See that nothing up to the checkpoint is missing."""
        stored = await self.store.load_checkpoint("q", 1)
        await self.check(stored.checkpoint.position if stored is not None else 0)


class QueryWorld(World):
    """Workers of a query, which is handed each commit at least once."""

    def __init__(self, seed: int, store: EventStore, writer: LedgerSystem, *, workers: int = 1) -> None:
        super().__init__(seed, store, writer, workers=workers)
        self.naps = [0.002, 0.3] if workers > 1 else [0.002]
        self.handed_over: list[int] = []
        self.overtaken: set[int] = set()

    def subscription(self) -> Query[Added]:
        return Query("q", self.handle, follows=[ledger], **self.options)

    async def handled(self) -> set[int]:
        return set(self.handed_over)

    async def handle(self, id: str, events: Events) -> None:
        if self.chance.random() < self.failing:
            raise Boom
        if self.chance.random() < 0.05:
            await asyncio.sleep(self.chance.choice(self.naps))
        position = events[0].position
        before = {other for other, of in self.log.items() if of == id and other < position}
        self.handed_over.append(position)
        if self.policy != "skip":
            self.overtaken |= before - self.left_out - set(self.handed_over)

    async def check_at_rest(self) -> None:
        """See also that what was handed over last of each aggregate was handed over in order.

        Where there is more than one worker, one that is late may repeat something; what is skipped cannot be told.
        """
        await super().check_at_rest()
        assert not self.overtaken
        stored = await self.store.load_checkpoint("q", 1)
        done = stored.checkpoint.position if stored is not None else 0
        left = self.left_out | {commit.position for commit in await self.store.load_parked("q", 1)}
        last = {position: at for at, position in enumerate(self.handed_over) if position <= done}
        for id in set(self.log.values()) if self.workers == 1 and self.policy != "skip" else ():
            order = [last[position] for position in sorted(last.keys() - left) if self.log[position] == id]
            assert order == sorted(order), id


class ProjectionWorld(World):
    """Workers of a projection, which counts each event exactly once, resets included."""

    def __init__(self, seed: int, store: EventStore, writer: LedgerSystem, place: str, *, workers: int) -> None:
        super().__init__(seed, store, writer, workers=workers)
        self.place = place

    def subscription(self) -> Projection[Added]:
        return Projection("q", self.project, setup=self.setup, clear=self.clear, follows=[ledger], **self.options)

    async def setup(self, connection: Connection) -> None:
        await connection.execute("CREATE TABLE counted (position BIGINT)")

    async def clear(self, connection: Connection) -> None:
        await connection.execute("DELETE FROM counted")

    async def project(self, connection: Connection, events: Projected) -> None:
        for event in events:
            if event.aggregate_id == "a" and self.chance.random() < self.failing:
                raise Boom
            await connection.execute(f"INSERT INTO counted VALUES ({event.position})")

    async def counted(self) -> Counter[int]:
        """Return how often each event was counted."""
        if await self.store.load_checkpoint("q", 1) is None:
            return Counter()
        return Counter(position for (position,) in await rows(self.place, "SELECT position FROM counted"))

    async def handled(self) -> set[int]:
        return set(await self.counted())

    async def steer(self, handle: QueryHandle) -> None:
        if self.chance.random() < 0.1:
            await handle.reset()
        else:
            await super().steer(handle)

    async def check_at_rest(self) -> None:
        """See also that nothing is counted twice, in part, beyond the checkpoint, or while it is parked."""
        await super().check_at_rest()
        counted, stored = await self.counted(), await self.store.load_checkpoint("q", 1)
        done = stored.checkpoint.position if stored is not None else 0
        parked = {commit.position for commit in await self.store.load_parked("q", 1)}
        starts = [*sorted(self.log), await self.store.head() + 1]
        whole = [
            set(range(start, end))
            for start, end in pairwise(starts)
            if start in counted and start not in parked and start <= done
        ]
        expected = Counter(position for commit in whole for position in commit)
        assert counted == expected, (counted - expected, expected - counted, done, parked)
