"""Processes that share a store are killed at any moment: nothing acknowledged is lost, and nothing happens twice."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.fleet import Fleet
from faults.verdict import verdict

NAMES = ("first", "second", "third")


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "events.db")
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn


async def kill_and_replace(fleet: Fleet, kills: int) -> None:
    for name in NAMES:
        await fleet.start(name)
    for _ in range(kills):
        name = random.choice(NAMES)  # noqa: S311
        await fleet.told(name, random.choice([1, 5, 20, 50]))  # noqa: S311
        await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311 - at any moment, not only right after an answer
        await fleet.kill(name)
        await fleet.start(name)
    for name in NAMES:
        await fleet.told(name, 20)
    await fleet.finish()


@pytest.mark.slow
async def test_killed_processes_lose_nothing_acknowledged_and_repeat_nothing(
    address: str, tmp_path: Path, effort: int, report: Callable[[str], None]
) -> None:
    journal = tmp_path / "journal"
    kills = 12 * effort
    async with Fleet(address, journal) as fleet:
        await kill_and_replace(fleet, kills)
    seen = await verdict(address, journal)
    report(f"kills {fleet.kills}, {seen}")
    assert fleet.kills == kills
    assert seen.acknowledged > 20 * len(NAMES)
    assert seen.resolved > 0
    assert list(map(str, seen.wrong)) == []
    assert seen.stale == []
