"""A projection that counts is killed, frozen, and run by several at once: every event counts exactly once."""

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from eventree import EventStore
from eventree.errors import StoreBusy
from eventree.stores.contract import AppendRequest, NewEvent
from faults import projector
from faults.caller import store_at
from servers.processes import Child, python
from sourcing.totals import totals

IDS = 50


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "events.db")
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn


async def fill(store: EventStore, events: int, *, after: int = 0) -> None:
    """Store events whose amounts are their positions, one for each of the ids in turn."""
    for start in range(after, after + events, IDS):
        numbers = range(start + 1, start + IDS + 1)
        requests = [
            AppendRequest(
                "ledger",
                f"a{number % IDS}",
                start // IDS,
                [NewEvent("Added", 1, f'{{"amount":{number}}}', "{}", uuid4())],
            )
            for number in numbers
        ]
        await stored(store, requests)


async def stored(store: EventStore, requests: list[AppendRequest]) -> None:
    """Append, however long the projections, which write too, keep the lock."""
    async with asyncio.timeout(60):
        while True:
            with suppress(StoreBusy):
                await store.append(requests)
                return


def expected(events: int) -> dict[str, tuple[int, int]]:
    return {f"a{at % IDS}": (sum(range(at, events + 1, IDS)), events // IDS) for at in range(1, IDS + 1)}


def miscounts(found: dict[str, tuple[int, int]], events: int) -> int:
    """Return how many events too many or too few were counted, or how many sums are wrong."""
    right = expected(events)
    counts = sum(abs(found.get(id, (0, 0))[1] - count) for id, (_, count) in right.items())
    return (
        counts + sum(found.get(id, (0, 0))[0] != amount for id, (amount, _) in right.items()) + len(found) - len(right)
    )


async def is_done(child: Child, patience: float) -> bool:
    """Wait until a process has counted all events, for so many seconds from when it begins."""
    assert [await child.line(), await child.line()] == ["open", "."]
    try:
        async with asyncio.timeout(patience):
            return await child.line() == "done"
    except TimeoutError:
        return False


@pytest.mark.slow
async def test_a_counting_projection_that_is_killed_miscounts_nothing(
    address: str, effort: int, report: Callable[[str], None]
) -> None:
    events, kills = 10_000 * effort, 0
    async with store_at(address) as store:
        await fill(store, events)
    done = False
    while not done:
        async with python(projector.__file__, address, "0.5") as child:  # the next one waits for that after a kill
            patience = random.uniform(0.02, 0.2) * (1 + kills / 10)  # noqa: S311 - on a slow machine it ends too
            done = await is_done(child, patience)
            if not done:
                os.kill(child.pid, signal.SIGKILL)
                kills += 1
    found = miscounts(await totals(address), events)
    report(f"kills {kills}, events {events}, miscounts {found}")
    assert found == 0
    assert kills > 0


async def freeze(child: Child, address: str) -> None:
    """Stop a process; on SQLite not while it holds the write lock, which nobody could take from it."""
    while True:
        os.kill(child.pid, signal.SIGSTOP)
        if not address.endswith(".db"):
            return
        database = sqlite3.connect(address, timeout=0.3, isolation_level=None)
        with suppress(sqlite3.OperationalError), closing(database):
            database.execute("BEGIN IMMEDIATE")
            return
        os.kill(child.pid, signal.SIGCONT)
        await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311


async def until_taken_over(store: EventStore, fencing_token: int) -> None:
    async with asyncio.timeout(30):
        while (stored := await store.load_checkpoint("totals", 1)) and stored.checkpoint.fencing_token == fencing_token:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.02)


async def until_all_is_counted(store: EventStore) -> int:
    async with asyncio.timeout(60):
        while (stored := await store.load_checkpoint("totals", 1)) and stored.checkpoint.position < await store.head():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return await store.head()


@pytest.mark.slow
async def test_an_owner_that_is_frozen_past_its_lease_counts_nothing_twice(
    address: str, effort: int, report: Callable[[str], None]
) -> None:
    lease, taken = 0.5, list[float]()
    async with store_at(address) as store, python(projector.__file__, address, str(lease)) as first:
        await fill(store, 3_000)
        assert [await first.line(), await first.line()] == ["open", "."]
        async with python(projector.__file__, address, str(lease)) as second:
            assert await second.line() == "open"  # or it might wait for a lock that the frozen one gives up too late
            owner, other = first, second
            for _ in range(3 * effort):
                await freeze(owner, address)
                stored = await store.load_checkpoint("totals", 1)
                assert stored is not None
                began = time.monotonic()
                await fill(store, 3_000, after=await store.head())
                await until_taken_over(store, stored.checkpoint.fencing_token)
                taken.append(time.monotonic() - began)
                await asyncio.sleep(random.uniform(0, 0.1))  # noqa: S311 - in the middle of what the other does
                os.kill(owner.pid, signal.SIGCONT)
                owner, other = other, owner
            events = await until_all_is_counted(store)
    found = miscounts(await totals(address), events)
    report(f"takeovers {len(taken)}, slowest after {max(taken):.2f} s, lease {lease} s, miscounts {found}")
    assert found == 0
    assert max(taken) < lease + 3
