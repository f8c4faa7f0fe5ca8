"""Queries and the pages of the log: cut ones are read one after the other, live ones come without the database."""

from pathlib import Path

import pytest

from eventree import EventSourcing, Query, SQLiteStore
from eventree.stores.sqlite import reads as sqlite_reads
from sourcing.ledger import add, ledger
from sourcing.reading import Seen
from stores.followers import counted


async def test_a_query_reads_on_at_once_behind_a_page_that_its_bytes_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_reads, "MAX_PAGE_BYTES", 100)
    reads, seen = counted(monkeypatch), Seen()
    async with SQLiteStore(tmp_path / "events.db") as store:
        async with EventSourcing(ledger, store) as system:
            for number in range(30):
                await system.execute("a", add(number))
        async with EventSourcing(ledger, store, queries=[Query("q", seen, poll_interval=3600)]):
            await seen.reaches(30)
    assert seen.amounts == [("a", [number]) for number in range(30)]
    assert len(reads.after) > 3


async def test_queries_that_follow_live_never_read_the_log_in_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if two systems share the store, and each command goes through one of them."""
    one, two = Seen(), Seen()
    async with SQLiteStore(tmp_path / "events.db") as store:
        first = EventSourcing(ledger, store, queries=[Query("one", one, poll_interval=3600)])
        second = EventSourcing(ledger, store, queries=[Query("two", two, poll_interval=3600)])
        async with first, second:
            await first.query("one").caught_up()
            await second.query("two").caught_up()
            reads = counted(monkeypatch)
            for number in range(20):
                await (first, second)[number % 2].execute(f"{number % 3}", add(number, number))
            await one.reaches(20)
            await two.reaches(20)
            assert reads.after == []
    assert one.amounts == two.amounts == [(f"{number % 3}", [number, number]) for number in range(20)]
