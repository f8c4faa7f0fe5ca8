"""What older code has stored is read as the code of today has it, on every way out of the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast
from uuid import UUID

import pytest

from eventree import (
    AggregateType,
    Err,
    EventEnvelope,
    EventSourcing,
    EventStore,
    InvalidArgument,
    MemoryStore,
    Ok,
    Projection,
    Query,
    Result,
    event_type,
)
from eventree.errors import EventNotDecodable, EventTooNew, UnknownEventType
from eventree.sourcing import QueryStatus
from eventree.stores.contract import AppendRequest, NewEvent
from sourcing.reading import AT_ONCE
from sourcing.teller import open_store
from sourcing.waiting import becomes


@dataclass(frozen=True)
class Deposited:
    """It was called so, and had no currency, in the first release."""

    amount: int


@event_type(aliases=["Deposited"], upcasters={1: lambda payload: payload | {"currency": "EUR"}})
@dataclass(frozen=True)
class CashDeposited:
    amount: int
    currency: str


@dataclass(frozen=True)
class Closed:
    reason: str


@dataclass(frozen=True)
class Balance:
    by_currency: tuple[tuple[str, int], ...] = ()


Event: TypeAlias = CashDeposited | Closed
Events: TypeAlias = Sequence[EventEnvelope[Event]]


def handle(_: Balance, event: Event) -> Result[Sequence[Event], str]:
    return Ok([event])


def apply(balance: Balance, event: Event) -> Balance:
    match event:
        case CashDeposited(amount, currency):
            known = dict(balance.by_currency)
            return Balance(tuple(sorted((known | {currency: known.get(currency, 0) + amount}).items())))
        case Closed():
            return balance


def apply_first(balance: int, event: Deposited) -> int:
    return balance + event.amount


first_release: AggregateType[int, Deposited, Deposited, str] = AggregateType(
    "account", handle=lambda _, event: Ok([event]), apply=apply_first, empty_state=int, events=[Deposited]
)
account = AggregateType("account", handle=handle, apply=apply, empty_state=Balance)


async def filled(store: EventStore) -> None:
    """Let the first release store something, and the newest one more."""
    async with EventSourcing(first_release, store) as system:
        for amount in (1, 2):
            assert isinstance(await system.execute("a", Deposited(amount), command_id=f"command-{amount}"), Ok)
    async with EventSourcing(account, store) as system:
        assert isinstance(await system.execute("a", CashDeposited(5, "USD")), Ok)


async def put(store: EventStore, type_: str, version: int, payload: str) -> None:
    """Store what some other code would store, as the first event of another account."""
    event = NewEvent(type_, version, payload, "{}", UUID(int=1))
    await store.append([AppendRequest("account", "b", 0, [event])])


@pytest.mark.durable
async def test_what_was_stored_is_upcast_where_it_is_loaded(store: EventStore) -> None:
    await filled(store)
    async with EventSourcing(account, store) as system:
        loaded = (await system.load_aggregate("a")).unwrap()
        assert loaded.state == Balance((("EUR", 3), ("USD", 5)))
        events = (await system.load_events("a")).unwrap()
        assert [event.payload for event in events] == [
            CashDeposited(1, "EUR"),
            CashDeposited(2, "EUR"),
            CashDeposited(5, "USD"),
        ]
        assert [(event.event_type, event.event_version) for event in events] == [
            ("Deposited", 1),
            ("Deposited", 1),
            ("CashDeposited", 2),
        ]
        commit = (await system.execute("a", CashDeposited(7, "EUR"))).unwrap()
        assert commit.sequence == 4
        assert (await system.load_aggregate("a")).unwrap().state == Balance((("EUR", 10), ("USD", 5)))


async def test_a_repeated_command_is_answered_with_what_it_stored_then_as_it_is_read_now(store: EventStore) -> None:
    await filled(store)
    async with EventSourcing(account, store) as system:
        again = await system.execute("a", CashDeposited(2, "EUR"), command_id="command-2")
        assert again.unwrap().events == (CashDeposited(2, "EUR"),)
        assert again.unwrap().sequence == 2


async def test_a_query_gets_it_upcast(store: EventStore) -> None:
    await filled(store)
    seen: list[Event] = []
    query: Query[Event] = Query("q", lambda _, events: seen.extend(event.payload for event in events))
    async with EventSourcing(account, store, queries=[query]) as system:
        await system.query("q").caught_up()
    assert seen == [CashDeposited(1, "EUR"), CashDeposited(2, "EUR"), CashDeposited(5, "USD")]


async def test_a_projection_and_its_rebuild_get_it_upcast(place: str) -> None:
    seen: list[tuple[int, Event]] = []

    def projection(version: int) -> Projection[Event]:
        async def project(_: object, events: Events) -> None:
            seen.extend((version, event.payload) for event in events)

        return Projection("p", project, version=version)

    expected = [CashDeposited(1, "EUR"), CashDeposited(2, "EUR"), CashDeposited(5, "USD")]
    async with open_store(place) as store:
        await filled(store)
        async with EventSourcing(account, store, queries=[projection(1)]) as system:
            await system.query("p").caught_up()
            await system.register_queries([projection(2)])
            await system.query("p", 2).caught_up()
    assert seen == [(1, event) for event in expected] + [(2, event) for event in expected]


@pytest.mark.parametrize(
    ("type_", "version", "payload", "error"),
    [
        ("Withdrawn", 1, "{}", UnknownEventType),
        ("CashDeposited", 3, "{}", EventTooNew),
        ("CashDeposited", 2, '{"amount":1}', EventNotDecodable),
        ("Deposited", 1, "7", EventNotDecodable),
    ],
)
async def test_what_cannot_be_read_is_an_answer_that_says_which_event_it_is(
    store: EventStore, type_: str, version: int, payload: str, error: type[EventNotDecodable]
) -> None:
    await filled(store)
    await put(store, type_, version, payload)
    async with EventSourcing(account, store, queries=[Query("q", lambda _, __: None, max_attempts=1)]) as system:
        answers = [
            await system.load_aggregate("b"),
            await system.load_events("b"),
            await system.execute("b", Closed("moved")),
        ]
        # The code of a newer process may know the type or the version; no code knows what does not fit.
        is_newer = error in {UnknownEventType, EventTooNew}
        await becomes(system.query("q"), QueryStatus.OUTDATED if is_newer else QueryStatus.STOPPED)
        assert (await system.load_aggregate("a")).unwrap().sequence == 3
        assert system.query("q").position == 3
        last = system.query("q").last_error
    for found in [*[cast("Err[Any]", answer).error for answer in answers], last]:
        assert isinstance(found, error)
        assert type(found) is error
        assert (found.event_type, found.event_version) == (type_, version)
        assert (found.aggregate_type, found.aggregate_id, found.position) == ("account", "b", 4)
        assert "(position 4, of account 'b')" in str(found)


@pytest.mark.parametrize("metadata", ['{"user":7}', "[]", '{"user"'])
async def test_metadata_that_others_wrote_and_that_are_no_texts_say_so(metadata: str) -> None:
    async with MemoryStore() as store:
        event = NewEvent("Closed", 1, '{"reason":"moved"}', metadata, UUID(int=1))
        await store.append([AppendRequest("account", "b", 0, [event])])
        async with EventSourcing(account, store) as system:
            answer = await system.load_events("b")
            assert (await system.execute("b", Closed("again"))).unwrap().sequence == 2
    assert isinstance(answer, Err)
    assert isinstance(answer.error, EventNotDecodable)
    assert "its metadata" in answer.error.reason
    assert (answer.error.event_type, answer.error.event_version, answer.error.position) == ("Closed", 1, 1)


async def test_a_query_may_leave_out_what_no_class_is_called(store: EventStore) -> None:
    await filled(store)
    await put(store, "Withdrawn", 1, "{}")
    seen: list[tuple[str, int]] = []
    query: Query[Event] = Query(
        "q",
        lambda account_id, events: seen.extend((account_id, event.position) for event in events),
        ignore_unknown=True,
    )
    async with EventSourcing(account, store, queries=[query]) as system:
        await system.query("q").caught_up()
        stats = await system.query("q").stats()
    assert seen == [("a", 1), ("a", 2), ("a", 3)]
    assert (stats.position, stats.ignored, stats.lag_events) == (4, 1, 0)


async def test_a_commit_is_handed_over_without_its_unknown_events(store: EventStore) -> None:
    known = NewEvent("Closed", 1, '{"reason":"moved"}', "{}", UUID(int=1))
    unknown = NewEvent("Sealed", 1, "{}", "{}", UUID(int=1))
    await store.append([AppendRequest("account", "b", 0, [unknown, known, unknown])])
    seen: list[tuple[str, list[Event]]] = []

    def handler(id: str, events: Events) -> None:
        seen.append((id, [event.payload for event in events]))

    async with EventSourcing(account, store, queries=[Query("q", handler, ignore_unknown=True)]) as system:
        await system.query("q").caught_up()
        assert (await system.query("q").stats()).ignored == 2
    assert seen == [("b", [Closed("moved")])]


async def test_a_projection_may_leave_them_out_too(place: str) -> None:
    seen: list[int] = []

    async def project(_: object, events: Events) -> None:
        seen.extend(event.position for event in events)

    async with open_store(place) as store:
        await filled(store)
        await put(store, "Withdrawn", 1, "{}")
        projection = Projection("p", project, ignore_unknown=True)
        async with EventSourcing(account, store, queries=[projection]) as system:
            await system.query("p").caught_up()
            assert system.query("p").position == 4
    assert seen == [1, 2, 3]


async def test_what_is_too_new_or_does_not_fit_is_never_left_out(store: EventStore) -> None:
    await filled(store)
    await put(store, "CashDeposited", 3, "{}")
    query: Query[Event] = Query("q", lambda _, __: None, ignore_unknown=True, max_attempts=2, backoff=AT_ONCE)
    async with EventSourcing(account, store, queries=[query]) as system:
        await becomes(system.query("q"), QueryStatus.OUTDATED)
        assert isinstance(system.query("q").last_error, EventTooNew)


def test_whether_to_ignore_is_yes_or_no() -> None:
    with pytest.raises(InvalidArgument, match="ignore_unknown"):
        Query("q", lambda _, __: None, ignore_unknown="yes")  # type: ignore[arg-type]


async def test_a_class_that_cannot_be_stored_twice_alike_is_refused_before_anything_is_written(
    store: EventStore,
) -> None:
    wrong: Any = "5"
    async with EventSourcing(account, store) as system:
        answer = await system.execute("a", CashDeposited(wrong, "EUR"))
        assert isinstance(answer, Err)
        assert "amount" in str(answer.error)
    assert await store.head() == 0
