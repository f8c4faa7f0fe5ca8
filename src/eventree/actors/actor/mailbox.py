"""A bounded `asyncio.Queue` of requests with a control lane; it outlives the actor that reads it."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from eventree.actors.actor.request import Request
from eventree.errors import ActorError, ActorStopped, InvalidArgument, MailboxFull
from eventree.errors.arguments import check_count

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")

OnDropped: TypeAlias = Callable[[Sequence[Request[Any, Any]], ActorError | None], None]

TURNS = 32
"""How many batches an actor may handle without giving way to other tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxSpec:
    """Say how many messages may wait for an actor, and what becomes of those that cannot.

    Attributes:
        maxsize: How many messages wait at most; default 1,000.
        overflow: What `tell` and `ask_nowait` do when there is no room. `"raise"`: `MailboxFull`, the default.
            `"drop_new"`: the message is dropped. `"drop_old"`: the oldest one is. Whoever waits for the answer to a
            dropped message gets `MailboxFull`; a message that nobody waits for is a dead letter. `send` and `ask` wait
            for room with `"raise"` only.
        on_restart: What becomes of waiting messages when the actor crashed: `"keep"`, the default, or `"discard"`,
            which answers them with `ActorStopped`.
        dead_letters: Whether messages are reported that nobody waits for and that are lost; default yes. No for mere
            hints.
    """

    maxsize: int = 1_000
    overflow: Literal["raise", "drop_new", "drop_old"] = "raise"
    on_restart: Literal["keep", "discard"] = "keep"
    dead_letters: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no mailbox."""
        check_count("maxsize", self.maxsize)
        if self.overflow not in {"raise", "drop_new", "drop_old"}:
            raise InvalidArgument("overflow", f"must be 'raise', 'drop_new' or 'drop_old', got {self.overflow!r}")
        if self.on_restart not in {"keep", "discard"}:
            raise InvalidArgument("on_restart", f"must be 'keep' or 'discard', got {self.on_restart!r}")


class Mailbox(Generic[MessageT, ReplyT]):
    """Keep the requests for an actor, in the order they came, across its restarts.

    The queue only stores. The bound, and waiting for messages and for room, are the mailbox's own: a reader never holds
    an item that a cancellation could lose between the queue and its hands, and closing wakes everyone, on Python 3.11
    too.

    Attributes:
        on_dropped: Called with messages that nobody will handle: those nobody waited for, and why; or, with None, those
            whose senders have given up.
        orders: What the runtime wants of the actor's task between two messages, before any message.
        suspended: Whether messages have to wait; the control lane goes on.
        down: Whether nobody reads it until the next incarnation.
        loop: The loop of its actor; None before it was first opened.
        crashed_on: The types of the messages that were last left without an answer.
        drain_until: Until when, in the loop's time, what waits may be handled before a stop; None for not at all.
        handled: How many messages were taken up.
        skipped: How many were not, because whoever asked had given up.
        late: How many were still in work when the time of whoever asked was over.
    """

    def __init__(self, owner: Hashable, spec: MailboxSpec) -> None:
        """Make a closed mailbox.

        Args:
            owner: Names the actor in errors.
            spec: How much it holds.
        """
        self._owner = owner
        self._spec = spec
        self._queue: asyncio.Queue[Request[MessageT, ReplyT]] = asyncio.Queue()
        self._size = 0  # counted here, where asking the queue would cost more than all else
        self._control: deque[Request[MessageT, ReplyT]] | None = None  # made when needed, as most never need it
        self._writers: deque[asyncio.Future[None]] | None = None
        self._in_work: list[Request[MessageT, ReplyT]] = []
        self._reader: asyncio.Future[None] | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._turns = TURNS
        self._open = False
        self._accepts = False
        self.crashed_on: tuple[str, ...] = ()
        self.drain_until: float | None = None
        self.on_dropped: OnDropped = _ignore
        self.orders: list[Callable[[Any], None]] = []
        self.suspended = False
        self.down = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.handled = self.skipped = self.late = 0

    def __len__(self) -> int:
        """Return how many requests wait."""
        return self._size

    @property
    def is_open(self) -> bool:
        """Whether requests are accepted."""
        return self._accepts

    @property
    def has_room(self) -> bool:
        """Whether a request that is added now will wait in it, and nothing is refused or dropped for it."""
        return self._accepts and self._size < self._spec.maxsize

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
        if self._size >= self._spec.maxsize:
            self._overflow(request)
            return
        self._queue.put_nowait(request)
        self._size += 1
        if self._reader is not None:
            _wake(self._reader)

    async def put(self, request: Request[MessageT, ReplyT], sender_stops: "asyncio.Future[None] | None" = None) -> None:
        """Add a request as soon as there is room.

        Args:
            request: What to add.
            sender_stops: Done once its sender is to stop, if that is an actor which waits for no answer.

        Raises:
            ActorStopped: The mailbox closed meanwhile; or nobody reads it, and the sender is to stop.
        """
        stops = sender_stops or request.asker_stops
        while self._accepts and self._size >= self._spec.maxsize and self._spec.overflow == "raise":
            if self._is_in_vain(stops):
                break
            await self._room()
        if self._is_in_vain(stops):
            raise ActorStopped(self._owner)
        self.put_nowait(request)

    async def _room(self) -> None:
        """Wait until there is room, or none any more for good."""
        if self._writers is None:
            self._writers = deque()
        room = asyncio.get_running_loop().create_future()
        self._writers.append(room)
        try:
            await room
        except BaseException:
            self._give_up_room(room, self._writers)
            raise

    def put_control(self, request: Request[MessageT, ReplyT]) -> None:
        """Add a request that is read before all others and needs no room; ignored when the mailbox is closed."""
        if self._open:
            if self._control is None:
                self._control = deque()
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
        self._turns = 0
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

        What was taken before counts as done if it is answered; the rest was kept by the actor, to be answered later.
        """
        kept = [request for request in self._in_work if not request.answered]
        batch: list[Request[MessageT, ReplyT]] = []
        if self._turns > 0:
            self._turns -= 1
            if self._control:
                batch.append(self._control.popleft())
            elif not self.suspended:
                while len(batch) < limit and (request := self._take_waiting()) is not None:
                    batch.append(request)
        self.handled += len(batch)
        self._in_work = kept + batch if kept else batch
        return batch

    def take_one(self) -> Request[MessageT, ReplyT] | None:
        """Take up one request as `take` does, for an actor that keeps none; its predecessor is done."""
        if self._turns <= 0 or self._control or self.suspended:
            self._in_work = []
            return next(iter(self.take(1)), None)
        self._turns -= 1
        request = self._take_waiting()
        if request is None:
            self._in_work = []
        else:
            self._in_work = [request]
            self.handled += 1
        return request

    def _take_waiting(self) -> Request[MessageT, ReplyT] | None:
        queue = self._queue
        while self._size:
            request = queue.get_nowait()
            self._size -= 1
            if self._writers:
                self._make_room(self._writers)
            answer = request.answer
            if answer is None:
                return request
            if not answer.done():
                request.taken = True
                return request
            self.skipped += 1
            self.on_dropped([request], None)
        return None

    def fail_in_work(self, error: ActorError) -> None:
        """Answer all that was taken up and not answered yet with an error."""
        self.crashed_on = self.in_work or self.crashed_on
        for request in self._in_work:
            request.fail(error)
        self._in_work = []

    def carry_out_orders(self, actor: object | None) -> None:
        """Do what the runtime wants of the actor, or of nobody if there is none any more."""
        while self.orders:
            self.orders.pop(0)(actor)

    def suspend(self) -> None:
        """Let requests wait from now on; the control lane goes on."""
        self.suspended = True

    def resume(self) -> None:
        """Let requests be taken up again."""
        self.suspended = False
        self._wake_reader()

    def _has_work(self) -> bool:
        return bool(self._control or self.orders or (self._size and not self.suspended))

    def _make_room(self, writers: "deque[asyncio.Future[None]]") -> None:
        for _ in range(min(len(writers), self._spec.maxsize - self._size)):
            _wake(writers.popleft())

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
        self._turns = 0
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
        for _ in range(self._size):
            request = self._queue.get_nowait()
            if self._is_in_vain(request.asker_stops):
                self._size -= 1
                request.fail(ActorStopped(self._owner))
            else:
                self._queue.put_nowait(request)
        self._wake_writers()

    def _is_in_vain(self, sender_stops: "asyncio.Future[None] | None") -> bool:
        return self.down and sender_stops is not None and sender_stops.done()

    def open(self) -> None:
        """Accept requests; also forgets an earlier wish to stop."""
        self._open = self._accepts = True
        self.loop = asyncio.get_running_loop()
        self.down = False
        self._turns = TURNS
        self.drain_until = None
        self._stopping = None

    def discard(self) -> None:
        """Drop what waits, if the mailbox was made to do so at a restart."""
        if self._spec.on_restart == "discard":
            self._empty()
            if self._writers:
                self._make_room(self._writers)

    def close(self) -> None:
        """Refuse requests from now on and answer everyone who waits with `ActorStopped`."""
        self._open = self._accepts = False
        self._empty()
        error = ActorStopped(self._owner)
        while self._control:
            self._control.popleft().fail(error)
        self.carry_out_orders(None)
        self.suspended = False
        self.fail_in_work(error)
        self._wake_writers()
        self.on_dropped = _ignore  # whoever holds on to the address must not hold on to what ran behind it

    def _empty(self) -> None:
        waiting = [self._queue.get_nowait() for _ in range(self._size)]
        self._size = 0
        if waiting:
            self._drop(waiting, ActorStopped(self._owner))

    def _drop(self, requests: Sequence[Request[MessageT, ReplyT]], error: ActorError) -> None:
        """Answer those who wait; tell of the messages nobody waits for, which would be lost without a trace."""
        unanswered = [request for request in requests if not request.abandoned]
        for request in unanswered:
            request.fail(error)
        letters = [request for request in unanswered if not request.asked]
        if letters and self._spec.dead_letters:
            self.on_dropped(letters, error)

    def _wake_reader(self) -> None:
        if self._reader is not None:
            _wake(self._reader)

    def _wake_writers(self) -> None:
        while self._writers:
            _wake(self._writers.popleft())

    def _give_up_room(self, room: "asyncio.Future[None]", writers: "deque[asyncio.Future[None]]") -> None:
        """Hand the room on that a cancelled writer was just given, so that the next writer does not sleep on."""
        if room in writers:
            writers.remove(room)
        elif writers:
            _wake(writers.popleft())


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _ignore(_: Sequence[Request[Any, Any]], __: ActorError | None) -> None:
    """Let dropped messages go, where nobody owns the mailbox."""
