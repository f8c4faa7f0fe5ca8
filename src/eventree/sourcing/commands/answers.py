"""Answer callers within their timeout, with errors as values; log the failures of commands without a waiting caller."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from contextlib import nullcontext
from typing import TypeVar

from eventree.errors import (
    ActorTimeout,
    DomainError,
    EventreeError,
    HandlerCrashed,
    NotCaughtUp,
    QueryStopped,
    QuerySuperseded,
)
from eventree.errors.root import check_positive
from eventree.errors.showing import loggable
from eventree.loops import running_loop
from eventree.result import Err, Ok, Result
from eventree.sourcing.commands.requests import CommandResult
from eventree.sourcing.queries.handle import QueryHandle

logger = logging.getLogger("eventree")

T = TypeVar("T")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")


def as_result(answer: CommandResult[EventT, ErrorT] | BaseException) -> CommandResult[EventT, ErrorT]:
    """Return an actor's answer, or its `EventreeError`, as a result; raise any other exception."""
    if isinstance(answer, Ok | Err):
        return answer
    if isinstance(answer, EventreeError):
        return Err(answer)
    raise answer


async def with_timeout(
    operation: str, timeout: float, call: Coroutine[object, object, T], check_loop: Callable[[], None]
) -> Result[T, EventreeError]:
    """Run a coroutine that reads from the store, and return its value as a result.

    Args:
        operation: The name to show in an `ActorTimeout`.
        timeout: How long to wait, in seconds.
        call: The coroutine; closed if it is never started.
        check_loop: Raises if the system is running in another event loop.

    Returns:
        The value, or the error: `ActorTimeout` once the time is up.
    """
    try:
        try:
            check_positive("timeout", timeout)
            check_loop()
            # Without a running loop, as in a forked process, no time passes: the store refuses the call.
            async with nullcontext() if running_loop() is None else asyncio.timeout(timeout):
                return Ok(await call)
        except TimeoutError as error:
            if isinstance(error, EventreeError):
                raise
            raise ActorTimeout(operation, timeout) from None
    except EventreeError as error:
        return Err(error)
    finally:
        call.close()


async def wait_for_queries(
    answer: CommandResult[EventT, ErrorT],
    aggregate_type: str,
    names: Iterable[str],
    find: Callable[[str], QueryHandle],
    deadline: float,
) -> CommandResult[EventT, ErrorT]:
    """Return the answer to a command once queries have handled its events.

    Args:
        answer: The answer; an error is returned at once.
        aggregate_type: The name of the aggregate's type; a query that does not follow it has nothing to handle.
        names: The queries to wait for.
        find: Returns the handle of a query.
        deadline: When to stop waiting, in the event loop's time.

    Returns:
        The answer, or `NotCaughtUp` if a query has not handled the events by then.
    """
    if isinstance(answer, Ok):
        for name in names:
            if not find(name).follows(aggregate_type):
                continue
            try:
                await _caught_up(name, find, answer.value.position, deadline)
            except EventreeError as error:
                return Err(NotCaughtUp(answer.value, name, error))
    return answer


async def _caught_up(name: str, find: Callable[[str], QueryHandle], position: int, deadline: float) -> None:
    """Wait for a query; if a newer version of it goes live meanwhile, wait for that one."""
    query = find(name)
    while True:
        left = max(deadline - asyncio.get_running_loop().time(), 0.001)
        try:
            await query.caught_up(position, timeout=left)
        except QueryStopped as error:
            newer = find(name)
            if newer is query or not isinstance(error.__cause__, QuerySuperseded):
                raise
            query = newer
        else:
            return


def log_crash(error: HandlerCrashed) -> None:
    """Log a bug in the domain, once for all commands that it fails, with its traceback."""
    logger.error("%s", error, exc_info=loggable(error.__cause__))


def log_failure(name: str, aggregate_id: str, answer: "asyncio.Future[CommandResult[EventT, ErrorT]]") -> None:
    """Log the failure of a command sent by `execute_nowait`, without the contents of the command."""
    if answer.cancelled():
        return
    error = answer.exception()
    if error is None and isinstance(result := answer.result(), Err):
        error = result.error
    if isinstance(error, HandlerCrashed):
        return  # it was logged where it happened
    if isinstance(error, DomainError):
        logger.warning("%s %r: a command sent by execute_nowait was refused", name, aggregate_id)
    elif error is not None:
        logger.error("%s %r: a command sent by execute_nowait failed: %s", name, aggregate_id, error)
