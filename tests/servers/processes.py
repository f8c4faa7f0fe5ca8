"""Python processes beside the test, which talk to it in lines."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class Child:
    """A process that a test runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self._stdin = process.stdin
        self._stdout = process.stdout

    async def line(self) -> str:
        """Return the next line it prints, the empty text once it has ended."""
        async with asyncio.timeout(60):
            return (await self._stdout.readline()).decode().rstrip("\n")

    async def lines(self) -> list[str]:
        """Return all it still prints until it ends."""
        async with asyncio.timeout(120):
            return (await self._stdout.read()).decode().splitlines()

    def say(self, line: str) -> None:
        self._stdin.write(f"{line}\n".encode())


@asynccontextmanager
async def python(*args: str | Path) -> AsyncIterator[Child]:
    """Run a Python process that finds what this one finds, and is gone at the end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *args, stdin=PIPE, stdout=PIPE, env=environment, limit=2**24
    )
    try:
        yield Child(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
