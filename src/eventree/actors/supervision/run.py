"""Run a supervisor as a whole program, until it exits or a signal arrives."""

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
    """Start a supervision tree and wait until it exits.

    The first signal stops the tree in order, the second one at once. Use this only in programs that own their signals;
    inside a web server, use `async with supervisor` and leave the signals to the server.

    Args:
        supervisor: The root of the tree.
        signals: The signals to handle, in the main thread; default SIGINT (Ctrl-C) and SIGTERM.
        drain: Whether the actors process their queued messages after the first signal; default False.

    Returns:
        Why the tree exited.

    Raises:
        RestartIntensityExceeded: The supervisor gave up.
        ChildStartError: A child did not start.
    """
    stops: list[asyncio.Task[None]] = []

    def stop() -> None:
        if stops:
            supervisor.cancel_now()
        else:
            stops.append(asyncio.ensure_future(supervisor.stop(drain=drain)))

    reason = ExitReason(ExitKind.SHUTDOWN)
    with _handled(signals, stop):
        try:
            async with supervisor:
                reason = await supervisor.wait()
        except (ActorStopped, ChildStartError) as error:
            if not (stops and _was_stopped(error)):  # otherwise the signal came during the start
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

    def call_in_loop(_: int, __: FrameType | None) -> None:
        loop.call_soon_threadsafe(handle)

    previous = {number: signal.signal(number, call_in_loop) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
