"""`expected_sequence=` decides a command only where its sender saw the aggregate, as the store has it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from eventree import (
    Commit,
    ConcurrencyConflict,
    DomainError,
    Err,
    EventSourcing,
    EventStore,
    InvalidArgument,
    Ok,
)
from eventree.stores.contract import AppendRequest, NewEvent
from eventree.testing import FailingStore
from sourcing.ledger import (
    Added,
    Command,
    Ledger,
    LedgerSystem,
    add,
    add_length,
    crash,
    entries,
    ledger,
    ledger_in_place,
)


@pytest.fixture(params=[ledger, ledger_in_place], ids=["pure", "in_place"])
async def system(store: EventStore, request: pytest.FixtureRequest) -> AsyncIterator[LedgerSystem]:
    async with EventSourcing(request.param, store) as running:
        yield running


@pytest.fixture
async def failing() -> AsyncIterator[FailingStore]:
    async with FailingStore() as opened:
        yield opened


def refuse(_: Ledger) -> Err[str]:
    return Err("no")


def conflict_of(answer: object) -> tuple[str, str, int, int]:
    assert isinstance(answer, Err)
    error: object = answer.error
    assert isinstance(error, ConcurrencyConflict)
    return error.aggregate_type, error.aggregate_id, error.expected, error.actual


async def rival_adds(store: EventStore, after: int, id: str = "a") -> None:
    """Let somebody else write to an aggregate."""
    event = NewEvent("Added", 1, '{"amount":77}', "{}", uuid4())
    await store.append([AppendRequest("ledger", id, after, [event])])


async def test_a_command_is_stored_where_the_aggregate_stands_as_expected(system: LedgerSystem) -> None:
    assert (await system.execute("a", add(1, 2), expected_sequence=0)).unwrap().sequence == 2
    assert (await system.execute("a", add(3), expected_sequence=2)).unwrap().sequence == 3
    assert await system.execute("a", add(), expected_sequence=3) == Ok(Commit("a", 3, 3, ()))
    assert await system.execute("a", refuse, expected_sequence=3) == Err(DomainError("no"))


@pytest.mark.parametrize("expected", [0, 1, 3, 99])
@pytest.mark.parametrize("command", [add(9), add(), refuse, crash], ids=["events", "nothing", "refusal", "crash"])
async def test_a_command_that_expects_another_sequence_is_a_conflict_and_stores_nothing(
    system: LedgerSystem, expected: int, command: Command
) -> None:
    await system.execute("a", add(1, 2))
    assert conflict_of(await system.execute("a", command, expected_sequence=expected)) == ("ledger", "a", expected, 2)
    assert await entries(system, "a") == [1, 2]
    assert (await system.execute("a", add_length)).unwrap().events == (Added(2),)


async def test_an_aggregate_without_events_is_at_zero(system: LedgerSystem, store: EventStore) -> None:
    assert conflict_of(await system.execute("new", add(1), expected_sequence=1)) == ("ledger", "new", 1, 0)
    assert await store.head() == 0


async def test_of_many_who_saw_the_same_sequence_one_wins(system: LedgerSystem) -> None:
    got = await asyncio.gather(*(system.execute("a", add(number), expected_sequence=0) for number in range(20)))
    assert got[0] == Ok(Commit("a", 1, 1, (Added(0),)))
    assert [conflict_of(answer) for answer in got[1:]] == [("ledger", "a", 0, 1)] * 19
    assert await entries(system, "a") == [0]


@pytest.mark.durable
async def test_of_many_who_write_in_two_systems_one_wins(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as one, EventSourcing(ledger, store) as other:
        for round in range(20):
            got = await asyncio.gather(
                *(system.execute("a", add(round), expected_sequence=round) for system in (one, other, one, other))
            )
            assert sum(isinstance(answer, Ok) for answer in got) == 1
            assert [conflict_of(answer)[2:] for answer in got if isinstance(answer, Err)] == [(round, round + 1)] * 3
        assert await entries(one, "a") == list(range(20))


async def test_the_commands_around_a_conflict_are_stored_as_if_it_were_not_there(failing: FailingStore) -> None:
    async with EventSourcing(ledger_in_place, failing) as system:
        before, wrong, after, right, elsewhere = await asyncio.gather(
            system.execute("a", add(5)),
            system.execute("a", add(6), expected_sequence=0),
            system.execute("a", add_length),
            system.execute("a", add_length, expected_sequence=2),
            system.execute("b", add_length),
        )
        assert conflict_of(wrong)[2:] == (0, 1)
        assert [answer.unwrap().events for answer in (before, after, right, elsewhere)] == [
            (Added(5),),
            (Added(1),),
            (Added(2),),
            (Added(0),),
        ]
        assert failing.calls["append"] == 1
        assert await entries(system, "a") == [5, 1, 2]


async def test_a_stale_cache_never_answers_a_conflict(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as one, EventSourcing(ledger, store) as other:
        await one.execute("a", add(1))
        await other.execute("a", add(2, 3))  # the cache of `one` is stale now
        assert (await one.execute("a", add_length, expected_sequence=3)).unwrap().events == (Added(3),)
        await other.execute("a", add(4))
        assert conflict_of(await one.execute("a", add(5), expected_sequence=6))[2:] == (6, 5)
        assert await entries(one, "a") == [1, 2, 3, 3, 4]


async def test_a_stale_cache_never_stores_what_it_expects(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as one, EventSourcing(ledger, store) as other:
        await one.execute("a", add(1))
        await other.execute("a", add(2))
        assert conflict_of(await one.execute("a", add(5), expected_sequence=1))[2:] == (1, 2)
        assert conflict_of(await one.execute("b", add(5), expected_sequence=1))[2:] == (1, 0)
        assert await entries(one, "a") == [1, 2]


async def test_who_loses_at_the_append_is_answered_at_once_and_the_others_are_decided_again(
    failing: FailingStore,
) -> None:
    async with EventSourcing(ledger, failing) as system:
        await system.execute("a", add(1))
        failing.calls.clear()
        failing.intercept("append", lambda: rival_adds(failing.inner, 1))
        lost, late, decided = await asyncio.gather(
            system.execute("a", add(2), expected_sequence=1),
            system.execute("a", add_length, expected_sequence=3),
            system.execute("a", add_length),
        )
        assert conflict_of(lost)[2:] == (1, 2)
        assert conflict_of(late)[2:] == (3, 2)
        assert decided.unwrap().events == (Added(2),)
        assert await entries(system, "a") == [1, 77, 2]
        assert failing.calls["append"] == 2


async def test_a_lost_expectation_costs_one_append_and_no_round(failing: FailingStore) -> None:
    async with EventSourcing(ledger, failing) as system:
        failing.intercept("append", lambda: rival_adds(failing.inner, 0))
        assert conflict_of(await system.execute("a", add(1), expected_sequence=0))[2:] == (0, 1)
        assert failing.calls["append"] == 1
        assert (await system.execute("a", add_length, expected_sequence=1)).unwrap().events == (Added(1),)


async def test_an_expectation_is_judged_after_what_came_before_it(failing: FailingStore) -> None:
    """A rival's event takes the place of the one that the second command saw coming."""
    async with EventSourcing(ledger, failing) as system:
        failing.intercept("append", lambda: rival_adds(failing.inner, 0))
        first, second = await asyncio.gather(
            system.execute("a", add_length), system.execute("a", add(9), expected_sequence=1)
        )
        assert first.unwrap().events == (Added(1),)
        assert conflict_of(second)[2:] == (1, 2)
        assert await entries(system, "a") == [77, 1]


async def test_a_repetition_is_answered_with_its_first_commit_wherever_the_aggregate_stands(
    system: LedgerSystem, store: EventStore
) -> None:
    first = await system.execute("a", add(1), command_id="c", expected_sequence=0)
    empty = await system.execute("a", add(), command_id="e", expected_sequence=1)
    assert (first, empty) == (Ok(Commit("a", 1, 1, (Added(1),))), Ok(Commit("a", 1, 1, ())))
    for _ in range(2):
        assert await system.execute("a", add(1), command_id="c", expected_sequence=0) == first
        assert await system.execute("a", add(), command_id="e", expected_sequence=1) == empty
        await system.execute("a", add(2))
    async with EventSourcing(ledger, store) as restarted:
        assert await restarted.execute("a", add(1), command_id="c", expected_sequence=0) == first
        assert await restarted.execute("a", add(1), command_id="c", expected_sequence=3) == first
        assert await entries(restarted, "a") == [1, 2, 2]


async def test_a_repetition_that_another_system_stored_is_no_conflict(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as one, EventSourcing(ledger, store) as other:
        await one.execute("a", add(1))
        first = await other.execute("a", add(2), command_id="c", expected_sequence=1)
        assert await one.execute("a", add(2), command_id="c", expected_sequence=1) == first  # its cache still fits


async def test_a_conflict_is_not_remembered(system: LedgerSystem) -> None:
    conflict_of(await system.execute("a", add(1), command_id="c", expected_sequence=7))
    assert (await system.execute("a", add(1), command_id="c", expected_sequence=0)).unwrap().sequence == 1


async def test_conflicts_are_counted_as_failed_commands(system: LedgerSystem) -> None:
    await system.execute("a", add(1), expected_sequence=7)
    await system.execute("a", add(1), expected_sequence=0)
    stats = await system.system_stats()
    assert (stats.total_commands_processed, stats.commands_failed, stats.commands_refused) == (2, 1, 0)


@pytest.mark.parametrize("sequence", [-1, True, 1.0, "1"])
async def test_a_sequence_that_is_none_is_refused(failing: FailingStore, sequence: Any) -> None:
    async with EventSourcing(ledger, failing) as system:
        answer = await system.execute("a", add(1), expected_sequence=sequence)
        assert isinstance(answer, Err)
        assert isinstance(answer.error, InvalidArgument)
        assert (answer.error.name, failing.calls["append"]) == ("expected_sequence", 0)
