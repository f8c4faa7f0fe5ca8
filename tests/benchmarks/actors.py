"""Ask round trips and tells per second beside a bare `asyncio.Queue`, and what 10,000 actors cost.

Run it with `python tests/benchmarks/actors.py`; it prints the medians of rounds that take turns in one process.
"""

import asyncio
import gc
import logging
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable

from eventree import Actor, ActorContext, ActorRef, ChildSpec, DynamicSupervisor, Supervisor
from eventree.actors import ChildStarted, MailboxSpec, SupervisorEvent

COUNT = 20_000
ROUNDS = 7
IDLE = 10_000
BURST = 500


class Echo(Actor[int, int]):
    """Answer with what was sent."""

    async def receive(self, message: int, ctx: ActorContext[int, int]) -> int:
        return message


class Fragile(Actor[int, int]):
    """Crash with every message."""

    async def receive(self, message: int, ctx: ActorContext[int, int]) -> int:
        raise RuntimeError("crashed as told")


class BareQueue:
    """The least that can be called an actor: a queue, a task, a future for each answer."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[int, asyncio.Future[int] | None]] = asyncio.Queue(BURST)
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        while True:
            message, answer = await self.queue.get()
            reply = await self.receive(message)
            if answer is not None and not answer.done():
                answer.set_result(reply)

    async def receive(self, message: int) -> int:
        return message

    async def ask(self, message: int) -> int:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        await self.queue.put((message, answer))
        return await answer

    def tell(self, message: int) -> None:
        self.queue.put_nowait((message, None))


async def ask_all(ask: Callable[[int], Awaitable[int]]) -> float:
    started = time.perf_counter()
    for number in range(COUNT):
        await ask(number)
    return COUNT / (time.perf_counter() - started)


async def tell_all(tell: Callable[[int], None], ask: Callable[[int], Awaitable[int]]) -> float:
    started = time.perf_counter()
    for _ in range(COUNT // BURST):
        for number in range(BURST - 1):
            tell(number)
        await ask(0)
    return COUNT / (time.perf_counter() - started)


async def compare() -> None:
    bare = BareQueue()
    ref: ActorRef[int, int] = ActorRef("echo", mailbox=MailboxSpec(maxsize=BURST))
    results: dict[str, list[float]] = {"bare ask": [], "ask": [], "bare tell": [], "tell": []}
    async with Supervisor([ChildSpec(id="echo", start=Echo, ref=ref)]):
        for _ in range(ROUNDS):
            results["bare ask"].append(await ask_all(bare.ask))
            results["ask"].append(await ask_all(ref.ask))
            results["bare tell"].append(await tell_all(bare.tell, bare.ask))
            results["tell"].append(await tell_all(ref.tell, ref.ask))
    bare.task.cancel()
    medians = {name: statistics.median(values) for name, values in results.items()}
    for name in ("ask", "tell"):
        ratio = medians[name] / medians[f"bare {name}"]
        print(f"{name}: {medians[name]:,.0f}/s, bare {medians[f'bare {name}']:,.0f}/s, ratio {ratio:.2f}")


async def idle() -> None:
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    pool: DynamicSupervisor[int, int, int] = DynamicSupervisor(lambda key: ChildSpec(id=key, start=Echo))
    async with pool:
        await asyncio.gather(*(pool.get_or_start(key) for key in range(IDLE)))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"idle: {(after - before) / IDLE:,.0f} bytes an actor")
    pool = DynamicSupervisor(lambda key: ChildSpec(id=key, start=Echo))
    started = time.perf_counter()
    async with pool:
        await asyncio.gather(*(pool.get_or_start(key) for key in range(IDLE)))
        running = time.perf_counter()
    stopped = time.perf_counter()
    print(f"start {(running - started) / IDLE * 1e6:.0f} µs, stop {(stopped - running) / IDLE * 1e6:.0f} µs an actor")


async def crashes(count: int) -> None:
    """Have every one of `count` actors crash once, and wait until each was started again."""
    logging.getLogger("eventree").setLevel(logging.CRITICAL)
    back = asyncio.Event()
    restarts = 0

    def on_event(event: SupervisorEvent) -> None:
        nonlocal restarts
        if isinstance(event, ChildStarted) and event.incarnation > 1:
            restarts += 1
            if restarts == count:
                back.set()

    pool: DynamicSupervisor[int, int, int] = DynamicSupervisor(
        lambda key: ChildSpec(id=key, start=Fragile), max_restarts=count, on_event=on_event
    )
    async with pool:
        refs = await asyncio.gather(*(pool.get_or_start(key) for key in range(count)))
        started = time.perf_counter()
        await asyncio.gather(*(ref.ask(0, timeout=60) for ref in refs), return_exceptions=True)
        await back.wait()
        elapsed = time.perf_counter() - started
    print(f"crash and restart, {count:,} actors: {elapsed / count * 1e6:.0f} µs an actor")


if __name__ == "__main__":
    asyncio.run(compare())
    asyncio.run(idle())
    asyncio.run(crashes(IDLE // 10))
    asyncio.run(crashes(IDLE))
