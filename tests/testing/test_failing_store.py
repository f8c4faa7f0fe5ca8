"""A failing store keeps the contract of the store inside it, except for the calls that a test intercepts."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias, get_args
from uuid import UUID

import pytest

from eventree import (
    CommitOutcomeUnknown,
    Err,
    EventSourcing,
    EventStore,
    InvalidArgument,
    MemoryStore,
    Projection,
    SQLiteStore,
    StoreUnavailable,
)
from eventree.errors import NonPositiveArgument
from eventree.stores.contract import Checkpoint, CheckpointUpdate, StoredStop, StreamRead
from eventree.stores.forwarding import ForwardedMethod
from eventree.testing import EventStoreSuite, FailingStore, Gate, TransactionalStoreSuite, settled
from eventree.testing.failing_store import StoreMethod
from eventree.testing.store_values import TYPE, append, query_request, request, snapshot
from sourcing.ledger import Added, add, entries, ledger
from sourcing.reading import AT_ONCE
from sourcing.teller import open_store
from sourcing.totals import project, setup, totals

Call: TypeAlias = Callable[[EventStore], Awaitable[object]]


class Odd(Exception):
    """What no store raises by itself."""


class TestAroundMemory(EventStoreSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[EventStore]:
        async with FailingStore() as store:
            yield store


class TestAroundSQLite(TransactionalStoreSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[EventStore]:
        async with FailingStore(SQLiteStore(tmp_path / "events.db")) as store:
            yield store


CALLS: dict[StoreMethod, Call] = {
    "append": lambda store: append(store, request("a", after=1)),
    "read_and_append": lambda store: store.read_and_append([StreamRead(TYPE, "a")], lambda _: [request("a", after=1)]),
    "find_commands": lambda store: store.find_commands(["c"]),
    "read_streams": lambda store: store.read_streams([StreamRead(TYPE, "a")]),
    "read": lambda store: store.read(0, 10),
    "read_backwards": lambda store: store.read_backwards(None, 10),
    "list_aggregates": lambda store: store.list_aggregates(TYPE, limit=7),
    "list_aggregate_types": lambda store: store.list_aggregate_types(),
    "list_queries": lambda store: store.list_queries(),
    "head": lambda store: store.head(),
    "claim_checkpoint": lambda store: store.claim_checkpoint("q", 1),
    "save_checkpoint": lambda store: store.save_checkpoint("q", 1, CheckpointUpdate(Checkpoint(1, 1))),
    "make_live": lambda store: store.make_live("q", 1, 1),
    "renew_checkpoint": lambda store: store.renew_checkpoint("q", 1, 1, 60),
    "stop_checkpoint": lambda store: store.stop_checkpoint("q", 1, "one", StoredStop("stopped", "")),
    "put_request": lambda store: store.put_request(query_request()),
    "load_requests": lambda store: store.load_requests("q", 1),
    "take_answer": lambda store: store.take_answer(UUID(int=1)),
    "load_checkpoint": lambda store: store.load_checkpoint("q", 1),
    "load_parked": lambda store: store.load_parked("q", 1, after=0, limit=7),
    "save_snapshots": lambda store: store.save_snapshots([snapshot("a", 1)]),
    "load_snapshots": lambda store: store.load_snapshots(TYPE, ["a"], "v1"),
}

each_method = pytest.mark.parametrize("method", CALLS)


class Watched(MemoryStore):
    """A store that notes which of its methods was called last."""

    called = ""

    def __getattribute__(self, name: str) -> Any:
        if name in CALLS:
            self.called = name
        return super().__getattribute__(name)


@pytest.fixture
async def memory() -> AsyncIterator[Watched]:
    async with Watched() as opened:
        await append(opened, request("a", commands=["c"]))
        await opened.claim_checkpoint("q", 1)
        yield opened


@pytest.fixture
def failing(memory: Watched) -> FailingStore:
    return FailingStore(memory)


def test_whatever_a_store_does_can_be_made_to_fail() -> None:
    methods = {
        name
        for name, function in inspect.getmembers(EventStore, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    assert methods == set(CALLS)
    assert methods == set(get_args(ForwardedMethod))


@each_method
async def test_other_calls_are_passed_on_and_counted(
    failing: FailingStore, memory: Watched, method: StoreMethod
) -> None:
    memory.called = ""
    await CALLS[method](failing)
    assert (memory.called, failing.calls) == (method, {method: 1})


@each_method
async def test_a_call_fails_the_given_number_of_times_without_an_effect(
    failing: FailingStore, memory: Watched, method: StoreMethod
) -> None:
    failing.fail(method, error := Odd(), times=2)
    stood = await memory.head(), await memory.load_checkpoint("q", 1)
    for _ in range(2):
        with pytest.raises(Odd) as raised:
            await CALLS[method](failing)
        assert raised.value is error
    assert stood == (await memory.head(), await memory.load_checkpoint("q", 1))
    memory.called = ""
    await CALLS[method](failing)
    assert (memory.called, failing.calls) == (method, {method: 3})


@each_method
async def test_a_call_that_fails_after_its_effect_has_been_passed_on(
    failing: FailingStore, memory: Watched, method: StoreMethod
) -> None:
    failing.fail(method, Odd(), after=True)
    memory.called = ""
    with pytest.raises(Odd):
        await CALLS[method](failing)
    assert memory.called == method


@pytest.mark.parametrize("after", [False, True])
async def test_a_call_that_is_held_goes_on_when_the_gate_is_opened(
    failing: FailingStore,
    after: bool,  # noqa: FBT001
) -> None:
    gate = failing.hold("append", after=after)
    appending = asyncio.ensure_future(append(failing, request("a", after=1)))
    await gate.reached()
    assert await failing.inner.head() == (2 if after else 1)
    assert not appending.done()
    gate.open()
    await appending
    assert await failing.inner.head() == 2


async def test_interceptions_of_a_method_take_effect_in_order_and_those_of_others_wait(failing: FailingStore) -> None:
    done: list[str] = []

    async def note() -> None:
        done.append(f"{await failing.inner.head()}")

    failing.intercept("append", note)
    failing.fail("append", Odd(), after=True)
    failing.intercept("append", note, times=2, after=True)
    failing.fail("head", StoreUnavailable("away"))
    await append(failing, request("a", after=1))
    with pytest.raises(Odd):
        await append(failing, request("a", after=2))
    for after in (3, 4, 5):
        await append(failing, request("a", after=after))
    assert done == ["1", "4", "5"]
    with pytest.raises(StoreUnavailable):
        await failing.head()


@each_method
async def test_while_unavailable_all_calls_fail_and_interceptions_wait(
    failing: FailingStore, method: StoreMethod
) -> None:
    failing.fail(method, Odd())
    with failing.unavailable(), pytest.raises(StoreUnavailable, match="made the store unavailable"):
        await CALLS[method](failing)
    with failing.unavailable(CommitOutcomeUnknown("odd")), pytest.raises(CommitOutcomeUnknown):
        await CALLS[method](failing)
    with pytest.raises(Odd):
        await CALLS[method](failing)
    await CALLS[method](failing)


async def test_the_store_is_available_again_after_the_block_raised(failing: FailingStore) -> None:
    with pytest.raises(Odd), failing.unavailable():
        raise Odd
    assert await failing.head() == 1


async def test_nested_blocks_keep_the_store_unavailable_until_the_outer_one_ends(failing: FailingStore) -> None:
    with failing.unavailable():
        with failing.unavailable(Odd()), pytest.raises(Odd):
            await failing.head()
        with pytest.raises(StoreUnavailable):
            await failing.head()
    assert await failing.head() == 1


@pytest.mark.parametrize("name", ["apend", "watch", "transaction", "commit", ""])
async def test_a_method_that_the_store_does_not_have_cannot_be_intercepted(failing: FailingStore, name: Any) -> None:
    for call in (
        lambda: failing.fail(name, Odd()),
        lambda: failing.hold(name),
        lambda: failing.intercept(name, Gate()),
    ):
        with pytest.raises(
            InvalidArgument, match=rf"the store has no '{name}' to intercept; choose one of: append, .*load_snap"
        ) as no:
            call()
        assert no.value.reason.endswith("load_snapshots")


@pytest.mark.parametrize("nothing", [None, "away", StoreUnavailable])
def test_the_error_must_be_an_exception(nothing: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^error: must be an exception, got "):
        FailingStore().fail("append", nothing)


@pytest.mark.parametrize("nothing", [None, "away"])
def test_the_action_must_be_callable(nothing: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^action: must be an async function without arguments, got "):
        FailingStore().intercept("append", nothing)


@pytest.mark.parametrize("times", [0, -1, True, 1.5])
def test_the_number_of_calls_must_be_positive(times: Any) -> None:
    with pytest.raises(NonPositiveArgument):
        FailingStore().fail("append", Odd(), times=times)


async def test_it_is_opened_and_closed_together_with_the_store_inside(tmp_path: Path) -> None:
    inner = SQLiteStore(tmp_path / "events.db")
    async with FailingStore(inner) as failing:
        assert repr(failing) == f"<FailingStore around <SQLiteStore '{tmp_path}/events.db' open>>"
        assert await inner.head() == 0
    with pytest.raises(StoreUnavailable):
        await inner.head()


async def test_it_hears_of_commits(failing: FailingStore) -> None:
    heard: list[int] = []
    stop = failing.watch(heard.append)
    await append(failing, request("b"))
    stop()
    await append(failing, request("c"))
    assert heard == [2]


async def test_a_command_whose_answer_was_lost_is_answered_when_it_is_repeated() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        store.fail("append", CommitOutcomeUnknown("the answer is lost"), after=True)
        lost = await system.execute("a", add(1), command_id="c")
        assert isinstance(lost, Err)
        assert isinstance(lost.error, CommitOutcomeUnknown)
        assert (await system.execute("a", add(1), command_id="c")).unwrap().events == (Added(1),)
        assert await entries(system, "a") == [1]


# --- transactions


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "events.db") if request.param == "sqlite" else request.getfixturevalue("postgres_dsn")


def counting() -> Projection[Added]:
    return Projection("q", project, setup=setup, backoff=AT_ONCE, poll_interval=0.01)


@pytest.mark.parametrize("method", ["transaction", "commit"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "error", [StoreUnavailable("away"), CommitOutcomeUnknown("lost"), RuntimeError("bug")], ids=repr
)
async def test_a_projection_counts_each_event_once_wherever_its_transaction_fails(
    place: str,
    method: StoreMethod,
    after: bool,  # noqa: FBT001
    error: Exception,
) -> None:
    async with FailingStore(open_store(place)) as store, EventSourcing(ledger, store, queries=[counting()]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        store.fail(method, error, after=after)
        store.calls.clear()
        await system.execute("a", add(2))
        await settled(system)
        assert store.calls["transaction"] >= 2
    assert await totals(place) == {"a": (3, 2)}


@pytest.mark.parametrize(
    ("method", "after", "stands"),
    [("transaction", False, 0), ("transaction", True, 0), ("commit", False, 0), ("commit", True, 1)],
)
async def test_what_fails_before_the_commit_is_rolled_back_and_after_it_has_taken_place(
    place: str,
    method: StoreMethod,
    after: bool,  # noqa: FBT001
    stands: int,
) -> None:
    async with FailingStore(open_store(place)) as store:
        checkpoint = await store.claim_checkpoint("q", 1)
        store.fail(method, Odd(), after=after)
        begun = False
        with pytest.raises(Odd):
            async with store.transaction() as transaction:
                begun = True
                await transaction.save_checkpoint("q", 1, CheckpointUpdate(Checkpoint(1, checkpoint.fencing_token)))
        stored = await store.load_checkpoint("q", 1)
        assert stored is not None
        assert (begun, stored.checkpoint.position) == (method == "commit", stands)


async def test_a_commit_that_is_held_has_not_taken_place(tmp_path: Path) -> None:
    place = str(tmp_path / "events.db")
    async with FailingStore(SQLiteStore(place)) as store, EventSourcing(ledger, store, queries=[counting()]) as system:
        await settled(system)
        gate = store.hold("commit")
        await system.execute("a", add(1))
        await gate.reached()
        assert await totals(place) == {}
        gate.open()
        await settled(system)
        assert await totals(place) == {"a": (1, 1)}


async def test_a_transaction_that_raises_is_no_commit(tmp_path: Path) -> None:
    async with FailingStore(SQLiteStore(tmp_path / "events.db")) as store:
        with pytest.raises(Odd):
            async with store.transaction():
                raise Odd
        with store.unavailable():
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await store.transaction().__aenter__()
        assert store.calls == {"transaction": 3}


async def test_without_transactions_inside_it_has_none_and_no_projection_runs_on_it() -> None:
    store = FailingStore()
    assert not hasattr(store, "transaction")
    with pytest.raises(InvalidArgument, match="has no tables for"):
        EventSourcing(ledger, store, queries=[counting()])
