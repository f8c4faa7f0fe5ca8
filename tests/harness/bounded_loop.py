"""An event loop that ends what hangs, so that a test that hangs fails by itself, with the reason, and alone."""

import asyncio
import io
from typing import Any

GRACE = 10.0
"""Seconds that a cancelled test has to clean up before its loop is stopped."""


class Hung(TimeoutError):
    """A test, or a fixture of it, took longer than the limit."""


class Cancelled(asyncio.CancelledError, Exception):
    """A cancellation that reached the end of a test or a fixture.

    A bare `CancelledError` is no `Exception`: it would leave pytest's own teardown half way, and the next test would
    get the fixtures of this one.
    """


class BoundedLoop(asyncio.SelectorEventLoop):
    """Run a test, and each of its asynchronous fixtures, for a limited time each."""

    def __init__(self, limit: float) -> None:
        """Set the limit, in seconds."""
        super().__init__()
        self._limit = limit

    def run_until_complete(self, future: Any) -> Any:
        """Run a coroutine; cancel it when it takes too long, and stop the loop if it does not end by that."""
        running: asyncio.Future[Any] = asyncio.ensure_future(future, loop=self)
        report = ""

        def give_up() -> None:
            nonlocal report
            report = stacks(self)
            running.cancel()
            timers.append(self.call_later(GRACE, self.stop))

        timers = [self.call_later(self._limit, give_up)]
        try:
            return super().run_until_complete(running)
        except BaseException as error:
            if report:
                raise Hung(f"it took longer than {self._limit:g} s; its tasks stood here:\n{report}") from error
            if isinstance(error, asyncio.CancelledError):
                raise Cancelled(*error.args) from error
            raise
        finally:
            for timer in timers:
                timer.cancel()


def stacks(loop: asyncio.AbstractEventLoop) -> str:
    """Return where each task of a loop stands."""
    text = io.StringIO()
    for task in asyncio.all_tasks(loop):
        task.print_stack(limit=5, file=text)
    return text.getvalue()
