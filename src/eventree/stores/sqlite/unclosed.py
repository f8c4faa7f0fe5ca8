"""What happens to a store that was never closed: it is closed when it is collected, or when the process ends."""

import asyncio
import os
import threading
import warnings
from collections.abc import Sequence
from typing import Final

from eventree.stores.sqlite.connection import Connection

_PATIENCE: Final = 1.0
"""Seconds to wait for each connection when the process ends; a kill at that moment would lose nothing either."""


def abandon(path: str, connections: Sequence[Connection], process: int) -> None:
    """Close the connections of a store that was never closed, and warn.

    Args:
        path: The database.
        connections: Its open connections, the one that writes last.
        process: The process that opened the store: a fork of it must not close it.
    """
    if os.getpid() != process:
        return
    threads = [connection.abandon() for connection in connections]
    if threading.current_thread() is threading.main_thread() and not _is_in_loop():
        for thread in threads:
            thread.join(_PATIENCE)
    warnings.warn(
        f"SQLiteStore {path!r} was not closed; use it inside `async with store:`", ResourceWarning, stacklevel=2
    )


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
