"""Appends that share transactions: calls that arrive while one is in flight are sent together when it ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from itertools import islice
from typing import Final, TypeAlias

from eventree.errors import CommitOutcomeUnknown, StoreBusy, StoreUnavailable, TransactionFailed
from eventree.stores.contract import AppendRequest, Outcome

MAX_REQUESTS: Final = 1_024
"""How many requests may share a transaction; a single call may have more."""

MAX_CHARACTERS: Final = 8 * 1024 * 1024
"""How many characters of payloads and metadata may share a transaction; a single call may have more."""

_PAUSE: Final = 6
"""For how many rounds of the event loop those who were just answered may come again, before the next is sent.

They need some four: an actor gets its outcomes, its callers their answers, the actor their next commands. Without it,
calls fall into two groups of any size that alternate, each waiting for the commit of the other.
"""

Send: TypeAlias = Callable[["Shipment"], Awaitable[Sequence[Outcome]]]


class Call:
    """A call of `append` that waits for an answer.

    Attributes:
        requests: Its requests.
        asked: When it was made, on `time.monotonic()`.
        answer: Its outcomes or its error; cancelled once its caller has gone.
        keys: Its aggregates and command ids. Calls that have one in common are never sent together.
        size: The characters of its payloads and metadata.
        is_alone: Whether it is sent by itself: its requests share a command id, or a transaction with others failed.
    """

    __slots__ = ("answer", "asked", "is_alone", "keys", "requests", "size")

    def __init__(self, requests: Sequence[AppendRequest], asked: float) -> None:
        """Create a call without an answer; needs a running event loop."""
        self.requests = requests
        self.asked = asked
        self.answer: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()
        keys = [(request.aggregate_type, request.aggregate_id) for request in requests]
        ids = [command.command_id for request in requests for command in request.commands]
        self.keys = frozenset[object](keys).union(ids)
        self.size = sum(len(event.payload) + len(event.metadata) for request in requests for event in request.events)
        self.is_alone = len(self.keys) < len(keys) + len(ids)

    def succeed(self, outcomes: Sequence[Outcome]) -> None:
        """Answer with outcomes, unless its caller has gone or it has an answer."""
        if not self.answer.done():
            self.answer.set_result(outcomes)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless its caller has gone or it has an answer."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # its caller may be cancelled before it sees this


class Shipment:
    """What is sent in one transaction: the requests of one call, or of several.

    Attributes:
        asked: When the first of its calls was made, on `time.monotonic()`.
        calls: The calls that share it; empty for a single one, whose caller awaits it.
        is_expecting: Whether it waits for its calls.
    """

    def __init__(self, requests: Sequence[AppendRequest], asked: float, on_end: Callable[[], None]) -> None:
        """Create the shipment of a single call, which its caller awaits.

        Args:
            requests: The requests.
            asked: When the call was made.
            on_end: Called when the next shipment may begin.
        """
        self.asked = asked
        self.calls: Sequence[Call] = ()
        self.is_expecting = False
        self._requests = requests
        self._on_end: Callable[[], None] | None = on_end
        self._is_over = asyncio.Event()

    def share(self, calls: Sequence[Call]) -> None:
        """Let several calls share it, none of which has an answer."""
        self.calls = calls
        self.asked = min(call.asked for call in calls)

    def take(self) -> Sequence[AppendRequest]:
        """Return the requests at the moment they are sent; calls whose callers have gone are left out."""
        if not self.calls:
            return self._requests
        self.calls = [call for call in self.calls if not call.answer.done()]
        self._requests = [request for call in self.calls for request in call.requests]
        return self._requests

    def end(self) -> None:
        """Let the next shipment begin; called again, it does nothing."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()
            self._is_over.set()

    async def wait(self) -> None:
        """Wait until it has ended."""
        await self._is_over.wait()


class SharedAppends:
    """Let the appends of a store that wait for each other share a transaction, which is called group commit.

    Each commit waits for the disk, or for a round trip and the disk. The systems of one store would queue for it one
    after the other. A call that meets no other goes straight through, in its caller's own task.

    A failure is that of all calls in the transaction, with two exceptions. If the database refuses a statement, a
    single call is to blame, so each is sent again by itself. And if it was busy, calls that came late may still wait.
    """

    def __init__(self, send: Send, where: str, *, busy_timeout: float = 0.0, longest_wait: float | None = None) -> None:
        """Start with nothing in flight.

        Args:
            send: Stores the requests of a shipment in one transaction and returns one outcome for each, in order. It
                takes them when the transaction begins. If it has to find out later whether it was committed, it ends
                the shipment before.
            where: The database, for errors.
            busy_timeout: How long each call waits for other processes, in seconds from when it was made; default 0: the
                database measures from when it was sent.
            longest_wait: How long a call waits to be sent, in seconds; default None, without limit.
        """
        self._send = send
        self._where = where
        self._busy_timeout = busy_timeout
        self._longest_wait = longest_wait
        self._in_flight: Shipment | None = None
        self._waiting: list[Call] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        """Store requests, at once or together with others that wait; see `EventLog.append`.

        If the caller is cancelled before they were sent, they are not sent; after that they are stored or not.
        """
        if self._in_flight is not None:
            return await self._wait(Call(requests, time.monotonic()))
        shipment = self._in_flight = Shipment(requests, time.monotonic(), self._begin_next)
        try:
            return await self._send(shipment)
        finally:
            shipment.end()

    async def close(self) -> None:
        """Fail the calls that wait; what was sent ends by itself."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call.fail(StoreUnavailable(f"{self._where} was closed; nothing was stored"))
        if self._in_flight is not None and self._in_flight.is_expecting:
            await self._in_flight.wait()

    async def drain(self) -> None:
        """Wait until nothing is in flight and no call waits."""
        while self._in_flight is not None:
            await self._in_flight.wait()

    async def _wait(self, call: Call) -> Sequence[Outcome]:
        self._waiting.append(call)
        if self._longest_wait is None:
            return await call.answer
        timer = asyncio.get_running_loop().call_later(self._longest_wait, self._give_up, call)
        try:
            return await call.answer
        finally:
            timer.cancel()

    def _give_up(self, call: Call) -> None:
        if call in self._waiting:
            call.fail(
                StoreBusy(
                    f"earlier appends kept {self._where} busy for {self._longest_wait} s; nothing was stored, try again"
                )
            )

    def _begin_next(self) -> None:
        """Begin to send what waits; if calls were just answered together, expect them to come again."""
        answered = 0 if self._in_flight is None else len(self._in_flight.calls)
        self._in_flight = None
        self._waiting = [call for call in self._waiting if not call.answer.done()]
        if self._waiting or answered > 1:
            shipment = self._in_flight = Shipment((), 0.0, self._begin_next)
            # In no caller's context, as it works for several.
            task = asyncio.get_running_loop().create_task(self._carry_out(shipment, answered), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: shipment.end())  # it may be cancelled before it begins

    async def _carry_out(self, shipment: Shipment, answered: int) -> None:
        """Send the calls that wait, and answer each."""
        try:
            shipment.is_expecting = True
            for _ in range(_PAUSE):
                if len(self._waiting) >= answered:
                    break
                await asyncio.sleep(0)
            shipment.is_expecting = False
            chosen, self._waiting = choose(self._waiting)
            if chosen:
                shipment.share(chosen)
                await self._share(shipment)
        except BaseException:
            for call in shipment.calls:
                call.fail(CommitOutcomeUnknown(f"the event loop was stopped during an append to {self._where}"))
            raise
        finally:
            shipment.end()

    async def _share(self, shipment: Shipment) -> None:
        try:
            outcomes = iter(await self._send(shipment))
        except (StoreBusy, TransactionFailed) as error:
            self._blame(shipment.calls, error)
        except Exception as error:  # noqa: BLE001 - it belongs to the callers
            for call in shipment.calls:
                call.fail(error)
        else:
            for call in shipment.calls:
                call.succeed(list(islice(outcomes, len(call.requests))))

    def _blame(self, calls: Sequence[Call], error: StoreBusy | TransactionFailed) -> None:
        """Answer the calls that an error belongs to; put the others back in front, so that they are sent again."""
        if isinstance(error, StoreBusy):
            waited = max(min(call.asked for call in calls), time.monotonic() - self._busy_timeout) if calls else 0.0
            blamed = [call for call in calls if call.asked <= waited]
        else:
            blamed = [call for call in calls if len(calls) == 1]
        for call in blamed:
            call.fail(error)
        others = [call for call in calls if not call.answer.done()]
        for call in others:
            call.is_alone |= isinstance(error, TransactionFailed)
        self._waiting[:0] = others


def choose(waiting: Sequence[Call]) -> tuple[list[Call], list[Call]]:
    """Return the calls to send now, in one transaction, and those that go on waiting, both in order.

    A call never overtakes another one with the same aggregate or command id. The first one is always sent.
    """
    chosen: list[Call] = []
    left: list[Call] = []
    seen: set[object] = set()
    requests = size = 0
    for call in waiting:
        if call.answer.done():
            continue
        fits = requests + len(call.requests) <= MAX_REQUESTS and size + call.size <= MAX_CHARACTERS
        is_alone = call.is_alone or (chosen and chosen[0].is_alone)
        if not chosen or (fits and not is_alone and seen.isdisjoint(call.keys)):
            chosen.append(call)
            requests += len(call.requests)
            size += call.size
        else:
            left.append(call)
        seen |= call.keys
    return chosen, left
