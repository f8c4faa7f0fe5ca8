"""A gate holds tasks until the test opens it."""

import asyncio

import pytest

from eventree.testing import FailingStore, Gate


async def test_a_gate_holds_all_tasks_until_it_is_opened() -> None:
    gate = Gate("the door")
    assert repr(gate) == "<Gate 'the door' closed>"
    waiting = [asyncio.ensure_future(gate()) for _ in range(3)]
    await gate.reached()
    assert not any(task.done() for task in waiting)
    gate.open()
    await asyncio.gather(*waiting)
    await gate()
    assert repr(gate) == "<Gate 'the door' open>"


async def test_a_gate_that_no_task_reaches_fails_the_test() -> None:
    with pytest.raises(AssertionError, match=r"^no task reached append\(\) of the store within 0.01 s; "):
        await FailingStore().hold("append").reached(timeout=0.01)
