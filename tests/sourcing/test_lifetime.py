"""Whether a system runs, since when, and why it does not: what a health check and the program around it need."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from eventree import ChildSpec, Err, EventSourcing, MemoryStore, Ok, Supervisor
from eventree.errors import ActorStopped, ChildStartError, EventreeError, RestartIntensityExceeded, WrongEventLoop
from eventree.sourcing import QueryStatus, SystemStatus
from eventree.testing import FailingStore
from harness.other_loops import in_another_loop
from sourcing.ledger import LedgerSystem, add, ledger
from sourcing.observers import Recorder
from sourcing.reading import Seen, query
from sourcing.waiting import until

CREATED, STARTING, RUNNING, STOPPED = (
    SystemStatus.CREATED,
    SystemStatus.STARTING,
    SystemStatus.RUNNING,
    SystemStatus.STOPPED,
)


@pytest.fixture
async def failing() -> AsyncIterator[FailingStore]:
    async with FailingStore() as store:
        yield store


def system_on(store: FailingStore | MemoryStore) -> LedgerSystem:
    return EventSourcing(ledger, store, queries=[query("q", Seen())])


async def give_up(system: LedgerSystem, store: FailingStore, crashes: int = 4) -> None:
    """Let the actor that executes commands crash more often than its supervisor stands."""
    store.fail("append", ZeroDivisionError("a bug"), times=crashes)
    for number in range(crashes):
        await system.execute(f"a{number}", add(1))


async def body(system: LedgerSystem, store: FailingStore) -> None:
    async with system:
        await give_up(system, store)
        await asyncio.Event().wait()


@contextmanager
def raises_what_it_gave_up_for() -> Iterator[None]:
    with pytest.raises(RestartIntensityExceeded) as gave_up:
        yield
    assert isinstance(gave_up.value.__cause__, ZeroDivisionError)


async def test_the_status_from_the_beginning_to_the_end(store: MemoryStore) -> None:
    system = system_on(store)
    assert (system.status, system.failure) == (CREATED, None)
    with pytest.raises(ActorStopped):
        await system.wait_stopped()
    async with system:
        waiting = asyncio.create_task(system.wait_stopped())
        assert (system.status, (await system.system_stats()).status) == (RUNNING, RUNNING)
        assert repr(system) == "<EventSourcing 'ledger' running>"
        assert not waiting.done()
    await waiting
    await system.wait_stopped()
    assert (system.status, system.failure) == (STOPPED, None)
    async with system:
        assert system.status is RUNNING


async def test_a_system_that_gave_up_says_so_everywhere(failing: FailingStore) -> None:
    system = system_on(failing)
    with raises_what_it_gave_up_for():
        await body(system, failing)
    assert system.status is STOPPED
    assert isinstance(system.failure, RestartIntensityExceeded)
    with raises_what_it_gave_up_for():
        await system.wait_stopped()
    stats = await system.system_stats()
    assert stats.status is STOPPED
    assert stats.failure is system.failure
    assert [each.status for each in stats.queries] == [QueryStatus.STOPPED]
    assert system.query("q").status is QueryStatus.STOPPED
    assert "stopped" in repr(system)


async def test_a_task_beside_the_body_is_woken_when_the_tree_ends_by_itself(failing: FailingStore) -> None:
    system = system_on(failing)
    running = asyncio.create_task(body(system, failing))
    await until(lambda: system.status is RUNNING)
    with raises_what_it_gave_up_for():
        await system.wait_stopped()
    with raises_what_it_gave_up_for():
        await running


async def test_the_body_itself_may_wait_and_gets_the_error_instead_of_a_cancellation(failing: FailingStore) -> None:
    system = system_on(failing)
    with raises_what_it_gave_up_for():
        async with system:
            await give_up(system, failing)
            with raises_what_it_gave_up_for():
                await system.wait_stopped()


async def test_a_lifespan_that_is_not_the_body_is_told(failing: FailingStore) -> None:
    """As inside a web server: the task that entered the system waits for the server's wish to end."""
    system = system_on(failing)
    ended = asyncio.Event()

    async def lifespan() -> None:
        async with system:
            await asyncio.Event().wait()

    async def watch() -> None:
        try:
            await system.wait_stopped()
        finally:
            ended.set()

    server = asyncio.create_task(lifespan())
    await until(lambda: system.status is RUNNING)
    watching = asyncio.create_task(watch())
    await give_up(system, failing)
    async with asyncio.timeout(20):
        await ended.wait()
    for task in (server, watching):
        with raises_what_it_gave_up_for():
            await task


async def test_the_uptime_of_a_stopped_system_stands_still_and_begins_anew(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("eventree.sourcing.lifetime.monotonic", lambda: now)
    system = system_on(store)
    assert (await system.system_stats()).uptime_seconds == 0
    async with system:
        now = 107.0
        assert (await system.system_stats()).uptime_seconds == 7
    now = 200.0
    assert (await system.system_stats()).uptime_seconds == 7
    async with system:
        now = 202.0
        assert (await system.system_stats()).uptime_seconds == 2


async def test_the_uptime_of_a_system_that_gave_up_stands_still(
    failing: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("eventree.sourcing.lifetime.monotonic", lambda: now)
    system = system_on(failing)
    with raises_what_it_gave_up_for():
        await body(system, failing)
    now = 200.0
    assert (await system.system_stats()).uptime_seconds == 0


async def test_a_child_that_its_supervisor_restarts_has_not_stopped(failing: FailingStore) -> None:
    system = system_on(failing)
    async with Supervisor([system.child_spec()]):
        waiting = asyncio.create_task(system.wait_stopped())
        before = system.query("q").incarnation
        await give_up(system, failing)
        await until(lambda: system.status is RUNNING and system.query("q").incarnation > before)
        assert isinstance(await system.execute("b", add(1), wait_for=["q"]), Ok)
        assert (system.failure, system.query("q").status) == (None, QueryStatus.RUNNING)
        assert not waiting.done()
    await waiting
    assert system.status is STOPPED


async def test_a_child_whose_supervisor_gives_up_too_raises_what_it_gave_up_for(failing: FailingStore) -> None:
    system = system_on(failing)
    with pytest.raises(RestartIntensityExceeded) as top:
        async with Supervisor([system.child_spec()], max_restarts=0, name="mine"):
            waiting = asyncio.create_task(system.wait_stopped())
            await give_up(system, failing)
            await asyncio.Event().wait()
    assert top.value.supervisor == "mine"
    with raises_what_it_gave_up_for():
        await waiting
    assert (system.status, type(system.failure)) == (STOPPED, RestartIntensityExceeded)


async def test_a_child_that_is_terminated_has_stopped_in_order(store: MemoryStore) -> None:
    system = system_on(store)
    spec = system.child_spec()
    async with Supervisor([spec]) as tree:
        waiting = asyncio.create_task(system.wait_stopped())
        await asyncio.sleep(0)
        await tree.terminate_child(spec.id)
        await waiting
        assert (system.status, system.failure) == (STOPPED, None)
        await tree.restart_child(spec.id)
        assert system.status is RUNNING


async def test_a_start_that_fails_is_told(store: MemoryStore) -> None:
    system = system_on(store)
    async with EventSourcing(ledger, store, queries=[]):
        pass
    spec = system.query("q").child_spec()
    async with Supervisor([ChildSpec(id="taken", start=spec.start, ref=spec.ref)]):
        with pytest.raises(EventreeError):
            await system.__aenter__()
        assert (system.status, type(system.failure)) == (STOPPED, ChildStartError)
        with pytest.raises(ChildStartError):
            await system.wait_stopped()
    async with system:
        assert (system.status, system.failure) == (RUNNING, None)


async def test_the_status_while_it_starts(failing: FailingStore) -> None:
    seen: list[SystemStatus] = []
    system = system_on(failing)
    watch = failing.watch

    def watching(listener: object, types: object = None) -> object:
        seen.append(system.status)
        return watch(listener, types)  # type: ignore[arg-type]

    failing.watch = watching  # type: ignore[assignment]
    async with system:
        pass
    assert STARTING in seen


async def test_a_wait_that_is_cancelled_leaves_the_system_alone(store: MemoryStore) -> None:
    async with system_on(store) as system:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await system.wait_stopped()
        assert system.status is RUNNING


# --- other loops


async def test_from_another_loop_a_system_is_not_used(store: MemoryStore) -> None:
    async with system_on(store) as system:
        results = [
            lambda: system.execute("a", add(1)),
            lambda: system.execute("a", add(1), wait_for=["q"]),
            lambda: system.load_aggregate("a"),
            lambda: system.load_events("a"),
            lambda: system.latest_snapshot("a"),
            lambda: system.aggregate_stats("a"),
        ]
        for call in results:
            answer = await in_another_loop(call)
            assert isinstance(answer, Err)
            assert isinstance(answer.error, WrongEventLoop), answer
        [answer] = await in_another_loop(lambda: system.execute_many([("a", add(1))]))
        assert isinstance(answer, Err)
        assert isinstance(answer.error, WrongEventLoop)

        async def stream() -> object:
            return [event async for event in system.stream_events("a")]

        async def nowait() -> None:
            system.execute_nowait("a", add(1))

        raising = [
            stream,
            nowait,
            system.system_stats,
            system.wait_stopped,
            system.__aenter__,
            lambda: system.__aexit__(None, None, None),
            lambda: system.register_queries([query("more", Seen())]),
            lambda: system.query("q").pause(),
            lambda: system.query("q").resume(),
            lambda: system.query("q").caught_up(),
            lambda: system.query("q").caught_up(1),
            lambda: system.query("q").stats(),
            lambda: system.query("q").parked(),
        ]
        for each in raising:
            with pytest.raises(WrongEventLoop):
                await in_another_loop(each)
        with pytest.raises(WrongEventLoop):
            await asyncio.to_thread(nowait().send, None)
        stats = await system.system_stats()
        assert (stats.total_commands_processed, stats.actor_restarts, stats.query_actors_count) == (0, 0, 1)
        assert await store.head() == 0
        assert isinstance(await system.execute("a", add(1), wait_for=["q"]), Ok)


@pytest.mark.parametrize("queries", [0, 1])
async def test_a_system_does_not_start_beside_its_store(store: MemoryStore, queries: int) -> None:
    system = EventSourcing(ledger, store, queries=[query("q", Seen())][:queries])
    with pytest.raises(WrongEventLoop, match="Store"):
        await in_another_loop(system.__aenter__)

    async def as_a_child() -> None:
        async with Supervisor([system.child_spec()]):
            pass

    with pytest.raises(ChildStartError) as refused:
        await in_another_loop(as_a_child)
    assert isinstance(refused.value.__cause__, WrongEventLoop)
    async with system:
        assert isinstance(await system.execute("a", add(1)), Ok)


async def test_a_store_that_moves_to_another_loop_under_a_system_crashes_nothing() -> None:
    store = MemoryStore()
    await store.__aenter__()
    async with system_on(store) as system:
        assert isinstance(await system.execute("a", add(1), wait_for=["q"]), Ok)
        await store.__aexit__(None, None, None)
        moved, done = asyncio.Event(), asyncio.Event()
        here = asyncio.get_running_loop()

        async def elsewhere() -> None:
            async with store:
                here.call_soon_threadsafe(moved.set)
                await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(done.wait(), here).result(20))

        other = asyncio.create_task(in_another_loop(elsewhere))
        await moved.wait()
        for _ in range(5):
            answer = await system.execute("a", add(1))
            assert isinstance(answer, Err)
            assert isinstance(answer.error, WrongEventLoop)
        assert system.status is RUNNING
        done.set()
        await other
        async with store:
            assert (await system.system_stats()).actor_restarts == 0
            assert isinstance(await system.execute("a", add(1)), Ok)


def test_a_store_and_a_system_serve_one_loop_after_the_other() -> None:
    store = MemoryStore()
    system = system_on(store)

    async def use() -> int:
        async with store, system:
            return (await system.execute("a", add(1), wait_for=["q"])).unwrap().position

    assert [asyncio.run(use()) for _ in range(3)] == [1, 2, 3]


async def test_an_instrumentation_hears_nothing_of_what_comes_from_another_loop(store: MemoryStore) -> None:
    recorder = Recorder()
    async with EventSourcing(ledger, store, instrumentation=recorder) as system:

        async def nowait() -> None:
            system.execute_nowait("a", add(1))

        for call in (lambda: system.execute("a", add(1)), lambda: system.execute_many([("a", add(1))])):
            answer = await in_another_loop(call)
            [first] = answer if isinstance(answer, list) else [answer]
            assert isinstance(first, Err)
            assert isinstance(first.error, WrongEventLoop)
        with pytest.raises(WrongEventLoop):
            await in_another_loop(nowait)
        assert recorder.commands == []
