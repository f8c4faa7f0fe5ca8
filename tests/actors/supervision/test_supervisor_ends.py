"""Ends that are seen to: clean-ups have limits, kills wait for what is below, and no wish to leave is lost."""

import asyncio
import logging

import pytest

from actors.crew import Boom, Clock, Crew, cling, current_task, forever, idle, raised_by_the_tree, ticks, until
from eventree import (
    Actor,
    ActorContext,
    ActorCrashed,
    ActorRef,
    ActorStopped,
    AutoShutdown,
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    Restart,
    Strategy,
    Supervisor,
)
from eventree.actors import BRUTAL_KILL, ChildAbandoned, Reject, Status, StopActor, SupervisorEvent
from eventree.errors import ChildStartError, RestartIntensityExceeded, WouldDeadlock


async def fail() -> None:
    raise Boom("init")


# --- clean-ups


async def test_a_clean_up_that_fails_after_a_crash_does_not_hide_the_crash(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    async def spill() -> None:
        raise KeyError("clean-up")

    async with Supervisor(crew.specs("a")) as tree:
        crew.on_stop["a"] = spill
        await crew.crash("a")
        await idle(tree)
        del crew.on_stop["a"]
        assert tree.tree().endswith("a running, 1 restart, last crash Boom")
    assert "'a' failed to clean up after its crash" in caplog.text
    assert "KeyError: 'clean-up'" in caplog.text


async def test_a_clean_up_has_its_limit_after_the_actor_stopped_itself_too(crew: Crew) -> None:
    crew.on_stop["a"] = crew.gate.wait
    specs = [crew.spec("a", restart=Restart.TRANSIENT, shutdown=0.01)]
    async with asyncio.timeout(5), Supervisor(specs, kill_grace=0.01) as tree:
        crew.refs["a"].tell("stop")
        await until(lambda: "a stop" in crew.log)
        del crew.on_stop["a"]
        await until(lambda: crew.refs["a"].incarnation == 2)
        await idle(tree)
        assert tree.tree().endswith("a running, 1 restart, last crash TimeoutError")


async def test_what_an_actor_lets_go_when_somebody_kills_it_has_its_limit_and_nobody_waits_for_that(crew: Crew) -> None:
    class Slow(Actor[str, None]):
        async def receive(self, message: str, ctx: ActorContext[str, None]) -> None:
            await forever()

        async def on_kill(self) -> None:
            await crew.gate.wait()

    ref: ActorRef[str, None] = ActorRef("slow")
    async with asyncio.timeout(5), Supervisor([ChildSpec(id="slow", start=Slow, ref=ref)], kill_grace=0.02):
        asking = ref.ask_nowait("go")
        await until(lambda: bool(ref.mailbox.in_progress))
        assert ref.task is not None
        ref.task.cancel()
        with pytest.raises(ActorCrashed):
            await asking
        assert ref.incarnation == 1
        await until(lambda: ref.incarnation == 2)


async def test_a_child_that_is_cancelled_at_the_end_of_its_time_is_reported(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    crew.on_stop = {"late": crew.gate.wait, "killed": crew.gate.wait}
    specs = [crew.spec("swift"), crew.spec("late", shutdown=0.01), crew.spec("killed", shutdown=BRUTAL_KILL)]
    async with asyncio.timeout(5), Supervisor(specs):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        "actor 'late' did not stop within 0.01 s and was cancelled"
    ]


async def test_a_new_shutdown_time_counts_from_the_next_start_on(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor([crew.spec("a", shutdown=0.01)]) as tree:
        tree.reconfigure([crew.spec("a", shutdown=3_600)])
        await crew.crash("a")
        await idle(tree)
        crew.on_stop["a"] = crew.gate.wait
        asyncio.get_running_loop().call_later(0.05, crew.gate.set)
    assert crew.log[-1] == "a down shutdown"


# --- supervisors that end


async def test_a_branch_that_gives_up_leaves_no_child_however_little_time_it_has(crew: Crew) -> None:
    def branch() -> Supervisor:
        return Supervisor(crew.specs("z", "slow", "a"), max_restarts=0, name="branch")

    async with (
        asyncio.timeout(5),
        Supervisor([ChildSpec(id="branch", start=branch, shutdown=0.01)], kill_grace=0.01) as top,
    ):
        crew.on_stop["slow"] = crew.gate.wait
        first = dict(crew.tasks)
        await crew.crash("a")
        await until(lambda: crew.refs["slow"].status is Status.STOPPING)
        del crew.on_stop["slow"]
        await until(lambda: crew.refs["a"].incarnation == 2)
        await idle(top)
        assert all(task.done() for task in first.values())
        crash = top.which_children()[0].last_crash
        assert crash is not None
        assert "gave up" in str(crash)
        assert await crew.ask("z", "hello") == "hello by 2"


@pytest.mark.parametrize("way", ["hurry", "deadline", "terminated before"])
async def test_a_kill_waits_for_what_is_below_and_reports_what_does_not_end(crew: Crew, way: str) -> None:
    events: list[SupervisorEvent] = []
    inner = Supervisor(crew.specs("late", "stuck"), name="inner", kill_grace=0.01)
    branch = ChildSpec(id="inner", start=lambda: inner, shutdown=0.01 if way == "deadline" else None)
    terminating: asyncio.Future[None] | None = None
    async with asyncio.timeout(5):
        async with Supervisor([branch], name="top", kill_grace=2, on_event=events.append) as top:
            crew.on_stop = {"late": crew.gate.wait, "stuck": lambda: cling(crew.gate)}
            if way == "terminated before":
                terminating = asyncio.ensure_future(inner.terminate_child("stuck"))
                await until(lambda: crew.refs["stuck"].status is Status.STOPPING)
            if way != "deadline":
                stopping = asyncio.ensure_future(top.stop())
                await until(lambda: crew.refs["stuck"].status is Status.STOPPING)
                top.cancel_now()
                await stopping
        if terminating is not None:
            await asyncio.gather(terminating, return_exceptions=True)
    assert crew.tasks["late"].done()
    assert not crew.tasks["stuck"].done()
    abandoned = [event for event in events if isinstance(event, ChildAbandoned)]
    assert abandoned == [ChildAbandoned("inner", "stuck", 1)]
    crew.gate.set()
    await crew.tasks["stuck"]


async def test_a_start_that_is_cancelled_is_undone_in_order_and_leaves_the_supervisor_usable(crew: Crew) -> None:
    crew.init["c"] = crew.gate.wait
    tree = Supervisor(crew.specs("a", "b", "c"))
    entering = asyncio.ensure_future(tree.__aenter__())
    await until(lambda: crew.refs["c"].status is Status.STARTING)
    entering.cancel()
    await asyncio.wait({entering})
    assert entering.cancelled()
    assert crew.log[-2:] == ["b down shutdown", "a down shutdown"]
    assert all(task.done() for task in crew.tasks.values())
    with pytest.raises(ActorStopped):
        await tree.start_child(crew.spec("d"))
    del crew.init["c"]
    async with tree:
        assert await crew.ask("c", "hello") == "hello by 2"


async def test_a_second_cancellation_of_a_start_undoes_it_at_once(crew: Crew) -> None:
    crew.init["b"] = crew.gate.wait
    entering = asyncio.ensure_future(Supervisor([crew.spec("a", shutdown=3_600), crew.spec("b")]).__aenter__())
    await until(lambda: crew.refs["b"].status is Status.STARTING)
    crew.on_stop["a"] = crew.gate.wait
    entering.cancel()
    await until(lambda: crew.refs["a"].status is Status.STOPPING)
    entering.cancel()
    await asyncio.wait({entering}, timeout=5)
    assert entering.cancelled()
    assert all(task.done() for task in crew.tasks.values())


@pytest.mark.parametrize("pause", range(8))
async def test_a_body_that_ends_as_the_tree_ends_by_itself_is_not_cancelled(crew: Crew, pause: int) -> None:
    specs = [crew.spec("a", restart=Restart.TRANSIENT, significant=True)]
    async with asyncio.timeout(5):
        async with Supervisor(specs, auto_shutdown=AutoShutdown.ANY_SIGNIFICANT):
            crew.refs["a"].tell("stop")
            await ticks(pause)
        assert current_task().cancelling() == 0


async def test_a_tree_does_not_end_while_a_significant_child_is_about_to_be_restarted(crew: Crew) -> None:
    specs = crew.specs("a", "b", restart=Restart.TRANSIENT, significant=True)
    async with asyncio.timeout(5), Supervisor(specs, auto_shutdown=AutoShutdown.ALL_SIGNIFICANT) as tree:
        crew.refs["a"].tell("stop")
        crew.refs["b"].tell("crash")
        await idle(tree)
        assert await crew.ask("b", "hello") == "hello by 2"
        crew.refs["b"].tell("stop")
        await tree.wait()


# --- budgets


async def test_a_child_with_a_backoff_that_cannot_start_any_more_uses_its_budget_up(crew: Crew) -> None:
    """It ran well for long before; what fails to start since then does not count as running well."""
    clock = Clock()
    backoff = Backoff(initial=0.001, maximum=0.002, reset_after=10)
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with asyncio.timeout(5), Supervisor([crew.spec("a", backoff=backoff)], clock=clock):
            clock.now += 100
            crew.init["a"] = fail
            await crew.crash("a")
            await forever()
    assert [type(crash) for crash in caught.value.crashes] == [Boom] + [ChildStartError] * 3


async def test_new_limits_count_for_the_restarts_there_were(crew: Crew) -> None:
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with asyncio.timeout(5), Supervisor(crew.specs("a"), max_restarts=3, clock=Clock()) as tree:
            for _ in range(2):
                await crew.crash("a")
                await idle(tree)
            tree.reconfigure(max_restarts=2, max_seconds=60)
            assert tree.tree().startswith("supervisor [one_for_one, 2 of 2 restarts in 60 s]")
            await crew.crash("a")
            await forever()
    assert len(caught.value.crashes) == 3


# --- starts


async def test_callers_who_want_one_key_share_the_failure_of_its_start_and_the_next_may_try_again(crew: Crew) -> None:
    tries = 0

    async def fail_once() -> None:
        nonlocal tries
        tries += 1
        await ticks(3)
        if tries == 1:
            raise Boom

    crew.init["k"] = fail_once
    async with asyncio.timeout(5), DynamicSupervisor[str, str, str](crew.spec) as pool:
        ends = await asyncio.gather(*(pool.get_or_start("k") for _ in range(3)), return_exceptions=True)
        assert [type(end) for end in ends] == [ChildStartError] * 3
        refs = await asyncio.gather(*(pool.get_or_start("k") for _ in range(3)))
        assert refs == [crew.refs["k"]] * 3
        assert tries == 2
        assert [child.id for child in pool.which_children()] == ["k"]


async def test_a_key_that_was_only_described_is_started_when_it_is_wanted(crew: Crew) -> None:
    async with asyncio.timeout(5), DynamicSupervisor[str, str, str](crew.spec) as pool:
        pool.reconfigure(crew.specs("k"))
        assert await (await pool.get_or_start("k")).ask("hello") == "hello by 1"


@pytest.mark.parametrize("when", ["start of the tree", "start of a group"])
async def test_a_child_that_starts_another_while_starts_take_turns_is_told_that_it_would_wait_for_itself(
    crew: Crew, when: str
) -> None:
    tree = Supervisor(crew.specs("a"), strategy=Strategy.ONE_FOR_ALL)
    refused: list[WouldDeadlock] = []

    async def start_another() -> None:
        with pytest.raises(WouldDeadlock) as caught:
            await tree.start_child(crew.spec("b"))
        refused.append(caught.value)

    if when == "start of the tree":
        crew.init["a"] = start_another
    async with asyncio.timeout(5), tree:
        crew.init["a"] = start_another
        if when == "start of a group":
            await crew.crash("a")
            await idle(tree)
    assert [(error.awaited, error.caller) for error in refused] == [("supervisor", "a")]


# --- messages


@pytest.mark.parametrize("max_batch", [1, 2])
async def test_refusals_and_wishes_to_stop_count_inside_a_task_group_too(max_batch: int) -> None:
    class Grouped(Actor[str, str]):
        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.work(message))
            return "unreachable"

        async def work(self, message: str) -> None:
            raise Reject("no") if message == "reject" else StopActor

    Grouped.max_batch = max_batch
    ref: ActorRef[str, str] = ActorRef("grouped")
    async with Supervisor([ChildSpec(id="grouped", start=Grouped, ref=ref, restart=Restart.TRANSIENT)]) as tree:
        with pytest.raises(Reject, match="no"):
            await ref.ask("reject")
        ref.tell("stop")
        await idle(tree)
        assert (ref.status, ref.incarnation) == (Status.STOPPED, 1)


async def test_suspending_what_ends_meanwhile_does_not_suspend_the_next(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as tree:
        crew.refs["a"].tell("wait")
        await until(lambda: "a wait" in crew.log)
        suspending = asyncio.ensure_future(crew.refs["a"].suspend())
        given_up = asyncio.ensure_future(crew.refs["a"].suspend())
        await ticks()
        given_up.cancel()
        terminating = asyncio.ensure_future(tree.terminate_child("a"))
        await ticks()
        crew.gate.set()
        await terminating
        with pytest.raises(ActorStopped):
            await suspending
        await tree.restart_child("a")
        assert await crew.ask("a", "hello") == "hello by 2"


async def test_a_wish_to_suspend_that_was_given_up_suspends_nobody(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")):
        crew.refs["a"].tell("wait")
        await until(lambda: "a wait" in crew.log)
        suspending = asyncio.ensure_future(crew.refs["a"].suspend())
        await ticks()
        suspending.cancel()
        crew.gate.set()
        assert await crew.ask("a", "hello") == "hello by 1"


async def test_a_message_from_another_thread_waits_for_a_restart_like_any_other(crew: Crew) -> None:
    async with asyncio.timeout(5), Supervisor(crew.specs("a")) as tree:
        crew.init["a"] = crew.gate.wait
        await crew.crash("a")
        await until(lambda: crew.refs["a"].status is Status.RESTARTING)
        crew.refs["a"].tell_threadsafe("hello")
        crew.gate.set()
        await idle(tree)
        assert await crew.ask("a", "count") == "2"


async def test_an_actor_that_sends_to_itself_does_not_wait_for_room_that_only_it_can_make() -> None:
    class Chatty(Actor[int, str]):
        async def receive(self, message: int, ctx: ActorContext[int, str]) -> str:
            for number in range(message):
                await ctx.ref.send(number)
            return "sent"

    ref: ActorRef[int, str] = ActorRef("chatty")
    async with asyncio.timeout(5), Supervisor([ChildSpec(id="chatty", start=Chatty, ref=ref)]):
        with pytest.raises(ActorCrashed, match="MailboxFull"):
            await ref.ask(2_000)


async def test_whoever_has_an_answer_waits_for_nobody_any_more() -> None:
    """An actor may be asked by the one that it has just answered, before that one has had a turn."""

    class Peer(Actor[str, str]):
        other: ActorRef[str, str]

        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            if message == "ask":
                return await self.other.ask("quick")
            return message

    refs: dict[str, ActorRef[str, str]] = {name: ActorRef(name) for name in "ab"}

    def make(other: str) -> Peer:
        peer = Peer()
        peer.other = refs[other]
        return peer

    specs = [
        ChildSpec(id="a", start=lambda: make("b"), ref=refs["a"]),
        ChildSpec(id="b", start=lambda: make("a"), ref=refs["b"]),
    ]
    async with asyncio.timeout(5), Supervisor(specs):
        first = asyncio.ensure_future(refs["a"].ask("ask"))
        await until(lambda: len(refs["b"].mailbox) == 1)
        second = refs["b"].ask_nowait("ask")
        assert [await first, await second] == ["quick", "quick"]


@pytest.mark.parametrize("way", ["send", "ask_many"])
async def test_whoever_waits_for_room_at_a_crashed_sibling_is_let_go_when_the_group_stops(crew: Crew, way: str) -> None:
    class Producer(Actor[str, str]):
        async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
            ref = crew.refs["consumer"]
            if way == "send":
                for _ in range(5):
                    await ref.send("hello")
            else:
                await ref.ask_many(["hello"] * 5, timeout=60)
            return "done"

    producer: ActorRef[str, str] = ActorRef("producer")
    specs: list[ChildSpec[str, str]] = [
        crew.spec("consumer", mailbox_size=2),
        ChildSpec(id="producer", start=Producer, ref=producer, shutdown=3_600),
    ]
    async with asyncio.timeout(5), Supervisor(specs, strategy=Strategy.ONE_FOR_ALL):
        crew.refs["consumer"].tell("wait")
        await until(lambda: "consumer wait" in crew.log)
        producer.tell("go")
        await until(lambda: len(crew.refs["consumer"].mailbox) == 2)
        crew.tasks["consumer"].cancel()
        await until(lambda: producer.incarnation == 2)
        crew.gate.set()


async def test_the_log_of_a_crash_loop_is_about_the_crash(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    with raised_by_the_tree(RestartIntensityExceeded):
        async with asyncio.timeout(5), Supervisor(crew.specs("a"), clock=Clock()):
            crew.init["a"] = fail
            await crew.crash("a")
            await forever()
    assert [record.getMessage().rpartition("; ")[2] for record in caplog.records] == [
        "restarting it (1 of 3 restarts)",
        "restarting it (2 of 3 restarts)",
        "restarting it (3 of 3 restarts) (2 times so far)",
        "restart intensity exceeded (3 times so far)",
    ]
