"""An append is cancelled at every point: it is there wholly or not at all, and nobody else is harmed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from eventree.stores import EventStore, MemoryStore
from eventree.stores.contract import Appended
from faults.caller import store_at
from servers.postgres import PostgresServer
from stores.store_values import append, log, positions, request


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield await stack.enter_async_context(MemoryStore())
        else:
            is_file = request.param == "sqlite"
            address = str(tmp_path / "events.db") if is_file else request.getfixturevalue("postgres_dsn")
            yield await stack.enter_async_context(store_at(address))


async def cancel_after(store: EventStore, id: str, delay: float) -> bool:
    """Cancel an append of two events after so many seconds; return whether it was too late."""
    task = asyncio.create_task(append(store, request(id, events=2)))
    await asyncio.sleep(delay)
    task.cancel()
    [answer] = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(answer, list | asyncio.CancelledError)
    return isinstance(answer, list)


async def test_a_cancelled_append_is_there_wholly_or_not_at_all_and_harms_nobody(
    store: EventStore, effort: int, report: Callable[[str], None]
) -> None:
    answered: list[int] = []
    async with asyncio.timeout(60 * effort):
        for number in range(60 * effort):
            too_late, [other] = await asyncio.gather(
                cancel_after(store, f"a{number}", number / effort * 0.000_05), append(store, request(f"b{number}"))
            )
            assert isinstance(other, Appended)
            if too_late:
                answered.append(number)
        events = await log(store)
    assert positions(events) == list(range(1, len(events) + 1))
    counts = {event.aggregate_id: event.sequence for event in events}
    assert {counts.get(f"a{number}", 0) for number in range(60 * effort)} <= {0, 2}
    assert all(counts[f"a{number}"] == 2 for number in answered)
    cancelled = [counts.get(f"a{number}", 0) for number in range(60 * effort) if number not in answered]
    report(f"cancelled {len(cancelled)}, of these stored {cancelled.count(2)}, answered before {len(answered)}")


async def test_no_transaction_is_left_open(postgres_server: PostgresServer, postgres_dsn: str) -> None:
    idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'eventree'"
    async with asyncio.timeout(60):
        async with store_at(postgres_dsn) as store:
            for number in range(40):
                await cancel_after(store, f"a{number}", number * 0.000_05)
            await append(store, request("last"))
            assert await asyncio.to_thread(postgres_server.execute, idle) == [(0,)]
        while await asyncio.to_thread(postgres_server.execute, ours) != [(0,)]:  # noqa: ASYNC110 - it ends a little later
            await asyncio.sleep(0.01)
