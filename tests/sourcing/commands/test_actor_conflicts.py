"""Several systems on one store: one writer wins, and every answer is current."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from eventree import (
    AggregateType,
    ConcurrencyConflict,
    DomainError,
    Err,
    EventSourcing,
    EventStore,
    Ok,
    SQLiteStore,
)
from eventree.stores.contract import AppendRequest, NewEvent, StreamRead
from eventree.testing import FailingStore
from sourcing.ledger import (
    Added,
    Command,
    Ledger,
    LedgerType,
    add,
    add_length,
    apply,
    entries,
    handle,
    ledger,
    ledger_in_place,
)

either_apply = pytest.mark.parametrize("kind", [ledger, ledger_in_place], ids=["pure", "in_place"])


def below_two(state: Ledger) -> Ok[list[Added]] | Err[str]:
    return Ok([Added(0)]) if len(state.entries) < 2 else Err("enough")


def only_if_filled(state: Ledger) -> Ok[list[Added]] | Err[str]:
    return Ok([]) if state.entries else Err("empty")


def only_if_many(state: Ledger) -> Ok[list[Added]] | Err[str]:
    return Ok([]) if len(state.entries) > 50 else Err("few")


@pytest.mark.durable
@either_apply
async def test_a_command_is_decided_again_when_another_system_wrote_in_between(
    store: EventStore, kind: LedgerType
) -> None:
    async with EventSourcing(kind, store) as one, EventSourcing(kind, store) as other:
        await one.execute("a", add(10))
        await other.execute("a", add(20))  # the cache of `one` is stale now
        assert (await one.execute("a", add_length)).unwrap().events == (Added(2),)
        assert (await other.execute("a", add_length)).unwrap().events == (Added(3),)
        assert await entries(one, "a") == [10, 20, 2, 3]
        assert (await one.system_stats()).conflicts == 1


async def test_a_stale_cache_never_accepts_what_the_newest_state_refuses(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as one, EventSourcing(ledger, store) as other:
        await one.execute("a", add(1))
        await other.execute("a", add(2))
        assert await one.execute("a", below_two) == Err(DomainError("enough"))


async def test_a_stale_cache_never_answers_a_refusal(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as one, EventSourcing(ledger, store) as other:
        assert await one.execute("a", only_if_filled) == Err(DomainError("empty"))
        await other.execute("a", add(1))
        assert (await one.execute("a", only_if_filled)).unwrap().sequence == 1


async def test_a_stale_cache_never_answers_an_empty_decision(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as one, EventSourcing(ledger, store) as other:
        await one.execute("a", add(1))
        await other.execute("a", add(2, 3))
        commit = (await one.execute("a", add())).unwrap()
        assert (commit.sequence, commit.position, commit.events) == (3, 3, ())


@either_apply
async def test_only_the_aggregate_that_met_a_conflict_is_decided_again(store: EventStore, kind: LedgerType) -> None:
    async with EventSourcing(kind, store) as one, EventSourcing(kind, store) as other:
        await one.execute_many([("a", add(1)), ("b", add(1))])
        await other.execute("a", add(2))
        got = await one.execute_many([("a", add_length), ("b", add_length), ("a", add_length), ("c", add_length)])
        assert [answer.unwrap().events for answer in got] == [(Added(2),), (Added(1),), (Added(3),), (Added(0),)]
        assert await entries(one, "a") == [1, 2, 2, 3]


async def test_systems_of_other_types_never_meet(store: EventStore) -> None:
    other_type = AggregateType("other", handle=handle, apply=apply, empty_state=Ledger)
    async with EventSourcing(ledger, store) as one, EventSourcing(other_type, store) as other:
        await one.execute("a", add(1))
        assert (await other.execute("a", add(2))).unwrap().sequence == 1
        assert (await one.execute("a", add_length)).unwrap().events == (Added(1),)
        assert (await one.system_stats()).conflicts == 0


class Rival:
    """Another writer, who comes in just before an append, a number of times."""

    def __init__(self, store: FailingStore, times: int) -> None:
        self._inner = store.inner
        store.intercept("append", self, times=times)

    async def __call__(self) -> None:
        [page] = await self._inner.read_streams([StreamRead("ledger", "a", limit=0)])
        event = NewEvent("Added", 1, '{"amount":77}', "{}", uuid4())
        await self._inner.append([AppendRequest("ledger", "a", page.sequence, [event])])


async def test_a_command_that_loses_seven_times_is_stored_at_the_eighth() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        Rival(store, 7)
        assert (await system.execute("a", add_length)).unwrap().events == (Added(7),)


@pytest.mark.parametrize("command", [add_length, only_if_many], ids=["accepted", "refused"])
async def test_a_command_that_always_loses_is_a_conflict_and_nothing_of_it_is_stored(command: Command) -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        Rival(store, 8)
        answer = await system.execute("a", command, command_id="c")
        assert isinstance(answer, Err)
        assert isinstance(answer.error, ConcurrencyConflict)
        assert (answer.error.aggregate_id, answer.error.expected, answer.error.actual) == ("a", 7, 8)
        assert await entries(system, "a") == [77] * 8
        assert (await system.execute("a", add(1), command_id="c")).unwrap().sequence == 9


@pytest.mark.durable
async def test_two_systems_that_write_at_once_lose_and_repeat_nothing(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as one, EventSourcing(ledger, store) as other:
        got = await asyncio.gather(*(system.execute("a", add_length) for _ in range(50) for system in (one, other)))
        assert await entries(one, "a") == list(range(100))
        assert sorted(answer.unwrap().sequence for answer in got) == list(range(1, 101))


async def test_two_store_objects_on_one_file_lose_and_repeat_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with (
        SQLiteStore(path) as here,
        SQLiteStore(path) as there,
        EventSourcing(ledger, here) as one,
        EventSourcing(ledger, there) as other,
    ):
        for round in range(10):
            got = await asyncio.gather(one.execute("a", add_length), other.execute("a", add_length))
            assert {answer.unwrap().sequence for answer in got} == {2 * round + 1, 2 * round + 2}
        assert await entries(one, "a") == list(range(20))
