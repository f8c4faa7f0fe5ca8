"""Leases on Postgres while the server's clock is corrected: they end in as much time as they were given for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eventree import EventSourcing, Projection, Query
from eventree.errors import CheckpointHeld
from eventree.sourcing import QueryStatus
from eventree.stores.contract import CheckpointUpdate, LeaseRequest
from eventree.stores.postgres import PostgresStore
from sourcing.ledger import add, ledger
from sourcing.reading import Seen
from sourcing.waiting import becomes
from stores.postgres.backends import psql


async def set_clock_back(dsn: str) -> None:
    """Make leases what they would be if the server's clock had been an hour ahead when they were written."""
    async with psql(dsn) as db:
        await db.execute("UPDATE checkpoints SET lease_until = lease_until + interval '1 hour'")


async def claimed(store: PostgresStore) -> None:
    await store.claim_checkpoint("q", 1, LeaseRequest("dead", 0.3))


async def renewed(store: PostgresStore) -> None:
    held = await store.claim_checkpoint("q", 1, LeaseRequest("dead", 60))
    await store.renew_checkpoint("q", 1, held.fencing_token, 0.3)


async def saved(store: PostgresStore) -> None:
    held = await store.claim_checkpoint("q", 1, LeaseRequest("dead", 60))
    await store.save_checkpoint("q", 1, CheckpointUpdate(held, 0.3))


async def taken_over(store: PostgresStore) -> None:
    await store.claim_checkpoint("q", 1, LeaseRequest("first", 0))
    await store.claim_checkpoint("q", 1, LeaseRequest("dead", 0.3))


Lease = Callable[[PostgresStore], Awaitable[None]]


async def project(_: object, __: Any) -> None: ...


@pytest.mark.parametrize("lease", [claimed, renewed, saved, taken_over])
@pytest.mark.parametrize("subscription", [Query("q", Seen()), Projection("q", project)], ids=["query", "projection"])
async def test_a_lease_written_while_the_clock_was_ahead_is_taken_over_when_it_would_have_ended(
    store: PostgresStore, postgres_dsn: str, lease: Lease, subscription: Any
) -> None:
    await lease(store)
    await set_clock_back(postgres_dsn)
    assert (await store.list_queries())[0].lease_seconds <= 0.3
    async with EventSourcing(ledger, store, queries=[subscription]) as system:
        (await system.execute("a", add(1), wait_for=["q"], timeout=30)).unwrap()
        await becomes(system.query("q"), QueryStatus.RUNNING)


async def test_a_holder_that_lives_keeps_its_lease_when_the_clock_is_set_back(
    store: PostgresStore, postgres_dsn: str
) -> None:
    held = await store.claim_checkpoint("q", 1, LeaseRequest("one", 60))
    await set_clock_back(postgres_dsn)
    for _ in range(2):
        with pytest.raises(CheckpointHeld) as caught:
            await store.claim_checkpoint("q", 1, LeaseRequest("other", 60))
        assert 0 < caught.value.seconds <= 60
        with pytest.raises(CheckpointHeld):
            async with store.transaction() as transaction:
                await transaction.claim_checkpoint("q", 1, LeaseRequest("other", 60))
    assert await store.renew_checkpoint("q", 1, held.fencing_token, 0)
    await store.claim_checkpoint("q", 1, LeaseRequest("other", 60))


async def test_a_new_version_goes_live_when_a_lease_of_the_old_one_would_have_ended(
    store: PostgresStore, postgres_dsn: str
) -> None:
    await store.claim_checkpoint("q", 1, LeaseRequest("dead", 0.3))
    await set_clock_back(postgres_dsn)
    new = await store.claim_checkpoint("q", 2, LeaseRequest("new", 60))
    async with asyncio.timeout(30):
        while not await store.make_live("q", 2, new.fencing_token):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.02)


async def test_a_lease_of_a_newer_version_that_is_longer_than_it_was_given_for_holds_nobody_up(
    store: PostgresStore, postgres_dsn: str
) -> None:
    await store.claim_checkpoint("q", 1, LeaseRequest("one", 60))
    await store.claim_checkpoint("q", 2, LeaseRequest("dead", 60))
    newer = await store.load_checkpoint("q", 1)
    await set_clock_back(postgres_dsn)
    now = await store.load_checkpoint("q", 1)
    assert newer is not None
    assert now is not None
    assert (newer.next_version, now.next_version) == (2, 0)
