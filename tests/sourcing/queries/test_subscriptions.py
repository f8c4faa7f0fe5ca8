"""What a query follows, under which name, and that it runs without a system too."""

import pytest

from eventree import AggregateType, EventSourcing, EventStore, InvalidArgument, MemoryStore, Query, Supervisor
from eventree.sourcing import QueryHandle, QueryStatus
from sourcing.ledger import Added, Ledger, add, apply, handle, ledger
from sourcing.reading import Contexts, Seen, patient

other = AggregateType("other", handle=handle, apply=apply, empty_state=Ledger)


async def test_a_query_follows_several_types_in_the_order_of_the_log(store: EventStore) -> None:
    seen = Contexts()
    both: Query[Added] = Query("q", seen, follows=[ledger, other], poll_interval=0.01)
    async with EventSourcing(ledger, store, queries=[both]) as one, EventSourcing(other, store) as two:
        for number in range(3):
            await one.execute("a", add(number))
            await two.execute("a", add(10 + number))
        await one.query("q").caught_up()
    assert [amounts for _, amounts in seen.amounts] == [[0], [10], [1], [11], [2], [12]]
    assert [events[0].aggregate_type for _, events in seen.commits] == ["ledger", "other"] * 3


async def test_events_of_other_types_are_passed_by_without_writing(store: EventStore) -> None:
    seen = Contexts()
    only: Query[Added] = Query("q", seen, follows=[other], poll_interval=0.01)
    async with EventSourcing(ledger, store, queries=[only]) as system:
        await system.execute_many([("a", add(number)) for number in range(700)])
        await system.query("q").caught_up()
        assert system.query("q").position == 700
        stored = await store.load_checkpoint("q", 1)
        assert stored is not None
        assert stored.checkpoint.position == 0
    stored = await store.load_checkpoint("q", 1)
    assert stored is not None
    assert stored.checkpoint.position == 700
    assert seen.commits == []


async def test_a_query_runs_under_a_supervisor_of_its_users_without_any_system(store: EventStore) -> None:
    seen = Contexts()
    alone: Query[Added] = Query("q", seen, follows=[ledger], poll_interval=0.01)
    handle: QueryHandle = alone.handle(store)
    async with EventSourcing(ledger, store) as system, Supervisor([handle.child_spec()]):
        await system.execute("a", add(1))
        await handle.caught_up()
        assert (handle.status, handle.position) == (QueryStatus.RUNNING, 1)
    assert seen.amounts == [("a", [1])]
    async with Supervisor([Query("r", seen, follows=[ledger]).child_spec(store)]):
        await seen.reaches(2)


def test_a_query_on_its_own_must_say_what_it_follows() -> None:
    with pytest.raises(InvalidArgument, match="follows"):
        Query("q", Seen()).child_spec(MemoryStore())
    with pytest.raises(InvalidArgument, match="two aggregate types called 'ledger'"):
        Query("q", Seen(), follows=[ledger, ledger])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"on_failure": "ignore"}, "on_failure"),
        ({"max_parked": 0}, "max_parked"),
        ({"batch": 7}, "batch"),
        ({"backoff": 1.0}, "backoff"),
        ({"start": "middle"}, "start"),
        ({"start": -1}, "start"),
    ],
)
def test_an_option_that_cannot_work_is_refused(options: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Query("q", Seen(), **options)  # type: ignore[arg-type]
    assert caught.value.name == name


async def test_two_versions_may_share_a_name_two_queries_may_not(store: EventStore) -> None:
    system = EventSourcing(ledger, store, queries=[patient(Contexts()), patient(Contexts(), version=2)])
    assert (system.query("q", 1).version, system.query("q").version) == (1, 2)
    with pytest.raises(InvalidArgument, match="no version 3"):
        system.query("q", 3)
    with pytest.raises(InvalidArgument, match="version 2"):
        await system.register_queries([patient(Contexts(), version=2)])
