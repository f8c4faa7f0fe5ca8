"""Every test of the runtime must end with no task left and no error that nobody saw."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors.crew import Crew, ticks


@pytest.fixture(autouse=True)
async def nothing_is_left_behind() -> AsyncIterator[None]:
    unseen: list[dict[str, Any]] = []
    before = asyncio.all_tasks()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    yield
    left = {task for task in asyncio.all_tasks() - before if not task.done()} - {asyncio.current_task()}
    gc.collect()
    await asyncio.sleep(0)
    assert not left
    assert not unseen


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    crew = Crew()
    yield crew
    crew.gate.set()  # lets go whoever still clings to it where a test failed
    await ticks()
