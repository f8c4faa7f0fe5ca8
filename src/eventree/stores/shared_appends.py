"""Appends that share transactions: calls that wait next to each other for their turn are sent together."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from itertools import islice
from typing import Final, TypeAlias

from eventree.errors import CommitOutcomeUnknown, StoreBusy, StoreUnavailable, TransactionFailed
from eventree.stores.contract import AppendRequest, Outcome
from eventree.stores.line import Line

MAX_REQUESTS: Final = 1_024
"""How many requests may share a transaction; a single call may have more."""

MAX_CHARACTERS: Final = 8 * 1024 * 1024
"""How many characters of payloads and metadata may share a transaction; a single call may have more."""

_PAUSE: Final = 6
"""For how many rounds of the event loop those who were just answered may come again, before the next are sent.

They need some four: an actor gets its outcomes, its callers their answers, the actor their next commands. Without it,
calls fall into two groups of any size that alternate, each waiting for the commit of the other.
"""

Send: TypeAlias = Callable[["Shipment"], Awaitable[Sequence[Outcome]]]


class Call:
    """A call of `append` that waits for its answer.

    Attributes:
        requests: Its requests.
        asked: When it was made, on `time.monotonic()`.
        answer: Its outcomes or its error; cancelled once its caller has gone.
    """

    __slots__ = ("answer", "asked", "requests")

    def __init__(self, requests: Sequence[AppendRequest]) -> None:
        """Create a call that is made now; needs a running event loop."""
        self.requests = requests
        self.asked = time.monotonic()
        self.answer: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()

    def succeed(self, outcomes: Sequence[Outcome]) -> None:
        """Answer with outcomes, unless it has an answer or its caller has gone."""
        if not self.answer.done():
            self.answer.set_result(outcomes)

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless it has an answer or its caller has gone."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # its caller may be cancelled before it sees this


class Group:
    """Calls that wait for one place in the line.

    No two of them share an aggregate or a command id, so that each would meet the same alone. A call with a command id
    twice stays alone.
    """

    def __init__(self, place: asyncio.Future[None]) -> None:
        """Create an empty group."""
        self.place = place
        self.calls: list[Call] = []
        self._keys: set[object] = set()
        self._requests = 0
        self._size = 0
        self._is_full = False

    def add(self, call: Call) -> bool:
        """Add a call, unless it does not fit; return whether it was added. The first call always is."""
        keys = [(request.aggregate_type, request.aggregate_id) for request in call.requests]
        ids = [command.command_id for request in call.requests for command in request.commands]
        distinct = {*keys, *ids}
        is_alone = len(distinct) < len(keys) + len(ids)
        requests = self._requests + len(call.requests)
        size = self._size + sum(
            len(event.payload) + len(event.metadata) for request in call.requests for event in request.events
        )
        fits = requests <= MAX_REQUESTS and size <= MAX_CHARACTERS and self._keys.isdisjoint(distinct)
        if self.calls and (is_alone or self._is_full or not fits):
            return False
        self.calls.append(call)
        self._keys |= distinct
        self._requests, self._size, self._is_full = requests, size, is_alone
        return True


class Shipment:
    """What is sent in one transaction: the requests of one call, or of several.

    Attributes:
        asked: When the first of its calls was made, on `time.monotonic()`.
        calls: The calls; empty if it has a single one, whose caller sends it.
    """

    def __init__(
        self, requests: Sequence[AppendRequest], calls: Sequence[Call], end: Callable[[], None] = lambda: None
    ) -> None:
        """Create a shipment.

        Args:
            requests: The requests if there are no calls, else nothing.
            calls: The calls.
            end: Gives the line to the next; it may be called repeatedly. Default does nothing.
        """
        self.asked = min((call.asked for call in calls), default=0.0) or time.monotonic()
        self.calls = calls
        self.end = end
        self._requests = requests

    def take(self) -> Sequence[AppendRequest]:
        """Return the requests at the moment they are sent; calls whose callers have gone are left out."""
        if not self.calls:
            return self._requests
        self.calls = [call for call in self.calls if not call.answer.done()]
        return [request for call in self.calls for request in call.requests]


class SharedAppends:
    """Let the appends of a store that wait next to each other share a transaction, which is called group commit.

    Each commit waits for the disk, or for a round trip and the disk, and the systems of one store would queue for it
    one after the other. A call joins those at the end of the line, so none loses its place. A call that meets an empty
    line goes straight through, in its caller's own task.

    A failure is that of all calls in the transaction, with two exceptions. If the database refuses a statement, a
    single call is to blame, so each is sent again by itself. And if it was busy, calls that came late may still wait.
    """

    def __init__(
        self, line: Line, send: Send, where: str, *, busy_timeout: float = 0.0, longest_wait: float | None = None
    ) -> None:
        """Start without calls.

        Args:
            line: The line of all writers.
            send: Stores the requests of a shipment in one transaction and returns one outcome for each, in order. It
                takes them when the transaction begins. If it has to find out later whether it was committed, it ends
                the shipment before.
            where: The database, for errors.
            busy_timeout: How long each call waits for other processes, in seconds from when it was made; default 0: the
                database measures from when it was sent.
            longest_wait: How long a place in the line is kept, in seconds; default None, without limit.
        """
        self._line = line
        self._send = send
        self._where = where
        self._busy_timeout = busy_timeout
        self._longest_wait = longest_wait
        self._last: Group | None = None  # later calls may join it
        self._answered = 0  # calls of the last transaction, if they shared it
        self._tasks: dict[asyncio.Task[None], Group] = {}

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        """Store requests, at once or together with others that wait; see `EventLog.append`.

        If the caller is cancelled before they were sent, they are not sent; after that they are stored or not.

        Raises:
            StoreBusy: It was not its turn for too long, or another process held a lock; nothing was stored.
            StoreUnavailable: The store was closed before its turn came; nothing was stored.
            EventStoreError: Any other failure of `send`.
        """
        if not self._line.is_empty or self._answered > 1:
            return await self._wait(Call(requests))
        place = self._line.enter()
        try:
            return await self._send(Shipment(requests, (), lambda: self._line.leave(place)))
        finally:
            self._line.leave(place)

    def close(self) -> None:
        """Fail the calls that wait for their turn; what is being sent ends by itself."""
        for task, group in self._tasks.items():
            if not group.place.done():
                self._fail(group.calls, StoreUnavailable(f"{self._where} was closed; nothing was stored"))
                task.cancel()

    async def drain(self) -> None:
        """Wait until each call that waits for its turn was sent and answered."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _wait(self, call: Call) -> Sequence[Outcome]:
        if self._last is None or not self._line.is_last(self._last.place) or not self._last.add(call):
            self._last = Group(self._line.enter())
            self._last.add(call)
            # In no caller's context, as it works for several.
            task = asyncio.get_running_loop().create_task(self._carry_out(self._last), context=Context())
            self._tasks[task] = self._last
            task.add_done_callback(self._ended)
        return await call.answer

    def _ended(self, task: asyncio.Task[None]) -> None:
        group = self._tasks.pop(task)
        self._line.leave(group.place)  # the task may have been cancelled before it began
        self._fail(group.calls, CommitOutcomeUnknown(f"the event loop was stopped during an append to {self._where}"))

    async def _carry_out(self, group: Group) -> None:
        """Wait for the group's turn, send its calls and answer them."""
        try:
            if await self._line.reach(group.place, self._longest_wait):
                await self._let_others_join(group)
                await self._deliver(group)
            else:
                self._fail(group.calls, waited_too_long(self._where, self._longest_wait))
        finally:
            self._line.leave(group.place)

    async def _let_others_join(self, group: Group) -> None:
        """Wait for those who were answered just now, as long as they can join."""
        for _ in range(_PAUSE):
            if len(group.calls) >= self._answered or not self._line.is_last(group.place):
                break
            await asyncio.sleep(0)
        if self._last is group:
            self._last = None

    async def _deliver(self, group: Group) -> None:
        self._answered = len(group.calls)
        waiting = list(group.calls)
        while waiting := [call for call in waiting if not call.answer.done()]:
            try:
                await self._share(waiting, lambda: self._line.leave(group.place))
            except StoreBusy as error:
                began = min(call.asked for call in waiting)
                limit = max(began, time.monotonic() - self._busy_timeout)
                self._fail([call for call in waiting if call.asked <= limit], error)
            except TransactionFailed as error:
                if len(waiting) == 1:
                    self._fail(waiting, error)
                for call in waiting:
                    await self._send_alone(call)
            except Exception as error:  # noqa: BLE001 - it belongs to the callers
                self._fail(waiting, error)

    async def _send_alone(self, call: Call) -> None:
        if call.answer.done():
            return
        try:
            await self._share([call])
        except Exception as error:  # noqa: BLE001 - it belongs to the caller
            call.fail(error)

    async def _share(self, calls: Sequence[Call], end: Callable[[], None] = lambda: None) -> None:
        shipment = Shipment((), calls, end)
        outcomes = iter(await self._send(shipment))
        for call in shipment.calls:
            call.succeed(list(islice(outcomes, len(call.requests))))

    @staticmethod
    def _fail(calls: Sequence[Call], error: Exception) -> None:
        for call in calls:
            call.fail(error)


def waited_too_long(where: str, seconds: float | None) -> StoreBusy:
    """Return the error for a writer whose turn did not come in time."""
    return StoreBusy(f"other writers kept {where} busy for {seconds} s; nothing was stored, try again")
