"""Run a user's functions in a copy of the current context, so that what they set in a `ContextVar` ends with the call.

An actor calls functions for many senders in one task, and a task has one context: without this, whatever one call sets
is seen by the next.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from types import CoroutineType, coroutine
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


def isolated(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a plain function in a copy of the current context."""
    return copy_context().run(function, *args, **kwargs)


@coroutine
def awaited_in(run: Callable[..., Any], awaitable: Awaitable[T]) -> Generator[Any, Any, T]:
    """Await something in steps, in the task of the caller.

    Values, errors and the futures that it waits for pass unchanged. A task of its own would do the same, but costs
    several times as much.

    Args:
        run: Calls the function that it gets with the arguments that follow: the `run` of a context, or one around it.
        awaitable: What to await.
    """
    is_coroutine = isinstance(awaitable, CoroutineType)
    inner = cast("Coroutine[Any, Any, T]", awaitable) if is_coroutine else _as_coroutine(awaitable)
    resume: Callable[[Any], Any] = inner.send
    sent: object = None
    while True:
        try:
            waits_for = run(resume, sent)
        except StopIteration as returned:
            value: T = returned.value
            return value
        finally:
            sent = None  # an error that was thrown in would refer to itself by this frame
        try:
            sent = yield waits_for
            resume = inner.send
        except GeneratorExit:
            run(inner.close)
            raise
        except BaseException as error:  # noqa: BLE001 - it is thrown into the coroutine
            resume, sent = inner.throw, error


async def _as_coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable
