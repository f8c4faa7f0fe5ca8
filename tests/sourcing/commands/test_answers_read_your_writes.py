"""A caller may wait until queries have handled what it stored."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from eventree import (
    ActorTimeout,
    Commit,
    DomainError,
    Err,
    EventSourcing,
    EventStore,
    InvalidArgument,
    NotCaughtUp,
    Ok,
    QueryStopped,
)
from sourcing.ledger import add, entries, ledger, refuse
from sourcing.reading import Events, Seen, before, query


def slow(gate: asyncio.Event) -> Callable[[str, Events], Awaitable[None]]:
    async def wait(_: str, __: Events) -> None:
        await gate.wait()

    return wait


@pytest.mark.durable
async def test_the_queries_that_are_waited_for_have_handled_it_and_the_others_need_not(store: EventStore) -> None:
    gate = asyncio.Event()
    first, second, late = Seen(), Seen(), Seen()
    queries = [query("first", first), query("second", second), query("late", before(late, slow(gate)))]
    async with EventSourcing(ledger, store, queries=queries) as system:
        answer = await system.execute("a", add(1, 2), wait_for=["first", "second"])
        assert isinstance(answer, Ok)
        assert first.amounts == second.amounts == [("a", [1, 2])]
        assert system.query("first").position == answer.value.position
        assert late.amounts == []
        gate.set()


async def test_one_that_is_not_there_in_time_is_named_and_the_commit_stands(store: EventStore) -> None:
    gate = asyncio.Event()
    queries = [query("swift", Seen()), query("late", before(Seen(), slow(gate)))]
    async with EventSourcing(ledger, store, queries=queries) as system:
        await asyncio.gather(system.query("swift").caught_up(0), system.query("late").caught_up(0))
        match await system.execute("a", add(1), wait_for=["swift", "late"], timeout=1.0):
            case Err(NotCaughtUp(commit=Commit(sequence=sequence, position=position), query=name) as error):
                assert (sequence, position, name) == (1, 1, "late")
                assert isinstance(error.__cause__, ActorTimeout)
                assert "has not handled it yet (query 'late' is running after position 0); wait for the query" in str(
                    error
                )
            case other:
                pytest.fail(f"{other}")
        assert await entries(system, "a") == [1]
        gate.set()
        await system.query("late").caught_up(1)


async def test_one_that_has_stopped_is_named_at_once(store: EventStore) -> None:
    async def fail(_: str, __: Events) -> None:
        raise ValueError("poison")

    async with EventSourcing(ledger, store, queries=[query("q", fail, max_attempts=1)]) as system:
        answer = await system.execute("a", add(1), wait_for=["q"])
    assert isinstance(answer, Err)
    assert isinstance(answer.error, NotCaughtUp)
    assert isinstance(answer.error.__cause__, QueryStopped)


async def test_what_stored_nothing_waits_for_nothing(store: EventStore) -> None:
    gate = asyncio.Event()
    async with EventSourcing(ledger, store, queries=[query("late", before(Seen(), slow(gate)))]) as system:
        assert await system.execute("a", refuse, wait_for=["late"]) == Err(DomainError("no"))
        assert await system.execute("a", add(), wait_for=["late"]) == Ok(Commit("a", 0, 0, ()))


async def test_an_unknown_query_is_refused_before_anything_is_stored(store: EventStore) -> None:
    async with EventSourcing(ledger, store, queries=[query("q", Seen())]) as system:
        answer = await system.execute("a", add(1), wait_for=["q", "typo"])
        assert isinstance(answer, Err)
        assert isinstance(answer.error, InvalidArgument)
        assert str(answer.error) == "wait_for: there is no query 'typo'; there are: q"
        assert await store.head() == 0
