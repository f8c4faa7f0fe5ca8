"""Random trees under random calls, crashes and cancellations: nobody waits for ever, nothing is handled twice or left.

Each seed is a tree of its own; there are five times `EVENTREE_EXAMPLES`, and a hundred at least.
"""

import asyncio
import gc
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, cast

import pytest

from actors.crew import Boom, ticks
from eventree import (
    Actor,
    ActorContext,
    ActorRef,
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    EventreeError,
    Restart,
    Strategy,
    Supervisor,
)
from eventree.actors import Ignore, MailboxSpec, Reject, Status, StopActor
from eventree.errors import ActorError, ChildNotFound, ChildStartError
from harness.effort import examples

SEEDS = max(100, 5 * examples())
ENDS: dict[str, type[Exception]] = {"crash": Boom, "stop": StopActor, "reject": Reject}
MESSAGES = ["echo", "echo", "ask", "many", "kill", *ENDS]
Message = tuple[int, str]


class Wood:
    """A tree of three levels whose actors do what a seeded chance says, until all is calm."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - not a secret
        self.handled: Counter[int] = Counter()
        self.refs: set[ActorRef[Message, int]] = set()
        self.is_calm = False
        self.numbers = iter(range(1, 10**9))
        choice = self.chance.choice
        self.branch = Supervisor(
            self.specs("b0", "b1", "b2"),
            strategy=choice(list(Strategy)),
            max_restarts=choice([1, 5, 10**4]),
            name="branch",
        )
        self.pool: DynamicSupervisor[str, Message, int] = DynamicSupervisor(
            self.spec, max_restarts=choice([3, 10**4]), name="pool", max_concurrent_restarts=choice([1, 50])
        )
        branch = ChildSpec(id="branch", start=lambda: self.branch)
        pool = ChildSpec(id="pool", start=lambda: self.pool)
        children: list[ChildSpec[Any, Any]] = [*self.specs("a0", "a1"), branch, *self.specs("a2"), pool]
        self.root = Supervisor(children, strategy=choice(list(Strategy)), max_restarts=10**6, name="root")

    @property
    def supervisors(self) -> list[Supervisor]:
        return [self.root, self.branch, self.pool]

    def specs(self, *names: str) -> list[ChildSpec[Any, Any]]:
        return [self.spec(name) for name in names]

    def spec(self, name: str) -> ChildSpec[Message, int]:
        choice = self.chance.choice
        return ChildSpec(
            id=name,
            start=lambda: self.make(name),
            restart=choice([Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY]),
            shutdown=choice([0, 0.01, 1, 1]),
            backoff=choice([None, None, Backoff(initial=0.002, maximum=0.01, reset_after=0.001)]),
            mailbox=MailboxSpec(maxsize=choice([1, 3, 1_000]), on_restart=choice(["keep", "discard"])),
        )

    def make(self, name: str) -> "Leaf":
        if not self.is_calm and self.chance.random() < 0.05:
            raise Boom(name)
        return Leaf(self)

    async def nap(self) -> None:
        if not self.is_calm:
            await ticks(self.chance.choice([0, 0, 1, 1, 2, 30]))

    def peer(self) -> ActorRef[Message, int] | None:
        """Return the reference of any actor that there is."""
        supervisor, names = self.chance.choice([(self.root, "a"), (self.branch, "b"), (self.pool, "k")])
        try:
            return cast("ActorRef[Message, int]", supervisor.ref(f"{names}{self.chance.randrange(3)}"))
        except ChildNotFound:
            return None

    def message(self) -> Message:
        return next(self.numbers), self.chance.choice(
            ["echo", "echo", "crash", "stop", "kill", "ask", "many", "reject"]
        )

    # --- what callers do

    async def call(self) -> None:
        """Do one thing to the tree; some callers lose their patience at once."""
        work = self.work()
        task = asyncio.ensure_future(work)
        if self.chance.random() < 0.25:
            await ticks(self.chance.randrange(8))
            task.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait({task})
        if not task.cancelled():
            assert isinstance(task.exception(), EventreeError | Reject | None)

    def work(self) -> Coroutine[Any, Any, object]:
        supervisor, name = self.chance.choice([(self.root, "a"), (self.branch, "b")])
        id, key = f"{name}{self.chance.randrange(4)}", f"k{self.chance.randrange(3)}"
        ref = self.peer()
        calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
            lambda: supervisor.terminate_child(id),
            lambda: supervisor.restart_child(id),
            lambda: supervisor.start_child(self.spec(id)),
            lambda: self.at_once(lambda: supervisor.delete_child(id)),
            lambda: self.at_once(lambda: supervisor.reconfigure([self.spec(id)])),
            *[lambda: self.pool.get_or_start(key)] * 4,
            lambda: self.pool.terminate_child(key),
        ]
        if ref is not None:
            calls += [
                *[lambda: ref.ask(self.message(), timeout=self.chance.choice([0.005, 3]))] * 8,
                *[lambda: ref.ask_many([self.message() for _ in range(6)], timeout=3)] * 2,
                lambda: ref.send(self.message(), timeout=3),
                lambda: self.at_once(lambda: ref.tell(self.message())),
                lambda: ref.inspect(state=True, timeout=3),
                lambda: self.at_once(lambda: ref.task.cancel() if ref.task is not None else False),
            ]
        return self.chance.choice(calls)()

    async def at_once(self, function: Callable[[], object]) -> object:
        return function()

    async def live(self) -> None:
        async with self.root:
            calls: list[asyncio.Task[None]] = []
            for _ in range(self.chance.randrange(20, 80)):
                calls.append(asyncio.ensure_future(self.call()))
                await self.nap()
            self.is_calm = True
            if self.chance.random() < 0.6:
                await asyncio.gather(*calls)
                await self.check_that_all_is_well()
        await asyncio.gather(*calls)

    async def check_that_all_is_well(self) -> None:
        async with asyncio.timeout(10):
            quiet = 0
            while quiet < 50:  # longer than any clean-up takes
                quiet = quiet + 1 if all(map(self.is_settled, self.supervisors)) else 0
                await asyncio.sleep(0 if quiet else 0.001)
            for child in [child for each in self.supervisors for child in each.children]:
                if child.running and not child.is_supervisor:
                    await child.ref.ask((next(self.numbers), "echo"))

    def is_settled(self, supervisor: Supervisor) -> bool:
        boxes = [child.ref.mailbox for child in supervisor.children if not child.is_supervisor]
        is_quiet = supervisor._operations.idle and not any(len(box) or box.in_progress for box in boxes)
        return is_quiet and all(child.running == child.should_run for child in supervisor.children)


class Leaf(Actor[Message, int]):
    """Do what chance or a message says."""

    def __init__(self, wood: Wood) -> None:
        self.wood = wood

    async def init(self, ctx: ActorContext[Message, int]) -> None:
        self.wood.refs.add(ctx.ref)
        await self.wood.nap()
        if not self.wood.is_calm and self.wood.chance.random() < 0.15:
            raise self.wood.chance.choice([Boom, Boom, Ignore])

    async def receive(self, message: Message, ctx: ActorContext[Message, int]) -> int:
        number, what = message
        self.wood.handled[number] += 1
        if self.wood.is_calm:
            return number
        await self.wood.nap()
        peer = self.wood.peer()
        if what in ENDS:
            raise ENDS[what]
        if what == "kill" and ctx.ref.task is not None:
            ctx.ref.task.cancel()
            await asyncio.sleep(0)
        elif peer is not None:
            await self.ask(peer, what)
        return number

    async def ask(self, peer: ActorRef[Message, int], what: str) -> None:
        try:
            if what == "ask":
                await peer.ask((next(self.wood.numbers), "ask"), timeout=0.1)
            elif what == "many":
                await peer.ask_many([(next(self.wood.numbers), "echo") for _ in range(4)], timeout=0.1)
        except ActorError:
            pass

    async def on_stop(self, reason: object) -> None:
        await self.wood.nap()
        if not self.wood.is_calm and self.wood.chance.random() < 0.05:
            raise Boom("on_stop")


async def grow(seed: int, factory: Any) -> None:
    unseen: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    loop.set_task_factory(factory)
    wood = Wood(seed)
    async with asyncio.timeout(60):
        with suppress(ChildStartError):  # chance may have it that the tree does not even start
            await wood.live()
    await ticks(5)
    gc.collect()
    assert not asyncio.all_tasks() - {asyncio.current_task()}
    assert not unseen
    assert [
        ref for ref in wood.refs if ref.status is not Status.STOPPED or len(ref.mailbox) or ref.mailbox.in_progress
    ] == []
    assert max(wood.handled.values(), default=1) == 1


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.random
@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("factory", ["default", "eager"])
def test_whatever_happens_to_a_tree_every_caller_is_answered_and_nothing_is_left(factory: str) -> None:
    eager = getattr(asyncio, "eager_task_factory", None)
    if factory == "eager" and eager is None:
        pytest.skip("asyncio has an eager task factory from Python 3.12 on")
    for seed in range(SEEDS):
        try:
            asyncio.run(grow(seed, eager if factory == "eager" else None))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
