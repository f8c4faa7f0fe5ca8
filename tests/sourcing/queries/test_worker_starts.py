"""Where a query without a checkpoint begins: a position beyond the end of the log is a mistake, and no rollback."""

from collections.abc import Sequence
from typing import Any

import pytest

from eventree import (
    EventEnvelope,
    EventSourcing,
    EventStore,
    InvalidArgument,
    Ok,
    Projection,
    Query,
    QueryStopped,
    StoreUnavailable,
)
from eventree.sourcing import QueryStatus
from eventree.testing import FailingStore
from sourcing.ledger import Added, add, ledger
from sourcing.reading import Seen, patient
from sourcing.teller import open_store

pytestmark = pytest.mark.durable


def starting(start: int, seen: Seen, **options: Any) -> Query[Added]:
    return Query("q", seen, start=start, poll_interval=0.01, **options)


async def refusal(system: EventSourcing[Any, Any, Any, Any], name: str = "q") -> InvalidArgument:
    """Return why a query does not start."""
    with pytest.raises(QueryStopped) as stopped:
        await system.query(name).caught_up(1)
    assert system.query(name).status is QueryStatus.STOPPED
    assert isinstance(stopped.value.__cause__, InvalidArgument)
    return stopped.value.__cause__


@pytest.mark.parametrize("partitions", [1, 2])
async def test_a_start_beyond_the_end_of_the_log_is_refused_and_the_end_named(
    store: EventStore, partitions: int
) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store) as system:
        await system.execute("a", add(1))
    async with EventSourcing(ledger, store, queries=[starting(10, seen, partitions=partitions)]) as system:
        error = await refusal(system)
        assert error.name == "start"
        assert "10" in error.reason
        assert "the log ends at 1" in error.reason
        assert isinstance(await system.execute("a", add(2)), Ok)  # nobody else is concerned
    assert await store.load_checkpoint("q", 1) is None  # so that a right start counts
    async with EventSourcing(ledger, store, queries=[starting(1, seen)]) as system:
        await system.query("q").caught_up()
        assert seen.amounts == [("a", [2])]


async def test_it_starts_when_it_is_resumed_once_the_log_has_grown(store: EventStore) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store, queries=[starting(2, seen)]) as system:
        assert "the log ends at 0" in (await refusal(system)).reason
        with pytest.raises(InvalidArgument, match="the log ends at 0"):
            await system.query("q").reset()
        for amount in (1, 2, 3):
            await system.execute("a", add(amount))
        await system.query("q").resume()
        await system.query("q").caught_up()
        assert seen.amounts == [("a", [3])]


@pytest.mark.parametrize("start", [0, 1, 2])
async def test_a_start_up_to_the_end_is_taken(store: EventStore, start: int) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store) as system:
        for amount in (1, 2):
            await system.execute("a", add(amount))
    async with EventSourcing(ledger, store, queries=[starting(start, seen)]) as system:
        await system.execute("a", add(3), wait_for=["q"])
        assert seen.amounts == [("a", [amount]) for amount in (1, 2, 3)[start:]]


async def test_a_query_with_a_checkpoint_does_not_look_at_its_start(store: EventStore) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store, queries=[starting(0, seen)]) as system:
        await system.execute("a", add(1), wait_for=["q"])
    async with EventSourcing(ledger, store, queries=[starting(10, seen)]) as system:
        await system.execute("a", add(2), wait_for=["q"])
        assert seen.amounts == [("a", [1]), ("a", [2])]


async def project(_: object, __: Sequence[EventEnvelope[Added]]) -> None: ...


async def test_a_projection_is_refused_before_its_setup_runs(place: str) -> None:
    setups: list[object] = []

    async def setup(connection: object) -> None:
        setups.append(connection)

    queries = [Projection("p", project, setup=setup, start=5)]
    async with open_store(place) as store, EventSourcing(ledger, store, queries=queries) as system:
        assert "the log ends at 0" in (await refusal(system, "p")).reason
        assert setups == []
        assert await store.load_checkpoint("p", 1) is None


@pytest.mark.parametrize("method", ["load_checkpoint", "head"])
async def test_a_store_that_is_away_when_it_starts_is_waited_for(method: str) -> None:
    seen = Seen()
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(1))
        store.fail(method, StoreUnavailable("away"))  # type: ignore[arg-type]
        await system.register_queries([patient(seen, start=1)])
        await system.execute("a", add(2))
        await seen.reaches(1)
        assert seen.amounts == [("a", [2])]
