"""Projections that count, and systems that run them on Postgres."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from eventree import Backoff, EventSourcing, Ok, Projection, Supervisor
from eventree.sourcing import QueryHandle
from eventree.stores.postgres import PostgresStore
from sourcing.ledger import Added, LedgerSystem, add, ledger
from sourcing.reading import AT_ONCE
from sourcing.totals import Events, setup

Project: TypeAlias = Callable[[Any, Events], Awaitable[None]]


def projection(
    project: Project,
    *,
    name: str = "totals",
    setup: Callable[[Any], Awaitable[None]] = setup,
    swap: Callable[[Any], Awaitable[None]] | None = None,
    version: int = 1,
    lease: float = 5.0,
    backoff: Backoff = AT_ONCE,
    max_attempts: int = 2,
) -> Projection[Added]:
    return Projection(
        name,
        project,
        setup=setup,
        swap=swap,
        version=version,
        lease=lease,
        follows=[ledger],
        backoff=backoff,
        max_attempts=max_attempts,
        poll_interval=0.01,
    )


@asynccontextmanager
async def opened(dsn: str, *projections: Projection[Added]) -> AsyncIterator[tuple[LedgerSystem, PostgresStore]]:
    store = PostgresStore(dsn)
    async with store, EventSourcing(ledger, store, queries=projections) as system:
        yield system, store


@asynccontextmanager
async def apart(dsn: str, projection: Projection[Added], *, timeout: float = 3.0) -> AsyncIterator[QueryHandle]:
    """Run a projection on a store of its own, which what happens to that one is about."""
    async with PostgresStore(dsn, timeout=timeout, notify=False) as store:
        handle = projection.handle(store)
        async with Supervisor([handle.child_spec()]):
            yield handle


async def write(system: LedgerSystem, handle: QueryHandle, amount: int) -> None:
    """Add an amount, and wait until it is counted."""
    answer = await system.execute("a", add(amount))
    assert isinstance(answer, Ok)
    await handle.caught_up(answer.value.position, timeout=20)


async def stored_position(store: PostgresStore, name: str = "totals", version: int = 1) -> int | None:
    stored = await store.load_checkpoint(name, version)
    return None if stored is None else stored.checkpoint.position
