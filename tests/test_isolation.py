"""What a function sets in a context variable is seen by what it calls and awaits, and by nobody else."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar, copy_context
from typing import ParamSpec, TypeVar

import pytest

from eventree.isolation import awaited_in, isolated

P = ParamSpec("P")
T = TypeVar("T")

TENANT: ContextVar[str] = ContextVar("TENANT", default="none")


async def isolated_call(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    context = copy_context()
    return await awaited_in(context.run, context.run(function, *args, **kwargs))


def visit(tenant: str) -> str:
    before = TENANT.get()
    TENANT.set(tenant)
    return before


def test_what_a_plain_function_sets_stays_in_its_call() -> None:
    token = TENANT.set("caller")
    assert [isolated(visit, "a"), isolated(visit, "b")] == ["caller", "caller"]
    assert TENANT.get() == "caller"
    TENANT.reset(token)


async def visit_and_wait(tenant: str) -> list[str]:
    seen = [visit(tenant)]
    await asyncio.sleep(0)
    seen.append(TENANT.get())
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        inner = group.create_task(asyncio.sleep(0, TENANT.get()))
    seen += [inner.result(), TENANT.get()]
    return seen


def visit_and_return_a_coroutine(tenant: str) -> Awaitable[list[str]]:
    return visit_and_wait(tenant)


class Visit:
    """An awaitable that is no coroutine."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant

    def __await__(self) -> Generator[object, None, list[str]]:
        return visit_and_wait(self._tenant).__await__()


@pytest.mark.parametrize("function", [visit_and_wait, visit_and_return_a_coroutine, Visit])
async def test_what_a_coroutine_sets_stays_with_it_across_its_awaits(
    function: Callable[[str], Awaitable[list[str]]],
) -> None:
    token = TENANT.set("caller")
    first, second = await asyncio.gather(isolated_call(function, "a"), isolated_call(function, "b"))
    third = await isolated_call(function, "c")
    assert [first, second, third] == [["caller", each, each, each] for each in "abc"]
    assert TENANT.get() == "caller"
    TENANT.reset(token)


async def test_a_future_that_is_returned_is_awaited() -> None:
    def ask() -> "asyncio.Future[int]":
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, 7)
        return future

    assert await isolated_call(ask) == 7


async def test_an_error_comes_out_and_one_that_is_thrown_in_comes_in() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await isolated_call(fails)

    async def recovers() -> str:
        TENANT.set("inside")
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, ZeroDivisionError())
        try:
            await future
        except ZeroDivisionError:
            await asyncio.sleep(0)
        return TENANT.get()

    assert await isolated_call(recovers) == "inside"


async def test_a_cancellation_arrives_inside_and_the_clean_up_sees_what_was_set() -> None:
    entered = asyncio.Event()
    seen: list[str] = []

    async def waits() -> None:
        TENANT.set("inside")
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append(TENANT.get())

    task = asyncio.ensure_future(isolated_call(waits))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["inside"]


async def test_a_timeout_inside_ends_what_is_inside_only() -> None:
    async def waits() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        return "went on"

    assert await isolated_call(waits) == "went on"


def test_closing_it_closes_what_is_inside_where_its_variables_are() -> None:
    seen: list[str] = []

    async def waits() -> None:
        token = TENANT.set("inside")
        try:
            await asyncio.sleep(0)
        finally:
            seen.append(TENANT.get())
            TENANT.reset(token)  # refused in another context

    running = isolated_call(waits)
    running.send(None)
    running.close()
    assert seen == ["inside"]
