"""Events that are newer than the code: it lets go for newer code, and neither skips nor parks them by itself."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from eventree import AggregateType, EventSourcing, EventStore, MemoryStore, Projection, QueryStopped
from eventree.errors import EventTooNew, UnknownEventType
from eventree.sourcing import QueryStatus
from eventree.sourcing.queries.subscriptions import Subscription
from eventree.stores.contract import AppendRequest, NewEvent
from sourcing.ledger import Added, Command, Ledger, add, handle, ledger
from sourcing.reading import Events, Seen, patient
from sourcing.teller import open_store
from sourcing.waiting import becomes, until

LEASE = 0.6


@dataclass(frozen=True)
class BonusGiven:
    amount: int


def apply(state: Ledger, event: Added | BonusGiven) -> Ledger:
    return Ledger([*state.entries, event.amount])


newer: AggregateType[Ledger, Command, Added | BonusGiven, str] = AggregateType(
    "ledger", handle=handle, apply=apply, empty_state=Ledger
)

NEW = [("BonusGiven", 1, UnknownEventType), ("Added", 2, EventTooNew)]


async def write_new(store: EventStore, event_type: str = "BonusGiven", version: int = 1) -> None:
    event = NewEvent(event_type, version, '{"amount":50}', "{}", uuid4())
    await store.append([AppendRequest("ledger", "a", 1, [event])])


@pytest.mark.durable
@pytest.mark.parametrize("policy", ["skip", "park", "stop"])
async def test_newer_code_takes_over_whatever_the_policy(store: EventStore, policy: Any) -> None:
    old, new = Seen(), Seen()
    options: Any = {"on_failure": policy, "lease": LEASE, "max_attempts": 1}
    async with EventSourcing(ledger, store, queries=[patient(old, **options)]) as before:
        await before.execute("a", add(1), wait_for=["q"])
        newer_query: Any = patient(new, **options)
        async with EventSourcing(newer, store, queries=[newer_query]) as after:
            await becomes(after.query("q"), QueryStatus.WAITING)
            await write_new(store)
            await after.query("q").caught_up(2, timeout=20)
            await becomes(before.query("q"), QueryStatus.WAITING)
            stats = await after.query("q").stats()
    assert (stats.skipped, stats.parked, stats.position) == (0, 0, 2)
    assert [amounts for _, amounts in old.amounts] == [[1]]
    assert [amounts for _, amounts in new.amounts] == [[50]]


@pytest.mark.parametrize("kind", ["query", "projection"])
@pytest.mark.parametrize(("event_type", "version", "error"), NEW)
async def test_where_nobody_takes_over_the_status_says_so_and_the_event_can_be_skipped_by_hand(
    place: str, event_type: str, version: int, error: type[Exception], kind: str
) -> None:
    seen = Seen()

    async def project(_: Any, events: Events) -> None:
        for event in events:
            seen(event.aggregate_id, [event])

    options: Any = {"on_failure": "park", "lease": LEASE, "max_attempts": 1, "poll_interval": 0.01}
    query: Subscription[Added] = patient(seen, **options) if kind == "query" else Projection("q", project, **options)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        await write_new(store, event_type, version)
        await system.execute("b", add(3))
        handle = system.query("q")
        await becomes(handle, QueryStatus.OUTDATED)
        stats = await handle.stats()
        assert (type(stats.last_error), stats.position, stats.parked, stats.skipped) == (error, 1, 0, 0)
        [summary] = await store.list_queries()
        assert summary.lease_seconds == 0
        await handle.skip(2, timeout=20)
        await handle.caught_up(timeout=20)
        stats = await handle.stats()
    assert (stats.status, stats.position, stats.skipped) == (QueryStatus.RUNNING, 3, 1)
    assert [amounts for _, amounts in seen.amounts] == [[1], [3]]


async def test_it_tries_again_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    async with MemoryStore() as store:
        query = patient(Seen(), lease=0.1, on_failure="skip", max_attempts=1)
        async with EventSourcing(ledger, store, queries=[query]) as system:
            await system.execute("a", add(1), wait_for=["q"])
            await write_new(store)
            handle = system.query("q")
            await becomes(handle, QueryStatus.OUTDATED)
            await until(lambda: handle.parts[0].state.attempts >= 3)
    assert "skip(2)" in caplog.text


async def test_events_that_are_ignored_are_ignored() -> None:
    seen = Seen()
    query = patient(seen, ignore_unknown=True, lease=LEASE)
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1))
        await write_new(store)
        await system.execute("b", add(3))
        await system.query("q").caught_up(timeout=20)
        assert (await system.query("q").stats()).ignored == 1
    assert [amounts for _, amounts in seen.amounts] == [[1], [3]]


async def test_an_event_that_is_damaged_is_no_newer_one() -> None:
    async with MemoryStore() as store:
        query = patient(Seen(), lease=LEASE, on_failure="stop", max_attempts=1)
        async with EventSourcing(ledger, store, queries=[query]) as system:
            await system.execute("a", add(1), wait_for=["q"])
            await store.append(
                [AppendRequest("ledger", "a", 1, [NewEvent("Added", 1, '{"amount":"x"}', "{}", uuid4())])]
            )
            with pytest.raises(QueryStopped):
                await system.query("q").caught_up(timeout=20)
