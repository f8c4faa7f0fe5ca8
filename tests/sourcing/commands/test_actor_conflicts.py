"""Several systems on one store: one writer wins, and every answer is current."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
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
    HandlerCrashed,
    Ok,
    SQLiteStore,
    StoreUnavailable,
)
from eventree.sourcing.commands.turns import QUIET_TURNS
from eventree.stores.contract import AppendRequest, NewEvent, StreamRead
from eventree.testing import FailingStore
from eventree.testing.failing_store import StoreMethod
from sourcing.ledger import (
    POISON,
    Added,
    Ledger,
    LedgerType,
    add,
    add_length,
    apply,
    crash,
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

    def __init__(
        self,
        store: FailingStore,
        times: int,
        ids: Sequence[str] = ("a",),
        events: int = 1,
        method: StoreMethod = "append",
    ) -> None:
        self.count = 0
        self._inner = store.inner
        self._ids = ids
        self._events = events
        store.intercept(method, self, times=times)

    async def __call__(self) -> None:
        self.count += 1
        pages = await self._inner.read_streams([StreamRead("ledger", id, limit=0) for id in self._ids])
        events = [NewEvent("Added", 1, '{"amount":77}', "{}", uuid4()) for _ in range(self._events)]
        await self._inner.append(
            [AppendRequest("ledger", id, page.sequence, events) for id, page in zip(self._ids, pages, strict=True)]
        )


@either_apply
async def test_a_command_that_loses_twice_takes_its_turn(kind: LedgerType) -> None:
    async with FailingStore() as store, EventSourcing(kind, store) as system:
        Rival(store, 100)
        turns = Calls(store, "read_and_append")
        assert (await system.execute("a", add_length)).unwrap().events == (Added(2),)
        assert turns.count == 1


async def test_an_aggregate_takes_turns_until_nobody_else_has_written_for_a_while() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        Rival(store, 2)
        turns, appends = Calls(store, "read_and_append"), Calls(store, "append")
        for number in range(20):
            assert (await system.execute("a", add_length)).unwrap().events == (Added(number + 2),)
        assert (turns.count, appends.count) == (QUIET_TURNS, 20 - QUIET_TURNS)


async def test_the_other_aggregates_of_a_batch_are_decided_and_keep_their_order() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        Rival(store, 2)
        commands = [(id, add_length) for _ in range(3) for id in ("a", "b", "c")]
        answers = await system.execute_many(commands)
        answers += await system.execute_many(commands)  # now "a" takes its turn at once
        assert [answer.unwrap().sequence for answer in answers] == [
            3,
            1,
            1,
            4,
            2,
            2,
            5,
            3,
            3,
            6,
            4,
            4,
            7,
            5,
            5,
            8,
            6,
            6,
        ]
        assert await entries(system, "a") == [77, 77, 2, 3, 4, 5, 6, 7]
        assert await entries(system, "b") == [0, 1, 2, 3, 4, 5]


async def test_a_turn_answers_bugs_refusals_and_repeated_commands_as_ever() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(1), command_id="first")
        Rival(store, 100)
        commands = [("a", crash), ("a", below_two), ("a", add(5)), ("a", add(9)), ("a", add_length)]
        turns = Calls(store, "read_and_append")
        bug, refused, stored, repeated, last = await system.execute_many(
            commands, command_ids=[None, None, "new", "first", None]
        )
        assert turns.count
        assert isinstance(bug, Err)
        assert isinstance(bug.error, HandlerCrashed)
        assert refused == Err(DomainError("enough"))
        assert (stored.unwrap().events, repeated.unwrap().sequence) == ((Added(5),), 1)
        assert last.unwrap().sequence == stored.unwrap().sequence + 1


async def test_a_turn_reads_on_where_others_have_written_more_than_a_page() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(0))
        Rival(store, 2)
        assert (await system.execute("a", add_length)).unwrap().events == (Added(3),)
        many = [NewEvent("Added", 1, '{"amount":1}', "{}", uuid4()) for _ in range(2_500)]
        await store.inner.append([AppendRequest("ledger", "a", 4, many)])
        assert (await system.execute("a", add_length)).unwrap().events == (Added(2_504),)


async def test_a_turn_comes_to_an_end_though_another_writer_appends_more_than_a_page_each_time() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(0))
        Rival(store, 2)
        await system.execute("a", add(0))
        rival = Rival(store, 100, events=1_500, method="read_and_append")
        commit = (await system.execute("a", add_length, timeout=60)).unwrap()
        assert commit.events == (Added(commit.sequence - 1),)
        assert rival.count == 1


async def test_nobody_is_refused_for_a_conflict_where_few_aggregates_stay_in_memory() -> None:
    ids = [f"a{number}" for number in range(12)]
    async with FailingStore() as store, EventSourcing(ledger, store, cache_size=1) as system:
        Rival(store, 100, ids)
        answers = await system.execute_many([(id, add_length) for id in ids])
        assert [answer for answer in answers if isinstance(answer, Err)] == []


async def test_a_bug_in_apply_that_shows_in_a_turn_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        Rival(store, 2)
        await system.execute("a", add(1))
        poison = NewEvent("Added", 1, f'{{"amount":{POISON}}}', "{}", uuid4())
        await store.inner.append([AppendRequest("ledger", "a", 3, [poison])])
        answers = await system.execute_many([("a", add(1)), ("a", add(2))])
        assert [type(answer.error) for answer in answers if isinstance(answer, Err)] == [HandlerCrashed] * 2
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_an_expected_sequence_is_not_decided_again_in_a_turn() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        Rival(store, 2)
        await system.execute("a", add(1))
        answer = await system.execute("a", add(2), expected_sequence=2)
        assert answer == Err(ConcurrencyConflict("ledger", "a", 2, 3)) or isinstance(answer, Err)
        assert isinstance(answer.error, ConcurrencyConflict)
        assert (answer.error.expected, answer.error.actual) == (2, 3)


async def test_a_turn_that_the_store_fails_is_answered_and_the_next_command_works() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        Rival(store, 2)
        await system.execute("a", add(1))
        store.fail("read_and_append", StoreUnavailable("away"))
        answer = await system.execute("a", add(2))
        assert isinstance(answer, Err)
        assert isinstance(answer.error, StoreUnavailable)
        assert (await system.execute("a", add(3))).unwrap().sequence == 4


@pytest.mark.durable
async def test_nobody_is_refused_or_starved_where_many_systems_write_to_few_aggregates(store: EventStore) -> None:
    async with AsyncExitStack() as stack:
        systems = [await stack.enter_async_context(EventSourcing(ledger, store)) for _ in range(4)]
        asked = [system.execute(id, add_length, timeout=60) for id in "abc" * 20 for system in systems]
        answers = await asyncio.gather(*asked)
        assert [answer for answer in answers if isinstance(answer, Err)] == []
        for id in "abc":
            assert await entries(systems[0], id) == [*range(80)]


class Calls:
    """Count the calls of a method of a store."""

    def __init__(self, store: FailingStore, method: StoreMethod) -> None:
        self.count = 0
        store.intercept(method, self, times=1_000_000)

    async def __call__(self) -> None:
        self.count += 1


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
