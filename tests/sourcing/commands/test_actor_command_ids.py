"""`command_id=` makes a command idempotent for good: a repetition gets the first answer."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import pytest

from eventree import (
    AggregateType,
    Commit,
    DomainError,
    Err,
    EventSourcing,
    EventStore,
    InvalidArgument,
    Ok,
    Result,
)
from eventree.errors import CommandIdReused
from sourcing.ledger import Added, Command, Ledger, LedgerSystem, add, add_length, apply, crash, entries, handle, ledger


@pytest.fixture
async def system(store: EventStore) -> AsyncIterator[LedgerSystem]:
    async with EventSourcing(ledger, store) as running:
        yield running


def only_once(state: Ledger) -> Ok[list[Added]] | Err[str]:
    return Err("twice") if state.entries else Ok([Added(1)])


@pytest.mark.durable
async def test_a_retry_is_answered_with_the_first_commit(system: LedgerSystem) -> None:
    first = await system.execute("a", add(1, 2), command_id="c")
    await system.execute("b", add(9))
    await system.execute("a", add(3))
    assert first == Ok(Commit("a", 2, 2, (Added(1), Added(2))))
    assert await system.execute("a", add(1, 2), command_id="c") == first
    assert await entries(system, "a") == [1, 2, 3]


@pytest.mark.durable
async def test_a_retry_after_a_restart_is_answered_with_the_first_commit(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as system:
        first = await system.execute("a", add(1), command_id="c")
        await system.execute("a", add(2))
    async with EventSourcing(ledger, store) as system:
        assert await system.execute("a", add(1), command_id="c") == first
        assert await entries(system, "a") == [1, 2]


@pytest.mark.parametrize("command", [only_once, crash], ids=["refused", "crashes"])
async def test_a_retry_that_would_fail_now_is_answered_with_the_first_commit(
    system: LedgerSystem, command: Command
) -> None:
    first = await system.execute("a", only_once, command_id="c")
    assert first == Ok(Commit("a", 1, 1, (Added(1),)))
    assert await system.execute("a", command, command_id="c") == first
    assert await system.execute("a", only_once, command_id="d") == Err(DomainError("twice"))


@pytest.mark.durable
async def test_an_empty_decision_is_remembered_too(system: LedgerSystem) -> None:
    unborn = await system.execute("a", add(), command_id="c0")
    await system.execute("a", add(5))
    settled = await system.execute("a", add(), command_id="c1")
    await system.execute("a", add(6))
    assert unborn == Ok(Commit("a", 0, 0, ()))
    assert settled == Ok(Commit("a", 1, 1, ()))
    assert await system.execute("a", add(7), command_id="c0") == unborn
    assert await system.execute("a", add(7), command_id="c1") == settled
    assert await entries(system, "a") == [5, 6]


@pytest.mark.durable
async def test_one_id_twice_in_one_batch_is_one_command(system: LedgerSystem) -> None:
    commands = [("a", add(1)), ("a", add(1)), ("a", add(2)), ("b", add(3))]
    got = await system.execute_many(commands, command_ids=["c", "c", None, "d"])
    assert got[0] == got[1] == Ok(Commit("a", 1, 1, (Added(1),)))
    assert await entries(system, "a") == [1, 2]


async def test_a_repetition_is_decided_before_what_came_after_it(system: LedgerSystem) -> None:
    first: list[Result[list[Added], str]] = [Err("no"), Ok([Added(7)])]
    commands: list[tuple[str, Command]] = [("a", lambda _: first.pop(0))] * 2
    await system.execute_many([*commands, ("a", add_length)], command_ids=["c", "c", None])
    assert await entries(system, "a") == [7, 1]


async def test_new_commands_beside_a_repetition_are_stored(system: LedgerSystem) -> None:
    await system.execute("a", add(1), command_id="c")
    got = await system.execute_many(
        [("a", add_length), ("a", add(1)), ("a", add_length), ("b", add(4))], command_ids=["d", "c", None, "e"]
    )
    assert [answer.unwrap().events for answer in got] == [(Added(1),), (Added(1),), (Added(2),), (Added(4),)]
    assert await entries(system, "a") == [1, 1, 2]


@pytest.mark.parametrize("command", [add(2), crash, add()], ids=["events", "crashes", "nothing"])
async def test_an_id_of_another_aggregate_is_refused(system: LedgerSystem, store: EventStore, command: Command) -> None:
    await system.execute("a", add(1), command_id="c")
    answer = await system.execute("b", command, command_id="c")
    assert isinstance(answer, Err)
    assert isinstance(answer.error, CommandIdReused)
    assert (answer.error.command_id, answer.error.aggregate_id) == ("c", "b")
    assert await store.head() == 1


async def test_an_id_of_another_aggregate_in_the_same_batch_is_refused(system: LedgerSystem, store: EventStore) -> None:
    got = await system.execute_many([("a", add(1)), ("b", add(2)), ("b", add(3))], command_ids=["c", "c", None])
    assert [type(answer.error) if isinstance(answer, Err) else "ok" for answer in got] == ["ok", CommandIdReused, "ok"]
    assert await store.head() == 2


async def test_an_id_of_another_aggregate_type_is_refused(system: LedgerSystem, store: EventStore) -> None:
    other = AggregateType("other", handle=handle, apply=apply, empty_state=Ledger)
    await system.execute("a", add(1), command_id="c")
    async with EventSourcing(other, store) as others:
        answer = await others.execute("a", add(1), command_id="c")
        assert isinstance(answer, Err)
        assert isinstance(answer.error, CommandIdReused)


async def test_a_refused_or_crashed_command_is_not_remembered(system: LedgerSystem) -> None:
    refuse: Command = lambda _: Err("no")  # noqa: E731
    assert isinstance(await system.execute("a", refuse, command_id="c"), Err)
    assert isinstance(await system.execute("a", crash, command_id="c"), Err)
    assert (await system.execute("a", add(1), command_id="c")).unwrap().events == (Added(1),)


async def test_a_uuid_and_its_text_are_one_id(system: LedgerSystem) -> None:
    key = uuid4()
    first = await system.execute("a", add(1), command_id=key)
    assert await system.execute("a", add(1), command_id=str(key)) == first
    assert await system.execute("a", add(1), command_id=UUID(str(key))) == first


async def test_the_events_of_a_command_share_one_commit_id_that_its_own_id_fixes(store: EventStore) -> None:
    key = uuid4()
    async with EventSourcing(ledger, store) as system:
        await system.execute("a", add(1, 2), command_id=key)
        await system.execute_many([("a", add(3)), ("a", add(4))])
    page = await store.read(0, 10)
    ids = [event.commit_id for event in page.events]
    assert ids[0] == ids[1] == uuid5(NAMESPACE_OID, str(key))
    assert len({*ids, key}) == 4  # the id of a commit, given to a command, does not make the next commit a part of it


@dataclass(frozen=True)
class Receive:
    n: int


@dataclass(frozen=True)
class Reserve:
    n: int


def handle_stock(_: Ledger, command: Receive | Reserve) -> Result[Sequence[Added], str]:
    return Ok([Added(command.n if isinstance(command, Receive) else -command.n)])


stock_type = AggregateType("stock", handle=handle_stock, apply=apply, empty_state=Ledger)


@pytest.mark.durable
async def test_another_command_with_a_known_id_is_refused_and_stores_nothing(store: EventStore) -> None:
    async with EventSourcing(stock_type, store) as system:
        first = await system.execute("a", Receive(5), command_id="c")
        for other in (Reserve(5), Receive(6)):
            answer = await system.execute("a", other, command_id="c", metadata={"user": "u"})
            assert isinstance(answer, Err)
            assert isinstance(answer.error, CommandIdReused)
            assert (answer.error.command_id, answer.error.is_same_aggregate) == ("c", True)
        again = await system.execute("a", Receive(5), command_id="c", metadata={"user": "another"})
        assert again == first
        assert ([first.unwrap().repeated, again.unwrap().repeated], await store.head()) == ([False, True], 1)
    async with EventSourcing(stock_type, store) as system:  # after a restart, a class that was not used yet
        answer = await system.execute("a", Reserve(5), command_id="c")
        assert isinstance(answer, Err)
        assert isinstance(answer.error, CommandIdReused)


@pytest.mark.durable
async def test_another_command_with_the_same_id_in_one_batch_is_refused(store: EventStore) -> None:
    async with EventSourcing(stock_type, store) as system:
        commands = [("a", Receive(1)), ("a", Receive(2)), ("a", Receive(1))]
        first, other, again = await system.execute_many(commands, command_ids=["c", "c", "c"])
        assert isinstance(other, Err)
        assert isinstance(other.error, CommandIdReused)
        assert first == again == Ok(Commit("a", 1, 1, (Added(1),)))


@pytest.mark.durable
async def test_the_fingerprint_of_the_caller_takes_precedence(store: EventStore) -> None:
    async with EventSourcing(stock_type, store) as system:
        first = await system.execute("a", Receive(5), command_id="c", fingerprint="request 1")
        assert await system.execute("a", Receive(6), command_id="c", fingerprint=b"request 1") == first
        assert await system.execute("a", Receive(7), command_id="c") == first  # there is nothing to compare
        answer = await system.execute("a", Receive(5), command_id="c", fingerprint="request 2")
        assert isinstance(answer, Err)
        assert isinstance(answer.error, CommandIdReused)
        [many] = await system.execute_many([("a", Receive(5))], command_ids=["c"], fingerprints=["request 2"])
        assert isinstance(many, Err)


@pytest.mark.parametrize("fingerprint", ["", b"", 1])
async def test_an_invalid_fingerprint_is_refused(store: EventStore, fingerprint: Any) -> None:
    async with EventSourcing(stock_type, store) as system:
        for command_id, given in (("c", fingerprint), (None, "a fingerprint needs an id")):
            answer = await system.execute("a", Receive(1), command_id=command_id, fingerprint=given)
            assert isinstance(answer, Err)
            assert isinstance(answer.error, InvalidArgument)
            assert answer.error.name == "fingerprint"
        assert await store.head() == 0


async def test_a_command_that_cannot_be_encoded_is_not_compared(system: LedgerSystem) -> None:
    first = await system.execute("a", add(1), command_id="c")
    assert await system.execute("a", add(2), command_id="c") == first
