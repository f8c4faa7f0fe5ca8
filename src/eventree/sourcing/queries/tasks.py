"""What time it is for a task, and whose cancellation it meets."""

import asyncio


def now() -> float:
    """Return the time on the running loop's clock, in seconds."""
    return asyncio.get_running_loop().time()


def is_being_cancelled() -> bool:
    """Tell our own cancellation from that of something a handler awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
