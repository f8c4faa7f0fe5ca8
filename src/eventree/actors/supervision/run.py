"""Run a tree as a whole program: until it ends, or somebody sends a signal."""

import asyncio
import signal
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from types import FrameType

from eventree.actors.exits import ExitKind, ExitReason
from eventree.actors.supervision.supervisor import Supervisor
from eventree.errors import ActorStopped, ChildStartError


async def run(
    supervisor: Supervisor, *, signals: Iterable[int] = (signal.SIGINT, signal.SIGTERM), drain: bool = False
) -> ExitReason:
    """Start a tree and wait until it ends.

    The first signal stops it in order, a second one at once. Only for programs that own their signals; inside a web
    server, use `async with supervisor` and leave signals to the server.

    Args:
        supervisor: The root of the tree.
        signals: Which signals to handle, in the main thread; default SIGINT (Ctrl-C) and SIGTERM.
        drain: Whether a first signal lets the actors handle what waits for them; default not.

    Returns:
        Why it ended.

    Raises:
        RestartIntensityExceeded: It gave up.
        ChildStartError: It did not start.
    """
    stops: list[asyncio.Task[None]] = []

    def stop() -> None:
        if stops:
            supervisor.hurry()
        else:
            stops.append(asyncio.ensure_future(supervisor.stop(drain=drain)))

    reason = ExitReason(ExitKind.SHUTDOWN)
    with _handled(signals, stop):
        try:
            async with supervisor:
                reason = await supervisor.wait()
        except (ActorStopped, ChildStartError) as error:
            if not (stops and _was_stopped(error)):  # else the signal came while it started
                raise
        finally:
            await asyncio.gather(*stops, return_exceptions=True)
    return reason


def _was_stopped(error: BaseException | None) -> bool:
    while isinstance(error, ChildStartError):
        error = error.__cause__
    return isinstance(error, ActorStopped)


@contextmanager
def _handled(signals: Iterable[int], handle: Callable[[], None]) -> Generator[None, None, None]:
    loop = asyncio.get_running_loop()

    def in_the_loop(_: int, __: FrameType | None) -> None:
        loop.call_soon_threadsafe(handle)

    before = {number: signal.signal(number, in_the_loop) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
