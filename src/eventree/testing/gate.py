"""A gate that holds tasks at a known point until the test lets them continue."""

import asyncio


class Gate:
    """Hold every task that awaits it, until it is opened; an open gate holds no task.

    `FailingStore.hold` puts one into a call of a store. Your own handlers can await one too: `await gate()`.
    """

    def __init__(self, name: str = "the gate") -> None:
        """Create a closed gate.

        Args:
            name: The name of the gate in its `repr` and in the error of `reached`; default `"the gate"`.
        """
        self._name = name
        self._reached = asyncio.Event()
        self._opened = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Gate {self._name!r} {'open' if self._opened.is_set() else 'closed'}>"

    async def __call__(self) -> None:
        """Wait until the gate is open."""
        self._reached.set()
        await self._opened.wait()

    async def reached(self, *, timeout: float = 5.0) -> None:
        """Wait until a task has reached the gate.

        Args:
            timeout: How long to wait, in seconds; default 5.

        Raises:
            AssertionError: No task has reached it in time.
        """
        __tracebackhide__ = True
        try:
            async with asyncio.timeout(timeout):
                await self._reached.wait()
        except TimeoutError:
            raise AssertionError(
                f"no task reached {self._name} within {timeout:g} s; check that the call is made, or wait longer"
            ) from None

    def open(self) -> None:
        """Let all tasks continue, both those waiting and later ones."""
        self._opened.set()
