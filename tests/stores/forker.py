"""Fork with an open store and a running system, use both in the child, go on in the parent, and say what came of it.

Usage: forker.py PLACE HOW, with a path, a DSN or nothing for a store in memory.
"""

import asyncio
import json
import multiprocessing
import os
import sys
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from bank import OpenAccount, bank_account
from eventree import EventSourcing, MemoryStore, Query, SQLiteStore
from eventree.testing.store_values import request

warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, which is what this is about


def open_store(place: str) -> Any:
    if "://" in place:
        from eventree import PostgresStore  # noqa: PLC0415 - its driver is an extra

        return PostgresStore(place)
    return SQLiteStore(place) if place else MemoryStore()


class Program:
    """One store, one system, one query that counts."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.store = open_store(place)
        self.seen = 0
        self.system = EventSourcing(bank_account, self.store, queries=[Query("count", self.count)])
        self.reading, self.writing = os.pipe()

    def count(self, _: str, events: Any) -> None:
        self.seen += len(events)

    async def open(self, name: str) -> int:
        commit = await self.system.execute(name, OpenAccount(name), wait_for=["count"], timeout=20)
        return int(commit.unwrap().position)

    def uses(self) -> dict[str, Callable[[], Awaitable[object]]]:
        store, system = self.store, self.system
        return {
            "head": store.head,
            "append": lambda: store.append([request("x")]),
            "read": lambda: store.read(0, 10, live=True),
            "enter": store.__aenter__,
            "leave": lambda: store.__aexit__(None, None, None),
            "watch": lambda: soon(lambda: store.watch(print)),
            "transaction": self.transaction,
            "execute": lambda: system.execute("x", OpenAccount("x")),
            "execute and wait": lambda: system.execute("x", OpenAccount("x"), wait_for=["count"]),
            "execute_nowait": lambda: soon(lambda: system.execute_nowait("x", OpenAccount("x"))),
            "execute_many": lambda: system.execute_many([("x", OpenAccount("x"))]),
            "load_aggregate": lambda: system.load_aggregate("a"),
            "load_events": lambda: system.load_events("a"),
            "system_stats": system.system_stats,
            "caught_up": lambda: system.query("count").caught_up(),
            "pause": lambda: system.query("count").pause(),
            "register_queries": lambda: system.register_queries([Query("more", self.count)]),
            "start": system.__aenter__,
            "stop": lambda: system.__aexit__(None, None, None),
            "wait_stopped": system.wait_stopped,
        }

    async def leave_with(self, error: Exception) -> str:
        """Leave the blocks of the parent as an exception does, which is to come out as it is."""
        await self.system.__aexit__(type(error), error, None)
        await self.store.__aexit__(type(error), error, None)
        return "passed on"

    async def transaction(self) -> None:
        if not self.place:
            await self.store.head()
        async with self.store.transaction():
            pass

    async def try_all(self) -> None:
        answers = {use: await answer(call) for use, call in self.uses().items()}
        answers["left with an error"] = await self.leave_with(ValueError())
        os.write(self.writing, json.dumps(answers).encode() + b"\n")

    def child(self) -> None:
        asyncio.run(self.try_all())

    async def collect(self, pid: int | None, said: dict[str, Any]) -> None:
        """Read what the child says and wait for its end, while the parent works."""
        os.close(self.writing)  # so that a child that says nothing is noticed
        said["parent"]["while"] = await self.open("b")
        with os.fdopen(self.reading) as pipe:
            said["child"] = json.loads(await asyncio.to_thread(pipe.readline))
        if pid is not None:
            said["exit"] = os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1])
        said["parent"]["after"] = await self.open("c")
        said["parent"]["seen"] = self.seen
        said["parent"]["restarts"] = (await self.system.system_stats()).actor_restarts


async def soon(call: Callable[[], object]) -> object:
    return call()


async def answer(call: Callable[[], Awaitable[object]]) -> str:
    try:
        given: Any = await call()
    except BaseException as error:  # noqa: BLE001 - it is what is asked for
        given = error
    given = given[0] if isinstance(given, list) else given
    given = getattr(given, "error", given)
    return f"{type(given).__name__}: {given}"


def run_to_the_end(step: Awaitable[None]) -> None:
    """Run a coroutine that does not wait for anything, without a loop."""
    try:
        step.__await__().send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


async def forking(program: Program, how: str, said: dict[str, Any]) -> None:
    async with program.store, program.system:
        said["parent"] = {"before": await program.open("a")}
        if how == "multiprocessing":
            process = multiprocessing.get_context("fork").Process(target=program.child)
            process.start()
            await program.collect(None, said)
            await asyncio.to_thread(process.join)
            said["exit"] = process.exitcode
            return
        pid = os.fork()
        if pid == 0:
            try:
                if how == "same coroutine":
                    await program.try_all()
                else:
                    program.child()
            finally:
                os._exit(0)
        await program.collect(pid, said)


def forking_between(program: Program, said: dict[str, Any]) -> None:
    """Fork while the loop stands still, and run it on in both processes."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.run_until_complete(program.store.__aenter__())
        loop.run_until_complete(program.system.__aenter__())
        said["parent"] = {"before": loop.run_until_complete(program.open("a"))}
        pid = os.fork()
        if pid == 0:
            try:
                run_to_the_end(program.try_all())
            finally:
                os._exit(0)
        loop.run_until_complete(program.collect(pid, said))
        loop.run_until_complete(program.system.__aexit__(None, None, None))
        loop.run_until_complete(program.store.__aexit__(None, None, None))


def main(place: str, how: str) -> None:
    said: dict[str, Any] = {}
    program = Program(place)
    if how == "same loop":
        forking_between(program, said)
    else:
        asyncio.run(forking(program, how, said))
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
