"""What a person can do about a query: pause, resume, skip, reset, retry, drop."""

import pytest

from eventree import ActorCrashed, ActorTimeout, EventSourcing, EventStore, InvalidArgument, QueryStopped, query_context
from eventree.errors import NoQueryContext, QuerySuperseded, TooManyParked
from eventree.sourcing import QueryStatus
from sourcing.ledger import Boom, add, ledger
from sourcing.reading import Contexts, patient
from sourcing.waiting import until

RUNNING, PAUSED, STOPPED = QueryStatus.RUNNING, QueryStatus.PAUSED, QueryStatus.STOPPED


async def test_a_query_that_is_paused_handles_nothing_until_it_is_resumed(store: EventStore) -> None:
    seen = Contexts()
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        assert await system.query("q").pause() == 1
        await system.execute("a", add(2))
        with pytest.raises(ActorTimeout):
            await system.query("q").caught_up(timeout=0.1)
        assert (system.query("q").status, system.query("q").position, len(seen.commits)) == (PAUSED, 1, 1)
        assert await system.query("q").resume() == 1
        await system.query("q").caught_up()
        assert (system.query("q").status, seen.amounts) == (RUNNING, [("a", [1]), ("a", [2])])


@pytest.mark.durable
async def test_a_pause_outlives_a_crash_of_the_actor(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise Boom

    seen = Contexts()
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        handle = system.query("q")
        await handle.pause()
        monkeypatch.setattr(store, "load_parked", crash)
        with pytest.raises(ActorCrashed):
            await handle.retry_parked()
        monkeypatch.undo()
        await until(lambda: handle.incarnation == 2)
        await system.execute("a", add(2))
        with pytest.raises(ActorTimeout):
            await handle.caught_up(timeout=0.1)
        assert handle.status is PAUSED
        await handle.resume()
        await handle.caught_up()
    assert seen.amounts == [("a", [1]), ("a", [2])]


async def test_a_query_that_stopped_goes_on_when_it_is_resumed(store: EventStore) -> None:
    seen = Contexts()
    seen.poison.add(2)
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute_many([("a", add(1)), ("a", add(2)), ("a", add(3))])
        with pytest.raises(QueryStopped):
            await system.query("q").caught_up()
        assert [context.attempt for context in seen.contexts] == [1, 1, 2]
        seen.poison.clear()
        assert await system.query("q").resume() == 1
        await system.query("q").caught_up()
        assert (system.query("q").status, system.query("q").last_error) == (RUNNING, None)
    assert seen.amounts == [("a", [1]), ("a", [2]), ("a", [3])]


async def test_the_commit_that_fails_is_skipped_by_hand_and_no_other(store: EventStore) -> None:
    seen = Contexts()
    seen.poison.add(2)
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute("a", add(1), wait_for=["q"])
        handle = system.query("q")
        with pytest.raises(InvalidArgument, match="no commit is failing"):
            await handle.skip(1)
        await system.execute_many([("a", add(2)), ("a", add(3))])
        with pytest.raises(QueryStopped):
            await handle.caught_up()
        for wrong in (1, 3):
            with pytest.raises(InvalidArgument, match="the failing commit is at position 2"):
                await handle.skip(wrong)
        await handle.skip(2)
        await handle.caught_up()
        assert (await handle.stats()).skipped == 1
    stored = await store.load_checkpoint("q", 1)
    assert stored is not None
    assert (stored.skipped, stored.checkpoint.position) == (1, 3)
    assert seen.amounts == [("a", [1]), ("a", [3])]


async def test_a_reset_hands_everything_over_again_and_says_so(store: EventStore) -> None:
    seen = Contexts()
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute_many([("a", add(1)), ("b", add(2, 3))])
        await system.query("q").caught_up()
        await system.query("q").reset()
        await system.query("q").caught_up()
        await system.execute("a", add(4), wait_for=["q"])
    assert seen.amounts == [("a", [1]), ("b", [2, 3])] * 2 + [("a", [4])]
    assert [context.is_replay for context in seen.contexts] == [False, False, True, True, False]


@pytest.mark.durable
async def test_a_replay_goes_on_being_one_after_a_restart(store: EventStore) -> None:
    seen = Contexts()
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute_many([("a", add(number)) for number in range(4)])
        await system.query("q").caught_up()
        seen.poison.add(2)
        await system.query("q").reset()
        with pytest.raises(QueryStopped):
            await system.query("q").caught_up()
    seen.poison.clear()
    seen.contexts.clear()
    async with EventSourcing(ledger, store, queries=[patient(seen)]) as system:
        await system.execute("a", add(9), wait_for=["q"])
    assert [context.is_replay for context in seen.contexts] == [True, True, False]


async def test_a_reset_begins_where_the_query_began(store: EventStore) -> None:
    seen = Contexts()
    async with EventSourcing(ledger, store) as system:
        await system.execute_many([("a", add(number)) for number in range(4)])
        await system.register_queries([patient(seen, start=2)])
        await system.query("q").caught_up()
        await system.query("q").reset()
        await system.query("q").caught_up()
    assert seen.amounts == [("a", [2]), ("a", [3])] * 2


async def test_what_is_parked_is_forgotten_by_a_reset(store: EventStore) -> None:
    seen = Contexts()
    seen.poison.add(1)
    async with EventSourcing(ledger, store, queries=[patient(seen, on_failure="park")]) as system:
        await system.execute_many([("a", add(1)), ("a", add(2)), ("b", add(3))])
        handle = system.query("q")
        await handle.caught_up()
        assert [commit.position for commit in await handle.parked()] == [1, 2]
        assert seen.amounts == [("b", [3])]
        seen.poison.clear()
        await handle.reset()
        await handle.caught_up()
        assert await handle.parked() == []
        assert seen.amounts == [("b", [3]), ("a", [1]), ("a", [2]), ("b", [3])]


async def test_a_query_with_too_much_parked_stops(store: EventStore) -> None:
    seen = Contexts()
    seen.poison |= {1, 2}
    limited = patient(seen, on_failure="park", max_parked=3)
    async with EventSourcing(ledger, store, queries=[limited]) as system:
        await system.execute_many([("a", add(1)), ("a", add(5)), ("b", add(6)), ("a", add(7)), ("a", add(8))])
        handle = system.query("q")
        with pytest.raises(QueryStopped) as stopped:
            await handle.caught_up()
        assert isinstance(stopped.value.__cause__, TooManyParked)
        assert len(await handle.parked()) == 3
        seen.poison.clear()
        assert await handle.retry_parked() == 3
        await handle.resume()
        await handle.caught_up()
        assert sorted(seen.amounts) == [("a", [1]), ("a", [5]), ("a", [7]), ("a", [8]), ("b", [6])]
        assert [amounts for id, amounts in seen.amounts if id == "a"] == [[1], [5], [7], [8]]


async def test_a_new_version_replays_up_to_the_live_one_and_then_goes_live(store: EventStore) -> None:
    one, two, later = Contexts(), Contexts(), Contexts()
    async with EventSourcing(ledger, store, queries=[patient(one)]) as system:
        await system.execute_many([("a", add(number)) for number in range(3)])
        await system.query("q").caught_up()
        await system.query("q").pause()
        await system.execute("a", add(3))
        await system.register_queries([patient(two, version=2)])
        await until(lambda: system.query("q", 2).is_live)
        await system.query("q", 2).caught_up()
        await system.query("q", 1).resume()
        await until(lambda: system.query("q", 1).status is QueryStatus.SUPERSEDED)
        with pytest.raises(QueryStopped) as stopped:
            await system.query("q", 1).caught_up()
        assert isinstance(stopped.value.__cause__, QuerySuperseded)
        assert system.query("q").version == 2
        await system.execute("a", add(4), wait_for=["q"])
    assert [amounts for _, amounts in one.amounts] == [[0], [1], [2]]
    assert [amounts for _, amounts in two.amounts] == [[0], [1], [2], [3], [4]]
    assert [context.is_replay for context in two.contexts] == [True, True, True, False, False]
    async with EventSourcing(ledger, store, queries=[patient(later)]) as system:
        await until(lambda: system.query("q").status is QueryStatus.SUPERSEDED)
    assert later.amounts == []


async def test_a_new_version_waits_behind_a_live_one_that_is_stuck(store: EventStore) -> None:
    one, two = Contexts(), Contexts()
    one.poison.add(1)
    async with EventSourcing(ledger, store, queries=[patient(one)]) as system:
        await system.execute_many([("a", add(number)) for number in range(3)])
        with pytest.raises(QueryStopped):
            await system.query("q").caught_up()
        await system.register_queries([patient(two, version=2)])
        await system.query("q", 2).caught_up()
    assert [amounts for _, amounts in two.amounts] == [[0], [1], [2]]
    assert [context.is_replay for context in two.contexts] == [True, False, False]


def test_there_is_no_context_outside_of_a_handler() -> None:
    with pytest.raises(NoQueryContext):
        query_context()
