"""A file that another process keeps locked: callers hear so, before their own time is up."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from eventree import Err, EventSourcing, Query, SQLiteStore
from eventree.errors import EventreeError, StoreBusy
from sourcing.ledger import add, ledger
from sourcing.reading import Seen


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as db:
        yield db


def errors_of(answers: list[object]) -> list[type[EventreeError] | object]:
    return [type(answer.error) if isinstance(answer, Err) else answer for answer in answers]


async def test_commands_are_told_that_the_file_is_locked(tmp_path: Path, locks: sqlite3.Connection) -> None:
    async with (
        SQLiteStore(tmp_path / "events.db") as store,
        EventSourcing(ledger, store, queries=[Query(f"q{n}", Seen()) for n in range(4)]) as system,
    ):
        (await system.execute("a", add(1), wait_for=["q0", "q1", "q2", "q3"])).unwrap()
        locks.execute("BEGIN IMMEDIATE")
        first = [asyncio.create_task(system.execute(id, add(1))) for id in "abc"]
        await asyncio.sleep(0.1)  # so that the others come while a batch waits
        later = [asyncio.create_task(system.execute(id, add(1))) for id in "abc"]
        assert errors_of(await asyncio.gather(*first, *later)) == [StoreBusy] * 6
        locks.execute("ROLLBACK")
        (await system.execute("a", add(1))).unwrap()


async def test_callers_that_wait_for_each_other_need_not_wait_one_after_another(
    tmp_path: Path, locks: sqlite3.Connection
) -> None:
    async with SQLiteStore(tmp_path / "events.db", busy_timeout=1) as store:
        locks.execute("BEGIN IMMEDIATE")
        clock = asyncio.get_running_loop().time
        began = clock()
        claims = [store.claim_checkpoint(f"q{number}", 1) for number in range(8)]
        answers = await asyncio.gather(*claims, return_exceptions=True)
        took = clock() - began
    assert [type(answer) for answer in answers] == [StoreBusy] * 8
    assert 1 <= took < 7  # not 8, one after another
