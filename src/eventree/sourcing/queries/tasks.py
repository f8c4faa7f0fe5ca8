"""Whose cancellation it is."""

import asyncio


def is_being_cancelled() -> bool:
    """Tell our own cancellation from that of something a handler awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
