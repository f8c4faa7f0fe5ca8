"""`settled` returns when nothing is left to do, and never waits for what cannot come."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from eventree import (
    ActorStopped,
    ActorTimeout,
    AggregateType,
    Backoff,
    EventSourcing,
    EventStore,
    InvalidArgument,
    Ok,
    Projection,
    Query,
    QueryStopped,
    SnapshotConfig,
    SQLiteStore,
    StoreUnavailable,
    Supervisor,
)
from eventree.errors import AskCycle, NonPositiveArgument, WouldDeadlock
from eventree.sourcing import QueryStatus
from eventree.testing import FailingStore, settled
from eventree.testing.failing_store import StoreMethod
from sourcing.ledger import Added, Ledger, LedgerSystem, add, apply, entries, handle, ledger, refuse
from sourcing.reading import Contexts, Events, Seen, before, patient
from sourcing.totals import setup
from sourcing.waiting import becomes

other_ledger = AggregateType("other-ledger", handle=handle, apply=apply, empty_state=Ledger)

Handler = Callable[[str, Events], Awaitable[None]]


async def turns() -> None:
    """Let everybody do what they can do without waiting."""
    for _ in range(20):
        await asyncio.sleep(0)


async def slowly(_: str, __: Events) -> None:
    await turns()


async def test_what_waits_in_the_mailbox_is_decided_and_every_query_has_handled_it(store: EventStore) -> None:
    first, second = Seen(), Seen()
    queries = [patient(first, "first"), patient(before(second, slowly), "second")]
    async with EventSourcing(ledger, store, queries=queries) as system:
        for number in range(20):
            system.execute_nowait(f"a{number % 7}", add(number))
        await settled(system)
        assert await store.head() == 20
        assert len(first.commits) == len(second.commits) == 20
        assert [system.query(name).position for name in ("first", "second")] == [20, 20]


async def test_a_backlog_of_several_batches_is_waited_for() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        for number in range(2_500):
            system.execute_nowait(f"a{number}", add(1))
        await settled(system)
        assert await store.head() == 2_500
        assert store.calls["append"] == 3


async def test_a_batch_that_stores_nothing_is_not_the_end() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        gates = [store.hold("append") for _ in range(3)]
        system.execute_nowait("a", add(1))
        await gates[0].reached()
        settling = asyncio.ensure_future(settled(system))
        for gate, following, command in ((gates[0], gates[1], refuse), (gates[1], gates[2], add(2))):
            await turns()
            system.execute_nowait("a", command)
            gate.open()
            await following.reached()
        await turns()
        assert not settling.done()
        gates[2].open()
        await settling
        assert await entries(system, "a") == [1, 2]


async def test_nothing_to_do_is_settled(store: EventStore) -> None:
    async with EventSourcing(ledger, store, queries=[patient(Seen())]) as system, EventSourcing(ledger, store) as other:
        await settled(system, other)


def counts_down(other: LedgerSystem, *, nowait: bool) -> Handler:
    """Return a process manager: for each event it asks the other system for one that is less by one, down to zero."""

    async def handler(id: str, events: Events) -> None:
        for event in events:
            if event.payload.amount and nowait:
                other.execute_nowait(id, add(event.payload.amount - 1))
            elif event.payload.amount:
                (await other.execute(id, add(event.payload.amount - 1))).unwrap()

    return handler


@pytest.mark.parametrize("nowait", [False, True], ids=["execute", "execute_nowait"])
async def test_what_handlers_cause_in_the_other_system_is_waited_for_too(
    store: EventStore,
    nowait: bool,  # noqa: FBT001
) -> None:
    async with EventSourcing(ledger, store) as one, EventSourcing(other_ledger, store) as two:
        await one.register_queries([patient(counts_down(two, nowait=nowait), "to two")])
        await two.register_queries([patient(counts_down(one, nowait=nowait), "to one")])
        one.execute_nowait("a", add(9))
        await settled(one, two)
        assert (await entries(one, "a"), await entries(two, "a")) == ([9, 7, 5, 3, 1], [8, 6, 4, 2, 0])


async def test_what_a_query_follows_of_another_type_is_waited_for() -> None:
    seen = Seen()
    async with FailingStore() as store, EventSourcing(ledger, store) as one, EventSourcing(other_ledger, store) as two:
        await one.register_queries([Query("both", before(seen, slowly), follows=[ledger, other_ledger])])
        one.execute_nowait("a", add(1))
        two.execute_nowait("b", add(2))
        await settled(one, two)
    assert sorted(seen.amounts) == [("a", [1]), ("b", [2])]


async def test_a_query_that_another_system_works_on_is_waited_for_there(store: EventStore) -> None:
    seen = [Seen(), Seen()]
    async with (
        EventSourcing(ledger, store, queries=[patient(before(seen[0], slowly))]) as one,
        EventSourcing(ledger, store, queries=[patient(before(seen[1], slowly))]) as two,
    ):
        for number in range(10):
            one.execute_nowait("a", add(number))
            two.execute_nowait("b", add(number))
        await settled(one, two)
        assert {one.query("q").status, two.query("q").status} == {QueryStatus.RUNNING, QueryStatus.WAITING}
        assert sorted(len(each.commits) for each in seen) == [0, 20]


async def test_every_partition_of_a_query_is_waited_for() -> None:
    seen = Seen()
    async with FailingStore() as store:
        shared = Query("q", before(seen, slowly), partitions=3, poll_interval=0.01)
        async with EventSourcing(ledger, store, queries=[shared]) as system:
            for number in range(30):
                system.execute_nowait(f"a{number}", add(number))
            await settled(system)
            assert sorted(amounts for _, [amounts] in seen.amounts) == list(range(30))


async def test_snapshots_that_fell_due_are_written(store: EventStore) -> None:
    async with EventSourcing(ledger, store, snapshots=SnapshotConfig(frequency=2)) as system:
        await system.execute("a", add(1, 2))
        await settled(system)
        found = (await system.latest_snapshot("a")).unwrap()
        assert found is not None
        assert found.state == Ledger([1, 2])


async def test_a_snapshot_that_is_being_written_is_waited_for() -> None:
    snapshots = SnapshotConfig(frequency=1)
    async with FailingStore() as store, EventSourcing(ledger, store, snapshots=snapshots) as system:
        gate = store.hold("save_snapshots")
        await system.execute("a", add(1))
        await gate.reached()
        settling = asyncio.ensure_future(settled(system))
        await turns()
        assert not settling.done()
        gate.open()
        await settling
        assert (await system.system_stats()).snapshots_written == 1


async def test_a_crash_of_an_actor_on_the_way_is_outlived() -> None:
    seen = Seen()
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await settled(system)
        store.fail("append", RuntimeError("bug"))
        store.fail("save_checkpoint", RuntimeError("bug"))
        for number in range(1_100):  # more than one batch, of which the first is lost
            system.execute_nowait("a", add(number))
        await settled(system)
        assert await entries(system, "a") == list(range(1_024, 1_100))
        assert system.query("q").position == await store.head()
        assert (await system.system_stats()).actor_restarts == 2


async def test_it_waits_without_asking_again_and_again() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[patient(Seen())]) as system:
        await settled(system)
        gate = store.hold("append")
        for _ in range(2):
            system.execute_nowait("a", add(1))
        await gate.reached()
        settling = asyncio.ensure_future(settled(system))
        orders: list[int] = []
        mailbox = system._tree.commands.mailbox
        for _ in range(50):
            await asyncio.sleep(0)
            orders.append(len(mailbox._calls))
        assert orders[-10:] == [1] * 10
        gate.open()
        await settling
        assert await store.head() == 2


async def test_a_query_that_gave_up_is_told_at_once(store: EventStore) -> None:
    seen = Contexts()
    seen.poison.add(1)
    async with EventSourcing(ledger, store, queries=[patient(seen, max_attempts=1)]) as system:
        system.execute_nowait("a", add(1))
        with pytest.raises(QueryStopped, match="'q' stopped after position 0"):
            await settled(system)


async def test_what_a_query_skips_or_parks_it_has_dealt_with(store: EventStore) -> None:
    skips, parks = Contexts(), Contexts()
    skips.poison.add(1)
    parks.poison.add(1)
    queries = [patient(skips, "skips", on_failure="skip"), patient(parks, "parks", on_failure="park")]
    async with EventSourcing(ledger, store, queries=queries) as system:
        for number in (1, 2):
            system.execute_nowait(f"a{number}", add(number))
        await settled(system)
        assert skips.amounts == parks.amounts == [("a2", [2])]


async def test_a_version_that_is_superseded_is_left_out() -> None:
    old, new = Seen(), Seen()
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[patient(old)]) as system:
        await system.execute("a", add(1))
        await settled(system)
        await system.register_queries([patient(new, version=2)])
        await becomes(system.query("q", 1), QueryStatus.SUPERSEDED)
        system.execute_nowait("a", add(2))
        await settled(system)
    assert (old.amounts, new.amounts) == ([("a", [1])], [("a", [1]), ("a", [2])])


async def test_a_paused_query_that_is_behind_is_refused_at_once_and_another_is_not_in_the_way() -> None:
    seen = Seen()
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        await system.query("q").pause()
        await settled(system)
        system.execute_nowait("a", add(2))
        with pytest.raises(InvalidArgument, match=r"query 'q' \(paused at position 1 of 2\).*resume it"):
            await settled(system, timeout=3_600)
        await system.query("q").resume()
        await settled(system)
    assert seen.amounts == [("a", [1]), ("a", [2])]


async def test_a_query_that_is_not_done_in_time_is_named_with_its_failure() -> None:
    seen = Contexts()
    seen.poison.add(2)
    patient_one = patient(seen, "one", backoff=Backoff(initial=60, maximum=60))
    async with FailingStore() as store, EventSourcing(ledger, store, queries=[patient_one]) as system:
        await system.register_queries([patient(Seen(), "two")])
        await system.execute("a", add(1))
        await system.execute("a", add(2))
        with pytest.raises(
            ActorTimeout, match=r"waiting for query 'one' \(retrying at position 1 of 2, Boom\),"
        ) as late:
            await settled(system, timeout=0.1)
        assert late.value.__cause__ is system.query("one").last_error
        assert "two" not in str(late.value)
        assert late.value.seconds == 0.1


async def test_commands_that_wait_for_the_store_are_named() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        gate = store.hold("append")
        system.execute_nowait("a", add(1))
        await gate.reached()
        for _ in range(3):
            system.execute_nowait("a", add(1))
        with pytest.raises(ActorTimeout, match=r"ledger commands \(3 waiting, "):
            await settled(system, timeout=0.05)
        gate.open()
        await settled(system)
        assert await store.head() == 4


async def test_what_waits_for_the_store_alone_is_named_too() -> None:
    snapshots = SnapshotConfig(frequency=1)
    async with FailingStore() as store, EventSourcing(ledger, store, snapshots=snapshots) as system:
        methods: list[tuple[StoreMethod, str]] = [("append", "commands"), ("save_snapshots", "snapshots")]
        for method, name in methods:
            gate = store.hold(method)
            system.execute_nowait("a", add(1))
            await gate.reached()
            with pytest.raises(
                ActorTimeout, match=rf"^settled, waiting for ledger {name} \(0 waiting, 1 in progress\),"
            ):
                await settled(system, timeout=0.05)
            gate.open()
            await settled(system)


async def test_handlers_that_never_come_to_an_end_run_out_of_time() -> None:
    async def again(id: str, _: Events) -> None:
        (await system.execute(id, add(1))).unwrap()

    async with FailingStore() as store:
        system = EventSourcing(ledger, store, queries=[patient(again)])
        async with asyncio.timeout(10), system:
            await system.execute("a", add(1))
            with pytest.raises(ActorTimeout, match="settled, waiting for"):
                await settled(system, timeout=0.2)


async def test_a_store_that_is_away_is_told() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        with store.unavailable(), pytest.raises(StoreUnavailable):
            await settled(system)


async def test_a_system_that_is_not_running_is_told(store: EventStore) -> None:
    system = EventSourcing(ledger, store, queries=[patient(Seen())])
    with pytest.raises(ActorStopped):
        await settled(system)
    async with system:
        await settled(system)
    with pytest.raises(ActorStopped):
        await settled(system)


@pytest.mark.parametrize("drain", [False, True], ids=["at once", "drained"])
async def test_a_system_that_stops_meanwhile_is_told_and_the_loop_goes_on(drain: bool) -> None:  # noqa: FBT001
    async with asyncio.timeout(10), FailingStore() as store:
        system = EventSourcing(ledger, store)
        async with Supervisor([system.child_spec()]) as tree:
            gate = store.hold("append")
            for _ in range(2):
                system.execute_nowait("a", add(1))
            await gate.reached()
            stopping = asyncio.ensure_future(tree.stop(drain=drain))
            await system._tree.commands.mailbox.stop_requested
            settling = asyncio.ensure_future(settled(system))
            await turns()
            assert settling.done() is drain  # nothing new is accepted
            gate.open()
            with pytest.raises(ActorStopped):
                await settling
            await stopping


async def test_what_cannot_be_settled_is_refused(store: EventStore) -> None:
    async with EventSourcing(ledger, store) as system:
        for systems in ([], [[system]], [system, "other"]):
            with pytest.raises(InvalidArgument, match="systems: must be at least one EventSourcing"):
                await settled(*systems)
        with pytest.raises(NonPositiveArgument):
            await settled(system, timeout=0)


async def test_a_handler_that_waits_for_itself_is_told_so_at_once(store: EventStore) -> None:
    told: list[type[BaseException]] = []

    async def waits(_: str, __: Events) -> None:
        with pytest.raises(AskCycle) as refused:
            await settled(system)
        told.append(refused.type)

    system = EventSourcing(ledger, store, queries=[patient(waits)])
    async with system:
        await system.execute("a", add(1), wait_for=["q"])
    assert told == [AskCycle]


async def test_a_projection_that_waits_for_commands_is_told_so_at_once(tmp_path: object) -> None:
    told: list[type[BaseException]] = []

    async def waits(_: object, __: Events) -> None:
        with pytest.raises(WouldDeadlock) as refused:
            await settled(other)
        told.append(refused.type)

    async with SQLiteStore(f"{tmp_path}/events.db") as store, EventSourcing(other_ledger, store) as other:
        waiting: Projection[Added] = Projection("q", waits, setup=setup)
        async with EventSourcing(ledger, store, queries=[waiting]) as system:
            assert isinstance(await system.execute("a", add(1), wait_for=["q"]), Ok)
    assert told == [WouldDeadlock]
