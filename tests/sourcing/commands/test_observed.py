"""What an instrumentation is told of commands and their commits."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from eventree import (
    ActorStopped,
    ConcurrencyConflict,
    DomainError,
    Err,
    EventSourcing,
    EventStore,
    HandlerCrashed,
    InvalidArgument,
    Ok,
    StoreUnavailable,
    correlation,
)
from eventree.instrumentation import BatchCommit, CommandExecution, Instrumentation
from eventree.testing import FailingStore
from sourcing.correlating import metadata
from sourcing.ledger import add, crash, entries, ledger, refuse
from sourcing.observers import TRACE, Recorder, SpoilsMetadata

pytestmark = pytest.mark.durable


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


async def test_an_instrumentation_that_spoils_its_record_changes_no_answer(store: EventStore) -> None:
    class Spoils(Instrumentation):
        @contextmanager
        def commit(self, batch: BatchCommit, /) -> Generator[None, None, None]:
            record: Any = batch
            record.appended = record.position = None
            yield

    async with EventSourcing(ledger, store, instrumentation=Spoils()) as system:
        answer = await system.execute("a", add(1))
        assert await entries(system, "a") == [1]
        assert isinstance(answer, Ok)
