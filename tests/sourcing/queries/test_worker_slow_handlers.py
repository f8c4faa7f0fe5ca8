"""A handler that is slower than the lease: its events are handled at least once, and then it goes on."""

import asyncio
import time
from collections import Counter

import pytest

from eventree import EventSourcing, MemoryStore
from eventree.stores.contract import Checkpoint
from servers.processes import Child, python
from sourcing import blocker
from sourcing.ledger import add, ledger
from sourcing.reading import Events, Seen, patient
from sourcing.teller import open_store

COMMITS = 4
LEASE, BLOCKS = 0.5, 0.8


@pytest.mark.parametrize("kind", ["query", "projection"])
async def test_two_processes_whose_handler_blocks_for_longer_than_the_lease_get_on(place: str, kind: str) -> None:
    handled: Counter[int] = Counter()

    async def note(child: Child) -> None:
        while line := await child.line():
            if line.isdigit():
                handled[int(line)] += 1
                if int(line) == COMMITS:
                    done.set()

    async with open_store(place) as store, EventSourcing(ledger, store) as system:
        args = (blocker.__file__, place, str(LEASE), str(BLOCKS), kind)
        async with python(*args) as one, python(*args) as other:
            assert (await one.line(), await other.line()) == ("running", "running")
            await system.execute_many([("a", add(number)) for number in range(COMMITS)])
            done = asyncio.Event()
            async with asyncio.timeout(40):
                notes = [asyncio.create_task(note(child)) for child in (one, other)]
                await done.wait()
                for task in notes:
                    task.cancel()
    assert set(handled) == set(range(1, COMMITS + 1))
    assert max(handled.values()) <= 3
    assert handled.total() <= 2 * COMMITS


async def test_a_worker_that_lost_its_lease_to_its_own_slow_handler_says_so(caplog: pytest.LogCaptureFixture) -> None:
    memory, seen = MemoryStore(), Seen()

    def slow(id: str, events: Events) -> None:
        seen(id, events)
        if len(seen.commits) == 1:
            time.sleep(0.4)
            row = memory._checkpoints["q", 1]
            row.owner, row.lease_until = "another", 0.0
            row.checkpoint = Checkpoint(0, row.checkpoint.fencing_token + 1)

    async with memory as store, EventSourcing(ledger, store, queries=[patient(slow, lease=0.2)]) as system:
        await system.execute("a", add(1), wait_for=["q"], timeout=20)
        stats = await system.query("q").stats()
    assert (stats.failures, seen.amounts) == (0, [("a", [1]), ("a", [1])])
    [line] = [record.getMessage() for record in caplog.records if "took over" in record.getMessage()]
    assert "test_worker_slow_handlers" in line
    assert "slow took 0.4 s" in line
    assert "lease of 0.2 s" in line
