"""When the store fails: weather is an answer and the actor lives; anything else crashes the actor and it comes back."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import TypeAlias

import pytest

from eventree import (
    ActorCrashed,
    ActorStopped,
    ActorTimeout,
    Commit,
    CommitOutcomeUnknown,
    DomainError,
    Err,
    EventreeError,
    EventSourcing,
    MailboxFull,
    Ok,
    Result,
    StoreUnavailable,
)
from eventree.errors import RestartIntensityExceeded, StoreBusy, StoreFull, TransactionRolledBack
from eventree.testing import FailingStore, Gate
from eventree.testing.failing_store import StoreMethod
from sourcing.ledger import Added, Command, Ledger, LedgerSystem, add, add_length, entries, ledger
from sourcing.recording_store import RecordingStore

Answer: TypeAlias = Ok[Commit[Added]] | Err[DomainError[str] | EventreeError]

TRANSIENT_ERRORS = [StoreUnavailable, TransactionRolledBack, StoreBusy, StoreFull, CommitOutcomeUnknown]
STEPS: list[StoreMethod] = ["read_streams", "append"]


@pytest.fixture
def recording() -> RecordingStore:
    return RecordingStore()


@pytest.fixture
async def store(recording: RecordingStore) -> AsyncIterator[FailingStore]:
    async with FailingStore(recording) as opened:
        yield opened


@pytest.fixture
async def system(store: FailingStore) -> AsyncIterator[LedgerSystem]:
    async with EventSourcing(ledger, store) as running:
        yield running


def incarnation(system: LedgerSystem) -> int:
    return system._tree.commands.incarnation


def error_of(answer: Answer) -> DomainError[str] | EventreeError:
    assert isinstance(answer, Err)
    return answer.error


@pytest.mark.parametrize("weather", TRANSIENT_ERRORS)
@pytest.mark.parametrize("step", STEPS)
async def test_weather_is_the_answer_and_the_actor_lives(
    system: LedgerSystem, store: FailingStore, weather: type[Exception], step: StoreMethod
) -> None:
    store.fail(step, weather("away"))
    failed = await system.execute_many([("a", add(1)), ("b", add(2))])
    assert [type(error_of(answer)) for answer in failed] == [weather, weather]
    assert (await system.execute("a", add_length)).unwrap().events == (Added(0),)
    assert incarnation(system) == 1
    assert (await system.system_stats()).commands_failed == 2


@pytest.mark.parametrize("step", STEPS)
async def test_the_unexpected_crashes_the_actor_and_the_next_command_works(
    system: LedgerSystem, store: FailingStore, step: StoreMethod
) -> None:
    store.fail(step, RuntimeError("bug"))
    failed = await system.execute_many([("a", add(1)), ("b", add(2))])
    assert [type(error_of(answer)) for answer in failed] == [ActorCrashed, ActorCrashed]
    assert isinstance(error_of(failed[0]).__cause__, RuntimeError)
    assert (await system.execute("a", add_length)).unwrap().events == (Added(0),)
    assert incarnation(system) == 2
    assert (await system.system_stats()).actor_restarts == 1


async def test_weather_drops_the_cached_states(
    system: LedgerSystem, store: FailingStore, recording: RecordingStore
) -> None:
    await system.execute_many([("a", add(1)), ("b", add(1))])
    store.fail("append", StoreUnavailable("away"))
    await system.execute("a", add(2))
    recording.loaded.clear()
    await system.execute_many([("a", add_length), ("b", add_length)])
    assert [[read.aggregate_id for read in reads] for reads in recording.loaded] == [["a", "b"]]
    assert await entries(system, "a") == await entries(system, "b") == [1, 1]


async def test_only_so_many_states_stay_in_memory_and_the_oldest_go_first(recording: RecordingStore) -> None:
    async with recording, EventSourcing(ledger, recording, cache_size=2) as system:
        for id in ("a", "b", "a", "c"):
            await system.execute(id, add(1))
        recording.loaded.clear()
        for id in ("a", "c", "b"):
            await system.execute(id, add_length)
    assert [[read.aggregate_id for read in reads] for reads in recording.loaded] == [["b"]]


async def test_what_waits_in_the_mailbox_survives_a_crash(system: LedgerSystem, store: FailingStore) -> None:
    gate = store.hold("read_streams")
    store.fail("append", RuntimeError("bug"))
    first = asyncio.ensure_future(system.execute("a", add(1)))
    await gate.reached()
    second = asyncio.ensure_future(system.execute("a", add(2)))
    await asyncio.sleep(0)
    gate.open()
    assert isinstance(error_of(await first), ActorCrashed)
    assert (await second).unwrap().events == (Added(2),)
    assert incarnation(system) == 2


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("bug")], ids=["weather", "bug"])
@pytest.mark.parametrize("refused", [False, True])
async def test_what_was_kept_is_answered_ok_whatever_fails_after_the_append(
    system: LedgerSystem,
    store: FailingStore,
    error: Exception,
    refused: bool,  # noqa: FBT001
) -> None:
    """`find_commands` is called for the repetition, after the transaction that kept the others."""
    again: Command = (lambda _: Err("no")) if refused else add(1)
    await system.execute("a", add(1), command_id="c")
    store.fail("find_commands", error)
    kept, repeated, later = await system.execute_many(
        [("b", add(2)), ("a", again), ("d", add(3))], command_ids=[None, "c", None]
    )
    assert kept.unwrap().events == (Added(2),)
    assert later.unwrap().events == (Added(3),)
    assert isinstance(error_of(repeated), StoreUnavailable if isinstance(error, StoreUnavailable) else ActorCrashed)
    assert (await system.execute("a", again, command_id="c")).unwrap().events == (Added(1),)
    assert await entries(system, "b") == [2]


async def crash_for_good(store: FailingStore, times: int) -> list[str]:
    """Execute one command after the other, each of which crashes the actor, until the system gives up."""
    store.fail("append", RuntimeError("bug"), times=times)
    names: list[str] = []
    async with asyncio.timeout(10), EventSourcing(ledger, store) as system:
        for _ in range(times):
            names.append(type(error_of(await system.execute("a", add(1)))).__name__)
            for _ in range(10):
                await asyncio.sleep(0)
    return names


async def test_a_system_survives_three_crashes_in_its_window(store: FailingStore) -> None:
    assert await crash_for_good(store, 3) == ["ActorCrashed"] * 3


async def test_a_system_that_crashes_too_often_ends_with_its_crashes(store: FailingStore) -> None:
    with pytest.raises(RestartIntensityExceeded) as gave_up:
        await crash_for_good(store, 4)
    assert [type(crash) for crash in gave_up.value.crashes] == [RuntimeError] * 4


async def test_an_actor_that_crashes_again_at_once_is_restarted_again(
    system: LedgerSystem, store: FailingStore
) -> None:
    store.fail("append", RuntimeError("bug"), times=2)
    gate = store.hold("read_streams")
    first = asyncio.ensure_future(system.execute("a", add(1)))
    await gate.reached()
    second = asyncio.ensure_future(system.execute("a", add(2)))
    await asyncio.sleep(0)
    gate.open()
    assert [type(error_of(await each)) for each in (first, second)] == [ActorCrashed] * 2
    assert isinstance(await system.execute("a", add(3)), Ok)
    assert incarnation(system) == 3


async def test_a_store_that_is_not_open_is_an_answer() -> None:
    async with EventSourcing(ledger, FailingStore()) as system:
        answers = [await system.execute("a", add(1)), await system.load_aggregate("a"), await system.load_events("a")]
        assert [type(answer.error) for answer in answers if isinstance(answer, Err)] == [StoreUnavailable] * 3


async def test_a_timeout_before_the_command_was_taken_up_means_that_nothing_happens(
    system: LedgerSystem, store: FailingStore
) -> None:
    gate = store.hold("append")
    first = asyncio.ensure_future(system.execute("a", add(1)))
    await gate.reached()
    late = await system.execute("a", add(2), timeout=0.01)
    gate.open()
    assert isinstance(await first, Ok)
    error = error_of(late)
    assert isinstance(error, ActorTimeout)
    assert (error.operation, error.seconds, error.outcome) == ("execute", 0.01, "not_started")
    assert (await system.execute("a", add_length)).unwrap().events == (Added(1),)


async def test_a_timeout_of_a_command_in_work_leaves_its_outcome_unknown(
    system: LedgerSystem, store: FailingStore
) -> None:
    gate = store.hold("append")
    error = error_of(await system.execute("a", add(1), command_id="c", timeout=0.01))
    assert isinstance(error, ActorTimeout)
    assert error.outcome == "unknown"
    gate.open()
    assert (await system.execute("a", add(1), command_id="c")).unwrap().events == (Added(1),)
    assert await entries(system, "a") == [1]


async def test_a_timeout_of_many_says_for_each_whether_it_was_taken_up(
    system: LedgerSystem, store: FailingStore
) -> None:
    gate = store.hold("append")
    system.execute_nowait("a", add(1))
    await gate.reached()
    got = await system.execute_many([("a", add(2)), ("a", add(3))], timeout=0.01)
    gate.open()
    assert [error.outcome for answer in got if isinstance(error := error_of(answer), ActorTimeout)] == [
        "not_started"
    ] * 2
    assert (await system.execute("a", add_length)).unwrap().events == (Added(1),)


async def test_many_commands_end_in_time_even_if_room_for_them_appears_too_late(store: FailingStore) -> None:
    """Each `handle` blocks the loop, so that the deadline passes while room appears; then the store hangs."""
    gate = Gate()

    async def hang_from_the_sixth_on() -> None:
        if store.calls["append"] > 5:
            await gate()

    def block(_: Ledger) -> Result[Sequence[Added], str]:
        time.sleep(0.03)
        return Ok([Added(1)])

    store.intercept("append", hang_from_the_sixth_on, times=20)
    async with asyncio.timeout(10), EventSourcing(ledger, store, mailbox_size=1) as system:
        got = await system.execute_many([("a", block)] * 20, timeout=0.1)
        gate.open()
    assert isinstance(got[0], Ok)
    assert isinstance(error_of(got[-1]), ActorTimeout | MailboxFull)


async def test_reading_from_a_store_that_hangs_times_out(system: LedgerSystem, store: FailingStore) -> None:
    store.hold("read_streams")
    answer = await system.load_aggregate("a", timeout=0.01)
    assert isinstance(answer, Err)
    assert isinstance(answer.error, ActorTimeout)
    assert (answer.error.operation, answer.error.outcome) == ("load_aggregate", None)


async def test_a_full_mailbox_is_an_answer_and_nothing_happens(store: FailingStore) -> None:
    async with EventSourcing(ledger, store, mailbox_size=2) as system:
        gate = store.hold("append")
        waiting = [asyncio.ensure_future(system.execute("a", add(1)))]
        await gate.reached()
        waiting += [asyncio.ensure_future(system.execute("a", add(1))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(MailboxFull):
            system.execute_nowait("a", add(9))
        assert isinstance(error_of(await system.execute("a", add(9), timeout=0.01)), MailboxFull)
        patient = asyncio.ensure_future(system.execute("a", add(2)))
        await asyncio.sleep(0)
        gate.open()
        assert all(isinstance(answer, Ok) for answer in await asyncio.gather(*waiting, patient))
        assert await entries(system, "a") == [1, 1, 1, 2]


async def test_a_stop_finishes_what_is_in_work_and_answers_what_waits(store: FailingStore) -> None:
    async with EventSourcing(ledger, store) as system:
        gate = store.hold("append")
        working = asyncio.ensure_future(system.execute("a", add(1)))
        await gate.reached()
        waiting = [asyncio.ensure_future(system.execute("a", add(2))) for _ in range(3)]
        many = asyncio.ensure_future(system.execute_many([("b", add(3)), ("b", add(4))]))
        await asyncio.sleep(0)
        system._tree.commands.mailbox.stop_requested.add_done_callback(lambda _: gate.open())
    assert isinstance(await working, Ok)
    assert [type(error_of(await each)) for each in waiting] == [ActorStopped] * 3
    assert [type(error_of(answer)) for answer in await many] == [ActorStopped] * 2
    assert await store.head() == 1


async def test_a_caller_who_gives_up_while_waiting_is_skipped(system: LedgerSystem, store: FailingStore) -> None:
    gate = store.hold("append")
    first = asyncio.ensure_future(system.execute("a", add(1)))
    await gate.reached()
    second = asyncio.ensure_future(system.execute("a", add(2)))
    await asyncio.sleep(0)
    second.cancel()
    gate.open()
    await first
    assert (await system.execute("a", add_length)).unwrap().events == (Added(1),)


async def test_what_waits_while_a_batch_commits_shares_the_next_batches(
    system: LedgerSystem, store: FailingStore, recording: RecordingStore
) -> None:
    gate = store.hold("append")
    first = asyncio.ensure_future(system.execute("a", add(0)))
    await gate.reached()
    waiting = [asyncio.ensure_future(system.execute(f"a{n % 7}", add(n))) for n in range(1_024)]
    await asyncio.sleep(0)
    gate.open()
    assert all(isinstance(answer, Ok) for answer in await asyncio.gather(first, *waiting))
    first_size, *sizes = [len(requests) for requests in recording.appended]
    assert (first_size, set(sizes)) == (1, {7})
    assert len(sizes) < 100  # the first batches grow until it is known how long they take
    assert [len(reads) for reads in recording.loaded] == [1, 7]


async def test_a_batch_is_bounded_in_bytes(system: LedgerSystem, recording: RecordingStore) -> None:
    digits = int("9" * 1_000)
    got = await system.execute_many([(f"a{number}", add(*[digits] * 400)) for number in range(64)])
    assert all(isinstance(answer, Ok) for answer in got)
    largest = max(
        sum(len(event.payload) for request in call for event in request.events) for call in recording.appended
    )
    assert len(recording.appended) > 2
    assert largest < 9 * 1024 * 1024


async def test_a_crash_given_to_execute_nowait_is_logged(
    system: LedgerSystem, store: FailingStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.fail("append", RuntimeError("bug"))
    with caplog.at_level(logging.ERROR, "eventree"):
        system.execute_nowait("a", add(1))
        await system.execute("a", add(2))
        await system.execute("a", add(3))
    assert any(
        "execute_nowait failed: actor 'ledger commands' crashed" in record.getMessage() for record in caplog.records
    )


async def test_a_command_that_ends_in_a_crash_of_the_actor_is_counted(
    system: LedgerSystem, store: FailingStore
) -> None:
    store.fail("append", RuntimeError("bug"))
    await system.execute("a", add(1))
    stats = await system.system_stats()
    assert (stats.total_commands_processed, stats.commands_failed) == (1, 1)
