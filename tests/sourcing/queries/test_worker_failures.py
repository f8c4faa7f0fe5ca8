"""A query that fails is tried again, then stops visibly; it harms neither the commands nor other queries."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from eventree import EventSourcing, EventStore, Ok, Query, QueryStopped
from eventree.errors import EventNotDecodable
from eventree.sourcing import QueryStatus
from eventree.stores.contract import AppendRequest, NewEvent
from eventree.testing import FailingStore
from sourcing.ledger import Boom, add, ledger
from sourcing.reading import AT_ONCE, Events, Seen, before, query


class Times:
    """Do something the first few times, then nothing."""

    def __init__(self, times: int, what: "Failure") -> None:
        self.calls = 0
        self._times = times
        self._what = what

    async def __call__(self, _: str, events: Events) -> None:
        self.calls += 1
        if self.calls <= self._times:
            await self._what()


class Failure:
    """Raise."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def __call__(self) -> None:
        raise self._error


class Suicide(Failure):
    """Cancel the task that runs the handler."""

    def __init__(self) -> None:
        super().__init__(Boom())

    async def __call__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)


ALWAYS = 1_000_000
"""More times than any test lasts."""


@pytest.fixture
async def failing() -> AsyncIterator[FailingStore]:
    async with FailingStore() as opened:
        yield opened


async def test_a_handler_that_raises_is_tried_again_until_it_recovers(store: EventStore) -> None:
    seen, fails = Seen(), Times(4, Failure(Boom()))
    async with EventSourcing(ledger, store, queries=[query("q", before(seen, fails), max_attempts=5)]) as system:
        await system.execute_many([("a", add(1)), ("a", add(2))])
        await system.query("q").caught_up()
        assert fails.calls == 4 + 2
        assert (system.query("q").status, system.query("q").last_error) == (QueryStatus.RUNNING, None)
        assert system.query("q").incarnation == 1
    assert seen.amounts == [("a", [1]), ("a", [2])]


async def test_while_a_handler_fails_its_query_says_so(store: EventStore) -> None:
    boom = Boom()
    fails = Times(ALWAYS, Failure(boom))
    patient = Query("q", before(Seen(), fails), backoff=AT_ONCE, max_attempts=ALWAYS)
    async with EventSourcing(ledger, store, queries=[patient]) as system:
        await system.execute("a", add(1))
        async with asyncio.timeout(10):
            while fails.calls < 3:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert (system.query("q").status, system.query("q").last_error) == (QueryStatus.RETRYING, boom)
        assert system.query("q").position == 0


async def test_failures_are_counted_per_commit_not_over_a_life(store: EventStore) -> None:
    seen = Seen()
    odd = Times(ALWAYS, Failure(Boom()))

    async def every_other_time(_: str, __: Events) -> None:
        odd.calls += 1
        if odd.calls % 2:
            raise Boom

    async with EventSourcing(ledger, store, queries=[query("q", before(seen, every_other_time), 2)]) as system:
        await system.execute_many([("a", add(number)) for number in range(6)])
        await system.query("q").caught_up()
    assert seen.amounts == [("a", [number]) for number in range(6)]


async def test_a_handler_that_always_raises_stops_visibly_and_alone(store: EventStore) -> None:
    good, boom = Seen(), Boom()
    fails = Times(ALWAYS, Failure(boom))
    queries = [query("bad", before(Seen(), fails)), query("good", good)]
    async with EventSourcing(ledger, store, queries=queries) as system:
        await system.execute("a", add(1))
        with pytest.raises(QueryStopped) as stopped:
            await system.query("bad").caught_up()
        assert (stopped.value.name, stopped.value.position, stopped.value.__cause__) == ("bad", 0, boom)
        assert (system.query("bad").status, fails.calls) == (QueryStatus.STOPPED, 3)
        assert isinstance(await system.execute("a", add(2)), Ok)
        await system.query("good").caught_up()
        assert (await system.system_stats()).actor_restarts == 0
        assert fails.calls == 3
    assert good.amounts == [("a", [1]), ("a", [2])]


@pytest.mark.durable
async def test_a_query_that_stopped_goes_on_at_its_checkpoint_when_the_system_starts_again(store: EventStore) -> None:
    seen = Seen()

    async def not_two(_: str, events: Events) -> None:
        if broken and events[0].payload.amount == 2:
            raise Boom

    broken = True
    system = EventSourcing(ledger, store, queries=[query("q", before(seen, not_two))])
    async with system:
        await system.execute_many([("a", add(number)) for number in range(4)])
        with pytest.raises(QueryStopped) as stopped:
            await system.query("q").caught_up()
        assert stopped.value.position == system.query("q").position == 2
    broken = False
    async with system:
        await system.query("q").caught_up()
    assert seen.amounts == [("a", [number]) for number in range(4)]


@pytest.mark.durable
async def test_a_query_whose_task_is_cancelled_is_restarted_and_loses_nothing(store: EventStore) -> None:
    seen, dies = Seen(), Times(2, Suicide())
    async with EventSourcing(ledger, store, queries=[query("q", before(seen, dies))]) as system:
        await system.execute_many([("a", add(1)), ("a", add(2))])
        async with asyncio.timeout(10):
            while dies.calls < 4:  # noqa: ASYNC110
                await asyncio.sleep(0)
        await system.query("q").caught_up()
        assert system.query("q").incarnation == 3
        assert (await system.system_stats()).actor_restarts == 2
        assert isinstance(await system.execute("a", add(3)), Ok)
        await system.query("q").caught_up()
    assert seen.amounts == [("a", [1]), ("a", [2]), ("a", [3])]


async def test_a_crash_after_handing_over_repeats_but_loses_nothing(failing: FailingStore) -> None:
    seen = Seen()
    async with EventSourcing(ledger, failing, queries=[query("q", seen)]) as system:
        await system.query("q").caught_up()
        failing.fail("save_checkpoint", RuntimeError("bug"))
        await system.execute("a", add(1))
        await seen.reaches(2)
        await system.query("q").caught_up()
        assert system.query("q").incarnation == 2
    assert seen.amounts == [("a", [1]), ("a", [1])]


async def test_a_slow_query_does_not_block_commands(store: EventStore) -> None:
    entered, free = asyncio.Event(), asyncio.Event()

    async def slow(_: str, __: Events) -> None:
        entered.set()
        await free.wait()

    async with EventSourcing(ledger, store, queries=[query("slow", before(Seen(), slow))]) as system:
        await system.execute("a", add(1))
        async with asyncio.timeout(10):
            await entered.wait()
        assert all(isinstance(answer, Ok) for answer in await system.execute_many([("a", add(2))] * 1_100))
        free.set()
        await system.query("slow").caught_up()


async def test_an_event_that_the_code_cannot_read_stops_the_query_at_it(failing: FailingStore) -> None:
    seen = Seen()
    async with EventSourcing(ledger, failing, queries=[query("q", seen)]) as system:
        await system.execute("a", add(1))
        damaged = NewEvent("Added", 1, "{}", "{}", uuid4())
        await failing.append([AppendRequest("ledger", "b", 0, [damaged])])
        await system.execute("a", add(2))
        with pytest.raises(QueryStopped) as stopped:
            await system.query("q").caught_up()
        assert isinstance(stopped.value.__cause__, EventNotDecodable)
        assert stopped.value.position == 1
    assert seen.amounts == [("a", [1])]


async def test_a_handler_may_execute_commands(store: EventStore) -> None:
    async def follow(id: str, events: Events) -> None:
        if id == "a":
            (await system.execute("b", add(events[0].payload.amount), command_id=f"copy {events[0].position}")).unwrap()

    system = EventSourcing(ledger, store, queries=[query("q", follow)])
    async with system:
        await system.execute_many([("a", add(1)), ("a", add(2))])
        await system.query("q").caught_up(2)
        assert (await system.load_aggregate("b")).unwrap().state.entries == [1, 2]


async def test_a_handler_that_awaits_something_cancelled_is_a_failing_handler(store: EventStore) -> None:
    fails = Times(ALWAYS, Failure(asyncio.CancelledError()))
    async with asyncio.timeout(10), EventSourcing(ledger, store, queries=[query("q", before(Seen(), fails))]) as system:
        await system.execute("a", add(1))
        with pytest.raises(QueryStopped):
            await system.query("q").caught_up()
        assert isinstance(await system.execute("a", add(2)), Ok)
