"""Leases on SQLite while the system clock is corrected: they end in as much time as they were given for."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from eventree import EventSourcing, Projection, Query, SQLiteStore
from eventree.errors import CheckpointHeld
from eventree.sourcing import QueryStatus
from eventree.stores.contract import CheckpointUpdate, LeaseRequest
from eventree.stores.sqlite import checkpoints
from sourcing.ledger import add, ledger
from sourcing.reading import Seen
from sourcing.waiting import becomes

HOUR = 3600 * 10**6


class SystemClock:
    """The system clock, which someone sets wrong and corrects."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self.ahead = 0

    def __call__(self) -> int:
        return self._now() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SystemClock:
    clock = SystemClock(checkpoints._now)
    monkeypatch.setattr(checkpoints, "_now", clock)
    return clock


async def claimed(store: SQLiteStore) -> None:
    await store.claim_checkpoint("q", 1, LeaseRequest("dead", 0.3))


async def renewed(store: SQLiteStore) -> None:
    held = await store.claim_checkpoint("q", 1, LeaseRequest("dead", 60))
    await store.renew_checkpoint("q", 1, held.fencing_token, 0.3)


async def saved(store: SQLiteStore) -> None:
    held = await store.claim_checkpoint("q", 1, LeaseRequest("dead", 60))
    await store.save_checkpoint("q", 1, CheckpointUpdate(held, 0.3))


async def taken_over(store: SQLiteStore) -> None:
    await store.claim_checkpoint("q", 1, LeaseRequest("first", 0))
    await store.claim_checkpoint("q", 1, LeaseRequest("dead", 0.3))


async def claimed_in_a_transaction(store: SQLiteStore) -> None:
    async with store.transaction() as transaction:
        await transaction.claim_checkpoint("q", 1, LeaseRequest("dead", 0.3))


Lease = Callable[[SQLiteStore], Awaitable[None]]
LEASES = [claimed, renewed, saved, taken_over, claimed_in_a_transaction]


async def project(_: aiosqlite.Connection, __: Any) -> None: ...


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("subscription", [Query("q", Seen()), Projection("q", project)], ids=["query", "projection"])
async def test_a_lease_written_while_the_clock_was_ahead_is_taken_over_when_it_would_have_ended(
    tmp_path: Path, clock: SystemClock, lease: Lease, subscription: Any
) -> None:
    async with SQLiteStore(tmp_path / "events.db") as store:
        clock.ahead = HOUR
        await lease(store)
        clock.ahead = 0
        assert (await store.list_queries())[0].lease_seconds <= 0.3
        async with EventSourcing(ledger, store, queries=[subscription]) as system:
            (await system.execute("a", add(1), wait_for=["q"], timeout=30)).unwrap()
            await becomes(system.query("q"), QueryStatus.RUNNING)


@pytest.mark.parametrize("is_inside", [False, True])
async def test_a_holder_that_lives_keeps_its_lease_when_the_clock_is_set_back(
    tmp_path: Path, clock: SystemClock, is_inside: object
) -> None:
    async def claim() -> None:
        if is_inside:
            async with store.transaction() as transaction:
                await transaction.claim_checkpoint("q", 1, LeaseRequest("other", 60))
        else:
            await store.claim_checkpoint("q", 1, LeaseRequest("other", 60))

    async with SQLiteStore(tmp_path / "events.db") as store:
        clock.ahead = HOUR
        held = await store.claim_checkpoint("q", 1, LeaseRequest("one", 60))
        clock.ahead = 0
        for _ in range(2):
            with pytest.raises(CheckpointHeld) as caught:
                await claim()
            assert 0 < caught.value.seconds <= 60
        assert await store.renew_checkpoint("q", 1, held.fencing_token, 0)
        await claim()


async def test_a_new_version_goes_live_when_a_lease_of_the_old_one_would_have_ended(
    tmp_path: Path, clock: SystemClock
) -> None:
    async with SQLiteStore(tmp_path / "events.db") as store:
        clock.ahead = HOUR
        await store.claim_checkpoint("q", 1, LeaseRequest("dead", 0.3))
        clock.ahead = 0
        new = await store.claim_checkpoint("q", 2, LeaseRequest("new", 60))
        async with asyncio.timeout(30):
            while not await store.make_live("q", 2, new.fencing_token):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)


async def test_a_lease_of_a_newer_version_that_is_longer_than_it_was_given_for_holds_nobody_up(
    tmp_path: Path, clock: SystemClock
) -> None:
    async with SQLiteStore(tmp_path / "events.db") as store:
        await store.claim_checkpoint("q", 1, LeaseRequest("one", 60))
        clock.ahead = HOUR
        await store.claim_checkpoint("q", 2, LeaseRequest("dead", 60))
        newer = await store.load_checkpoint("q", 1)
        clock.ahead = 0
        now = await store.load_checkpoint("q", 1)
        assert newer is not None
        assert now is not None
        assert (newer.next_version, now.next_version) == (2, 0)
