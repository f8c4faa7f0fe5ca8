"""The Postgres server is killed and started again under load: nothing acknowledged is lost, nothing happens twice."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.fleet import Fleet
from faults.verdict import verdict
from servers.postgres import PostgresServer

NAMES = ("first", "second")


@pytest.mark.slow
async def test_a_killed_server_loses_nothing_acknowledged_and_repeats_nothing(
    postgres_server: PostgresServer, postgres_dsn: str, tmp_path: Path, effort: int, report: Callable[[str], None]
) -> None:
    journal = tmp_path / "journal"
    kills = 5 * effort
    async with Fleet(postgres_dsn, journal) as fleet:
        for name in NAMES:
            await fleet.start(name)
            await fleet.told(name, 2)  # it has opened the store, which a server that is away would refuse
        for _ in range(kills):
            await fleet.told(random.choice(NAMES), random.choice([5, 20, 80]))  # noqa: S311
            await asyncio.to_thread(postgres_server.kill)
            await asyncio.to_thread(postgres_server.start)
        for name in NAMES:
            await fleet.told(name, 20)
        await fleet.finish()
    seen = await verdict(postgres_dsn, journal)
    report(f"kills of the server {kills}, {seen}")
    assert seen.acknowledged > 20 * len(NAMES)
    assert list(map(str, seen.wrong)) == []
    assert seen.stale == []
