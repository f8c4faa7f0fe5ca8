"""OTP's `supervisor_SUITE`, case by case under its names: how supervisors and children start."""

from typing import Any

import pytest

from actors.crew import Boom, Crew, idle
from eventree import (
    ActorRef,
    AutoShutdown,
    ChildSpec,
    DynamicSupervisor,
    EventreeError,
    InvalidArgument,
    Restart,
    Strategy,
    Supervisor,
)
from eventree.actors import ChildInfo, Ignore, Status
from eventree.errors import ChildAlreadyExists, ChildStartError

TEMPORARY = Restart.TEMPORARY


async def ignore() -> None:
    raise Ignore


async def fail() -> None:
    raise Boom


def ids(supervisor: Supervisor) -> list[object]:
    return [child.id for child in supervisor.which_children()]


async def test_sup_start_normal() -> None:
    async with Supervisor() as supervisor:
        assert supervisor.which_children() == []
    assert supervisor.tree().startswith("supervisor")


class Config:
    """What a supervisor's own `init` does, as OTP's callback module would."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self) -> Supervisor:
        raise self.error


async def test_sup_start_ignore_init(crew: Crew) -> None:
    class Ignoring(Supervisor):
        async def init(self, ctx: Any) -> None:
            raise Ignore

    branch: ChildSpec[Any, Any] = ChildSpec(id="branch", start=lambda: Ignoring(crew.specs("a"), name="branch"))
    async with Supervisor([branch]) as supervisor:
        assert [child.status for child in supervisor.which_children()] == [Status.STOPPED]
    assert crew.log == []


async def test_sup_start_error_return() -> None:
    with pytest.raises(InvalidArgument):
        Supervisor(max_restarts=-1)


async def test_sup_start_fail() -> None:
    branch: ChildSpec[Any, Any] = ChildSpec(id="branch", start=Config(Boom("no configuration")))
    with pytest.raises(ChildStartError) as caught:
        async with Supervisor([branch]):
            pytest.fail("the body must not run")
    assert isinstance(caught.value.__cause__, Boom)


async def test_sup_start_ignore_child(crew: Crew) -> None:
    crew.init["a"] = ignore
    async with Supervisor(crew.specs("a", "b")) as supervisor:
        assert [(child.id, child.status) for child in supervisor.which_children()] == [
            ("a", Status.STOPPED),
            ("b", Status.RUNNING),
        ]
        counts = supervisor.count_children()
        assert (counts.specs, counts.active) == (2, 1)


async def test_sup_start_ignore_temporary_child(crew: Crew) -> None:
    crew.init["a"] = ignore
    async with Supervisor([crew.spec("a", restart=TEMPORARY), crew.spec("b")]) as supervisor:
        assert ids(supervisor) == ["b"]


async def test_sup_start_ignore_temporary_child_start_child(crew: Crew) -> None:
    crew.init["a"] = ignore
    async with Supervisor() as supervisor:
        ref = await supervisor.start_child(crew.spec("a", restart=TEMPORARY))
        await supervisor.start_child(crew.spec("b", restart=TEMPORARY))
        assert ref.status is Status.STOPPED
        assert ids(supervisor) == ["b"]


@pytest.mark.parametrize("restart", [TEMPORARY, Restart.PERMANENT])
async def test_sup_start_ignore_temporary_child_start_child_simple(crew: Crew, restart: Restart) -> None:
    """Also OTP's `sup_start_ignore_permanent_child_start_child_simple`: a pool keeps nothing of either."""
    crew.init["a"] = ignore
    pool: DynamicSupervisor[str, str, str] = DynamicSupervisor(lambda key: crew.spec(key, restart=restart))
    async with pool:
        assert (await pool.get_or_start("a")).status is Status.STOPPED
        await pool.get_or_start("b")
        assert ids(pool) == ["b"]


async def test_sup_start_child_returns_error(crew: Crew) -> None:
    crew.init["a"] = fail
    async with Supervisor() as supervisor:
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(crew.spec("a"))
        assert isinstance(caught.value.__cause__, Boom)
        assert ids(supervisor) == []


async def test_sup_start_child_returns_error_simple(crew: Crew) -> None:
    crew.init["a"] = fail
    async with DynamicSupervisor[str, str, str](crew.spec) as pool:
        with pytest.raises(ChildStartError):
            await pool.get_or_start("a")
        assert ids(pool) == []


async def test_sup_start_restart_child_returns_error(crew: Crew) -> None:
    async with Supervisor(crew.specs("a")) as supervisor:
        await supervisor.terminate_child("a")
        crew.init["a"] = fail
        with pytest.raises(ChildStartError):
            await supervisor.restart_child("a")
        assert [(child.id, child.status) for child in supervisor.which_children()] == [("a", Status.STOPPED)]
        assert crew.tasks["a"].done()


async def test_sup_start_map(crew: Crew) -> None:
    spec = crew.spec("a")
    async with Supervisor([spec]) as supervisor:
        assert supervisor.get_childspec("a") is spec
        assert (spec.restart, spec.shutdown, spec.significant) == (Restart.PERMANENT, None, False)
        assert (spec.start_timeout, spec.backoff, spec.mailbox.maxsize) == (30, None, 1_000)


async def test_sup_start_map_simple(crew: Crew) -> None:
    async with DynamicSupervisor[str, str, str](lambda key: crew.spec(key, shutdown=7)) as pool:
        await pool.get_or_start("a")
        assert (pool.get_childspec("a").shutdown, pool.get_childspec("a").restart) == (7, Restart.PERMANENT)


FAULTY: list[tuple[dict[str, Any], str]] = [
    ({"id": []}, "id"),
    ({"start": "worker"}, "start"),
    ({"restart": "sometimes"}, "restart"),
    ({"shutdown": -1}, "shutdown"),
    ({"shutdown": float("nan")}, "shutdown"),
    ({"start_timeout": 0}, "start_timeout"),
    ({"significant": True}, "significant"),
]


@pytest.mark.parametrize(("wrong", "name"), FAULTY)
def test_sup_start_map_faulty_specs(crew: Crew, wrong: dict[str, Any], name: str) -> None:
    right: dict[str, Any] = {"id": "a", "start": crew.spec("a").start}
    with pytest.raises(InvalidArgument) as caught:
        ChildSpec(**{**right, **wrong})
    assert caught.value.name == name


async def test_child_specs(crew: Crew) -> None:
    """OTP checks specs and refuses one id twice, at the start and later."""
    with pytest.raises(ChildAlreadyExists):
        Supervisor(crew.specs("a", "a"))
    stranger: Any = Supervisor
    with pytest.raises(InvalidArgument, match="children: must be ChildSpec objects, got type"):
        Supervisor([stranger])
    async with Supervisor(crew.specs("a")) as supervisor:
        with pytest.raises(ChildAlreadyExists) as caught:
            await supervisor.start_child(crew.spec("a"))
        assert caught.value.child == "a"
        assert ids(supervisor) == ["a"]


async def test_child_specs_map(crew: Crew) -> None:
    """Here specs are one kind of value; what it says is read back as it was given, for each kind of child."""
    specs = [crew.spec(restart.value, restart=restart, shutdown=1, start_timeout=2) for restart in Restart]
    async with Supervisor(specs) as supervisor:
        assert [supervisor.get_childspec(restart.value) for restart in Restart] == specs
        with pytest.raises(InvalidArgument):
            await supervisor.start_child(crew.spec("new", restart=Restart.TRANSIENT, significant=True))


FLAGS: list[dict[str, Any]] = [
    {"strategy": "one_for_one"},
    {"strategy": None},
    {"max_restarts": -1},
    {"max_restarts": "many"},
    {"max_seconds": 0},
    {"max_seconds": -1},
    {"auto_shutdown": "any"},
]


@pytest.mark.parametrize("flags", FLAGS)
def test_sup_flags(flags: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Supervisor(**flags)
    assert caught.value.name in flags
    right = Supervisor(
        strategy=Strategy.REST_FOR_ONE, max_restarts=0, max_seconds=0.5, auto_shutdown=AutoShutdown.ANY_SIGNIFICANT
    )
    assert right.tree() == "supervisor [rest_for_one, 0 of 0 restarts in 0.5 s]"


async def test_extra_return(crew: Crew) -> None:
    """Where OTP hands data of `init` to the caller, the caller here asks the actor, which is ready by then."""
    async with Supervisor() as supervisor:
        ref = await supervisor.start_child(crew.spec("a"))
        assert await ref.ask("count") == "1"
        await supervisor.terminate_child("a")
        assert await supervisor.restart_child("a") is ref
        assert await crew.ask("a", "count") == "1"


async def test_simple_one_for_one_extra(crew: Crew) -> None:
    async with DynamicSupervisor[str, str, str](crew.spec) as pool:
        ref = await pool.get_or_start("a")
        assert await ref.ask("count") == "1"
        assert isinstance(pool.which_children()[0], ChildInfo)


async def test_faulty_application_shutdown(crew: Crew) -> None:
    """What fails in the start of a branch reaches the top with its cause and its stack."""
    crew.init["a"] = fail
    branch = ChildSpec(id="branch", start=lambda: Supervisor(crew.specs("a"), name="branch"))
    with pytest.raises(EventreeError) as caught:
        async with Supervisor([branch]):
            pytest.fail("the body must not run")
    error: BaseException | None = caught.value
    causes: list[BaseException] = []
    while error is not None:
        causes.append(error)
        error = error.__cause__
    assert [type(cause) for cause in causes] == [ChildStartError, ChildStartError, Boom]
    traceback = causes[-1].__traceback__
    names: list[str] = []
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names[-1] == "fail"


async def test_a_reference_of_an_ignored_child_refuses_messages(crew: Crew) -> None:
    crew.init["a"] = ignore
    async with Supervisor(crew.specs("a")) as supervisor:
        await idle(supervisor)
        ref: ActorRef[str, str] = crew.refs["a"]
        assert ref.status is Status.STOPPED
        assert not ref.mailbox.is_open
