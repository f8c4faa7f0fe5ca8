"""One child per key, started by the first who wants it."""

import asyncio
from typing import Any

import pytest

from actors.crew import Boom, Clock, Crew, forever, idle, raised_by_the_tree, ticks, until
from eventree import ActorCrashed, ActorRef, ActorStopped, ChildSpec, DynamicSupervisor, Restart, Supervisor
from eventree.actors import Status
from eventree.errors import ChildStartError, RestartIntensityExceeded, WouldDeadlock


def dynamic(crew: Crew, restart: Restart = Restart.PERMANENT, **options: Any) -> DynamicSupervisor[str, str, str]:
    return DynamicSupervisor(lambda key: crew.spec(key, restart=restart), **options)


async def test_the_first_who_wants_a_child_starts_it_and_the_next_gets_the_same(crew: Crew) -> None:
    async with dynamic(crew) as supervisor:
        assert supervisor.which_children() == []
        first = await supervisor.get_or_start("a")
        assert await first.ask("count") == "1"
        assert await supervisor.get_or_start("a") is first
        assert await first.ask("count") == "2"
        await supervisor.get_or_start("b")
        assert [child.id for child in supervisor.which_children()] == ["a", "b"]


async def test_a_hundred_callers_at_once_start_one_child(crew: Crew) -> None:
    crew.init["a"] = ticks
    async with dynamic(crew) as supervisor:
        refs = await asyncio.gather(*(supervisor.get_or_start("a") for _ in range(100)))
        assert {id(ref) for ref in refs} == {id(crew.refs["a"])}
        assert refs[0].incarnation == 1
        assert crew.log == ["a starts", "a up"]


async def test_callers_with_specs_of_their_own_get_the_reference_of_the_child_that_runs(crew: Crew) -> None:
    def template(key: str) -> ChildSpec[str, str]:
        spec = crew.spec(key)
        return ChildSpec(id=spec.id, start=spec.start)  # each with a new reference

    async with DynamicSupervisor(template) as supervisor:
        refs = await asyncio.gather(*(supervisor.get_or_start("a") for _ in range(10)))
        assert len({id(ref) for ref in refs}) == 1
        assert await refs[9].ask("count") == "1"


async def test_more_callers_at_once_than_a_mailbox_holds_start_one_child(crew: Crew) -> None:
    async with dynamic(crew) as supervisor:
        refs = await asyncio.gather(*(supervisor.get_or_start("a") for _ in range(3_000)))
        assert {ref.incarnation for ref in refs} == {1}


async def test_a_child_that_does_not_start_is_an_error_for_each_caller_and_the_next_may_try_again(crew: Crew) -> None:
    async def fail() -> None:
        raise Boom("init")

    crew.init["a"] = fail
    async with dynamic(crew) as supervisor:
        ends = await asyncio.gather(*(supervisor.get_or_start("a") for _ in range(3)), return_exceptions=True)
        assert [type(end) for end in ends] == [ChildStartError] * 3
        assert [type(end.__cause__) for end in ends if isinstance(end, ChildStartError)] == [Boom] * 3
        del crew.init["a"]
        assert await (await supervisor.get_or_start("a")).ask("hello") == "hello by 2"


async def test_a_child_that_crashes_is_restarted_alone(crew: Crew) -> None:
    async with dynamic(crew) as supervisor:
        await asyncio.gather(supervisor.get_or_start("a"), supervisor.get_or_start("b"))
        await crew.crash("a")
        assert await crew.ask("a", "hello") == "hello by 2"
        assert await crew.ask("b", "hello") == "hello by 1"


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_a_child_that_ended_normally_starts_again_for_the_next_who_wants_it(crew: Crew, restart: Restart) -> None:
    async with dynamic(crew, restart) as supervisor:
        ref = await supervisor.get_or_start("a")
        with pytest.raises(ActorStopped):
            await ref.ask("stop")
        await until(lambda: ref.status is Status.STOPPED)
        assert await (await supervisor.get_or_start("a")).ask("hello") == "hello by 2"


@pytest.mark.parametrize("restart", list(Restart))
@pytest.mark.parametrize("way", ["stop", "shutdown", "crash"])
async def test_a_caller_whose_child_is_ending_by_itself_gets_the_next_one(
    crew: Crew, restart: Restart, way: str
) -> None:
    crew.on_stop["a"] = crew.gate.wait
    async with dynamic(crew, restart) as supervisor:
        ref = await supervisor.get_or_start("a")
        ending = asyncio.ensure_future(ref.ask(way))
        await until(lambda: crew.log[-1] == f"a {way}")
        await ticks(5)
        callers = [asyncio.ensure_future(supervisor.get_or_start("a")) for _ in range(3)]
        await ticks(20)
        assert not any(caller.done() for caller in callers)
        crew.gate.set()
        answers = [await (await caller).ask("hello") for caller in callers]
        assert answers == ["hello by 2"] * 3
        with pytest.raises(ActorCrashed if way == "crash" else ActorStopped):
            await ending


async def test_a_caller_who_waits_for_the_end_of_a_child_may_give_up_and_the_others_do_not_wait(crew: Crew) -> None:
    crew.on_stop["a"] = crew.gate.wait
    async with dynamic(crew, Restart.TEMPORARY) as supervisor:
        (await supervisor.get_or_start("a")).tell("stop")
        await until(lambda: crew.log[-1] == "a stop")
        patient, impatient = (asyncio.ensure_future(supervisor.get_or_start("a")) for _ in range(2))
        assert await (await supervisor.get_or_start("b")).ask("hello") == "hello by 1"
        impatient.cancel()
        crew.gate.set()
        assert await (await patient).ask("hello") == "hello by 2"
        assert impatient.cancelled()


async def test_a_caller_who_waits_for_the_end_of_a_child_is_answered_when_the_tree_stops_first(crew: Crew) -> None:
    crew.on_stop["a"] = crew.gate.wait
    supervisor = dynamic(crew, Restart.TEMPORARY)
    async with supervisor:
        (await supervisor.get_or_start("a")).tell("stop")
        await until(lambda: crew.log[-1] == "a stop")
        caller = asyncio.ensure_future(supervisor.get_or_start("a"))
        await ticks(5)
        stopping = asyncio.ensure_future(supervisor.stop())
        with pytest.raises(ActorStopped):
            await caller
        crew.gate.set()
        await stopping
    assert crew.refs["a"].incarnation == 1


async def test_a_child_that_is_ending_may_be_terminated_while_a_caller_waits_for_the_next_one(crew: Crew) -> None:
    crew.on_stop["a"] = crew.gate.wait
    async with dynamic(crew, Restart.PERMANENT) as supervisor:
        (await supervisor.get_or_start("a")).tell("stop")
        await until(lambda: crew.log[-1] == "a stop")
        caller = asyncio.ensure_future(supervisor.get_or_start("a"))
        await ticks(5)
        terminating = asyncio.ensure_future(supervisor.terminate_child("a"))
        await ticks(5)
        crew.gate.set()
        await terminating
        assert await (await caller).ask("hello") == "hello by 2"


async def test_a_child_that_asks_for_itself_while_it_is_ending_would_wait_for_ever(crew: Crew) -> None:
    async def get_itself() -> None:
        with pytest.raises(WouldDeadlock):
            await supervisor.get_or_start("a")

    crew.on_stop["a"] = get_itself
    supervisor = dynamic(crew, Restart.TEMPORARY)
    async with supervisor:
        ref = await supervisor.get_or_start("a")
        with pytest.raises(ActorStopped):
            await ref.ask("stop")
        assert crew.log[-1] == "a down normal"


async def test_a_caller_whose_child_is_terminated_meanwhile_gets_a_new_one(crew: Crew) -> None:
    async with dynamic(crew, Restart.TEMPORARY) as supervisor:
        await supervisor.get_or_start("a")
        terminating = asyncio.ensure_future(supervisor.terminate_child("a"))
        await asyncio.sleep(0)
        ref = await supervisor.get_or_start("a")
        await terminating
        assert await ref.ask("hello") == "hello by 2"


async def test_too_many_crashes_end_all_children(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded):
        async with dynamic(crew, max_restarts=1, max_seconds=1.0, name="boss", clock=Clock()) as supervisor:
            await asyncio.gather(supervisor.get_or_start("a"), supervisor.get_or_start("b"))
            await crew.crash("a")
            await idle(supervisor)
            await crew.crash("a")
            await forever()
    assert "b down shutdown" in crew.log


async def test_all_children_are_stopped_at_the_same_time(crew: Crew) -> None:
    barrier = asyncio.Barrier(3)
    async with asyncio.timeout(4), dynamic(crew) as supervisor:
        for name in "abc":
            crew.on_stop[name] = barrier.wait
            await supervisor.get_or_start(name)
        crew.log.clear()
    assert sorted(crew.log) == [f"{name} down shutdown" for name in "abc"]
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}


async def test_it_must_run_first(crew: Crew) -> None:
    with pytest.raises(ActorStopped):
        await dynamic(crew).get_or_start("a")


async def test_it_can_be_a_child_and_its_children_start_again_when_they_are_wanted(crew: Crew) -> None:
    made: list[DynamicSupervisor[str, str, str]] = []

    def make() -> DynamicSupervisor[str, str, str]:
        made.append(dynamic(crew, max_restarts=0))
        return made[-1]

    async with Supervisor([ChildSpec(id="pool", start=make)]) as top:
        await made[0].get_or_start("a")
        await crew.crash("a")
        await idle(top)
        assert crew.refs["a"].status is Status.STOPPED
        assert await (await made[-1].get_or_start("a")).ask("hello") == "hello by 2"


async def test_a_handle_from_before_a_restart_serves_the_pool_of_today(crew: Crew) -> None:
    made: list[DynamicSupervisor[str, str, str]] = []

    def make() -> DynamicSupervisor[str, str, str]:
        made.append(dynamic(crew, max_restarts=0))
        return made[-1]

    async with Supervisor([ChildSpec(id="pool", start=make)]) as top:
        await made[0].get_or_start("a")
        await crew.crash("a")
        await idle(top)
        refs: list[ActorRef[str, str]] = [await made[0].get_or_start("b") for _ in range(2)]
        assert [await ref.ask("hello") for ref in refs] == ["hello by 1"] * 2


async def test_only_so_many_are_restarted_at_the_same_time_and_the_rest_wait_for_their_turn(crew: Crew) -> None:
    names = "abcdef"
    async with asyncio.timeout(5), dynamic(crew, max_restarts=10, max_concurrent_restarts=2) as pool:
        for name in names:
            await pool.get_or_start(name)
            crew.init[name] = crew.gate.wait
        for name in names:
            await crew.crash(name)
        await ticks()
        statuses = [crew.refs[name].status for name in names]
        assert statuses == [Status.STARTING] * 2 + [Status.RESTARTING] * 4
        assert (await pool.get_or_start("f")).status is Status.RESTARTING
        await pool.terminate_child("e")
        fresh = await pool.get_or_start("fresh")
        assert await fresh.ask("hello") == "hello by 1"
        crew.gate.set()
        await idle(pool)
        assert crew.incarnations() == dict.fromkeys("abcdf", 2) | {"e": 1, "fresh": 1}


async def test_a_pool_stops_though_some_wait_for_their_turn_to_restart(crew: Crew) -> None:
    async with asyncio.timeout(5):
        async with dynamic(crew, max_restarts=10, max_concurrent_restarts=1) as pool:
            for name in "abc":
                await pool.get_or_start(name)
                crew.init[name] = crew.gate.wait
            for name in "abc":
                await crew.crash(name)
            await until(lambda: crew.refs["a"].status is Status.STARTING)
    assert {ref.status for ref in crew.refs.values()} == {Status.STOPPED}
    assert crew.incarnations() == {"a": 2, "b": 1, "c": 1}
