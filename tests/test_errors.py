"""The tree of errors: where each stands, what it carries and what it says."""

import asyncio
import contextlib
import copy
import inspect
import pickle
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

import eventree
from bank import BankError
from eventree import Commit, errors
from eventree.errors import (
    ActorCrashed,
    ActorStopped,
    ActorTimeout,
    AlreadyStarted,
    AskCycle,
    CheckpointFenced,
    CheckpointHeld,
    ChildAlreadyExists,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildStartError,
    CommandIdReused,
    CommitOutcomeUnknown,
    ConcurrencyConflict,
    DomainError,
    EntityNotFound,
    EventMissing,
    EventNotDecodable,
    EventNotEncodable,
    EventreeError,
    EventStoreError,
    EventTooNew,
    HandlerCrashed,
    HandlerTimeout,
    InvalidArgument,
    LogRolledBack,
    MailboxFull,
    NonPositiveArgument,
    NoQueryContext,
    NotCaughtUp,
    QueryHandlerTimeout,
    QueryLeasedElsewhere,
    QueryRequestFailed,
    QueryRequestPending,
    QueryStopped,
    QuerySuperseded,
    ReportedFailure,
    RestartIntensityExceeded,
    SchemaTooNew,
    StaleIncarnation,
    StatementOutdated,
    StoreBusy,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    StoreUnusable,
    TooManyChildren,
    TooManyParked,
    TooManyRequests,
    TransactionEnded,
    TransactionFailed,
    TransactionOutlivedLease,
    TransactionRolledBack,
    UnexpectedCancellation,
    UnknownEventType,
    WouldDeadlock,
    WrongEventLoop,
)
from eventree.errors.failures import is_failure, parts_of

BOOM = ValueError("boom")
COMMIT = Commit("a-1", 2, 7, ("added",))

# Each error with what it must carry; attributes appear in the message, but for those that `UNSAID` names.
EXAMPLES: list[tuple[Exception, dict[str, object]]] = [
    (DomainError("no"), {"reason": "no"}),
    (InvalidArgument("limit", "must be even"), {"name": "limit", "reason": "must be even"}),
    (NonPositiveArgument("timeout", -1), {"name": "timeout", "value": -1}),
    (WrongEventLoop("the store", "is elsewhere"), {"subject": "the store", "reason": "is elsewhere"}),
    (EntityNotFound("bank", "a-1"), {"aggregate_type": "bank", "aggregate_id": "a-1"}),
    (HandlerCrashed("apply", "bank", "a-1", BOOM), {"function": "apply", "aggregate_type": "bank", "__cause__": BOOM}),
    (EventNotEncodable("Opened", "too large"), {"event_type": "Opened", "reason": "too large", "field": ""}),
    (EventNotEncodable("Opened", "NaN", ".parts[2].price"), {"event_type": "Opened", "field": "parts[2].price"}),
    (EventNotDecodable("Opened", 3, "what?"), {"event_type": "Opened", "event_version": 3, "reason": "what?"}),
    (
        EventNotDecodable("Opened", 3, "what?").at("bank", "a-1", 70),
        {"event_type": "Opened", "aggregate_type": "bank", "aggregate_id": "a-1", "position": 70},
    ),
    (UnknownEventType("Opened", 3, ["Shut"]), {"event_type": "Opened", "event_version": 3}),
    (EventTooNew("Opened", 3, 2), {"event_type": "Opened", "event_version": 3, "newest": 2}),
    (StoreUnusable("bank.db", "no WAL"), {"store": "bank.db", "reason": "no WAL"}),
    (StoreReadOnly("bank.db"), {"store": "bank.db"}),
    (SchemaTooNew("bank.db", 9, 4), {"store": "bank.db", "found": 9, "supported": 4}),
    (LogRolledBack("query 'q'", 9, 4), {"subject": "query 'q'", "known": 9, "found": 4}),
    (ConcurrencyConflict("bank", "a-1", 4, 7), {"aggregate_id": "a-1", "expected": 4, "actual": 7}),
    (EventMissing("bank", "a-1", 7), {"aggregate_type": "bank", "aggregate_id": "a-1", "sequence": 7}),
    (CommandIdReused("c-1", "a-1"), {"command_id": "c-1", "aggregate_id": "a-1"}),
    (CheckpointFenced("balances", 12), {"name": "balances", "fencing_token": 12}),
    (CheckpointHeld("balances", "worker 7", 12), {"name": "balances", "owner": "worker 7", "seconds": 12}),
    (NotCaughtUp(COMMIT, "balances", BOOM), {"commit": COMMIT, "query": "balances", "__cause__": BOOM}),
    (QueryStopped("balances", 44, BOOM), {"name": "balances", "position": 44, "__cause__": BOOM}),
    (ActorTimeout("execute", 2.5, "unknown"), {"operation": "execute", "seconds": 2.5, "outcome": "unknown"}),
    (ActorTimeout("execute", 2.5, detail="a lock"), {"operation": "execute", "outcome": None, "detail": "a lock"}),
    (ActorStopped("worker"), {"actor": "worker"}),
    (ActorCrashed("worker", BOOM), {"actor": "worker", "__cause__": BOOM}),
    (MailboxFull("worker", 77), {"actor": "worker", "size": 77}),
    (ChildStartError("worker", BOOM), {"child": "worker", "__cause__": BOOM}),
    (HandlerTimeout("worker", 2.5), {"actor": "worker", "seconds": 2.5}),
    (StaleIncarnation("worker", 77), {"actor": "worker", "incarnation": 77}),
    (AlreadyStarted("worker"), {"actor": "worker"}),
    (ChildAlreadyExists("worker"), {"child": "worker"}),
    (ChildNotFound("worker"), {"child": "worker"}),
    (ChildRunning("worker"), {"child": "worker"}),
    (ChildRestarting("worker"), {"child": "worker"}),
    (TooManyChildren("pool", 77), {"supervisor": "pool", "max_children": 77}),
    (WouldDeadlock("worker", "branch", "stop"), {"awaited": "branch", "caller": "worker"}),
    (AskCycle(["a", "b", "a"]), {"actors": ("a", "b", "a")}),
    (UnexpectedCancellation("worker"), {"actor": "worker"}),
    (RestartIntensityExceeded("top", 3, 5.0, [BOOM]), {"supervisor": "top", "max_restarts": 3, "crashes": (BOOM,)}),
    (StoreUnavailable("the disk is away"), {"args": ("the disk is away",)}),
    (StoreBusy("the disk is away"), {"args": ("the disk is away",)}),
    (StoreFull("the disk is away"), {"args": ("the disk is away",)}),
    (TransactionFailed("the disk is away"), {"args": ("the disk is away",)}),
    (TransactionRolledBack("the disk is away"), {"args": ("the disk is away",)}),
    (CommitOutcomeUnknown("lost"), {"args": ("lost",)}),
    (TransactionOutlivedLease(1, 2.5), {"lease": 1, "seconds": 2.5}),
    (TransactionEnded("over"), {"args": ("over",)}),
    (QueryHandlerTimeout("q", "app.mail", 9.5), {"name": "q", "function": "app.mail", "seconds": 9.5}),
    (QueryHandlerTimeout("q", "app.mail", 9.5, held=12.5), {"name": "q", "function": "app.mail", "held": 12.5}),
    (QueryLeasedElsewhere("balances"), {"name": "balances"}),
    (ReportedFailure("balances", "Boom"), {"name": "balances", "reason": "Boom"}),
    (QueryRequestPending("balances", "pause", 2.5, "me"), {"name": "balances", "action": "pause", "holder": "me"}),
    (QueryRequestFailed("balances", "reset", "Boom", "why"), {"action": "reset", "error": "Boom", "reason": "why"}),
    (TooManyRequests("balances"), {"name": "balances"}),
    (StatementOutdated("the disk is away"), {"args": ("the disk is away",)}),
    (QuerySuperseded("balances", 1, 3), {"name": "balances", "version": 1, "live_version": 3}),
    (NoQueryContext(), {}),
    (TooManyParked(), {}),
]
UNSAID = {"args", "commit", "__cause__", "actors", "crashes", "outcome"}
REMEDIES: list[tuple[EventreeError, str]] = [
    (EntityNotFound("bank", "a"), "execute a command that creates it first"),
    (HandlerCrashed("handle", "bank", "a", BOOM), "fix the function"),
    (SchemaTooNew("bank.db", 9, 4), "upgrade eventree"),
    (ConcurrencyConflict("bank", "a", 1, 2), "send the command again"),
    (EventMissing("bank", "a", 7), "restore a backup"),
    (CommandIdReused("c", "a"), "give each command its own id"),
    (NotCaughtUp(COMMIT, "q"), "do not send the command again"),
    (ActorTimeout("execute", 1), "retry"),
    (ActorTimeout("execute", 1, "not_started"), "nothing happened"),
    (ActorTimeout("execute", 1, "unknown"), "same command_id"),
    (ActorStopped("a"), "start it"),
    (ActorCrashed("a", None), "send it again only if"),
    (MailboxFull("a", 1), "send more slowly"),
    (HandlerTimeout("a", 1), "check what it awaits"),
    (StaleIncarnation("a", 1), "do not swallow CancelledError"),
    (AlreadyStarted("a"), "create another supervisor or reference"),
    (ChildAlreadyExists("a"), "use a unique id for every child"),
    (ChildNotFound("a"), "which_children()"),
    (ChildRunning("a"), "call terminate_child() first"),
    (ChildRestarting("a"), "wait until it runs"),
    (TooManyChildren("a", 1), "terminate some"),
    (WouldDeadlock("a", "b", "raise StopActor"), "raise StopActor"),
    (AskCycle(["a", "b", "a"]), "'a' waits for 'b' waits for 'a', a cycle without an answer; use tell instead"),
    (UnexpectedCancellation("a"), "catch CancelledError at that await"),
]


def public_errors() -> Iterator[type[BaseException]]:
    for value in vars(errors).values():
        if inspect.isclass(value) and issubclass(value, BaseException):
            yield value


def name_of(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize(("error", "carries"), EXAMPLES, ids=name_of)
def test_an_error_carries_attributes_and_names_them_in_its_message(
    error: Exception, carries: dict[str, object]
) -> None:
    assert {name: getattr(error, name) for name in carries} == carries
    assert all(str(value) in str(error) for name, value in carries.items() if name not in UNSAID)


def test_every_public_error_has_an_example_or_is_a_family() -> None:
    families = {kind for kind in public_errors() if kind.__subclasses__()}
    shown = {type(error) for error, _ in EXAMPLES}
    assert set(public_errors()) - families == shown - families


def test_every_error_of_the_library_is_public() -> None:
    pending, defined = [EventreeError], set[type[BaseException]]()
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if kind.__module__.startswith("eventree.errors."):
            defined.add(kind)
    assert defined | {DomainError} == set(public_errors())


def test_the_errors_that_callers_match_are_at_the_top_too() -> None:
    at_the_top = {value for value in vars(eventree).values() if inspect.isclass(value) and issubclass(value, Exception)}
    assert at_the_top < set(public_errors())
    assert {DomainError, EventreeError, InvalidArgument, EntityNotFound, ConcurrencyConflict} < at_the_top


@pytest.mark.parametrize("kind", [*public_errors()], ids=lambda k: k.__name__)
def test_every_error_but_the_business_error_is_in_one_tree(kind: type[BaseException]) -> None:
    assert issubclass(kind, EventreeError) is (kind is not DomainError)
    assert kind.__doc__


@pytest.mark.parametrize(("error", "remedy"), REMEDIES, ids=[f"{name_of(error)}-{word}" for error, word in REMEDIES])
def test_an_error_says_what_to_do(error: EventreeError, remedy: str) -> None:
    assert remedy in str(error)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (QueryStopped("q", 1, BOOM), "fix"),
        (CheckpointFenced("q", 1), "which continues it"),
        (RestartIntensityExceeded("top", 3, 5.0, [BOOM]), "ValueError"),
    ],
    ids=name_of,
)
def test_an_error_of_the_tree_says_what_to_do(error: EventreeError, remedy: str) -> None:
    assert remedy in str(error)


@pytest.mark.parametrize("kind", [StoreUnavailable, TransactionRolledBack, TransactionFailed, CommitOutcomeUnknown])
def test_what_a_store_raises_is_a_store_error(kind: type[Exception]) -> None:
    assert issubclass(kind, EventStoreError)


@pytest.mark.parametrize("kind", [StoreBusy, StoreFull])
def test_a_passing_reason_is_a_rollback(kind: type[Exception]) -> None:
    assert issubclass(kind, TransactionRolledBack)


def test_argument_errors_are_value_errors_and_timeouts_are_timeout_errors() -> None:
    assert issubclass(InvalidArgument, ValueError)
    assert issubclass(NonPositiveArgument, InvalidArgument)
    assert issubclass(ActorTimeout, TimeoutError)


def test_domain_errors_compare_and_hash_by_their_reason() -> None:
    assert DomainError(BankError.OVERDRAFT) == DomainError(BankError.OVERDRAFT)
    assert DomainError(BankError.OVERDRAFT) != DomainError(BankError.UNOPENED)
    assert DomainError("x") != "x"
    assert len({DomainError("x"), DomainError("x"), DomainError("y")}) == 2


def test_a_domain_error_matches_by_its_reason() -> None:
    match DomainError(BankError.OVERDRAFT):
        case DomainError(BankError.UNOPENED):
            pytest.fail("matched another reason")
        case DomainError(reason):
            assert reason is BankError.OVERDRAFT


@pytest.mark.parametrize(("error", "_"), EXAMPLES, ids=name_of)
async def test_an_error_can_be_raised_through_context_managers(error: Exception, _: object) -> None:
    @contextlib.asynccontextmanager
    async def section() -> AsyncIterator[None]:
        yield

    with pytest.raises(type(error)) as raised:
        async with asyncio.timeout(5), section():
            raise error
    assert raised.value is error


def test_errors_survive_the_way_to_another_process() -> None:
    for error, carries in EXAMPLES:
        for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301
            assert str(twin) == str(error)
            assert all(hasattr(twin, name) for name in carries)


# --- a failure, or a wish to leave


def grouped(*errors: BaseException) -> BaseException:
    return BaseExceptionGroup("outer", [BOOM, BaseExceptionGroup("inner", errors)])


@pytest.mark.parametrize("error", [BOOM, BaseException(), GeneratorExit(), ExceptionGroup("all", [BOOM])])
def test_a_function_fails_with_whatever_is_no_wish_to_leave(error: BaseException) -> None:
    assert is_failure(error)
    assert is_failure(grouped(error))


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_a_wish_to_leave_is_none_at_any_depth(error: BaseException) -> None:
    assert not is_failure(error)
    assert not is_failure(grouped(error))


@pytest.mark.parametrize("wrap", [lambda error: error, grouped])
def test_who_cancels_or_closes_what_failed_is_said_by_the_caller(
    wrap: Callable[[BaseException], BaseException],
) -> None:
    assert is_failure(wrap(asyncio.CancelledError()), cancelled=False)
    assert not is_failure(wrap(GeneratorExit()), closed=True)
    assert not is_failure(wrap(SystemExit()), cancelled=False)


def test_the_parts_of_nested_groups_come_in_order() -> None:
    first, second, third = ValueError(1), ValueError(2), ValueError(3)
    group = ExceptionGroup("g", [first, ExceptionGroup("h", [second]), third])
    assert list(parts_of(group)) == [first, second, third]
    assert list(parts_of(first)) == [first]
