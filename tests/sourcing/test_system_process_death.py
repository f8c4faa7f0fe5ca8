"""A process that is killed at any moment loses nothing that it acknowledged, and a retry applies nothing twice."""

import asyncio
import os
import random
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

import sourcing.victim
from eventree import EventSourcing, SQLiteStore
from harness import effort
from sourcing.ledger import Ledger, ledger

KILLS = max(2, effort.examples() // 10)
COUNT = 330 * KILLS


async def run_victim(folder: Path, acknowledged: set[int], *, kill_after: int | None) -> int:
    """Run the process and collect what it acknowledges; kill it after so many, if it gets there."""
    tests = Path(sourcing.victim.__file__).parent.parent
    victim = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sourcing.victim", folder / "events.db", folder / "model.db", str(COUNT)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *filter(None, [os.environ.get("PYTHONPATH")])])},
    )
    assert victim.stdin is not None
    assert victim.stdout is not None
    victim.stdin.write("".join(f"{number}\n" for number in acknowledged).encode())
    victim.stdin.close()
    seen = 0
    async with asyncio.timeout(60):
        while line := await victim.stdout.readline():
            if line.endswith(b"\n"):
                acknowledged.add(int(line))
                seen += 1
            if seen == kill_after and victim.returncode is None:
                victim.send_signal(signal.SIGKILL)
        return await victim.wait()


def check(folder: Path, acknowledged: set[int]) -> list[tuple[int, int]]:
    """Look into the file itself: every acknowledged command is there, none twice, positions without a hole."""
    with sqlite3.connect(folder / "events.db") as db:
        rows = db.execute(
            "SELECT position, payload ->> 'amount', hex(commit_id) FROM events ORDER BY position"
        ).fetchall()
    db.close()
    assert [position for position, _, _ in rows] == list(range(1, len(rows) + 1))
    commits = [
        (first[1], first[2]) for first, second in zip(rows[::2], rows[1::2], strict=True) if first[1:] == second[1:]
    ]
    assert len(commits) * 2 == len(rows)
    numbers = [number for number, _ in commits]
    assert len(numbers) == len(set(numbers))
    assert acknowledged <= set(numbers)
    return [(position, number) for position, number, _ in rows]


@pytest.mark.random
async def test_a_killed_process_loses_nothing_it_acknowledged_and_repeats_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311
    acknowledged: set[int] = set()
    for _ in range(KILLS):
        died = await run_victim(tmp_path, acknowledged, kill_after=chance.randint(1, COUNT // KILLS - 50))
        assert died == -signal.SIGKILL
        check(tmp_path, acknowledged)
    assert await run_victim(tmp_path, acknowledged, kill_after=None) == 0
    log = check(tmp_path, acknowledged)
    assert acknowledged == set(range(COUNT))
    assert len(log) == 2 * COUNT
    with sqlite3.connect(tmp_path / "model.db") as db:
        assert db.execute("SELECT position, amount FROM seen ORDER BY position").fetchall() == log
    db.close()
    async with SQLiteStore(tmp_path / "events.db") as store, EventSourcing(ledger, store) as system:
        for remainder in range(5):
            state = (await system.load_aggregate(f"a{remainder}")).unwrap().state
            assert isinstance(state, Ledger)
            assert sorted(state.entries) == sorted(2 * list(range(remainder, COUNT, 5)))
