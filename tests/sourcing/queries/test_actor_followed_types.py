"""A query is woken by commits with events that it follows; it passes the others when it looks, and holds nobody up."""

import asyncio

import pytest

from eventree import AggregateType, Err, EventSourcing, EventStore, Query
from eventree.sourcing import QueryStatus
from eventree.sourcing.queries.actor import QueryActor
from sourcing.ledger import Added, Ledger, LedgerType, add, apply, handle, ledger
from sourcing.reading import Seen
from sourcing.waiting import becomes, until

other: LedgerType = AggregateType("other", handle=handle, apply=apply, empty_state=Ledger)


def following(name: str, seen: Seen, *types: LedgerType, poll_interval: float = 0.01) -> Query[Added]:
    return Query(name, seen, follows=types, poll_interval=poll_interval)


@pytest.fixture
def wakes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the queries that were told of a commit."""
    told: list[str] = []
    on_commit = QueryActor._on_commit

    def noted(self: QueryActor, head: int, ref: object) -> None:
        told.append(str(ref.id))  # type: ignore[attr-defined]
        on_commit(self, head, ref)  # type: ignore[arg-type]

    monkeypatch.setattr(QueryActor, "_on_commit", noted)
    return told


async def test_a_commit_wakes_only_the_queries_that_follow_its_type(store: EventStore, wakes: list[str]) -> None:
    own, both, none = Seen(), Seen(), Seen()
    queries = [following("own", own, ledger), following("both", both, other, ledger), following("none", none, other)]
    async with EventSourcing(ledger, store, queries=queries) as system:
        for amount in (1, 2, 3):
            await system.execute("a", add(amount), wait_for=["own", "both"])
        assert sorted(wakes) == ["both"] * 3 + ["own"] * 3
        assert len(own.commits) == len(both.commits) == 3
        assert none.commits == []


async def test_one_that_was_not_woken_moves_on_all_the_same(store: EventStore) -> None:
    seen = Seen()
    async with EventSourcing(ledger, store, queries=[following("q", seen, other)]) as system:
        await system.execute("a", add(1, 2, 3))
        await until(lambda: system.query("q").position == 3)
    stored = await store.load_checkpoint("q", 1)
    assert stored is not None
    assert stored.checkpoint.position == 3


@pytest.mark.parametrize("position", [None, 3])
async def test_whoever_waits_for_one_that_was_not_woken_need_not_wait_until_it_looks(
    store: EventStore, position: int | None
) -> None:
    queries = [following("q", Seen(), other, poll_interval=3_600)]
    async with EventSourcing(ledger, store, queries=queries) as system:
        await system.query("q").caught_up()
        await system.execute("a", add(1, 2, 3))
        await system.query("q").caught_up(position)
        assert system.query("q").position == 3


async def test_a_command_does_not_wait_for_a_query_that_does_not_follow_it(store: EventStore) -> None:
    stuck = asyncio.Event()

    async def wait(_: str, __: object) -> None:
        await stuck.wait()

    queries = [Query("stuck", wait, follows=[other]), Query("stopped", Seen(), follows=[other], start=10)]
    async with EventSourcing(other, store) as others, EventSourcing(ledger, store, queries=queries) as system:
        await others.execute("a", add(1))
        await becomes(system.query("stopped"), QueryStatus.STOPPED)
        (await system.execute("a", add(1), wait_for=["stuck", "stopped"])).unwrap()
        assert isinstance(await system.execute("a", add(1), wait_for=["missing"]), Err)
        stuck.set()
