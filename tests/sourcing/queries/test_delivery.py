"""What an instrumentation is told of the commits that reach a handler."""

import pytest

from eventree import EventSourcing, EventStore, Projection, Query, Supervisor
from eventree.actors import report_restarts
from eventree.instrumentation import QueryDelivery
from sourcing.ledger import Added, Boom, add, ledger
from sourcing.observers import Recorder
from sourcing.reading import AT_ONCE, Contexts, Seen, patient, query
from sourcing.teller import open_store
from sourcing.totals import Connection, Events as Projected, project, setup, totals

pytestmark = pytest.mark.durable


def told(delivery: QueryDelivery) -> tuple[str, int, list[tuple[str, int, int]], int, bool]:
    commits = [(commit.aggregate_id, commit.first_position, commit.last_position) for commit in delivery.commits]
    return delivery.query, delivery.version, commits, delivery.attempt, delivery.is_replay


async def test_each_commit_is_told_when_a_query_handles_it(store: EventStore, recorder: Recorder) -> None:
    async with EventSourcing(ledger, store, queries=[query("q", Seen())], instrumentation=recorder) as system:
        commit = (await system.execute("a", add(1, 2))).unwrap()
        await system.execute("b", add(3), metadata={"user": "7"}, wait_for=["q"])
    assert [told(delivery) for delivery in recorder.deliveries] == [
        ("q", 1, [("a", 1, 2)], 1, False),
        ("q", 1, [("b", 3, 3)], 1, False),
    ]
    first, second = [delivery.commits[0] for delivery in recorder.deliveries]
    assert (first.aggregate_type, first.commit_id, first.metadata) == ("ledger", commit.commit_id, {"trace": "trace 1"})
    assert second.metadata == {"trace": "trace 2", "user": "7"}
    assert (recorder.deliveries[0].first_position, recorder.deliveries[0].last_position) == (1, 2)


async def test_a_retry_and_a_replay_are_told_as_such(store: EventStore, recorder: Recorder) -> None:
    handler = Contexts()
    handler.poison = {2}
    queries = [patient(handler, on_failure="park", max_attempts=2)]
    async with EventSourcing(ledger, store, queries=queries, instrumentation=recorder) as system:
        for number in range(1, 4):
            await system.execute(f"a{number}", add(number))
        await system.query("q").caught_up()
        handler.poison = set()
        assert await system.query("q").retry_parked() == 1
        await system.register_queries([patient(Seen(), version=2)])
        await system.query("q", 2).caught_up()
    tried = [told(delivery) for delivery in recorder.deliveries]
    assert tried == [
        ("q", 1, [("a1", 1, 1)], 1, False),
        ("q", 1, [("a2", 2, 2)], 1, False),
        ("q", 1, [("a2", 2, 2)], 2, False),
        ("q", 1, [("a3", 3, 3)], 1, False),
        ("q", 1, [("a2", 2, 2)], 1, False),
        ("q", 2, [("a1", 1, 1)], 1, True),
        ("q", 2, [("a2", 2, 2)], 1, True),
        ("q", 2, [("a3", 3, 3)], 1, True),
    ]
    assert recorder.seen.count("delivery: Boom") == 2


async def test_a_projection_is_told_with_all_commits_of_its_batch(place: str, recorder: Recorder) -> None:
    fails = True

    async def count(connection: Connection, events: Projected) -> None:
        if fails and len(events) > 1:
            raise Boom
        await project(connection, events)

    counting: Projection[Added] = Projection("q", count, setup=setup, backoff=AT_ONCE)
    async with open_store(place) as store:
        async with EventSourcing(ledger, store) as system:
            await system.execute_many([("a", add(1)), ("b", add(2))])
        async with EventSourcing(ledger, store, queries=[counting], instrumentation=recorder) as system:
            await system.query("q").caught_up()
            fails = False
            await system.execute("a", add(3, 4), wait_for=["q"])
    assert await totals(place) == {"a": (8, 3), "b": (2, 1)}
    handled = [told(delivery) for delivery in recorder.deliveries]
    assert {name for name, *_ in handled} == {"q"}
    assert handled[-1] == ("q", 1, [("a", 3, 4)], 1, False)
    assert recorder.deliveries[-1].commits[0].metadata == {"trace": "trace 1"}
    assert recorder.seen.count("delivery begins") == len(handled)


async def test_a_query_of_its_own_has_an_instrumentation_of_its_own(store: EventStore, recorder: Recorder) -> None:
    seen = Seen()
    following: Query[Added] = Query("q", seen, follows=[ledger], poll_interval=0.01)
    spec = following.child_spec(store, instrumentation=recorder)
    async with EventSourcing(ledger, store) as system, Supervisor([spec], on_event=report_restarts(recorder)):
        await system.execute("a", add(1))
        await seen.reaches(1)
    assert [told(delivery) for delivery in recorder.deliveries] == [("q", 1, [("a", 1, 1)], 1, False)]
    assert not any([recorder.commands, recorder.commits, recorder.restarts])
