"""What type checkers infer from the public face; checked by mypy and pyright, both strict, and never run.

A line that ignores an error fails the check if there is no error.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, Never, assert_type
from uuid import UUID

import aiosqlite

from bank import (
    Account,
    AccountOpened,
    BankAccount,
    BankCommand,
    BankError,
    BankEvent,
    Deposit,
    OpenAccount,
    Unopened,
    apply,
    bank_account,
    handle,
)
from eventree import (
    Actor,
    ActorContext,
    ActorRef,
    Aggregate,
    AggregateType,
    ChildSpec,
    Commit,
    DomainError,
    DynamicSupervisor,
    EntityNotFound,
    Err,
    EventEnvelope,
    EventreeError,
    EventSourcing,
    EventStore,
    MemoryStore,
    NotCaughtUp,
    Ok,
    Projection,
    Query,
    Result,
    Snapshot,
    SQLiteStore,
    StoreUnavailable,
    Supervisor,
    correlation,
    current_correlation,
    run,
)
from eventree.actors import ActorInfo, Down, ExitReason, Request, Restarted
from eventree.sourcing import Correlation, QueryHandle, QueryProgress, QueryStats, SystemStats
from eventree.stores.contract import StoreTransaction
from eventree.testing import FailingStore, Gate, Scenario, scenario, settled


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


def each_step_of_a_scenario_takes_its_own_type() -> None:
    story = scenario(bank_account).given(AccountOpened("a")).when(Deposit(Decimal(1))).then()
    assert_type(story, Scenario[BankAccount, BankCommand, BankEvent, BankError])
    assert_type(story.then_error(BankError.OVERDRAFT), Scenario[BankAccount, BankCommand, BankEvent, BankError])
    assert_type(story.then_state(Unopened()), Scenario[BankAccount, BankCommand, BankEvent, BankError])
    story.given(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    story.given(AccountOpened("a"), Deposit(Decimal(1)))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    story.when(AccountOpened("a"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    story.when(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    story.then(Deposit(Decimal(1)))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    story.then([AccountOpened("a")])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    story.then_error("OVERDRAFT")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    story.then_error(DomainError(BankError.OVERDRAFT))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    story.then_state(AccountOpened("a"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    story.then_state(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    scenario(handle)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def handle_literals(_: BankAccount, __: BankCommand) -> Result[Sequence[BankEvent], Literal["poor", "closed"]]:
    return Err("poor")


def handle_unfailingly(_: BankAccount, __: BankCommand) -> Result[Sequence[BankEvent], Never]:
    return Ok([])


def a_reason_is_not_widened() -> None:
    literals = AggregateType("x", handle=handle_literals, apply=apply, empty_state=Unopened)
    scenario(literals).then_error("poor")
    scenario(literals).then_error("pour")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    never = AggregateType("x", handle=handle_unfailingly, apply=apply, empty_state=Unopened)
    assert_type(never, AggregateType[BankAccount, BankCommand, BankEvent, Never])
    scenario(never).then_error("poor")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def apply_numbers(account: BankAccount, _: int) -> BankAccount:
    return account


def handle_text(_: str, __: BankCommand) -> Result[Sequence[BankEvent], BankError]:
    return Ok([])


def handle_without_result(_: BankAccount, __: BankCommand) -> Sequence[BankEvent]:
    return []


def parts_that_do_not_fit_are_an_error() -> None:
    AggregateType("x", handle=handle, apply=apply_numbers, empty_state=Unopened)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    AggregateType("x", handle=handle_text, apply=apply, empty_state=Unopened)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    AggregateType("x", handle=handle_without_result, apply=apply, empty_state=Unopened)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AggregateType("x", handle=handle, apply=apply, empty_state=int)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]


async def what_a_test_waits_for_are_systems(store: MemoryStore, numbers: AggregateType[int, str, int, str]) -> None:
    accounts = EventSourcing(bank_account, store)
    await settled(accounts, EventSourcing(numbers, store), timeout=1)
    await settled([accounts])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await settled(accounts.query("q"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_store_that_fails_is_a_store_and_knows_what_there_is_to_fail() -> None:
    async with FailingStore() as store, FailingStore(SQLiteStore("bank.db")) as other:
        assert_type(store, FailingStore)
        accounts = EventSourcing(bank_account, store, queries=[Projection("b", project)])
        assert_type(accounts, EventSourcing[BankAccount, BankCommand, BankEvent, BankError])
        async with other.transaction() as transaction:
            assert_type(transaction, StoreTransaction[Any])
        assert_type(store.inner, EventStore)
        assert_type(store.hold("append", after=True), Gate)
        assert_type(await store.hold("commit").reached(timeout=1), None)
        store.fail("read", StoreUnavailable("away"), times=2)
        store.fail("append", StoreUnavailable)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        store.fail("apend", StoreUnavailable("away"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        store.hold("watch")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        store.intercept("append", lambda: None)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
        FailingStore(bank_account)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_clock_returns_moments() -> None:
    MemoryStore(clock=lambda: datetime(2025, 1, 31, tzinfo=UTC))
    SQLiteStore("bank.db", clock=lambda: datetime(2025, 1, 31, tzinfo=UTC))
    MemoryStore(clock=datetime(2025, 1, 31, tzinfo=UTC))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    SQLiteStore("bank.db", clock=float)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


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
    with request.propagate():
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


def answer_to_web(commit: Commit[BankEvent]) -> str:
    return f"{commit.position}"


async def a_commit_that_a_query_has_not_handled_is_a_commit(store: MemoryStore) -> str:
    system = EventSourcing(bank_account, store)
    try:
        match await system.execute("a", OpenAccount("a"), wait_for=["q"]):
            case Ok(commit) | Err(NotCaughtUp(commit=commit)):
                return answer_to_web(commit)
            case Err(error):
                raise error
    except NotCaughtUp as error:
        assert_type(error.commit.sequence, int)
        return answer_to_web(error.commit)


async def a_reason_that_is_none_of_the_domain_s_is_an_error(store: MemoryStore) -> None:
    accounts = EventSourcing(bank_account, store)
    match await accounts.execute("a", OpenAccount("a")):
        case Err(DomainError(reason)):
            if reason == "OVERDRAFT":  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison]
                return
            if reason is BankError.OVERDRAWN:  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
                return
        case Err(DomainError("OVERDRAFT")):  # pyright: ignore[reportUnnecessaryComparison] - mypy looks at no values here
            return
        case _:
            return


def on_openings(_: str, events: Sequence[EventEnvelope[AccountOpened]]) -> None:
    assert_type(events[0].payload, AccountOpened)


def on_a_number(_: int, __: Sequence[EventEnvelope[BankEvent]]) -> None: ...


def on_one_event(_: str, __: EventEnvelope[BankEvent]) -> None: ...


def on_lists(_: str, __: list[EventEnvelope[BankEvent]]) -> None: ...


def counts(_: str, events: Sequence[EventEnvelope[BankEvent]]) -> int:
    return len(events)


def a_handler_that_does_not_fit_is_an_error(store: MemoryStore) -> None:
    Query("q", on_a_number)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Query("q", on_one_event)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Query("q", on_lists)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Query("q", counts)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Query("q", on_openings, follows=[bank_account])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    EventSourcing(bank_account, store, queries=[on_events])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    EventSourcing(bank_account, store, queries=[Query("q", on_openings)])  # type: ignore[misc]  # pyright: ignore[reportArgumentType]


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
