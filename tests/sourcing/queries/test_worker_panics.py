"""A handler that raises what is no `Exception` is a failing handler: tried again, then parked, skipped or stopped."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from eventree import AggregateType, EventSourcing, EventStore, Ok, Query, QueryStopped
from eventree.sourcing import QueryStatus
from sourcing.ledger import add, handle, ledger
from sourcing.observers import Idle
from sourcing.panics import panics, plain_panics, throw, wishes
from sourcing.reading import AT_ONCE, Events, Seen

Make = Callable[[], BaseException]


def following(handler: Any, on_failure: Any) -> Query[Any]:
    return Query("q", handler, on_failure=on_failure, max_attempts=3, backoff=AT_ONCE, poll_interval=0.01)


class Plain:
    """Panic for one aggregate, in a plain function."""

    def __init__(self, panic: Make) -> None:
        self.seen = Seen()
        self.calls = 0
        self.panic: Make | None = panic

    def __call__(self, id: str, events: Events) -> None:
        if id == "bad" and self.panic is not None:
            self.calls += 1
            raise self.panic()
        self.seen(id, events)


class Async(Plain):
    """Panic for one aggregate, in a coroutine."""

    async def __call__(self, id: str, events: Events) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().__call__(id, events)


async def fail() -> None:
    throw(ValueError("in a task"))


class Grouping(Plain):
    """Fail in a task group, which cancels the task that it is in and, before Python 3.13, may forget to undo that."""

    async def __call__(self, id: str, events: Events) -> None:  # type: ignore[override]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
        except* ValueError:
            if id == "bad" and self.panic is not None:
                self.calls += 1
                raise
        await asyncio.sleep(0)
        self.seen(id, events)


async def parks(store: EventStore, handler: Plain, instrumentation: Any) -> None:
    panic = handler.panic
    queries = [following(handler, "park")]
    async with EventSourcing(ledger, store, queries=queries, instrumentation=instrumentation) as system:
        for number, id in enumerate(["bad", "good", "bad"], 1):
            await system.execute(id, add(number))
        query = system.query("q")
        await query.caught_up()
        assert [commit.position for commit in await query.parked()] == [1, 3]
        assert (handler.calls, query.incarnation, query.status) == (3, 1, QueryStatus.RUNNING)
        assert await query.retry_parked() == 0
        assert handler.calls == 4
        handler.panic = None
        assert await query.retry_parked() == 2
        handler.panic = panic
        assert isinstance(await system.execute("good", add(4)), Ok)
        await query.caught_up()
        assert (await system.system_stats()).actor_restarts == 0
    assert handler.seen.amounts == [("good", [2]), ("bad", [1]), ("bad", [3]), ("good", [4])]


async def test_a_handler_whose_task_group_fails_is_parked(store: EventStore) -> None:
    await parks(store, Grouping(Exception), None)


async def test_a_handler_that_is_too_slow_after_its_task_group_failed_is_cancelled(store: EventStore) -> None:
    async def too_slow(_: str, __: Events) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
        except* ValueError:
            await asyncio.Event().wait()

    query = Query("q", too_slow, on_failure="skip", max_attempts=2, backoff=AT_ONCE, handler_timeout=0.01)
    async with EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1))
        await system.query("q").caught_up()
        assert (await system.query("q").stats()).skipped == 1
        assert (await system.system_stats()).actor_restarts == 0


async def test_a_cancelled_actor_ends_also_where_the_handler_makes_another_error_of_it(store: EventStore) -> None:
    begun = asyncio.Event()

    async def converts(_: str, __: Events) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            throw(ValueError("cancelled"))

    with pytest.raises(asyncio.CancelledError):
        async with EventSourcing(ledger, store, queries=[following(converts, "park")]) as system:
            await system.execute("a", add(1))
            await begun.wait()
            task = asyncio.current_task()
            assert task is not None
            loop = asyncio.get_running_loop()
            for turn in range(2):  # the second cancellation kills the tree
                loop.call_later(0.01 * turn, task.cancel)
            await asyncio.Event().wait()
    assert await system.query("q").parked() == []


@plain_panics
@pytest.mark.parametrize("instrumentation", [None, Idle()], ids=["alone", "observed"])
async def test_a_plain_handler_that_panics_is_parked(store: EventStore, panic: Make, instrumentation: Any) -> None:
    await parks(store, Plain(panic), instrumentation)


@panics
@pytest.mark.parametrize("instrumentation", [None, Idle()], ids=["alone", "observed"])
async def test_an_async_handler_that_panics_is_parked(store: EventStore, panic: Make, instrumentation: Any) -> None:
    await parks(store, Async(panic), instrumentation)


@panics
async def test_a_handler_that_panics_stops_alone_at_every_start(store: EventStore, panic: Make) -> None:
    for number, tries in enumerate([3, 1]):  # the attempts before the restart count
        handler = Async(panic)
        async with EventSourcing(ledger, store, queries=[following(handler, "stop")]) as system:
            await system.execute("bad", add(number))
            with pytest.raises(QueryStopped) as stopped:
                await system.query("q").caught_up()
            assert type(stopped.value.__cause__) is type(panic())
            assert (handler.calls, (await system.system_stats()).actor_restarts) == (tries, 0)


@panics
async def test_a_handler_that_panics_is_skipped(store: EventStore, panic: Make) -> None:
    handler = Async(panic)
    async with EventSourcing(ledger, store, queries=[following(handler, "skip")]) as system:
        await system.execute_many([("bad", add(1)), ("good", add(2))])
        await system.query("q").caught_up()
        assert ((await system.query("q").stats()).skipped, handler.calls) == (1, 3)
    assert handler.seen.amounts == [("good", [2])]


@pytest.mark.parametrize("wrap", [False, True], ids=["bare", "group"])
async def test_a_cancellation_that_nobody_asked_for_is_a_failure_in_a_group_too(
    store: EventStore, *, wrap: bool
) -> None:
    def cancelled() -> BaseException:
        error = asyncio.CancelledError()
        return BaseExceptionGroup("g", [error]) if wrap else error

    await parks(store, Async(cancelled), None)


@plain_panics
async def test_an_event_that_panics_when_it_is_read_is_parked(store: EventStore, panic: Make) -> None:
    @dataclass(frozen=True)
    class Fragile:
        value: int
        raises = False

        def __post_init__(self) -> None:
            if type(self).raises:
                raise panic()

    kind: AggregateType[Any, Any, Any, Any] = AggregateType(
        "free", handle=handle, apply=lambda state, _: state, empty_state=dict, events=[Fragile]
    )
    async with EventSourcing(kind, store) as system:
        await system.execute("a", lambda _: Ok([Fragile(1)]))
    Fragile.raises = True
    async with EventSourcing(kind, store, queries=[following(Seen(), "park")]) as system:
        await system.query("q").caught_up()
        assert [commit.position for commit in await system.query("q").parked()] == [1]
        assert (await system.system_stats()).actor_restarts == 0


@wishes
async def test_a_wish_to_leave_is_no_failure(store: EventStore, wish: Make) -> None:
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        async with EventSourcing(ledger, store, queries=[following(lambda *_: throw(wish()), "park")]) as system:
            await system.execute("a", add(1))
            async with asyncio.timeout(10):
                await asyncio.Event().wait()
    stored = await store.load_checkpoint("q", 1)
    assert stored is None or not stored.parked
