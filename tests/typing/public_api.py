"""What type checkers infer from the public face; checked by mypy and pyright, both strict, and never run.

A line that ignores an error fails the check if there is no error.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import assert_type
from uuid import UUID

import aiosqlite

from bank import Account, BankAccount, BankCommand, BankError, BankEvent, Deposit, OpenAccount, bank_account
from eventree import (
    Actor,
    ActorContext,
    ActorInfo,
    ActorRef,
    Aggregate,
    AggregateType,
    ChildSpec,
    Commit,
    Correlation,
    DomainError,
    Down,
    DynamicSupervisor,
    EntityNotFound,
    Err,
    EventEnvelope,
    EventreeError,
    EventSourcing,
    ExitReason,
    MemoryStore,
    Ok,
    Projection,
    Query,
    QueryHandle,
    QueryProgress,
    QueryStats,
    Request,
    Restarted,
    Result,
    Snapshot,
    SQLiteStore,
    Supervisor,
    SystemStats,
    correlation,
    current_correlation,
    run,
)
from eventree.testing import Scenario, scenario


def on_events(_: str, events: Sequence[EventEnvelope[BankEvent]]) -> None:
    assert_type(events[0].payload, BankEvent)


async def on_any_events(_: str, events: Sequence[EventEnvelope[object]]) -> None:
    assert_type(events[0].payload, object)


def on_numbers(aggregate_id: str, events: Sequence[EventEnvelope[int]]) -> None:
    pass


def the_parts_of_an_aggregate_type_are_inferred() -> None:
    assert_type(bank_account, AggregateType[BankAccount, BankCommand, BankEvent, BankError])
    assert_type(scenario(bank_account), Scenario[BankAccount, BankCommand, BankEvent, BankError])


async def a_system_is_inferred_without_any_annotation(store: SQLiteStore) -> None:
    system = EventSourcing(bank_account, store, queries=[Query("q", on_events)])
    assert_type(system, EventSourcing[BankAccount, BankCommand, BankEvent, BankError])
    async with EventSourcing(bank_account, store) as accounts:
        assert_type(accounts, EventSourcing[BankAccount, BankCommand, BankEvent, BankError])


async def a_mixed_list_of_queries_is_inferred(store: MemoryStore) -> None:
    system = EventSourcing(bank_account, store, queries=[Query("a", on_events), Query("b", on_any_events)])
    assert_type(system, EventSourcing[BankAccount, BankCommand, BankEvent, BankError])
    await system.register_queries([Query("c", on_any_events)])


async def project(_: aiosqlite.Connection, events: Sequence[EventEnvelope[BankEvent]]) -> None:
    assert_type(events[0].payload, BankEvent)


async def project_numbers(_: aiosqlite.Connection, __: Sequence[EventEnvelope[int]]) -> None: ...


async def make_tables(_: aiosqlite.Connection) -> None: ...


def on_either(_: str, events: Sequence[EventEnvelope[BankEvent | int]]) -> None:
    assert_type(events[0].payload, BankEvent | int)


async def a_list_of_queries_and_projections_is_inferred(store: SQLiteStore) -> None:
    queries = [Query("a", on_events), Projection("b", project, setup=make_tables, on_failure="park")]
    system = EventSourcing(bank_account, store, queries=queries)
    assert_type(system, EventSourcing[BankAccount, BankCommand, BankEvent, BankError])
    assert_type(await system.query("a").stats(), QueryStats)
    async for progress in system.query("a").progress():
        assert_type(progress, QueryProgress)


async def a_projection_of_other_events_is_an_error(store: SQLiteStore) -> None:
    system = EventSourcing(bank_account, store)
    await system.register_queries([Projection("b", project_numbers)])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def an_option_that_does_not_exist_is_an_error() -> None:
    Query("a", on_events, on_failure="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Query("a", on_events, leases=1.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def several_types_are_followed(store: SQLiteStore, numbers: AggregateType[int, str, int, str]) -> None:
    query = Query("q", on_either, follows=[bank_account, numbers])
    assert_type(query, Query[BankEvent | int])
    assert_type(query.handle(store), QueryHandle)


async def entering_a_store_gives_the_store() -> None:
    async with SQLiteStore("bank.db") as sqlite, MemoryStore() as memory:
        assert_type(sqlite, SQLiteStore)
        assert_type(memory, MemoryStore)


async def a_query_of_other_events_is_an_error(store: MemoryStore) -> None:
    system = EventSourcing(bank_account, store)
    await system.register_queries([Query("q", on_numbers)])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_wrong_command_is_an_error(store: MemoryStore) -> None:
    accounts = EventSourcing(bank_account, store)
    await accounts.execute("a", "deposit")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await accounts.execute("a", Account(Decimal(1)))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    accounts.execute_nowait("a", 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await accounts.execute_many([("a", 7)])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await accounts.execute(7, OpenAccount("a"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def every_answer_has_its_type(store: MemoryStore) -> None:
    accounts = EventSourcing(bank_account, store)
    answer = await accounts.execute("a", Deposit(Decimal(1)), metadata={"user": "1"})
    assert_type(answer, Ok[Commit[BankEvent]] | Err[DomainError[BankError] | EventreeError])
    assert_type(answer.unwrap(), Commit[BankEvent])
    assert_type(answer.unwrap().events, tuple[BankEvent, ...])
    seen = await accounts.execute("a", Deposit(Decimal(1)), expected_sequence=1)
    assert_type(seen, Ok[Commit[BankEvent]] | Err[DomainError[BankError] | EventreeError])
    await accounts.execute("a", Deposit(Decimal(1)), expected_sequence="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    many = await accounts.execute_many([("a", OpenAccount("a")), ("a", Deposit(Decimal(1)))])
    assert_type(many, list[Result[Commit[BankEvent], DomainError[BankError] | EventreeError]])
    assert_type(await accounts.load_aggregate("a"), Ok[Aggregate[BankAccount]] | Err[EventreeError])
    assert_type((await accounts.load_aggregate("a")).unwrap().state, BankAccount)
    assert_type((await accounts.load_events("a")).unwrap(), list[EventEnvelope[BankEvent]])
    assert_type((await accounts.latest_snapshot("a")).unwrap(), Snapshot[BankAccount] | None)
    assert_type(await accounts.system_stats(), SystemStats)
    async for event in accounts.stream_events("a"):
        assert_type(event, EventEnvelope[BankEvent])


async def what_caused_what_is_typed(event: EventEnvelope[BankEvent], commit: Commit[BankEvent]) -> None:
    with correlation("request-42"), correlation("request-42", causation_id="message-7"):
        assert_type(current_correlation(), Correlation | None)
    assert_type(event.correlation_id, str)
    assert_type(event.causation_id, str | None)
    assert_type((event.commit_id, commit.commit_id), tuple[UUID, UUID])
    correlation(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    @correlation("request-42")  # type: ignore[operator]  # pyright: ignore[reportCallIssue, reportUntypedFunctionDecorator]
    async def it_would_be_over_before_this_begins() -> None: ...

    await it_would_be_over_before_this_begins()


def a_request_carries_on_what_its_sender_carried(request: Request[str, int]) -> None:
    with request.carrying():
        request.reply(len(request.message))


async def the_arms_of_a_match_have_their_types(store: MemoryStore) -> str:
    accounts = EventSourcing(bank_account, store)
    match await accounts.execute("a", OpenAccount("a")):
        case Ok(commit):
            assert_type(commit, Commit[BankEvent])
            return commit.aggregate_id
        case Err(DomainError(reason)):
            assert_type(reason, BankError)
            return reason.value
        case Err(EntityNotFound() as missing):
            return missing.aggregate_id
        case Err(error):
            assert_type(error, DomainError[BankError] | EventreeError)
            return str(error)


class Echo(Actor[str, int]):
    async def receive(self, message: str, ctx: ActorContext[str, int]) -> int:
        assert_type(ctx.ref, ActorRef[str, int])
        return len(message)


async def what_a_body_returns_is_returned(supervisor: Supervisor) -> int:
    async with supervisor:
        return 7


async def sightings_and_infos_are_typed(ref: ActorRef[str, int]) -> None:
    async with ref.monitor() as sightings:
        async for sighting in sightings:
            assert_type(sighting, Restarted | Down)
    assert_type(await ref.inspect(), ActorInfo)


async def a_program_ends_with_a_reason(supervisor: Supervisor) -> ExitReason:
    return await run(supervisor)


class Silent(Actor[bytes, None]):
    pass


async def what_an_actor_answers_is_inferred_from_its_spec(supervisor: Supervisor) -> None:
    spec = ChildSpec(id="echo", start=Echo)
    ref = await supervisor.start_child(spec)
    assert_type(ref, ActorRef[str, int])
    assert_type(supervisor.ref(spec), ActorRef[str, int])
    assert_type(await ref.ask("hello"), int)
    assert_type(await ref.ask_many(["a", "b"]), list[int | BaseException])
    ref.tell(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await ref.ask(b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def children_of_different_types_fit_one_supervisor() -> None:
    async with Supervisor([ChildSpec(id="echo", start=Echo), ChildSpec(id="silent", start=Silent)]) as supervisor:
        assert_type(supervisor, Supervisor)


async def a_dynamic_supervisor_knows_its_children() -> None:
    def template(key: int) -> ChildSpec[str, int]:
        return ChildSpec(id=key, start=Echo)

    async with DynamicSupervisor(template) as supervisor:
        ref = await supervisor.get_or_start(7)
        assert_type(ref, ActorRef[str, int])
        await supervisor.get_or_start("seven")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
