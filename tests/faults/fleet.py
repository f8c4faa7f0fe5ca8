"""Worker processes on one store: started, killed, replaced and, in the end, asked to stop."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_PATIENCE = 60.0


@dataclass(slots=True)
class _Worker:
    process: Process
    listener: asyncio.Task[None]
    told: int = 0
    has_ended: bool = False


class Fleet:
    """Keep worker processes, by name; none of them is left at the end."""

    def __init__(self, address: str, journal: Path) -> None:
        self.kills = 0
        self._arguments = (address, str(journal))
        self._workers: dict[str, _Worker] = {}
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name in list(self._workers):
            await self._end(name, signal.SIGKILL)

    async def start(self, name: str) -> None:
        path = os.pathsep.join(path for path in sys.path if path)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "faults.worker", *self._arguments, name),
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._workers[name] = _Worker(process, asyncio.create_task(self._listen(name, process)))

    async def told(self, name: str, times: int) -> None:
        """Wait until a worker has acknowledged so many more commands; its start counts as one."""
        worker = self._workers[name]
        target = worker.told + times
        async with asyncio.timeout(_PATIENCE), self._news:
            await self._news.wait_for(lambda: worker.told >= target or worker.has_ended)
        assert worker.told >= target, f"worker {name} ended by itself"

    async def kill(self, name: str) -> None:
        assert await self._end(name, signal.SIGKILL) == -signal.SIGKILL
        self.kills += 1

    async def finish(self) -> None:
        """Let all workers finish what they do."""
        for worker in self._workers.values():
            assert worker.process.stdin is not None
            worker.process.stdin.close()
        assert {await self._end(name) for name in list(self._workers)} == {0}

    async def _end(self, name: str, number: signal.Signals | None = None) -> int:
        worker = self._workers[name]
        if number is not None and worker.process.returncode is None:
            worker.process.send_signal(number)
        async with asyncio.timeout(_PATIENCE):
            await worker.listener
            status = await worker.process.wait()
        del self._workers[name]
        return status

    async def _listen(self, name: str, process: Process) -> None:
        assert process.stdout is not None
        worker = self._workers[name]
        while not worker.has_ended:
            said = await process.stdout.read(1_024)
            worker.told += len(said)
            worker.has_ended = not said
            async with self._news:
                self._news.notify_all()
