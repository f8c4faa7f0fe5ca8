"""Renewals of leases that share transactions, as a process with many queries would write all the time otherwise."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import NamedTuple


class Renewal(NamedTuple):
    """What to renew: the arguments of `Checkpoints.renew_checkpoint`."""

    name: str
    version: int
    fencing_token: int
    seconds: float


class SharedRenewals:
    """Send all renewals together that are asked for while another is on its way."""

    def __init__(self, renew_all: Callable[[Sequence[Renewal]], Awaitable[Sequence[bool]]]) -> None:
        """Start without renewals.

        Args:
            renew_all: Carries renewals out in one transaction; returns for each whether its token is the newest.
        """
        self._renew_all = renew_all
        self._waiting: list[tuple[Renewal, asyncio.Future[bool]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def renew(self, renewal: Renewal) -> bool:
        """Renew a lease; return whether its fencing token is still the newest.

        Raises:
            EventStoreError: The store failed.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((renewal, answer))
        if self._sending is None or self._sending.get_loop() is not loop or self._sending.done():
            self._sending = loop.create_task(self._send(), context=Context())  # it is not part of the caller's work
        return await answer

    async def _send(self) -> None:
        await asyncio.sleep(0)  # those whose time has come at the same moment are about to ask
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            left = [(renewal, answer) for renewal, answer in waiting if not answer.done()]
            try:
                kept: Sequence[bool] = await self._renew_all([renewal for renewal, _ in left]) if left else ()
            except BaseException as error:
                for _, answer in left:
                    if not answer.done():
                        answer.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                        answer.exception()  # its caller may be cancelled before it sees this
                if not isinstance(error, Exception):
                    raise
                continue
            for (_, answer), is_kept in zip(left, kept, strict=True):
                if not answer.done():
                    answer.set_result(is_kept)
