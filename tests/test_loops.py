"""Where something belongs: its event loop and process, and who else may use it."""

import asyncio
import os
from collections.abc import Callable

import pytest

from eventree.errors import WrongEventLoop
from eventree.loops import Home, running_loop
from harness.other_loops import in_another_loop


async def home_here() -> Home:
    return Home()


async def test_the_own_loop_is_home() -> None:
    home = Home()
    home.check("x")
    assert home.loop is running_loop()
    asyncio.get_running_loop().call_soon(home.check, "x")
    await asyncio.sleep(0)


async def test_another_loop_is_not_and_the_error_names_the_way_in() -> None:
    home = Home()

    async def check() -> None:
        home.check("the thing")

    with pytest.raises(WrongEventLoop, match=r"'the thing' belongs to another event loop.*run_coroutine_threadsafe"):
        await in_another_loop(check)
    with pytest.raises(WrongEventLoop, match=r"in a thread without its event loop.*tell_threadsafe"):
        await asyncio.to_thread(home.check, "the thing")
    await asyncio.to_thread(home.check_process, "the thing")


def test_between_two_runs_of_the_loop_anyone_in_its_thread_may_come() -> None:
    with asyncio.Runner() as runner:
        home = runner.run(home_here())
        home.check("x")
        assert running_loop() is None
    with pytest.raises(WrongEventLoop, match="was closed"):
        home.check("x")
    with pytest.raises(WrongEventLoop, match="was closed"):
        asyncio.run(_check(home))


async def _check(home: Home) -> None:
    home.check("x")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_is_not_home_though_it_has_the_same_loop() -> None:
    with asyncio.Runner() as runner:
        home = runner.run(home_here())
        assert not home.is_forked
        assert _in_a_fork(lambda: home.check("x")) == "WrongEventLoop"
        assert _in_a_fork(lambda: home.check_process("x")) == "WrongEventLoop"
        assert _in_a_fork(lambda: (home.passes_on(ValueError()), home.passes_on(None))) == "(True, False)"
        assert not home.passes_on(ValueError())
        home.check("x")


def _in_a_fork(call: Callable[[], object]) -> str:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, str(call()).encode())
        except WrongEventLoop:
            os.write(writing, b"WrongEventLoop")
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()
