"""Every hazard is met under the default and, where Python has it, the eager task factory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest


@pytest.fixture(params=["default", "eager"], autouse=True)
async def task_factory(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    factory: Any = None
    if request.param == "eager":
        factory = getattr(asyncio, "eager_task_factory", None)
        if factory is None:
            pytest.skip("asyncio has an eager task factory from Python 3.12 on")
    asyncio.get_running_loop().set_task_factory(factory)
    yield
    asyncio.get_running_loop().set_task_factory(None)
