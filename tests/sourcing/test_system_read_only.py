"""A system on a store that was opened only for reading: reads work, all else says why not, and nothing crashes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eventree import Err, EventSourcing, Projection, Query, QueryStopped, SQLiteStore
from eventree.errors import StoreReadOnly
from eventree.sourcing import QueryStatus
from sourcing.ledger import Added, add, entries, ledger
from sourcing.reading import Seen
from sourcing.totals import project, setup

QUERIES: dict[str, Callable[[], Query[Added] | Projection[Added]]] = {
    "query": lambda: Query("q", Seen(), poll_interval=0.01),
    "projection": lambda: Projection("q", project, setup=setup, poll_interval=0.01),
}


@pytest.mark.parametrize("kind", QUERIES)
async def test_commands_are_answered_and_queries_stop_visibly(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "events.db"
    async with SQLiteStore(path) as store, EventSourcing(ledger, store) as system:
        (await system.execute("a", add(1))).unwrap()
        reading = SQLiteStore(path, read_only=True)
        async with reading, EventSourcing(ledger, reading, queries=[QUERIES[kind]()]) as reader:
            answer = await reader.execute("a", add(2))
            assert isinstance(answer, Err)
            assert isinstance(answer.error, StoreReadOnly)
            with pytest.raises(QueryStopped) as stopped:
                await reader.query("q").caught_up()
            assert isinstance(stopped.value.__cause__, StoreReadOnly)
            assert reader.query("q").status is QueryStatus.STOPPED
            assert await entries(reader, "a") == [1]
            assert (await reader.system_stats()).actor_restarts == 0
