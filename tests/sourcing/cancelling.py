"""Cancel a task at chosen points of what it awaits, each point there is."""

import asyncio
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any


class CancelledAt:
    """Await something, and be cancelled at some of the points where that waits.

    Attributes:
        struck: How many of the points were reached.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], points: frozenset[int], *, late: bool) -> None:
        """Name the points, from 0.

        Args:
            coroutine: What to await.
            points: Where to be cancelled.
            late: At the moment when what it waits for is done, instead of when the wait begins.
        """
        self.struck = 0
        self._coroutine = coroutine
        self._points = points
        self._late = late

    def __await__(self) -> Generator[Any, Any, Any]:
        point = 0
        go_on = partial(self._coroutine.send, None)
        while True:
            try:
                awaited = go_on()
            except StopIteration as end:
                return end.value
            if point in self._points:
                self.struck += 1
                self._cancel(awaited)
            point += 1
            try:
                go_on = partial(self._coroutine.send, (yield awaited))
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is passed on
                go_on = partial(self._coroutine.throw, error)

    def _cancel(self, awaited: "asyncio.Future[Any] | None") -> None:
        task = asyncio.current_task()
        assert task is not None
        if awaited is not None and self._late:
            awaited.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()
