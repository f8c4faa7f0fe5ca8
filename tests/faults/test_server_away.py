"""A Postgres server that is away for a while: commands are answered, nothing restarts, and work goes on by itself."""

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest

from eventree import (
    CommitOutcomeUnknown,
    Err,
    EventSourcing,
    Ok,
    PostgresStore,
    Query,
    StoreUnavailable,
)
from eventree.sourcing import QueryStatus
from servers.postgres import PostgresServer
from sourcing.ledger import Added, Command, Ledger, add, entries, ledger
from sourcing.reading import Seen

System = EventSourcing[Ledger, Command, Added, str]


@pytest.mark.slow
async def test_a_server_that_is_away_restarts_nothing_and_work_goes_on_when_it_returns(
    postgres_server: PostgresServer, postgres_dsn: str, effort: int, report: Callable[[str], None]
) -> None:
    seen = Seen()
    seconds = 60.0 if effort > 1 else 2.0
    store = PostgresStore(postgres_dsn, timeout=1.0)
    async with store, EventSourcing(ledger, store, queries=[Query("seen", seen)]) as system:
        assert isinstance(await system.execute("a", add(1)), Ok)
        await asyncio.to_thread(postgres_server.kill)
        refused, longest = await refused_for(system, seconds)
        assert system.query("seen").status is QueryStatus.RETRYING
        assert isinstance(system.query("seen").last_error, StoreUnavailable)
        await asyncio.to_thread(postgres_server.start)
        waited = await until_accepted(system)
        await seen.reaches(2)
        assert seen.amounts == [("a", [1]), ("a", [2])]
        await system.query("seen").caught_up()
        assert (system.query("seen").status, system.query("seen").last_error) == (QueryStatus.RUNNING, None)
        assert await entries(system, "a") == [1, 2]
        assert (await system.system_stats()).actor_restarts == 0
    report(
        f"away {seconds:g} s: {refused} commands refused, the slowest after {longest:.2f} s; back after {waited:.2f} s"
    )


async def refused_for(system: System, seconds: float) -> tuple[int, float]:
    """Send commands for so long; return how many there were and how long the slowest waited for its answer."""
    count, longest, end = 0, 0.0, monotonic() + seconds
    while (began := monotonic()) < end:
        answer = await system.execute("b", add(9), timeout=10)
        longest = max(longest, monotonic() - began)
        assert isinstance(answer, Err)
        assert isinstance(answer.error, StoreUnavailable | CommitOutcomeUnknown)
        count += 1
        await asyncio.sleep(0.01)
    assert longest < 5
    return count, longest


async def until_accepted(system: System) -> float:
    """Send a command until it is stored; return how long that took."""
    began = monotonic()
    async with asyncio.timeout(20):
        while not isinstance(await system.execute("a", add(2), command_id="two"), Ok):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return monotonic() - began
