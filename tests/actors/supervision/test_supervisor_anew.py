"""One supervisor object, started again: it begins with what it was described with, and stays the handle of the tree."""

import pytest

from actors.crew import Clock, Crew, Worker, forever, idle, raised_by_the_tree, until
from eventree import ActorRef, ChildSpec, DynamicSupervisor, InvalidArgument, Restart, Supervisor
from eventree.actors import Status
from eventree.errors import AlreadyStarted, ChildStartError, RestartIntensityExceeded


def ids(supervisor: Supervisor) -> list[object]:
    return [child.id for child in supervisor.which_children()]


async def give_up(crew: Crew, name: str, supervisor: Supervisor, top: Supervisor) -> None:
    """Let a child crash until its supervisor gives up, and wait until that runs again."""
    started = top.which_children()[0].incarnation
    for _ in range(supervisor.children.options.max_restarts + 1):
        await crew.crash(name)
        await idle(supervisor)
    await until(lambda: top.which_children()[0].incarnation == started + 1)
    await idle(top)
    assert top.which_children()[0].status is Status.RUNNING


async def test_its_restart_brings_back_what_it_was_described_with_and_not_what_was_added(crew: Crew) -> None:
    branch = Supervisor([crew.spec("a"), crew.spec("t", restart=Restart.TEMPORARY)], max_restarts=1, name="branch")
    async with Supervisor([ChildSpec(id="branch", start=lambda: branch)]) as top:
        await branch.start_child(crew.spec("added"))
        crew.refs["t"].tell("stop")
        await idle(branch)
        await branch.terminate_child("a")
        await branch.restart_child("a")
        assert ids(branch) == ["a", "added"]
        await give_up(crew, "a", branch, top)
        assert ids(branch) == ["a", "t"]
        assert {child.status for child in branch.which_children()} == {Status.RUNNING}
        assert crew.refs["added"].status is Status.STOPPED


async def test_its_restart_forgets_the_crashes_that_led_to_it(crew: Crew) -> None:
    branch = Supervisor(crew.specs("a"), max_restarts=1, name="branch", clock=Clock())
    async with Supervisor([ChildSpec(id="branch", start=lambda: branch)]) as top:
        await give_up(crew, "a", branch, top)
        assert branch.tree().startswith("branch [one_for_one, 0 of 1 restarts")
        await crew.crash("a")
        await idle(branch)
        assert top.which_children()[0].incarnation == 2
        assert crew.refs["a"].incarnation == 4


async def test_a_reference_from_before_its_restart_reaches_the_child_of_today(crew: Crew) -> None:
    branch = Supervisor([ChildSpec(id="a", start=lambda: Worker("a", crew))], max_restarts=0, name="branch")
    async with Supervisor([ChildSpec(id="branch", start=lambda: branch)]) as top:
        ref: ActorRef[str, str] = branch.ref(ChildSpec[str, str](id="a", start=lambda: Worker("a", crew)))
        crew.refs["a"] = ref
        await give_up(crew, "a", branch, top)
        assert await ref.ask("hello") == "hello by 2"
        assert branch.ref("a") is ref


async def test_new_rules_and_specs_outlast_its_restart(crew: Crew) -> None:
    branch = Supervisor(crew.specs("a"), max_restarts=1, name="branch")
    async with Supervisor([ChildSpec(id="branch", start=lambda: branch)]) as top:
        branch.reconfigure(crew.specs("b"), max_restarts=0)
        await give_up(crew, "a", branch, top)
        assert branch.tree().startswith("branch [one_for_one, 0 of 0 restarts")
        assert ids(branch) == ["a", "b"]
        assert await crew.ask("b", "hello") == "hello by 1"


async def test_a_pool_begins_empty_after_its_restart_and_serves_the_same_handle(crew: Crew) -> None:
    pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(crew.spec, max_restarts=0, max_children=2)
    async with Supervisor([ChildSpec(id="pool", start=lambda: pool)]) as top:
        for name in ("a", "b"):
            await pool.get_or_start(name)
        await give_up(crew, "a", pool, top)
        assert ids(pool) == []
        for name in ("b", "c"):
            assert await (await pool.get_or_start(name)).ask("hello") == f"hello by {crew.refs[name].incarnation}"
        assert pool.children.options.max_children == 2


async def test_a_tree_that_was_left_can_be_entered_again(crew: Crew) -> None:
    supervisor = Supervisor(crew.specs("a"), max_restarts=0)
    with raised_by_the_tree(RestartIntensityExceeded):
        async with supervisor:
            await supervisor.start_child(crew.spec("added"))
            await crew.crash("a")
            await forever()
    async with supervisor:
        assert ids(supervisor) == ["a"]
        assert await crew.ask("a", "hello") == "hello by 2"


async def test_one_object_cannot_run_twice_at_the_same_time(crew: Crew) -> None:
    supervisor = Supervisor(crew.specs("a"), name="one")
    async with supervisor:
        with pytest.raises(AlreadyStarted, match="'one' is already running"):
            async with supervisor:
                pytest.fail("the body must not run")
        with pytest.raises(ChildStartError) as caught:
            async with Supervisor([ChildSpec(id="again", start=lambda: supervisor)], name="other"):
                pytest.fail("the body must not run")
        assert isinstance(caught.value.__cause__, AlreadyStarted)
        assert await crew.ask("a", "hello") == "hello by 1"
    assert crew.refs["a"].status is Status.STOPPED


async def test_a_factory_that_gives_an_actor_that_ran_before_is_refused(crew: Crew) -> None:
    """A restart means a fresh state; what is given twice is neither."""
    worker = Worker("a", crew)
    crew.spec("a")
    with raised_by_the_tree(RestartIntensityExceeded) as caught:
        async with Supervisor([ChildSpec(id="a", start=lambda: worker, ref=crew.refs["a"])]):
            await crew.crash("a")
            await forever()
    failed = caught.value.crashes[-1]
    assert isinstance(failed, ChildStartError)
    assert isinstance(failed.__cause__, InvalidArgument)
    assert "must return a new Worker" in str(failed)
    assert crew.refs["a"].incarnation == 1
