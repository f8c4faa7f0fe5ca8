"""A place in a test where somebody waits until the test lets it go on."""

import asyncio


class Gate:
    """Hold whoever awaits it until it is opened; once it is open, nobody waits any more.

    It may stand in a handler of yours too: `await gate()`.
    """

    def __init__(self, name: str = "the gate") -> None:
        """Begin closed; the name is what `reached` calls it when nobody comes."""
        self._name = name
        self._reached = asyncio.Event()
        self._opened = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Gate {self._name!r} {'open' if self._opened.is_set() else 'closed'}>"

    async def __call__(self) -> None:
        """Wait until it is open."""
        self._reached.set()
        await self._opened.wait()

    async def reached(self, *, timeout: float = 5.0) -> None:
        """Wait until somebody has come to it.

        Args:
            timeout: How long to wait, in seconds; default 5.

        Raises:
            AssertionError: Nobody has come in time.
        """
        __tracebackhide__ = True
        try:
            async with asyncio.timeout(timeout):
                await self._reached.wait()
        except TimeoutError:
            raise AssertionError(f"{self._name} was not reached within {timeout:g} s") from None

    def open(self) -> None:
        """Let everybody go on, now and from now on."""
        self._opened.set()
