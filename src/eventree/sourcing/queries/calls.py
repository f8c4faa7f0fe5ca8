"""Call users' functions, cancel those that take too long, and notice those that hold the event loop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from math import inf
from time import monotonic
from typing import Final, ParamSpec, TypeVar

from eventree.actors import Status
from eventree.actors.actor.ref import CURRENT
from eventree.errors import QueryHandlerTimeout
from eventree.errors.failures import is_failure
from eventree.isolation import awaited_in
from eventree.sourcing.queries.commits import HandlingFailed, StoredCommit
from eventree.sourcing.queries.options import Options

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("eventree")

MAX_HOLD: Final = 1.0
"""Seconds for which a function may hold the event loop before the log names it."""

LOG_EVERY: Final = 60.0
"""Seconds within which the log names it only once."""


class HandlerCalls:
    """Call the functions of one query.

    Attributes:
        function: The name of the handler, for the log.
        longest_hold: The longest time for which it has held the event loop, in seconds.
        overdue: Reports the last call that took longer than the limit and could not be cancelled; None if there was
            none since it was reset.
    """

    def __init__(self, options: Options, handler: object) -> None:
        """Start without calls.

        Args:
            options: The query's options.
            handler: Its main function.
        """
        self.function = function_name(handler)
        self.longest_hold = 0.0
        self.overdue: QueryHandlerTimeout | None = None
        self._name = options.name
        self._timeout = options.handler_timeout
        self._logged_at = -inf

    def call(self, function: Callable[P, R], commits: Sequence[StoredCommit], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function and return its result, which may have to be awaited by `finish`.

        Args:
            function: The function.
            commits: The commits that it handles; none for `setup`, `swap` or `clear`.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Raises:
            HandlingFailed: It raised a GeneratorExit: a failure, unlike one out of the coroutine.
        """
        began = monotonic()
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if is_failure(error, cancelled=False) and not is_failure(error, cancelled=False, closed=True):
                raise HandlingFailed(error, commits) from error
            raise
        finally:
            self._held(monotonic() - began)

    async def finish(self, awaitable: Awaitable[object], own: Context) -> None:
        """Await the result of a function; cancel it after the `handler_timeout`.

        Args:
            awaitable: The result.
            own: The context of the call, in which each of its steps runs.

        Raises:
            QueryHandlerTimeout: It took longer.
        """

        def measured(step: Callable[..., object], *args: object) -> object:  # other tasks run only between two steps
            began = monotonic()
            try:
                return own.run(step, *args)
            finally:
                self._held(monotonic() - began)

        limit = asyncio.timeout(None if self._timeout == inf else self._timeout)
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        try:
            async with limit:
                await awaited_in(measured, awaitable)
        except (TimeoutError, asyncio.CancelledError) as error:
            is_ours = limit.expired() and (isinstance(error, TimeoutError) or is_running())
            if not is_ours:  # it is the function's own, or the actor is being stopped
                raise
            _forget_cancellations(task, before)
            raise QueryHandlerTimeout(self._name, self.function, self._timeout) from error
        except BaseException:
            _forget_cancellations(task, before)
            raise
        _forget_cancellations(task, before)

    def _held(self, seconds: float) -> None:
        if seconds < min(MAX_HOLD, self._timeout):
            return
        self.longest_hold = max(seconds, self.longest_hold)
        if seconds > self._timeout:
            self.overdue = QueryHandlerTimeout(self._name, self.function, self._timeout, held=seconds)
        now = monotonic()
        if now - self._logged_at >= LOG_EVERY:
            self._logged_at = now
            logger.warning(
                "query %s: its handler %s held the event loop for %.1f s, in which nothing else could run; let it "
                "await, or call what blocks with asyncio.to_thread",
                *(self._name, self.function, seconds),
            )


def is_running() -> bool:
    """Return whether the current actor runs and was not asked to stop; False outside of actors."""
    ref = CURRENT.get()
    return ref is not None and ref.status is Status.RUNNING


def _forget_cancellations(task: "asyncio.Task[object] | None", before: int) -> None:
    """Undo the cancellations that a function has caused in its own task and left behind.

    A task group cancels the task that it is in when one of its own fails. Before Python 3.13 it does not undo that if
    its body has already ended, and the task would count as one that is being cancelled for good.
    """
    while task is not None and task.cancelling() > before and is_running():
        task.uncancel()


def function_name(function: object) -> str:
    """Return the module and the name of a function, or of the class of a callable object."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{getattr(named, '__qualname__', named)}"
