"""A system as a part of the user's own tree: `child_spec()`."""

import asyncio
from typing import Any

import pytest

from eventree import (
    Actor,
    ActorCrashed,
    ActorStopped,
    AggregateType,
    ChildSpec,
    Err,
    EventSourcing,
    EventStore,
    InvalidArgument,
    MemoryStore,
    Ok,
    Query,
    SnapshotConfig,
    Strategy,
    Supervisor,
)
from eventree.errors import ChildStartError, RestartIntensityExceeded
from eventree.testing import FailingStore
from sourcing.ledger import Added, Command, Ledger, LedgerSystem, add, add_length, apply, entries, handle, ledger
from sourcing.reading import Seen, query

other_type = AggregateType("other", handle=handle, apply=apply, empty_state=Ledger)


class Neighbour(Actor[str, int]):
    """A sibling of the system, which crashes when told to."""

    async def receive(self, message: str, ctx: object) -> int:
        if message == "crash":
            raise RuntimeError
        return len(message)


def frozen() -> float:
    return 0.0


async def test_a_system_runs_under_the_users_own_supervisor(store: EventStore) -> None:
    seen = Seen()
    system = EventSourcing(ledger, store, queries=[query("q", seen)])
    async with Supervisor([system.child_spec()]) as tree:
        assert (await system.execute("a", add(1))).unwrap().events == (Added(1),)
        await system.query("q").caught_up()
        assert [child.id for child in tree.which_children()] == ["event sourcing ledger"]
    assert seen.amounts == [("a", [1])]
    stopped = await system.execute("a", add(2))
    assert isinstance(stopped, Err)
    assert isinstance(stopped.error, ActorStopped)


async def test_two_systems_share_a_store_and_a_supervisor(store: EventStore) -> None:
    seen, others_seen = Seen(), Seen()
    one = EventSourcing(ledger, store, queries=[query("one", seen)])
    other = EventSourcing(other_type, store, queries=[query("other", others_seen)])
    async with Supervisor([one.child_spec(), other.child_spec()]):
        await asyncio.gather(one.execute("a", add(1)), other.execute("a", add(2)))
        await asyncio.gather(one.query("one").caught_up(), other.query("other").caught_up())
        assert (await one.load_aggregate("a")).unwrap().state == Ledger([1])
        assert (await other.load_aggregate("a")).unwrap().state == Ledger([2])
    assert (seen.amounts, others_seen.amounts) == ([("a", [1])], [("a", [2])])


async def test_two_systems_of_one_type_cannot_be_children_of_one_supervisor_by_accident(store: EventStore) -> None:
    systems = [EventSourcing(ledger, store), EventSourcing(ledger, store)]
    with pytest.raises(Exception, match="event sourcing ledger"):
        Supervisor([system.child_spec() for system in systems])


@pytest.mark.durable
async def test_a_system_stays_valid_when_its_whole_tree_is_restarted(store: EventStore) -> None:
    seen = Seen()
    system = EventSourcing(ledger, store, queries=[query("q", seen)], snapshots=SnapshotConfig(frequency=2))
    neighbour = ChildSpec(id="neighbour", start=Neighbour)
    async with Supervisor([system.child_spec()], strategy=Strategy.ONE_FOR_ALL, clock=frozen) as tree:
        ref = await tree.start_child(neighbour)
        handle_before = system.query("q")
        await system.execute("a", add(1))
        with pytest.raises(ActorCrashed):
            await ref.ask("crash")
        assert await ref.ask("four") == 4
        assert (await system.execute("a", add_length)).unwrap().events == (Added(1),)
        await handle_before.caught_up()
        assert handle_before.incarnation == 2
        assert (await system.system_stats()).actor_restarts == 3
        await system.register_queries([query("late", late := Seen())])
        await system.query("late").caught_up()
    assert seen.amounts == late.amounts == [("a", [1]), ("a", [1])]


async def crash_until_it_gives_up(system: LedgerSystem, store: FailingStore) -> None:
    store.fail("append", RuntimeError("bug"), times=4)
    for _ in range(4):
        failed = await system.execute("a", add(1))
        assert isinstance(failed, Err)
        assert isinstance(failed.error, ActorCrashed)
        for _ in range(20):
            await asyncio.sleep(0)


async def test_a_system_that_gives_up_is_restarted_by_the_supervisor_above_and_works_again() -> None:
    seen = Seen()
    async with FailingStore() as store:
        system = EventSourcing(ledger, store, queries=[query("q", seen)])
        async with Supervisor([system.child_spec()]) as tree:
            await system.execute("a", add(5))
            await crash_until_it_gives_up(system, store)
            assert (await system.execute("a", add_length)).unwrap().events == (Added(1),)
            await system.query("q").caught_up()
            assert [child.restarts for child in tree.which_children()] == [1]
            assert await entries(system, "a") == [5, 1]
    assert seen.amounts == [("a", [5]), ("a", [1])]


async def test_a_system_that_gives_up_leaves_its_sibling_running() -> None:
    async with FailingStore() as store, FailingStore() as sound:
        system, sibling = EventSourcing(ledger, store), EventSourcing(other_type, sound)
        async with Supervisor([system.child_spec(), sibling.child_spec()]):
            await sibling.execute("a", add(1))
            await crash_until_it_gives_up(system, store)
            assert isinstance(await sibling.execute("a", add(2)), Ok)
            assert (await sibling.system_stats()).actor_restarts == 0


async def test_without_a_supervisor_above_giving_up_ends_the_body() -> None:
    async def run(store: FailingStore) -> None:
        async with asyncio.timeout(10), EventSourcing(ledger, store) as system:
            await crash_until_it_gives_up(system, store)
            await asyncio.get_running_loop().create_future()

    async with FailingStore() as store:
        with pytest.raises(RestartIntensityExceeded):
            await run(store)


async def test_a_system_that_is_running_cannot_be_started_again(store: EventStore) -> None:
    system = EventSourcing(ledger, store)
    async with Supervisor([system.child_spec()]):
        with pytest.raises(ChildStartError):
            await Supervisor([system.child_spec()]).__aenter__()


async def test_a_second_start_that_fails_does_not_harm_the_running_system(store: EventStore) -> None:
    system = EventSourcing(ledger, store)
    async with Supervisor([system.child_spec()]):
        with pytest.raises(ChildStartError):
            await Supervisor([system.child_spec()]).__aenter__()
        assert isinstance(await system.execute("a", add(1)), Ok)


async def test_after_a_second_entry_that_fails_the_exit_still_stops_the_system(store: EventStore) -> None:
    system = EventSourcing(ledger, store)
    async with system:
        with pytest.raises(ChildStartError):
            await system.__aenter__()
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith("eventree")]
    for task in left:
        task.cancel()
    assert left == []


async def test_a_system_can_be_stopped_and_started_again_by_hand(store: EventStore) -> None:
    system = EventSourcing(ledger, store)
    async with Supervisor([system.child_spec()]) as tree:
        await system.execute("a", add(1))
        await tree.terminate_child("event sourcing ledger")
        assert isinstance(await system.execute("a", add(2)), Err)
        await tree.restart_child("event sourcing ledger")
        assert (await system.execute("a", add_length)).unwrap().events == (Added(1),)


async def test_starting_a_system_again_is_no_restart_of_its_actors(store: EventStore) -> None:
    system = EventSourcing(ledger, store)
    for _ in range(2):
        async with system:
            await system.execute("a", add(1))
    assert (await system.system_stats()).actor_restarts == 0


async def test_commands_wait_while_their_actor_restarts() -> None:
    async with FailingStore() as store, EventSourcing(ledger, store) as system:
        store.fail("append", RuntimeError("bug"))
        commands: list[tuple[str, Command]] = [("a", add(number)) for number in range(1_030)]
        got = await system.execute_many(commands)
        assert [isinstance(answer, Ok) for answer in got] == [False] * 1_024 + [True] * 6


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("ledger", MemoryStore()), "aggregate_type"), ((ledger, MemoryStore), "store"), ((ledger, object()), "store")],
)
def test_what_is_no_aggregate_type_or_no_store_is_refused_where_it_is_given(arguments: Any, name: str) -> None:
    with pytest.raises(InvalidArgument, match=name):
        EventSourcing(*arguments)


async def test_a_single_name_to_wait_for_is_refused_before_anything_is_stored() -> None:
    async with MemoryStore() as store, EventSourcing(ledger, store) as system:
        answer = await system.execute("a", add(1), wait_for="balances")
        assert isinstance(answer, Err)
        assert isinstance(answer.error, InvalidArgument)
        assert "['balances']" in str(answer.error)
        assert await store.head() == 0


# --- what is no store


@pytest.mark.parametrize(
    "wrong",
    ["x.db", "postgresql://user:secret@host/db", None, MemoryStore, [], ledger, object()],
    ids=range(7),
)
def test_what_is_no_store_is_refused_when_it_is_given_without_its_secrets(wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="must be an event store") as refused:
        EventSourcing(ledger, wrong)
    assert refused.value.name == "store"
    assert "secret" not in str(refused.value)
    with pytest.raises(InvalidArgument, match="must be an event store"):
        Query("q", lambda *_: None, follows=[ledger]).handle(wrong)


def test_a_store_in_the_place_of_the_type_is_refused_with_the_order() -> None:
    with pytest.raises(InvalidArgument, match=r"the order is EventSourcing\(aggregate_type, store\)") as refused:
        EventSourcing(MemoryStore(), ledger)  # type: ignore[arg-type]
    assert refused.value.name == "aggregate_type"
