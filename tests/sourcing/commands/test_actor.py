"""Executing commands: answers, what is stored with them, loading."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from bank import (
    Account,
    AccountOpened,
    BankCommand,
    BankError,
    CustomerDepositedCash,
    OpenAccount,
    Withdraw,
    bank_account,
)
from eventree import (
    ActorStopped,
    Aggregate,
    AggregateType,
    Commit,
    DomainError,
    EntityNotFound,
    Err,
    EventEnvelope,
    EventSourcing,
    EventStore,
    InvalidArgument,
    MemoryStore,
    Ok,
    Result,
    SnapshotConfig,
)
from eventree.errors import NonPositiveArgument
from eventree.testing import settled
from sourcing.banking import OPEN, Bank, deposit
from sourcing.ledger import add, ledger


def deposited(amount: int, balance: int) -> CustomerDepositedCash:
    return CustomerDepositedCash(Decimal(amount), Decimal(balance))


async def test_a_commit_says_what_was_stored_and_where(bank: Bank) -> None:
    assert await bank.execute("a", OPEN) == Ok(Commit("a", 1, 1, (AccountOpened("a"),)))
    assert await bank.execute("b", OpenAccount("b")) == Ok(Commit("b", 1, 2, (AccountOpened("b"),)))
    assert await bank.execute("a", deposit(5)) == Ok(Commit("a", 2, 3, (deposited(5, 5),)))


async def test_a_command_that_decides_nothing_answers_where_the_aggregate_stands(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as system:
        await system.execute_many([("a", add(1)), ("b", add(1)), ("a", add(2))])
        standing = (await system.execute("a", add())).unwrap()
        assert (standing.sequence, standing.events) == (2, ())
        assert standing.position == (await system.load_events("a")).unwrap()[-1].position
        assert await system.execute("new", add()) == Ok(Commit("new", 0, 0, ()))
        assert await store.head() == 3


async def test_an_empty_decision_in_a_batch_stands_where_the_events_before_it_put_the_aggregate(
    store: EventStore,
) -> None:
    async with EventSourcing(ledger, store) as system:
        answers = await system.execute_many([("a", add(1)), ("a", add()), ("b", add(1)), ("a", add(5)), ("a", add())])
        empty, full = [each.unwrap() for each in await system.execute_many([("a", add()), ("a", add(5))])]
    commits = [answer.unwrap() for answer in answers]
    assert [(commit.sequence, len(commit.events)) for commit in commits] == [(1, 1), (1, 0), (1, 1), (2, 1), (2, 0)]
    assert commits[1].position == commits[0].position
    assert commits[4].position == commits[3].position == commits[0].position + 1
    assert (empty.position, empty.sequence) == (commits[4].position, 2)
    assert (full.position, full.sequence) == (4, 3)


@pytest.mark.parametrize(
    ("before", "command", "reason"),
    [
        ([], deposit(1), BankError.UNOPENED),
        ([], Withdraw(Decimal(1)), BankError.UNOPENED),
        ([OPEN], deposit(-1), BankError.NEGATIVE_DEPOSIT),
        ([OPEN], deposit(0), BankError.NEGATIVE_DEPOSIT),
        ([OPEN, deposit(5)], Withdraw(Decimal(6)), BankError.OVERDRAFT),
    ],
)
async def test_a_business_rule_refuses_without_storing_or_restarting_anything(
    bank: Bank, store: EventStore, before: list[BankCommand], command: BankCommand, reason: BankError
) -> None:
    await bank.execute_many([("a", each) for each in before])
    assert await bank.execute("a", command) == Err(DomainError(reason))
    assert await store.head() == len(before)
    assert (await bank.system_stats()).actor_restarts == 0


async def test_many_commands_are_answered_in_order_and_see_each_other(bank: Bank) -> None:
    answers = await bank.execute_many(
        [("a", OPEN), ("a", deposit(5)), ("b", deposit(5)), ("a", Withdraw(Decimal(9))), ("a", deposit(2))]
    )
    assert [answer.error if isinstance(answer, Err) else answer.value.events for answer in answers] == [
        (AccountOpened("a"),),
        (deposited(5, 5),),
        DomainError(BankError.UNOPENED),
        DomainError(BankError.OVERDRAFT),
        (deposited(2, 7),),
    ]


async def test_no_commands_have_no_answers(bank: Bank) -> None:
    assert await bank.execute_many([]) == []


async def test_metadata_is_stored_with_every_event(bank: Bank) -> None:
    await bank.execute("a", OPEN, metadata={"user": "456", "nul\0": "ä\0"})
    await bank.execute_many([("a", deposit(1)), ("a", deposit(2))], metadata=[{"n": "1"}, None])
    await bank.execute_many([("a", deposit(3)), ("a", deposit(4))], metadata={"all": "yes"})
    found = [dict(event.metadata) for event in (await bank.load_events("a")).unwrap()]
    assert found == [{"user": "456", "nul\0": "ä\0"}, {"n": "1"}, {}, {"all": "yes"}, {"all": "yes"}]


async def test_execute_nowait_hands_a_command_over(bank: Bank) -> None:
    bank.execute_nowait("a", OPEN, metadata={"user": "1"}, command_id=UUID(int=1))
    assert (await bank.execute("a", deposit(5))).unwrap().sequence == 2


async def test_execute_nowait_raises_what_is_wrong_at_once(bank: Bank, store: EventStore) -> None:
    with pytest.raises(InvalidArgument):
        bank.execute_nowait("", OPEN)
    with pytest.raises(ActorStopped):
        EventSourcing(bank_account, store).execute_nowait("a", OPEN)


async def test_a_failure_of_execute_nowait_is_logged_and_counted(bank: Bank, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "eventree"):
        bank.execute_nowait("secret-free", deposit(1))
        await bank.execute("b", OPEN)
    assert [record.getMessage() for record in caplog.records] == [
        "bank-account 'secret-free': a command sent by execute_nowait was refused"
    ]
    assert (await bank.system_stats()).commands_refused == 1


async def test_nothing_can_be_executed_before_the_start_or_after_the_stop(store: EventStore) -> None:
    system = EventSourcing(bank_account, store)
    early = await system.execute("a", OPEN)
    async with system:
        await system.execute("a", OPEN)
    late = [await system.execute("a", OPEN), *await system.execute_many([("a", OPEN), ("b", OPEN)])]
    assert [type(answer.error) for answer in [early, *late] if isinstance(answer, Err)] == [ActorStopped] * 4


async def test_an_aggregate_is_loaded_with_its_state_and_sequence(bank: Bank) -> None:
    await bank.execute_many([("a", OPEN), ("a", deposit(5))])
    assert await bank.load_aggregate("a") == Ok(Aggregate("a", Account(Decimal(5)), 2))


async def test_what_has_no_events_is_not_found(bank: Bank) -> None:
    await bank.execute("refused", deposit(1))
    for answer in (await bank.load_aggregate("refused"), await bank.aggregate_stats("refused")):
        assert isinstance(answer, Err)
        assert isinstance(answer.error, EntityNotFound)
        assert answer.error.aggregate_id == "refused"
    assert await bank.load_events("refused") == Ok([])


async def test_an_envelope_tells_all_about_an_event(bank: Bank) -> None:
    await bank.execute("b", OpenAccount("b"))
    id = (await bank.execute("a", OPEN, metadata={"user": "1"})).unwrap().commit_id
    [event] = (await bank.load_events("a")).unwrap()
    assert event == EventEnvelope(
        "bank-account", "a", 1, 2, AccountOpened("a"), {"user": "1"}, "AccountOpened", 1, event.recorded_at, id
    )
    assert event.recorded_at.utcoffset() is not None


@pytest.mark.parametrize(
    ("start_from", "expected"), [(-5, [1, 2, 3]), (0, [1, 2, 3]), (1, [1, 2, 3]), (3, [3]), (4, [])]
)
async def test_events_are_loaded_from_a_sequence_on(bank: Bank, start_from: int, expected: list[int]) -> None:
    await bank.execute_many([("a", OPEN), ("a", deposit(1)), ("a", deposit(2))])
    loaded = (await bank.load_events("a", start_from=start_from)).unwrap()
    streamed = [event async for event in bank.stream_events("a", start_from=start_from)]
    assert [event.sequence for event in loaded] == expected
    assert streamed == loaded


@pytest.mark.parametrize("option", ["cache_size", "mailbox_size"])
def test_sizes_must_be_positive(option: str) -> None:
    with pytest.raises(NonPositiveArgument, match=option):
        EventSourcing(bank_account, None, **{option: 0})  # type: ignore[arg-type]


async def test_many_callers_of_one_aggregate_lose_nothing(bank: Bank) -> None:
    await bank.execute("a", OPEN)
    answers = await asyncio.gather(*(bank.execute("a", deposit(1)) for _ in range(300)))
    assert sorted(answer.unwrap().sequence for answer in answers) == list(range(2, 302))
    assert (await bank.load_aggregate("a")).unwrap().state == Account(Decimal(300))


async def test_with_room_for_one_state_every_aggregate_is_still_right(store: EventStore) -> None:
    async with EventSourcing(bank_account, store, cache_size=1) as bank:
        for round in range(3):
            for id in "abc":
                await bank.execute(id, OpenAccount(id))
                answer = await bank.execute(id, deposit(1))
                assert answer.unwrap().events == (deposited(1, round + 1),)


async def test_a_stream_longer_than_a_page_is_loaded_whole(store: EventStore) -> None:
    async with EventSourcing(bank_account, store) as bank:
        await bank.execute_many([("a", OPEN), *[("a", deposit(1))] * 2_345])
    async with EventSourcing(bank_account, store) as bank:
        assert (await bank.execute("a", deposit(1))).unwrap().events == (deposited(1, 2_346),)
        assert len((await bank.load_events("a")).unwrap()) == 2_347
        assert [event.sequence async for event in bank.stream_events("a", start_from=1_001)] == list(
            range(1_001, 2_348)
        )


@pytest.mark.parametrize("sizes", [{"cache_size": 1.5}, {"mailbox_size": 1.5}, {"cache_size": 0}, {"mailbox_size": 0}])
def test_sizes_are_whole_numbers_above_zero(sizes: dict[str, Any]) -> None:
    with pytest.raises(NonPositiveArgument):
        EventSourcing(bank_account, MemoryStore(), **sizes)


@dataclass
class Parcel:
    due: datetime | None = None
    items: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class Sent:
    at: datetime
    items: list[int]


def send(_: Parcel, event: Sent) -> Result[Sequence[Sent], str]:
    return Ok([event])


def sent(_: Parcel, event: Sent) -> Parcel:
    return Parcel(event.at + timedelta(days=1), event.items)


parcel = AggregateType("parcel", handle=send, apply=sent, empty_state=Parcel)


async def test_a_state_in_memory_is_what_a_replay_makes_of_the_stored_form(store: EventStore) -> None:
    """The wall clock of a zone goes on otherwise than that of the offset which is stored of it."""
    before_summer = datetime(2024, 3, 30, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    snapshots = SnapshotConfig(frequency=1)
    async with EventSourcing(parcel, store, snapshots=snapshots) as system, EventSourcing(parcel, store) as plain:
        await system.execute("a", Sent(before_summer, []))
        await settled(system)
        assert (await system.latest_snapshot("a")).unwrap() is not None
        assert await system.load_aggregate("a") == await plain.load_aggregate("a")


async def test_whoever_gave_a_command_cannot_change_the_state_by_it_afterwards(store: EventStore) -> None:
    seen: list[list[int]] = []

    def looks(state: Parcel, event: Sent) -> Result[Sequence[Sent], str]:
        seen.append(list(state.items))
        return Ok([event])

    looked_at = AggregateType("parcel", handle=looks, apply=sent, empty_state=Parcel)
    items = [1]
    async with EventSourcing(looked_at, store) as system:
        commit = (await system.execute("a", Sent(datetime(2024, 3, 30, tzinfo=UTC), items))).unwrap()
        items.append(2)
        commit.events[0].items.append(3)
        await system.execute("a", Sent(datetime(2024, 3, 30, tzinfo=UTC), []))
    assert seen == [[], [1]]


async def test_an_answer_tells_what_was_stored_whatever_later_commands_of_the_batch_do_to_the_state(
    store: EventStore,
) -> None:
    def grow(state: Parcel, event: Sent) -> Parcel:
        state.items += event.items[-1:]
        return state

    def show(state: Parcel, event: Sent) -> Result[Sequence[Sent], str]:
        return Ok([Sent(event.at, state.items)]) if not event.items else Ok([event])

    growing = AggregateType("parcel", handle=show, apply=grow, empty_state=Parcel)
    now = datetime(2024, 3, 30, tzinfo=UTC)
    async with EventSourcing(growing, store) as system:
        answers = await system.execute_many([("a", Sent(now, items)) for items in ([1], [], [2], [])])
        stored = [event.payload.items for event in (await system.load_events("a")).unwrap()]
        assert stored == [[1], [1], [2], [1, 1, 2]]
        assert [event.items for answer in answers for event in answer.unwrap().events] == stored
