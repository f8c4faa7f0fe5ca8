"""A handler that takes too long is cancelled where it can be, and named where it cannot."""

import asyncio
import time
from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from eventree import Backoff, EventreeError, EventSourcing, InvalidArgument, MemoryStore, Projection, Query
from eventree.errors import AskCycle, QueryHandlerTimeout
from eventree.sourcing import QueryHandle, QueryStatus
from eventree.sourcing.queries import calls
from sourcing.ledger import Added, add, ledger
from sourcing.reading import AT_ONCE, Events, Seen, patient
from sourcing.teller import open_store
from sourcing.waiting import becomes, until

LIMIT = 0.2


async def never(*_: object) -> None:
    await asyncio.Event().wait()


async def test_a_handler_that_never_returns_fails_and_the_query_can_be_paused_skipped_and_stopped() -> None:
    stuck = Query[Added]("q", never, handler_timeout=LIMIT, max_attempts=1_000)
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[stuck]) as system:
        await system.execute("a", add(1))
        handle = system.query("q")
        await becomes(handle, QueryStatus.RETRYING)
        error = handle.last_error
        assert isinstance(error, QueryHandlerTimeout)
        assert (error.name, error.function, error.seconds, error.held) == ("q", f"{__name__}.never", LIMIT, 0.0)
        await handle.pause(timeout=20)
        assert handle.status is QueryStatus.PAUSED
        await handle.resume()
        await becomes(handle, QueryStatus.RETRYING)
        await handle.skip(1, timeout=20)
        await handle.caught_up(timeout=20)


@pytest.mark.parametrize("policy", ["skip", "park"])
async def test_it_counts_as_a_failure(policy: Any) -> None:
    seen, cancelled = Seen(), []

    async def stuck(id: str, events: Events) -> None:
        if events[0].payload.amount == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(id)
                raise
        seen(id, events)

    query = patient(stuck, handler_timeout=0.05, on_failure=policy)
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2))])
        await system.query("q").caught_up(timeout=20)
        stats = await system.query("q").stats()
    assert (stats.skipped, stats.parked) == ((1, 0) if policy == "skip" else (0, 1))
    assert (cancelled, seen.amounts) == (["a", "a"], [("b", [2])])


async def test_a_projection_that_never_returns_is_cancelled_and_rolled_back(place: str) -> None:
    sizes: list[int] = []
    was_seen = asyncio.Event()

    async def project(connection: Any, events: Any) -> None:
        await connection.execute(f"INSERT INTO seen VALUES ({events[0].position})")
        sizes.append(len(events))
        await (never() if len(sizes) == 1 else was_seen.wait())

    async def setup(connection: Any) -> None:
        await connection.execute("CREATE TABLE seen (position BIGINT PRIMARY KEY)")

    stuck: Projection[Added] = Projection("q", project, setup=setup, handler_timeout=1.0, backoff=Backoff(initial=0.3))
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[stuck]) as system:
        await system.execute("a", add(1))
        await until(lambda: isinstance(system.query("q").last_error, QueryHandlerTimeout))
        was_seen.set()
        await system.query("q").caught_up(timeout=20)
    assert len(sizes) >= 2


@pytest.mark.parametrize("role", ["setup", "clear"])
async def test_so_are_its_other_functions(place: str, role: str) -> None:
    async def project(*_: object) -> None: ...

    functions: dict[str, Any] = {role: never}
    stuck: Projection[Added] = Projection("q", project, handler_timeout=LIMIT, backoff=AT_ONCE, **functions)
    async with open_store(place) as store, EventSourcing(ledger, store, queries=[stuck]) as system:
        if role == "clear":
            with pytest.raises(QueryHandlerTimeout):
                await system.query("q").reset(timeout=20)
        else:
            await until(lambda: isinstance(system.query("q").last_error, QueryHandlerTimeout))


async def test_a_timeout_of_the_handlers_own_and_one_that_it_handles_are_its_own_business() -> None:
    calls: list[str] = []

    async def own(*_: object) -> None:
        calls.append("called")
        if len(calls) == 1:
            raise TimeoutError("of a request")
        try:
            async with asyncio.timeout(0.01):
                await never()
        except TimeoutError:
            calls.append("handled")

    query = Query[Added]("q", own, backoff=AT_ONCE)
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
    assert calls == ["called", "called", "handled"]


class Awaitable:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Any:
        return asyncio.sleep(0.01).__await__()


@pytest.mark.parametrize("awaitable", [Awaitable, lambda: asyncio.ensure_future(asyncio.sleep(0.01))])
async def test_whatever_can_be_awaited_may_be_returned(awaitable: Callable[[], Any]) -> None:
    query = Query[Added]("q", lambda _, __: awaitable())
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        assert system.query("q").last_error is None


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_handler_that_holds_the_loop_is_named_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, is_async: bool
) -> None:
    monkeypatch.setattr(calls, "MAX_HOLD", 0.05)

    def plain(*_: object) -> None:
        time.sleep(0.1)

    async def coroutine(*_: object) -> None:
        await asyncio.sleep(0)
        plain()

    query = patient(coroutine if is_async else plain)
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute_many([("a", add(1)), ("a", add(2))])
        await system.query("q").caught_up()
    [line] = [record.getMessage() for record in caplog.records if "held the event loop" in record.getMessage()]
    assert (coroutine if is_async else plain).__qualname__ in line
    assert "held the event loop for 0.1 s" in line


async def test_a_handler_that_waits_for_long_holds_nothing(caplog: pytest.LogCaptureFixture) -> None:
    query = patient(lambda _, __: asyncio.sleep(1.2))
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
    assert caplog.records == []


async def test_a_plain_function_over_the_limit_is_named_in_the_status_and_its_commit_counts_as_handled() -> None:
    def plain(_: str, events: Events) -> None:
        if events[0].payload.amount == 1:
            time.sleep(LIMIT + 0.1)

    query = patient(plain, handler_timeout=LIMIT)
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        stats = await system.query("q").stats()
        assert (stats.status, stats.failures, stats.position) == (QueryStatus.RUNNING, 0, 1)
        assert isinstance(stats.last_error, QueryHandlerTimeout)
        assert stats.last_error.held > LIMIT
        assert "plain" in str(stats.last_error)
        await system.execute("a", add(2), wait_for=["q"])
        assert system.query("q").last_error is None


STEER: list[Callable[[QueryHandle], Any]] = [
    lambda handle: handle.pause(),
    lambda handle: handle.resume(),
    lambda handle: handle.skip(1),
    lambda handle: handle.reset(),
    lambda handle: handle.retry_parked(),
    lambda handle: handle.drop_parked(1),
]


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("steer", STEER)
async def test_a_handler_that_steers_its_own_query_is_refused_at_once(
    steer: Callable[[QueryHandle], Any], partitions: int
) -> None:
    refused: list[BaseException] = []

    async def handler(_: str, __: Events) -> None:
        try:
            await steer(system.query("q"))
        except EventreeError as error:
            refused.append(error)

    query = Query[Added]("q", handler, partitions=partitions)
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        ids = ["a", "b", "c", "d", "e", "f"] if partitions == 1 else ["a"]
        await system.execute_many([(id, add(1)) for id in ids])
        await system.query("q").caught_up(timeout=20)
        assert system.query("q").status is QueryStatus.RUNNING
    assert {type(error) for error in refused} == {AskCycle}


@pytest.mark.parametrize("seconds", [0, -1, "1", None])
def test_a_limit_is_a_positive_number(seconds: Any) -> None:
    with pytest.raises(InvalidArgument, match="handler_timeout"):
        Query[Added]("q", never, handler_timeout=seconds)


async def test_there_may_be_no_limit() -> None:
    query = patient(lambda _, __: asyncio.sleep(0), handler_timeout=inf)
    async with MemoryStore() as store, EventSourcing(ledger, store, queries=[query]) as system:
        await system.execute("a", add(1), wait_for=["q"])
