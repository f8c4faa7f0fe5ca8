"""An aggregate with many events is loaded beside the commands of all others, and its own keep their order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from eventree import (
    ActorCrashed,
    ActorStopped,
    ActorTimeout,
    AggregateType,
    Commit,
    ConcurrencyConflict,
    DomainError,
    Err,
    EventreeError,
    EventSourcing,
    EventStore,
    EventStoreError,
    HandlerCrashed,
    MailboxFull,
    Ok,
    Result,
    SnapshotConfig,
    StoreUnavailable,
)
from eventree.errors import EventMissing, StoreReadOnly, StoreUnusable
from eventree.sourcing.commands.load import MAX_EVENTS_AT_ONCE
from eventree.sourcing.commands.long_loads import MAX_LOADS
from eventree.stores.contract import StreamPage, StreamRead
from eventree.testing import FailingStore, Gate, settled
from sourcing.commands.test_actor_conflicts import Rival
from sourcing.ledger import (
    POISON,
    Added,
    Boom,
    Ledger,
    LedgerSystem,
    LedgerType,
    add,
    add_length,
    crash,
    entries,
    ledger,
    ledger_in_place,
)
from sourcing.recording_store import RecordingStore
from sourcing.waiting import until

Answer = Ok[Commit[Added]] | Err[DomainError[str] | EventreeError]
LONG = 2_500


class LongStore(FailingStore):
    """A store whose reads of more than the first page wait at a gate."""

    def __init__(self) -> None:
        self.recording = RecordingStore()
        super().__init__(self.recording)
        self.later_pages = Gate("a later page")
        self.error: BaseException | None = None

    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        if any(read.after and read.limit for read in reads):
            await self.later_pages()
            if self.error is not None:
                raise self.error
        return await super().read_streams(reads)


@dataclass(frozen=True)
class Tally:
    amounts: tuple[int, ...] = ()


def tally_handle(
    state: Tally, command: Callable[[Tally], Result[Sequence[Added], str]]
) -> Result[Sequence[Added], str]:
    return command(state)


def tally_apply(state: Tally, event: Added) -> Tally:
    if event.amount == POISON:
        raise Boom
    return Tally((*state.amounts, event.amount)[-3:])


tally: AggregateType[Any, Any, Any, Any] = AggregateType(
    "tally", handle=tally_handle, apply=tally_apply, empty_state=Tally
)


@pytest.fixture
async def store() -> AsyncIterator[LongStore]:
    async with LongStore() as opened:
        await fill(opened, "long")
        yield opened


async def fill(store: EventStore, *ids: str, events: int = LONG) -> None:
    async with EventSourcing(ledger, store) as system:
        for id in ids:
            await system.execute(id, add(*range(events)))


@pytest.fixture(params=[ledger, ledger_in_place], ids=["pure", "in_place"])
async def system(request: pytest.FixtureRequest, store: LongStore) -> AsyncIterator[LedgerSystem]:
    kind: LedgerType = request.param
    async with EventSourcing(kind, store) as running:
        yield running


def started(call: Coroutine[Any, Any, Answer]) -> "asyncio.Task[Answer]":
    return asyncio.create_task(call)


def error_of(answer: Answer) -> DomainError[str] | EventreeError:
    assert isinstance(answer, Err)
    return answer.error


async def test_others_go_on_while_a_long_aggregate_is_loaded(system: LedgerSystem, store: LongStore) -> None:
    long = started(system.execute("long", add_length))
    await store.later_pages.reached()
    for number in range(3):
        assert (await system.execute("short", add_length)).unwrap().events == (Added(number),)
    assert not long.done()
    store.later_pages.open()
    assert (await long).unwrap().events == (Added(LONG),)


async def test_those_in_the_same_batch_do_not_wait_for_it(system: LedgerSystem, store: LongStore) -> None:
    names = ["a", "long", "b", "long", "a"]
    answers = [started(system.execute(id, add_length)) for id in names]
    others = [await answers[number] for number in (0, 2, 4)]
    assert [answer.unwrap().events for answer in others] == [(Added(0),), (Added(0),), (Added(1),)]
    store.later_pages.open()
    assert [(await answers[number]).unwrap().events for number in (1, 3)] == [(Added(LONG),), (Added(LONG + 1),)]


async def test_its_commands_keep_their_order_however_late_they_come(system: LedgerSystem, store: LongStore) -> None:
    first = [started(system.execute("long", add_length)) for _ in range(3)]
    await store.later_pages.reached()
    later = []
    for _ in range(5):
        later.append(started(system.execute("long", add_length)))
        await system.execute("short", add(1))
    store.later_pages.open()
    last = [started(system.execute("long", add_length)) for _ in range(3)]
    answers = await asyncio.gather(*first, *later, *last)
    assert [answer.unwrap().events for answer in answers] == [(Added(LONG + n),) for n in range(11)]
    assert await entries(system, "long") == [*range(LONG), *range(LONG, LONG + 11)]


async def test_it_is_loaded_once_and_stays_in_memory(system: LedgerSystem, store: LongStore) -> None:
    store.later_pages.open()
    store.recording.loaded.clear()
    for _ in range(3):
        await system.execute("long", add_length)
    assert [[read.after for read in reads] for reads in store.recording.loaded] == [[0], [1_000], [2_000]]


async def test_what_waits_for_a_load_is_in_progress(system: LedgerSystem, store: LongStore) -> None:
    system.execute_nowait("long", add(1))
    await store.later_pages.reached()
    with pytest.raises(ActorTimeout, match="0 waiting, 1 in progress"):
        await settled(system, timeout=0.05)
    store.later_pages.open()
    await settled(system)
    assert await entries(system, "long") == [*range(LONG), 1]


async def test_expected_sequences_and_command_ids_mean_the_same(system: LedgerSystem, store: LongStore) -> None:
    answers = [
        started(system.execute("long", add_length, command_id="c")),
        started(system.execute("long", add_length, expected_sequence=LONG)),
        started(system.execute("long", add_length, expected_sequence=LONG + 1)),
        started(system.execute("long", add_length, command_id="c")),
    ]
    await store.later_pages.reached()
    store.later_pages.open()
    first, late, right, repeated = await asyncio.gather(*answers)
    assert repeated == first
    assert first.unwrap().events == (Added(LONG),)
    assert isinstance(error_of(late), ConcurrencyConflict)
    assert right.unwrap().events == (Added(LONG + 1),)


# --- answers in time


async def test_who_stops_waiting_for_a_load_is_told_that_nothing_happened_and_nothing_does(
    system: LedgerSystem, store: LongStore
) -> None:
    error = error_of(await system.execute("long", add(1), timeout=0.01))
    assert isinstance(error, ActorTimeout)
    assert error.outcome == "not_started"
    cancelled = started(system.execute("long", add(2)))
    patient = started(system.execute("long", add_length))
    await until(lambda: system._tree.commands.mailbox.aside == 2)
    cancelled.cancel()
    store.later_pages.open()
    assert (await patient).unwrap().events == (Added(LONG),)
    assert await entries(system, "long") == [*range(LONG), LONG]


async def test_an_aggregate_whose_callers_are_gone_stays_in_memory(system: LedgerSystem, store: LongStore) -> None:
    await system.execute("long", add(1), timeout=0.01)
    store.later_pages.open()
    await settled(system)
    store.recording.loaded.clear()
    assert (await system.execute("long", add_length)).unwrap().events == (Added(LONG),)
    assert store.recording.loaded == []


async def test_a_stop_answers_those_who_wait_for_a_load(store: LongStore) -> None:
    async with EventSourcing(ledger, store) as system:
        waiting = [started(system.execute("long", add(1))) for _ in range(3)]
        await store.later_pages.reached()
    assert [type(error_of(await each)) for each in waiting] == [ActorStopped] * 3
    assert await store.head() == LONG


async def test_a_stop_that_drains_waits_for_a_load(store: LongStore) -> None:
    system = EventSourcing(ledger, store)
    async with system._tree.build() as tree:
        waiting = started(system.execute("long", add_length))
        await store.later_pages.reached()
        system._tree.commands.mailbox.stop_requested.add_done_callback(lambda _: store.later_pages.open())
        await tree.stop(drain=True, timeout=20)
    assert (await waiting).unwrap().events == (Added(LONG),)


async def test_a_crash_meanwhile_lets_those_who_wait_go_on_waiting(system: LedgerSystem, store: LongStore) -> None:
    waiting = [started(system.execute("long", add_length)) for _ in range(3)]
    await store.later_pages.reached()
    store.fail("append", RuntimeError("bug"))
    assert isinstance(error_of(await system.execute("short", add(1))), ActorCrashed)
    commands = system._tree.commands
    await until(lambda: commands.incarnation == 2 and commands.mailbox.aside == 3)
    store.later_pages.open()
    assert [each.unwrap().events for each in await asyncio.gather(*waiting)] == [(Added(LONG + n),) for n in range(3)]


@pytest.mark.parametrize(
    "error", [StoreUnavailable("away"), StoreUnusable("bank.db", "moved"), StoreReadOnly("bank.db")], ids=repr
)
async def test_a_store_that_is_away_answers_those_who_wait_for_a_load_only(
    system: LedgerSystem, store: LongStore, error: EventStoreError
) -> None:
    waiting = [started(system.execute("long", add(1))) for _ in range(3)]
    await store.later_pages.reached()
    store.error = error
    store.later_pages.open()
    assert [type(error_of(await each)) for each in waiting] == [type(error)] * 3
    store.error = None
    assert (await system.execute("long", add_length)).unwrap().events == (Added(LONG),)
    stats = await system.system_stats()
    assert (stats.actor_restarts, stats.commands_failed, stats.total_commands_processed) == (0, 3, 4)


async def test_a_bug_of_the_store_crashes_the_actor_with_those_who_wait_for_a_load(
    system: LedgerSystem, store: LongStore
) -> None:
    waiting = [started(system.execute("long", add(1))) for _ in range(3)]
    await store.later_pages.reached()
    store.error = RuntimeError("bug")
    store.later_pages.open()
    errors = [error_of(await each) for each in waiting]
    assert [type(error) for error in errors] == [ActorCrashed] * 3
    assert isinstance(errors[0].__cause__, RuntimeError)
    store.error = None
    assert (await system.execute("long", add_length)).unwrap().events == (Added(LONG),)
    stats = await system.system_stats()
    assert (stats.actor_restarts, stats.commands_failed) == (1, 3)


async def test_an_event_that_cannot_be_applied_in_a_later_page_stops_its_aggregate_only(store: LongStore) -> None:
    store.later_pages.open()
    lenient: LedgerType = AggregateType(
        "ledger", handle=ledger.handle, apply=lambda state, _: state, empty_state=Ledger, events=[Added], state=[Ledger]
    )
    async with EventSourcing(lenient, store) as writer:
        await writer.execute("long", add(POISON))
    async with EventSourcing(ledger, store) as system:
        got = await asyncio.gather(*(system.execute(id, add(1)) for id in ("long", "short", "long")))
        assert [type(error_of(answer)) for answer in (got[0], got[2])] == [HandlerCrashed] * 2
        assert isinstance(got[1], Ok)
        assert (await system.system_stats()).actor_restarts == 0


async def test_no_more_commands_wait_for_a_load_than_fit_into_the_mailbox(store: LongStore) -> None:
    async with EventSourcing(ledger, store, mailbox_size=10) as system:
        waiting = [started(system.execute("long", add_length)) for _ in range(10)]
        await until(lambda: system._tree.commands.mailbox.aside == 10)
        refused = error_of(await system.execute("long", add_length))
        assert isinstance(refused, MailboxFull)
        assert refused.size == 10
        waiting[0].cancel()
        await until(lambda: system._tree.commands.mailbox.aside == 9)
        waiting.append(started(system.execute("long", add_length)))
        assert isinstance(await system.execute("short", add(1)), Ok)
        store.later_pages.open()
        assert [(await each).unwrap().events for each in waiting[1:]] == [(Added(LONG + n),) for n in range(10)]


async def test_many_long_aggregates_take_turns(store: LongStore) -> None:
    ids = [f"long-{number}" for number in range(MAX_LOADS + 4)]
    await fill(store, *ids, events=1_001)
    async with EventSourcing(ledger, store) as system:
        waiting = [started(system.execute(id, add_length)) for id in ids]
        await store.later_pages.reached()
        assert isinstance(await system.execute("short", add(1)), Ok)
        store.later_pages.open()
        assert {(await each).unwrap().events for each in waiting} == {(Added(1_001),)}


async def test_many_aggregates_at_once_are_a_long_load_too(store: LongStore) -> None:
    ids = [f"cold-{number}" for number in range(100)]
    await fill(store, *ids, events=500)
    async with EventSourcing(ledger, store) as system:
        first = store.recording.loaded
        first.clear()
        waiting = [started(system.execute(id, add_length)) for id in ids]
        await store.later_pages.reached()
        assert sum(read.limit for read in first[0]) <= MAX_EVENTS_AT_ONCE
        assert isinstance(await system.execute("short", add(1)), Ok)
        store.later_pages.open()
        assert {(await each).unwrap().events for each in waiting} == {(Added(500),)}


# --- conflicts


async def test_a_conflict_loads_it_anew_beside_the_others(system: LedgerSystem, store: LongStore) -> None:
    store.later_pages.open()
    await system.execute("long", add_length)
    async with EventSourcing(ledger, store) as other:
        await other.execute("long", add(77))
    store.later_pages = Gate("a later page")
    waiting = [started(system.execute("long", add_length)) for _ in range(2)]
    await store.later_pages.reached()
    assert isinstance(await system.execute("short", add(1)), Ok)
    waiting.append(started(system.execute("long", add_length)))
    store.later_pages.open()
    answers = [(await each).unwrap() for each in waiting]
    assert [answer.events for answer in answers] == [(Added(LONG + n),) for n in (2, 3, 4)]


async def test_lost_rounds_are_counted_across_the_loads_between_them() -> None:
    async with FailingStore() as store:
        await fill(store, "a")
        async with EventSourcing(ledger, store) as system:
            Rival(store, 100)
            assert (await system.execute("a", add_length)).unwrap().events == (Added(LONG + 2),)
            assert (await system.execute("a", add_length)).unwrap().events == (Added(LONG + 3),)


async def test_after_a_conflict_only_the_events_of_others_are_read_where_the_state_cannot_have_changed() -> None:
    async with RecordingStore() as store, EventSourcing(tally, store) as system, EventSourcing(tally, store) as other:
        for number in range(5):
            await system.execute("a", add(number))
        await other.execute("a", add(77))
        store.loaded.clear()
        assert (await system.execute("a", add(5))).unwrap().sequence == 7
        assert [[read.after for read in reads] for reads in store.loaded] == [[5]]
        await other.execute("a", add(78))
        store.loaded.clear()
        stale = error_of(await system.execute("a", add(6), expected_sequence=7))
        assert isinstance(stale, ConcurrencyConflict)
        assert (await system.execute("a", add(6))).unwrap().sequence == 9
        assert [[read.after for read in reads] for reads in store.loaded] == [[7]]
        assert (await system.load_aggregate("a")).unwrap().state == Tally((5, 78, 6))


# --- what a bug leaves in memory


@pytest.mark.parametrize("bug", [crash, add(1, POISON), lambda _: None], ids=["handle", "apply", "none"])
async def test_a_bug_does_not_throw_a_state_away_that_it_cannot_have_changed(bug: Any) -> None:
    async with RecordingStore() as store, EventSourcing(tally, store) as system:
        await system.execute("a", add(5))
        store.loaded.clear()
        answers = await system.execute_many([("a", add(6)), ("a", bug), ("a", bug), ("a", add(7))])
        assert [isinstance(answer, Ok) for answer in answers] == [True, False, False, True]
        for _ in range(3):
            assert isinstance(error_of(await system.execute("a", bug)), HandlerCrashed)
        assert store.loaded == []
        assert len(store.appended) == 2 + 3
        assert (await system.load_aggregate("a")).unwrap().state == Tally((5, 6, 7))


async def test_a_state_that_a_bug_may_have_changed_is_loaded_anew() -> None:
    def change_and_crash(state: Ledger) -> Result[Sequence[Added], str]:
        state.entries.append(99)
        raise Boom

    async with RecordingStore() as store, EventSourcing(ledger, store) as system:
        await system.execute("a", add(5))
        await system.execute("a", change_and_crash)
        assert (await system.execute("a", add_length)).unwrap().events == (Added(1),)


async def test_a_repeated_command_does_not_throw_a_state_away_that_it_cannot_have_changed() -> None:
    async with RecordingStore() as store, EventSourcing(tally, store) as system:
        first = await system.execute("a", add(5), command_id="c")
        store.loaded.clear()
        assert await system.execute("a", add(5), command_id="c") == first
        store.loaded.clear()  # the first commit was read
        assert (await system.execute("a", add(6))).unwrap().sequence == 2
        assert store.loaded == []


async def test_a_bug_in_a_long_aggregate_holds_nobody_up(system: LedgerSystem, store: LongStore) -> None:
    store.later_pages.open()
    await system.execute("long", add_length)
    store.later_pages = Gate("a later page")
    assert isinstance(error_of(await system.execute("long", crash)), HandlerCrashed)
    waiting = [started(system.execute("long", command)) for command in (crash, add_length, crash)]
    await store.later_pages.reached()
    assert isinstance(await system.execute("short", add(1)), Ok)
    store.later_pages.open()
    first, right, last = [await each for each in waiting]
    assert isinstance(error_of(first), HandlerCrashed)
    assert right.unwrap().events == (Added(LONG + 1),)
    assert isinstance(error_of(last), HandlerCrashed)


async def test_a_snapshot_makes_the_load_short(store: LongStore) -> None:
    store.later_pages.open()
    snapshots = SnapshotConfig(frequency=1_000)
    async with EventSourcing(ledger, store, snapshots=snapshots) as system:
        await system.execute("long", add(1))
    store.recording.loaded.clear()
    async with EventSourcing(ledger, store, snapshots=snapshots) as system:
        assert (await system.execute("long", add_length)).unwrap().events == (Added(LONG + 1),)
    assert len(store.recording.loaded) == 1


async def test_an_event_missing_in_a_later_page_is_the_answer() -> None:
    class Holey(FailingStore):
        async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
            pages = await super().read_streams(reads)
            return [
                StreamPage(page.sequence, page.position, page.events[1:]) if read.after == 2_000 else page
                for read, page in zip(reads, pages, strict=True)
            ]

    async with Holey() as holey:
        await fill(holey, "long")
        async with EventSourcing(ledger, holey) as system:
            error = error_of(await system.execute("long", add(1)))
            assert isinstance(error, EventMissing)
            assert error.sequence == 2_001
