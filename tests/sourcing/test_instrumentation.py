"""What an instrumentation is told of commands, commits, queries and restarts, and that it can harm none of them."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

import pytest

from eventree import (
    Actor,
    ActorContext,
    ActorStopped,
    ChildSpec,
    ConcurrencyConflict,
    DomainError,
    Err,
    EventSourcing,
    EventStore,
    HandlerCrashed,
    InvalidArgument,
    Projection,
    Query,
    StoreUnavailable,
    Supervisor,
    correlation,
)
from eventree.actors import report_restarts
from eventree.instrumentation import ActorRestart, BatchCommit, CommandExecution, Instrumentation, QueryDelivery
from eventree.testing import FailingStore
from eventree.testing.failing_store import StoreMethod
from sourcing.correlating import ledger_called, metadata, only_event
from sourcing.ledger import Added, Boom, LedgerSystem, add, crash, ledger, refuse
from sourcing.observers import BOOM, TRACE, FailsAtOnce, FailsAtTheEnd, HoldsBack, Idle, Recorder, SpoilsMetadata
from sourcing.reading import AT_ONCE, Contexts, Events, Seen, patient, query
from sourcing.teller import open_store
from sourcing.totals import Connection, Events as Projected, project, setup, totals
from sourcing.waiting import until

pytestmark = pytest.mark.durable


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def batch(commit: BatchCommit) -> tuple[str, int, int, int, int, int, int, int, int]:
    return (
        commit.aggregate_type,
        len(commit.commands),
        commit.attempt,
        commit.requests,
        commit.events,
        commit.appended,
        commit.conflicts,
        commit.duplicates,
        commit.position,
    )


def outcome(command: CommandExecution) -> tuple[str, str | None, type[BaseException] | None, int, int, int]:
    error = None if command.error is None else type(command.error)
    return command.aggregate_id, command.outcome, error, command.sequence, command.position, command.events


def told(delivery: QueryDelivery) -> tuple[str, int, list[tuple[str, int, int]], int, bool]:
    commits = [(commit.aggregate_id, commit.first_position, commit.last_position) for commit in delivery.commits]
    return delivery.query, delivery.version, commits, delivery.attempt, delivery.is_replay


# --- commands and their commits


async def test_a_command_is_told_with_its_commit_inside(store: EventStore, recorder: Recorder) -> None:
    async with EventSourcing(ledger, store, instrumentation=recorder) as system:
        await system.execute("a", add(1))
        commit = (await system.execute("b", add(2, 3), command_id="c")).unwrap()
    assert recorder.seen == ["command begins", "commit begins", "commit ends", "command ends"] * 2
    _, command = recorder.commands
    assert outcome(command) == ("b", "committed", None, 2, 3, 2)
    assert (command.aggregate_type, command.command_type) == ("ledger", "function")
    assert (command.command_id, command.commit_id) == ("c", commit.commit_id)
    assert batch(recorder.commits[1]) == ("ledger", 1, 1, 1, 2, 1, 0, 0, 3)
    assert recorder.commits[1].commands == [command]
    assert recorder.traces == [("commit", "trace 1"), ("commit", "trace 2")]


async def test_a_refusal_and_a_crash_are_told_with_their_errors(store: EventStore, recorder: Recorder) -> None:
    async with EventSourcing(ledger, store, instrumentation=recorder) as system:
        refused = await system.execute("a", refuse)
        crashed = await system.execute("a", crash)
        await system.execute("a", add())
    assert [outcome(command) for command in recorder.commands] == [
        ("a", "refused", DomainError, 0, 0, 0),
        ("a", "failed", HandlerCrashed, 0, 0, 0),
        ("a", "committed", None, 0, 0, 0),
    ]
    assert isinstance(refused, Err)
    assert recorder.commands[0].error is refused.error
    assert isinstance(crashed, Err)
    assert recorder.commands[1].error is crashed.error
    assert [batch(commit) for commit in recorder.commits] == [("ledger", 1, 1, 1, 0, 1, 0, 0, 0)] * 3
    assert "ends" not in {what for what in recorder.seen if "Error" in what}


async def test_a_conflict_is_told_with_each_attempt(store: EventStore, recorder: Recorder) -> None:
    async with EventSourcing(ledger, store, instrumentation=recorder) as one, EventSourcing(ledger, store) as other:
        await one.execute("a", add(1))
        await other.execute("a", add(2))
        await one.execute("a", add(3))
        late = await one.execute("a", add(4), expected_sequence=1)
    assert [batch(commit) for commit in recorder.commits] == [
        ("ledger", 1, 1, 1, 1, 1, 0, 0, 1),
        ("ledger", 1, 1, 1, 1, 0, 1, 0, 0),
        ("ledger", 1, 2, 1, 1, 1, 0, 0, 3),
        ("ledger", 1, 1, 1, 0, 1, 0, 0, 3),
    ]
    assert isinstance(late, Err)
    assert [outcome(command) for command in recorder.commands] == [
        ("a", "committed", None, 1, 1, 1),
        ("a", "committed", None, 2 + 1, 3, 1),
        ("a", "failed", ConcurrencyConflict, 0, 0, 0),
    ]


async def test_a_repetition_is_told_as_the_first_commit(store: EventStore, recorder: Recorder) -> None:
    async with EventSourcing(ledger, store, instrumentation=recorder) as system:
        first = (await system.execute("a", add(1), command_id="c")).unwrap()
        await system.execute("a", add(1), command_id="c")
    assert [batch(commit)[-4:] for commit in recorder.commits] == [(1, 0, 0, 1), (0, 0, 1, 0)]
    assert [outcome(command) for command in recorder.commands] == [("a", "committed", None, 1, 1, 1)] * 2
    assert {command.commit_id for command in recorder.commands} == {first.commit_id}


async def test_what_a_store_raises_passes_through_and_is_the_error_of_the_command(recorder: Recorder) -> None:
    async with FailingStore() as store, EventSourcing(ledger, store, instrumentation=recorder) as system:
        store.fail("append", StoreUnavailable("away"))
        await system.execute("a", add(1))
    assert recorder.seen == ["command begins", "commit begins", "commit: StoreUnavailable", "command ends"]
    assert batch(recorder.commits[0]) == ("ledger", 1, 1, 1, 1, 0, 0, 0, 0)
    assert outcome(recorder.commands[0]) == ("a", "failed", StoreUnavailable, 0, 0, 0)


async def test_a_command_that_is_not_answered_is_told_with_what_it_raised(recorder: Recorder) -> None:
    async with FailingStore() as store:
        system = EventSourcing(ledger, store, instrumentation=recorder)
        assert isinstance(await system.execute("a", add(1)), Err)
        with pytest.raises(ActorStopped):
            system.execute_nowait("a", add(1))
        async with system:
            gate = store.hold("append")
            waiting = asyncio.ensure_future(system.execute("a", add(1)))
            await gate.reached()
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
            gate.open()
    assert recorder.seen.count("command: ActorStopped") == 2
    assert [command.outcome for command in recorder.commands] == ["failed"] * 3
    assert isinstance(recorder.commands[2].error, asyncio.CancelledError)
    assert "command: CancelledError" in recorder.seen


async def test_a_call_that_is_refused_for_its_arguments_is_not_told(store: EventStore, recorder: Recorder) -> None:
    async with EventSourcing(ledger, store, instrumentation=recorder) as system:
        for answer in (await system.execute("", add(1)), *(await system.execute_many([("", add(1))]))):
            assert isinstance(answer, Err)
            assert isinstance(answer.error, InvalidArgument)
    assert recorder.commands == []


async def test_commands_that_wait_share_a_commit_and_are_told_one_by_one(recorder: Recorder) -> None:
    async with FailingStore() as store, EventSourcing(ledger, store, instrumentation=recorder) as system:
        gate = store.hold("append")
        system.execute_nowait("first", add(1))
        await gate.reached()
        assert recorder.commands[0].outcome is None
        several = asyncio.ensure_future(system.execute_many([("a", add(1)), ("b", refuse), ("a", add(2, 3))]))
        await asyncio.sleep(0)
        system.execute_nowait("b", add(4))
        gate.open()
        await several
        await system.execute("last", add())
        stored = await metadata(system, "a")
    assert [batch(commit) for commit in recorder.commits] == [
        ("ledger", 1, 1, 1, 1, 1, 0, 0, 1),
        ("ledger", 4, 1, 2, 4, 2, 0, 0, 5),
        ("ledger", 1, 1, 1, 0, 1, 0, 0, 0),
    ]
    assert {outcome(command) for command in recorder.commits[1].commands} == {
        ("a", "committed", None, 1, 2, 1),
        ("b", "refused", DomainError, 0, 0, 0),
        ("a", "committed", None, 3, 4, 2),
        ("b", "committed", None, 1, 5, 1),
    }
    traces = [f"trace {number}" for number in range(1, 7)]
    assert sorted(trace or "" for _, trace in recorder.traces) == traces  # none is the parent of another
    assert TRACE.get() is None
    assert [set(each) for each in stored] == [{"trace"}] * 3
    assert len({each["trace"] for each in stored}) == 2


async def test_what_it_stores_gives_way_to_what_the_caller_said(store: EventStore, recorder: Recorder) -> None:
    async with EventSourcing(ledger, store, instrumentation=recorder) as system:
        with correlation("request-42"):
            await system.execute("a", add(1), metadata={"user": "7"})
            await system.execute_many([("b", add(1))], metadata={"trace": "mine"})
        assert await metadata(system, "a") == [{"correlation_id": "request-42", "user": "7", "trace": "trace 1"}]
        assert await metadata(system, "b") == [{"correlation_id": "request-42", "trace": "mine"}]


@pytest.mark.parametrize("spoiled", [{"own": 7}, {"own": "x" * 70_000}, {"own": "\ud800"}, 7, {"correlation_id": "\0"}])
async def test_what_it_cannot_store_is_left_out(
    store: EventStore, spoiled: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with EventSourcing(ledger, store, instrumentation=SpoilsMetadata(spoiled)) as system:
        await system.execute("a", add(1), metadata={"user": "7"})
        await system.execute("a", add(1))
        assert await metadata(system, "a") == [{"user": "7"}, {}]
    assert [record.message for record in caplog.records] == [
        "SpoilsMetadata.command failed; later failures of it are not logged"
    ]


# --- deliveries


async def test_each_commit_is_told_when_a_query_handles_it(store: EventStore, recorder: Recorder) -> None:
    async with EventSourcing(ledger, store, queries=[query("q", Seen())], instrumentation=recorder) as system:
        commit = (await system.execute("a", add(1, 2))).unwrap()
        await system.execute("b", add(3), metadata={"user": "7"}, wait_for=["q"])
    assert [told(delivery) for delivery in recorder.deliveries] == [
        ("q", 1, [("a", 1, 2)], 1, False),
        ("q", 1, [("b", 3, 3)], 1, False),
    ]
    first, second = [delivery.commits[0] for delivery in recorder.deliveries]
    assert (first.aggregate_type, first.commit_id, first.metadata) == ("ledger", commit.commit_id, {"trace": "trace 1"})
    assert second.metadata == {"trace": "trace 2", "user": "7"}
    assert (recorder.deliveries[0].first_position, recorder.deliveries[0].last_position) == (1, 2)


async def test_a_retry_and_a_replay_are_told_as_such(store: EventStore, recorder: Recorder) -> None:
    handler = Contexts()
    handler.poison = {2}
    queries = [patient(handler, on_failure="park", max_attempts=2)]
    async with EventSourcing(ledger, store, queries=queries, instrumentation=recorder) as system:
        for number in range(1, 4):
            await system.execute(f"a{number}", add(number))
        await system.query("q").caught_up()
        handler.poison = set()
        assert await system.query("q").retry_parked() == 1
        await system.register_queries([patient(Seen(), version=2)])
        await system.query("q", 2).caught_up()
    tried = [told(delivery) for delivery in recorder.deliveries]
    assert tried == [
        ("q", 1, [("a1", 1, 1)], 1, False),
        ("q", 1, [("a2", 2, 2)], 1, False),
        ("q", 1, [("a2", 2, 2)], 2, False),
        ("q", 1, [("a3", 3, 3)], 1, False),
        ("q", 1, [("a2", 2, 2)], 1, False),
        ("q", 2, [("a1", 1, 1)], 1, True),
        ("q", 2, [("a2", 2, 2)], 1, True),
        ("q", 2, [("a3", 3, 3)], 1, True),
    ]
    assert recorder.seen.count("delivery: Boom") == 2


async def test_a_projection_is_told_with_all_commits_of_its_batch(place: str, recorder: Recorder) -> None:
    fails = True

    async def count(connection: Connection, events: Projected) -> None:
        if fails and len(events) > 1:
            raise Boom
        await project(connection, events)

    counting: Projection[Added] = Projection("q", count, setup=setup, backoff=AT_ONCE)
    async with open_store(place) as store:
        async with EventSourcing(ledger, store) as system:
            await system.execute_many([("a", add(1)), ("b", add(2))])
        async with EventSourcing(ledger, store, queries=[counting], instrumentation=recorder) as system:
            await system.query("q").caught_up()
            fails = False
            await system.execute("a", add(3, 4), wait_for=["q"])
    assert await totals(place) == {"a": (8, 3), "b": (2, 1)}
    handled = [told(delivery) for delivery in recorder.deliveries]
    assert {name for name, *_ in handled} == {"q"}
    assert handled[-1] == ("q", 1, [("a", 3, 4)], 1, False)
    assert recorder.deliveries[-1].commits[0].metadata == {"trace": "trace 1"}
    assert recorder.seen.count("delivery begins") == len(handled)


async def test_a_query_of_its_own_has_an_instrumentation_of_its_own(store: EventStore, recorder: Recorder) -> None:
    seen = Seen()
    following: Query[Added] = Query("q", seen, follows=[ledger], poll_interval=0.01)
    spec = following.child_spec(store, instrumentation=recorder)
    async with EventSourcing(ledger, store) as system, Supervisor([spec], on_event=report_restarts(recorder)):
        await system.execute("a", add(1))
        await seen.reaches(1)
    assert [told(delivery) for delivery in recorder.deliveries] == [("q", 1, [("a", 1, 1)], 1, False)]
    assert not any([recorder.commands, recorder.commits, recorder.restarts])


# --- restarts


async def test_each_restart_is_told(recorder: Recorder) -> None:
    bug = RuntimeError("bug")
    async with FailingStore() as store:
        async with EventSourcing(ledger, store, queries=[query("q", Seen())], instrumentation=recorder) as system:
            await system.query("q").caught_up()
            store.fail("append", bug)
            await system.execute("a", add(1))
            store.fail("save_checkpoint", bug)
            await system.execute("a", add(1))
            await until(lambda: len(recorder.restarts) == 2)
        async with system:  # a start again is no restart
            await system.execute("a", add(1))
    assert recorder.restarts == [
        ActorRestart("event sourcing ledger", "commands", 1, bug),
        ActorRestart("ledger queries", "q", 1, bug),
    ]


# --- one carrier


class Clerk(Actor[str, str | None]):
    """Answer with the trace that its sender carries, and execute a command."""

    def __init__(self, system: LedgerSystem) -> None:
        self.system = system

    async def receive(self, message: str, ctx: ActorContext[str, str | None]) -> str | None:
        await self.system.execute(message, add(1))
        return TRACE.get()


async def test_a_trace_goes_from_the_caller_through_a_query_and_an_actor_into_what_they_execute(
    store: EventStore, recorder: Recorder
) -> None:
    other = EventSourcing(ledger_called("other"), store, instrumentation=recorder)
    spec = ChildSpec(id="clerk", start=lambda: Clerk(other))
    answers: list[str | None] = []
    async with Supervisor([other.child_spec(), spec]) as tree:
        clerk = tree.ref(spec)

        async def react(id: str, _: Events) -> None:
            await other.execute(f"{id} of the query", add(1))
            answers.append(await clerk.ask(f"{id} of the actor"))

        async with EventSourcing(ledger, store, queries=[query("q", react)], instrumentation=recorder) as system:
            with TRACE.propagate("web request"), correlation("request-42"):
                await system.execute("a", add(1))
            await system.execute("b", add(1), wait_for=["q"])
            cause = await only_event(system, "a")
            other_cause = await only_event(system, "b")
            by_the_query = await only_event(other, "a of the query")
            by_the_actor = await only_event(other, "a of the actor")
            unrelated = await only_event(other, "b of the actor")
    assert answers == ["web request", other_cause.metadata["trace"]]
    expected = {"trace": "web request", "correlation_id": "request-42"}
    assert cause.metadata == expected
    assert by_the_query.metadata == by_the_actor.metadata == {**expected, "causation_id": str(cause.commit_id)}
    assert unrelated.metadata["trace"] == answers[1] != "web request"


# --- faults


class Carrying(FailingStore):
    """A store that notes what is carried where it is called, beside what is observed."""

    def __init__(self) -> None:
        super().__init__()
        self.carried = set[str | None]()

    def _called(self, method: StoreMethod) -> Any:
        if method != "append":
            self.carried.add(TRACE.get())
        return super()._called(method)


async def all_that_is_observed(observer: Instrumentation) -> list[object]:
    """Use everything; return what callers and handlers get."""
    seen, found = Seen(), list[object]()

    def handler(id: str, events: Events) -> None:
        seen(id, events)
        if len(seen.commits) == 1:
            raise Boom

    async with (
        Carrying() as store,
        EventSourcing(ledger, store, queries=[query("q", handler)], instrumentation=observer) as system,
    ):
        found += [await system.execute("a", add(1)), await system.execute("a", refuse)]
        found += await system.execute_many([("a", add(2)), ("b", add(3))])
        system.execute_nowait("b", add(4))
        await system.query("q").caught_up()
        store.fail("append", StoreUnavailable("away"))
        found.append(type(getattr(await system.execute("a", add(5)), "error", None)))
        store.fail("append", RuntimeError("bug"))
        found.append(type(getattr(await system.execute("a", add(6)), "error", None)))
        found += [await system.execute("a", add(7), wait_for=["q"]), seen.amounts, TRACE.get(), store.carried]
        found.append(await metadata(system, "a"))
    return found


@pytest.mark.parametrize(
    "error", [BOOM, asyncio.CancelledError(), StoreUnavailable("not of the store"), StopIteration()]
)
@pytest.mark.parametrize("kind", [FailsAtOnce, FailsAtTheEnd])
async def test_one_that_raises_in_every_method_harms_nothing_and_is_logged_once_for_each(
    kind: type[FailsAtOnce] | type[FailsAtTheEnd], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = await all_that_is_observed(Idle())
    caplog.clear()
    observer = kind(error)
    assert await all_that_is_observed(observer) == undisturbed
    assert undisturbed[-3:-1] == [None, {None}]
    logged = [record for record in caplog.records if "later failures of it are not logged" in record.message]
    assert sorted(record.message.split()[0] for record in logged) == [
        f"{kind.__name__}.{method}" for method in ("command", "commit", "delivery", "restart")
    ]
    assert {record.levelno for record in logged} == {logging.ERROR}


async def test_one_that_swallows_errors_holds_nothing_back() -> None:
    assert await all_that_is_observed(HoldsBack()) == await all_that_is_observed(Idle())


async def test_a_wish_to_leave_the_program_leaves_it(store: EventStore) -> None:
    async with EventSourcing(ledger, store, instrumentation=FailsAtOnce(KeyboardInterrupt())) as system:
        with pytest.raises(KeyboardInterrupt):
            system.execute_nowait("a", add(1))


def test_what_is_no_instrumentation_is_refused() -> None:
    store = FailingStore()
    for wrong in (7, object(), Recorder):
        with pytest.raises(InvalidArgument) as caught:
            EventSourcing(ledger, store, instrumentation=wrong)  # type: ignore[arg-type]
        assert caught.value.name == "instrumentation"
