"""A bounded `asyncio.Queue` of requests with a control lane; it outlives the actor that reads it."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

from eventree.actors.mailbox_spec import MailboxSpec
from eventree.actors.request import Request
from eventree.errors import ActorError, ActorStopped, MailboxFull

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")

TURNS = 32
"""How many batches an actor may handle without giving way to other tasks."""


class Mailbox(Generic[MessageT, ReplyT]):
    """Keep the requests for an actor, in the order they came, across its restarts.

    The queue only stores. Waiting for messages and for room are the mailbox's own: a reader never holds an item that
    a cancellation could lose between the queue and its hands, and closing wakes everyone, on Python 3.11 too.

    Attributes:
        on_dead_letters: Called with messages that nobody waited for and nobody will handle, and with why.
        orders: What the runtime wants of the actor's task between two messages, before any message.
        suspended: Whether messages have to wait; the control lane goes on.
        down: Whether nobody reads it until the next incarnation.
        crashed_on: The types of the messages that were last left without an answer.
        drain_until: Until when, in the loop's time, what waits may be handled before a stop; None for not at all.
    """

    def __init__(self, owner: Hashable, spec: MailboxSpec) -> None:
        """Make a closed mailbox.

        Args:
            owner: Names the actor in errors.
            spec: How much it holds.
        """
        self._owner = owner
        self._spec = spec
        self._queue: asyncio.Queue[Request[MessageT, ReplyT]] = asyncio.Queue(spec.maxsize)
        self._control: deque[Request[MessageT, ReplyT]] = deque()
        self._in_work: list[Request[MessageT, ReplyT]] = []
        self._reader: asyncio.Future[None] | None = None
        self._writers: deque[asyncio.Future[None]] = deque()
        self._stopping: asyncio.Future[None] | None = None
        self._turns = TURNS
        self._open = False
        self._accepts = False
        self._stopped = False
        self.crashed_on: tuple[str, ...] = ()
        self.drain_until: float | None = None
        self.on_dead_letters: Callable[[Iterable[Request[Any, Any]], ActorError], None] = _ignore
        self.orders: deque[Callable[[Any], None]] = deque()
        self.suspended = False
        self.down = False

    def __len__(self) -> int:
        """Return how many requests wait."""
        return self._queue.qsize()

    @property
    def is_open(self) -> bool:
        """Whether requests are accepted."""
        return self._accepts

    @property
    def in_work(self) -> tuple[str, ...]:
        """The types of the messages that were taken up and are not answered."""
        return tuple(type(request.message).__name__ for request in self._in_work)

    # --- senders

    def put_nowait(self, request: Request[MessageT, ReplyT]) -> None:
        """Add a request.

        Raises:
            ActorStopped: The mailbox is closed.
            MailboxFull: There is no room.
        """
        if not self._accepts:
            raise ActorStopped(self._owner)
        try:
            self._queue.put_nowait(request)
        except asyncio.QueueFull:
            self._overflow(request)
        if self._reader is not None:
            _wake(self._reader)

    async def put(self, request: Request[MessageT, ReplyT]) -> None:
        """Add a request as soon as there is room; raises `ActorStopped` when the mailbox closes meanwhile."""
        while self.is_open and self._queue.full() and self._spec.overflow == "raise":
            if self._is_in_vain(request):
                raise ActorStopped(self._owner)
            room = asyncio.get_running_loop().create_future()
            self._writers.append(room)
            try:
                await room
            except BaseException:
                self._give_up_room(room)
                raise
        self.put_nowait(request)

    def put_control(self, request: Request[MessageT, ReplyT]) -> None:
        """Add a request that is read before all others and needs no room; ignored when the mailbox is closed."""
        if self._open:
            self._control.append(request)
            self._wake_reader()

    def order(self, order: Callable[[Any], None]) -> None:
        """Have a function called with the actor, in its task, between two messages.

        Raises:
            ActorStopped: The mailbox is closed.
        """
        if not self._open:
            raise ActorStopped(self._owner)
        self.orders.append(order)
        self._wake_reader()

    def _overflow(self, request: Request[MessageT, ReplyT]) -> None:
        error = MailboxFull(self._owner, self._spec.maxsize)
        if self._spec.overflow == "raise":
            raise error
        dropped = request
        if self._spec.overflow == "drop_old":
            dropped = self._queue.get_nowait()
            self._queue.put_nowait(request)
        self._drop([dropped], error)

    # --- the reader

    async def wait(self) -> bool:
        """Wait for a request or for the wish to stop; return False for the wish, which comes first.

        Gives way to other tasks now and then even when there is no need to wait: an actor with a backlog must not keep
        the loop.
        """
        if self._has_work():
            await asyncio.sleep(0)
        while not (self._has_work() or self.stop_wish.done()):
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._turns = TURNS
        return not self.stop_wish.done() or (self.drain_until is not None and self._has_work())

    def take(self, limit: int) -> list[Request[MessageT, ReplyT]]:
        """Take up at most `limit` requests, leaving out those whose senders gave up; never waits.

        Control requests come one at a time, before all others. Nothing is taken between a `wait` that is due and the
        `wait`: when there is an order or a wish to stop, or when it is the turn of other tasks.
        """
        if self._turns == 0 or self._stopped or self.orders:
            return []
        self._turns -= 1
        batch: list[Request[MessageT, ReplyT]] = []
        if self._control:
            batch.append(self._control.popleft())
        elif not self.suspended:
            queue = self._queue
            while len(batch) < limit and queue.qsize():
                request = queue.get_nowait()
                answer = request.answer
                if answer is None or not answer.done():
                    request.taken = True
                    batch.append(request)
            if self._writers:
                self._make_room()
        self._in_work += batch
        return batch

    def settle(self) -> None:
        """Forget the requests that are answered; what is left was kept by the actor, to be answered later."""
        in_work = self._in_work
        if len(in_work) == 1:
            answer = in_work[0].answer
            if answer is None or answer.done():
                in_work.clear()
        else:
            self._in_work = [request for request in in_work if not request.answered]

    def fail_in_work(self, error: ActorError) -> None:
        """Answer all that was taken up and not answered yet with an error."""
        self.crashed_on = self.in_work or self.crashed_on
        for request in self._in_work:
            request.fail(error)
        self._in_work.clear()

    def suspend(self) -> None:
        """Let requests wait from now on; the control lane goes on."""
        self.suspended = True

    def resume(self) -> None:
        """Let requests be taken up again."""
        self.suspended = False
        self._wake_reader()

    def _has_work(self) -> bool:
        return bool(self._control or self.orders or (self._queue.qsize() and not self.suspended))

    def _make_room(self) -> None:
        for _ in range(min(len(self._writers), self._spec.maxsize - self._queue.qsize())):
            _wake(self._writers.popleft())

    # --- the supervisor

    @property
    def stop_wish(self) -> "asyncio.Future[None]":
        """Done once the actor was asked to stop."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_future()
        return self._stopping

    def ask_to_stop(self, *, drain_until: float | None = None) -> None:
        """Let the reader know that it is to stop before the next request, or after the last that waits now."""
        self.drain_until = drain_until
        self._accepts = self._open and drain_until is None
        self._stopped = drain_until is None
        self._wake_writers()
        if not self.stop_wish.done():
            self.stop_wish.set_result(None)
        self._wake_reader()

    def go_down(self) -> None:
        """Take note that nobody reads until the next incarnation."""
        self.down = True
        self.release()

    def release(self) -> None:
        """If nobody reads, refuse the requests of actors that are to stop: they may have to stop first.

        A supervisor that restarts a group stops all of it before it starts any, so that an actor that waited for the
        next incarnation of a sibling would wait for itself.
        """
        if not self.down:
            return
        queue = self._queue
        for _ in range(queue.qsize()):
            request = queue.get_nowait()
            if self._is_in_vain(request):
                request.fail(ActorStopped(self._owner))
            else:
                queue.put_nowait(request)
        self._wake_writers()

    def _is_in_vain(self, request: Request[MessageT, ReplyT]) -> bool:
        return self.down and request.asker_stops is not None and request.asker_stops.done()

    def open(self) -> None:
        """Accept requests; also forgets an earlier wish to stop."""
        self._open = self._accepts = True
        self._stopped = self.down = False
        self.drain_until = None
        self._stopping = None

    def discard(self) -> None:
        """Drop what waits, if the mailbox was made to do so at a restart."""
        if self._spec.on_restart == "discard":
            self._empty()
            self._make_room()

    def close(self) -> None:
        """Refuse requests from now on and answer everyone who waits with `ActorStopped`."""
        self._open = self._accepts = False
        self.suspended = False
        self._empty()
        error = ActorStopped(self._owner)
        while self._control:
            self._control.popleft().fail(error)
        while self.orders:
            self.orders.popleft()(None)
        self.fail_in_work(error)
        self._wake_writers()
        self.on_dead_letters = _ignore  # whoever holds on to the address must not hold on to what ran behind it

    def _empty(self) -> None:
        waiting: list[Request[MessageT, ReplyT]] = []
        while self._queue.qsize():
            waiting.append(self._queue.get_nowait())
        if waiting:
            self._drop(waiting, ActorStopped(self._owner))

    def _drop(self, requests: Iterable[Request[MessageT, ReplyT]], error: ActorError) -> None:
        """Answer those who wait; tell of the messages nobody waits for, which would be lost without a trace."""
        unanswered = [request for request in requests if not request.abandoned]
        for request in unanswered:
            request.fail(error)
        letters = [request for request in unanswered if not request.asked]
        if letters:
            self.on_dead_letters(letters, error)

    def _wake_reader(self) -> None:
        if self._reader is not None:
            _wake(self._reader)

    def _wake_writers(self) -> None:
        while self._writers:
            _wake(self._writers.popleft())

    def _give_up_room(self, room: "asyncio.Future[None]") -> None:
        """Hand the room on that a cancelled writer was just given, so that the next writer does not sleep on."""
        if room in self._writers:
            self._writers.remove(room)
        elif self._writers:
            _wake(self._writers.popleft())


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _ignore(_: Iterable[Request[Any, Any]], __: ActorError) -> None:
    """Let dead letters go, where nobody owns the mailbox."""
