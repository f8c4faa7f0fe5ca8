"""Whoever is stopped with a group does not wait for one of the group: that would be to wait for itself."""

import asyncio

from actors.crew import Crew, Worker, idle, until
from eventree import Actor, ActorContext, ActorRef, ChildSpec, Strategy, Supervisor
from eventree.actors import MailboxSpec
from eventree.errors import ActorError, RestartIntensityExceeded


class Asker(Actor[str, str]):
    """Ask a worker, and once more if that fails; answer with the errors."""

    def __init__(self, worker: ActorRef[str, str]) -> None:
        self.worker = worker

    async def receive(self, message: str, ctx: ActorContext[str, str]) -> str:
        errors: list[str] = []
        for _ in range(2):
            try:
                errors.append(await self.worker.ask(message))
            except ActorError as error:
                errors.append(type(error).__name__)
        return ", ".join(errors)


def group(crew: Crew, *, mailbox_size: int = 1_000, max_restarts: int = 3) -> Supervisor:
    worker = ActorRef[str, str]("worker", mailbox=MailboxSpec(maxsize=mailbox_size))
    asker = ActorRef[str, str]("asker")
    crew.refs = {"worker": worker, "asker": asker}
    return Supervisor(
        [
            ChildSpec(id="worker", start=lambda: Worker("worker", crew), ref=worker),
            ChildSpec(id="asker", start=lambda: Asker(worker), ref=asker, shutdown=3_600),
        ],
        strategy=Strategy.ONE_FOR_ALL,
        max_restarts=max_restarts,
    )


async def test_an_actor_that_waits_for_a_sibling_that_crashed_is_answered_when_it_is_stopped(crew: Crew) -> None:
    async with asyncio.timeout(5), group(crew) as supervisor:
        crew.refs["worker"].tell("wait")
        await until(lambda: "worker wait" in crew.log)
        crew.refs["worker"].tell("crash")
        answer = crew.refs["asker"].ask_nowait("hello")
        await until(lambda: len(crew.refs["worker"].mailbox) == 2)
        crew.gate.set()
        assert await answer == "ActorStopped, ActorStopped"
        await idle(supervisor)
        assert crew.incarnations() == {"worker": 2, "asker": 2}
        assert await crew.ask("asker", "hello") == "hello by 2, hello by 2"


async def test_it_is_answered_too_where_it_waits_for_room(crew: Crew) -> None:
    async with asyncio.timeout(5), group(crew, mailbox_size=1) as supervisor:
        crew.refs["worker"].tell("wait")
        await until(lambda: "worker wait" in crew.log)
        crew.refs["worker"].tell("later")
        answer = crew.refs["asker"].ask_nowait("hello")
        await until(lambda: crew.refs["asker"].waits_for is crew.refs["worker"])
        crew.tasks["worker"].cancel()
        assert await answer == "ActorStopped, ActorStopped"
        await idle(supervisor)
        assert crew.log[-1] == "worker later"


async def test_it_is_answered_too_when_the_sibling_crashes_after_the_stop_began(crew: Crew) -> None:
    async with asyncio.timeout(5), group(crew):
        crew.refs["worker"].tell("wait")
        await until(lambda: "worker wait" in crew.log)
        crew.refs["worker"].tell("crash")
        answer = crew.refs["asker"].ask_nowait("hello")
        await until(lambda: len(crew.refs["worker"].mailbox) == 2)
        asyncio.get_running_loop().call_soon(crew.gate.set)
    assert await answer == "ActorStopped, ActorStopped"


async def test_who_is_not_stopped_waits_for_the_next_incarnation(crew: Crew) -> None:
    async with asyncio.timeout(5), group(crew), Supervisor([outsider(crew)]):
        crew.refs["worker"].tell("wait")
        await until(lambda: "worker wait" in crew.log)
        crew.refs["worker"].tell("crash")
        answer = crew.refs["outsider"].ask_nowait("hello")
        crew.gate.set()
        assert await answer == "hello by 2, hello by 2"


async def test_a_group_whose_supervisor_gives_up_stops_at_once(crew: Crew) -> None:
    answer: asyncio.Future[str] | None = None
    try:
        async with asyncio.timeout(5), group(crew, max_restarts=0):
            crew.refs["worker"].tell("wait")
            crew.refs["worker"].tell("crash")
            answer = crew.refs["asker"].ask_nowait("hello")
            await until(lambda: len(crew.refs["worker"].mailbox) == 2)
            crew.gate.set()
            await asyncio.Event().wait()
    except RestartIntensityExceeded:
        pass
    assert answer is not None
    assert await answer == "ActorStopped, ActorStopped"


def outsider(crew: Crew) -> ChildSpec[str, str]:
    ref = crew.refs["outsider"] = ActorRef("outsider")
    return ChildSpec(id="outsider", start=lambda: Asker(crew.refs["worker"]), ref=ref)
