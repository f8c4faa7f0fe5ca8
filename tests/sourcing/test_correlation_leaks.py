"""Who caused what is told of nothing else: it ends with what is being worked on, and actors do not begin with it."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from eventree import (
    Actor,
    ActorContext,
    ActorCrashed,
    ChildSpec,
    Err,
    EventSourcing,
    EventStore,
    Projection,
    SnapshotConfig,
    Supervisor,
    correlation,
    current_correlation,
)
from eventree.sourcing import Correlation
from eventree.testing import FailingStore
from eventree.testing.failing_store import StoreMethod
from sourcing.correlating import all_caught_up, caused_by, chain, ledger_called, metadata, only_event
from sourcing.ledger import Added, Boom, LedgerSystem, add, ledger
from sourcing.reading import AT_ONCE, Events, Seen, patient, query
from sourcing.teller import open_store
from sourcing.totals import Connection, Events as Projected, project, setup, totals
from sourcing.waiting import caught_up_after_a_crash


class Observed(FailingStore):
    """A store that notes what is being worked on where it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[str, Correlation | None]] = Counter()

    def _called(self, method: StoreMethod) -> Any:
        self.found[method, current_correlation()] += 1
        return super()._called(method)

    def check(self, *methods: str) -> None:
        """See that these methods were called, and that nothing was being worked on then."""
        assert {method for method, _ in self.found} >= set(methods)
        assert {method for method, current in self.found if current is not None} == set()


async def test_nothing_is_left_behind_by_a_handler_whatever_it_does() -> None:
    async def misbehave(_: str, events: Events) -> None:
        await asyncio.sleep(0)
        match events[0].payload.amount:
            case 1:
                raise Boom
            case 2:
                future = asyncio.get_running_loop().create_future()
                future.cancel()
                await future
            case _:
                with correlation("inner"):
                    await asyncio.sleep(0)

    async with Observed() as store:
        stubborn = patient(misbehave, on_failure="park", max_attempts=2)
        async with EventSourcing(ledger, store, queries=[stubborn]) as system:
            for amount, id in enumerate("abcd"):
                with correlation(id):
                    (await system.execute(id, add(amount))).unwrap()
                await system.query("q").caught_up()
            assert [commit.aggregate_id for commit in await system.query("q").parked()] == ["b", "c"]
            store.found.clear()  # parked() was called from here
            assert await system.query("q").retry_parked() == 0
        store.check("save_checkpoint", "renew_checkpoint", "load_parked")


async def test_parked_commits_are_retried_with_their_own_ids_whoever_wants_that(store: EventStore) -> None:
    is_broken = True
    async with EventSourcing(ledger_called("other"), store) as other:

        async def react(id: str, _: Events) -> None:
            if is_broken and id != "c":
                raise Boom
            await other.execute(id, add(1))

        queries = [patient(react, on_failure="park", max_attempts=1)]
        async with EventSourcing(ledger, store, queries=queries) as system:
            with correlation("request-1"):
                await system.execute("a", add(1))
            await system.execute("b", add(1))
            await system.query("q").caught_up()
            is_broken = False
            with correlation("operator"):
                assert await system.query("q").retry_parked() == 2
            await system.execute("c", add(1), wait_for=["q"])
            a, b, c = [await only_event(system, id) for id in "abc"]
        assert await metadata(other, "a") == [{"correlation_id": "request-1", "causation_id": str(a.commit_id)}]
        assert await metadata(other, "b") == [caused_by(b)]
        assert await metadata(other, "c") == [caused_by(c)]


async def test_a_projection_works_on_many_commits_and_so_on_none(place: str) -> None:
    found: list[Correlation | None] = []
    fails = True

    async def make_tables(connection: Connection) -> None:
        found.append(current_correlation())
        await setup(connection)

    async def count(connection: Connection, events: Projected) -> None:
        found.append(current_correlation())
        if fails:
            raise Boom
        await project(connection, events)
        found.append(current_correlation())

    counting: Projection[Added] = Projection(
        "q", count, setup=make_tables, on_failure="park", max_attempts=1, backoff=AT_ONCE
    )
    with correlation("ambient"):
        async with open_store(place) as store, EventSourcing(ledger, store, queries=[counting]) as system:
            await system.execute("a", add(1), wait_for=["q"])
            fails = False
            assert await system.query("q").retry_parked() == 1
            await system.execute("a", add(1), wait_for=["q"])
    assert await totals(place) == {"a": (2, 2)}
    assert found == [None] * 6


async def test_a_system_does_not_keep_what_was_worked_on_where_it_was_started(store: EventStore) -> None:
    names = ["one", "two"]
    async with AsyncExitStack() as stack:
        with correlation("ambient"):
            systems = await stack.enter_async_context(chain(store, *names))
            late = Seen()
            await systems[0].register_queries([query("late", late)])
        await systems[0].execute("a", add(1))
        await systems[0].execute_many([("b", add(1))])
        systems[0].execute_nowait("c", add(1))
        with correlation("other"):
            await systems[0].execute("d", add(1))
        await all_caught_up(systems, names)
        for id in "abc":
            event = await only_event(systems[0], id)
            assert event.metadata == {}
            assert await metadata(systems[1], id) == [caused_by(event)]
        event = await only_event(systems[0], "d")
        assert await metadata(systems[1], "d") == [{"correlation_id": "other", "causation_id": str(event.commit_id)}]


async def test_no_part_of_a_system_keeps_it_over_its_restarts_either() -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Observed())
        other = EventSourcing(ledger_called("other"), store)

        async def react(id: str, _: Events) -> None:
            await other.execute(id, add(1))

        system = EventSourcing(
            ledger, store, queries=[query("q", react)], snapshots=SnapshotConfig(frequency=1), cache_size=1
        )
        tree = Supervisor([system.child_spec(), other.child_spec()])
        with correlation("ambient"):
            await stack.enter_async_context(tree)
        await system.execute("a", add(1), wait_for=["q"])
        store.fail("append", RuntimeError("bug"))
        crashed = await system.execute("a", add(1))
        assert isinstance(crashed, Err)
        assert isinstance(crashed.error, ActorCrashed)
        (await system.execute("b", add(1))).unwrap()
        await system.query("q").caught_up()
        store.fail("save_checkpoint", RuntimeError("bug"))
        await system.execute("c", add(1))
        await caught_up_after_a_crash(system.query("q"))
        await tree.terminate_child("event sourcing ledger")
        await tree.restart_child("event sourcing ledger")
        await system.execute("d", add(1), wait_for=["q"])
        for id in "abcd":
            event = await only_event(system, id)
            assert event.metadata == {}
            assert set(map(str, await metadata(other, id))) == {str(caused_by(event))}
    store.check("append", "read", "claim_checkpoint", "save_checkpoint", "save_snapshots")


class Clerk(Actor[str, None]):
    """Execute a command at each start and for each message, and crash where that is asked for."""

    def __init__(self, system: LedgerSystem) -> None:
        self.system = system

    async def init(self, ctx: ActorContext[str, None]) -> None:
        (await self.system.execute("started", add(1))).unwrap()

    async def receive(self, message: str, ctx: ActorContext[str, None]) -> None:
        if message == "crash":
            raise Boom
        (await self.system.execute(message, add(1))).unwrap()


async def test_an_actor_of_the_user_does_not_keep_it_either(store: EventStore) -> None:
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(EventSourcing(ledger, store))
        with correlation("ambient"):
            tree = await stack.enter_async_context(Supervisor())
            clerk = await tree.start_child(ChildSpec(id="clerk", start=lambda: Clerk(system)))
            clerk.tell("inside")
        await clerk.ask("outside")
        with correlation("crash"), pytest.raises(ActorCrashed):
            await clerk.ask("crash")
        await clerk.ask("after a crash")
        assert clerk.incarnation == 2
        assert await metadata(system, "started") == [{}, {}]
        assert await metadata(system, "inside") == [{"correlation_id": "ambient"}]
        assert await metadata(system, "outside") == [{}]
        assert await metadata(system, "after a crash") == [{}]


async def test_a_generator_that_is_closed_elsewhere_ends_without_a_word() -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        with correlation("request-42"):
            yield 1

    async def one_of(numbers: AsyncGenerator[int, None]) -> int:
        return await anext(numbers)

    async def closing(numbers: AsyncGenerator[int, None]) -> None:
        await numbers.aclose()

    generator = numbers()
    assert await asyncio.create_task(one_of(generator)) == 1
    assert current_correlation() is None
    await asyncio.create_task(closing(generator))
    assert current_correlation() is None
