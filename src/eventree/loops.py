"""The event loop and the process that something belongs to; used from elsewhere, it is refused."""

import asyncio
import os
from asyncio import get_running_loop
from typing import Final

from eventree.errors import WrongEventLoop

_THREAD: Final = (
    "from another thread, use asyncio.run_coroutine_threadsafe(coroutine, loop).result() with the loop in which it "
    "runs, or, to send an actor a message, tell_threadsafe()"
)


_process = object()  # stands for this process; cheaper to compare than its id


def _forked() -> None:
    global _process  # noqa: PLW0603 - there is one process
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread and process; None if there is none."""
    try:
        return get_running_loop()
    except RuntimeError:
        return None


class Home:
    """Remember the event loop and the process in which it is created, and refuse callers from elsewhere.

    Attributes:
        loop: The event loop.
    """

    __slots__ = ("_process", "loop")

    def __init__(self) -> None:
        """Belong to the running event loop."""
        self.loop = get_running_loop()
        self._process = _process

    @property
    def is_forked(self) -> bool:
        """Whether this process is a fork of the one in which it was created."""
        return self._process is not _process

    def check(self, subject: object) -> None:
        """Do nothing for callers in this loop, or in none while it does not run; refuse all others.

        Args:
            subject: What is used, for the error.

        Raises:
            WrongEventLoop: The caller runs in another event loop, thread or process.
        """
        try:
            here = get_running_loop()
        except RuntimeError:
            here = None
        if here is not self.loop or self._process is not _process:
            self._refuse(subject, here)

    def passes_on(self, error: BaseException | None) -> bool:
        """Return whether a block that ends with this error is only left: in a forked process nothing is its own."""
        return error is not None and self.is_forked

    def check_process(self, subject: object) -> None:
        """Raise `WrongEventLoop` in a forked process, for what any thread may use."""
        if self.is_forked:
            self._refuse(subject, None)

    def _refuse(self, subject: object, here: asyncio.AbstractEventLoop | None) -> None:
        if self.is_forked:
            raise WrongEventLoop(
                repr(subject),
                "belongs to the event loop of the process that this one was forked from; create and enter what you "
                "need after the fork",
            )
        if self.loop.is_closed():
            raise WrongEventLoop(
                repr(subject),
                "belongs to an event loop that was closed before it was left or stopped; leave or stop it inside its "
                "own loop, and create another one for this event loop",
            )
        if here is not None:
            raise WrongEventLoop(
                repr(subject),
                f"belongs to another event loop than the one it is used in; {_THREAD}, or create another one here",
            )
        if self.loop.is_running():
            raise WrongEventLoop(repr(subject), f"is used in a thread without its event loop; {_THREAD}")
