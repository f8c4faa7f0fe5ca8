"""The mailbox of an actor: a bounded queue of requests, and a control queue, which outlive its incarnations."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from eventree.actors.actor.admission import Admission, BatchTimes
from eventree.actors.actor.request import Request
from eventree.errors import ActorError, ActorStopped, ActorTimeout, InvalidArgument, MailboxFull
from eventree.errors.root import check_count
from eventree.loops import Home

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")

OnDropped: TypeAlias = Callable[[Sequence[Request[Any, Any]], ActorError | None], None]

BATCHES_PER_TURN = 32
"""How many batches an actor may handle before it yields to other tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxSpec:
    """Define how many messages an actor's mailbox holds, and what happens when it is full.

    Attributes:
        maxsize: The maximum number of queued messages; default 1,000.
        overflow: What `tell` and `ask_nowait` do when the mailbox is full. `"raise"`, the default: raise `MailboxFull`.
            `"drop_new"`: drop the message. `"drop_old"`: drop the oldest one. The sender of a dropped message gets
            `MailboxFull` if it asked; otherwise the message is a dead letter. `send` and `ask` wait for room, but only
            with `"raise"`.
        on_restart: What happens to queued messages when the actor crashed. `"keep"`, the default, or `"discard"`:
            answer them with `ActorStopped`.
        dead_letters: Whether lost messages whose sender did not ask are reported; default True. Use False for messages
            that are only hints.
    """

    maxsize: int = 1_000
    overflow: Literal["raise", "drop_new", "drop_old"] = "raise"
    on_restart: Literal["keep", "discard"] = "keep"
    dead_letters: bool = True

    def __post_init__(self) -> None:
        """Validate the options."""
        check_count("maxsize", self.maxsize)
        if self.overflow not in {"raise", "drop_new", "drop_old"}:
            raise InvalidArgument("overflow", f"must be 'raise', 'drop_new' or 'drop_old', got {self.overflow!r}")
        if self.on_restart not in {"keep", "discard"}:
            raise InvalidArgument("on_restart", f"must be 'keep' or 'discard', got {self.on_restart!r}")


class Mailbox(Generic[MessageT, ReplyT]):
    """Queue the requests for an actor in the order of arrival, across its restarts.

    The `asyncio.Queue` only stores. The mailbox itself limits the size and waits for messages and for room: so a
    cancellation cannot lose an item between the queue and the reader, and closing wakes every waiter, on Python 3.11
    too.

    Attributes:
        busy_with: Returns what a message waits for right now, for the `ActorTimeout` of its sender; empty if unknown.
        batch_times: How long the actor takes for its batches; None, the default, to take up every request. Otherwise
            requests that would not be handled in time are refused instead of taken up.
        on_dropped: Called with messages that will not be handled: dead letters and the reason, or, with None, messages
            whose senders have stopped waiting.
        suspended: Whether messages have to wait; control messages are still handled.
        down: Whether the actor is between two incarnations, so that nothing is read.
        home: The event loop and the process in which the actor runs; None while it is closed.
        drain_until: Deadline, in loop time, for handling queued messages before a stop; None for not at all.
        handled: How many messages were taken up.
        skipped: How many messages were skipped because their senders had stopped waiting.
        late: How many messages were still in progress when the sender's timeout expired.
    """

    def __init__(self, owner: Hashable, spec: MailboxSpec) -> None:
        """Create a closed mailbox.

        Args:
            owner: The actor's id, for errors.
            spec: Its size and overflow policy.
        """
        self._owner = owner
        self._spec = spec
        self._queue: asyncio.Queue[Request[MessageT, ReplyT]] = asyncio.Queue()
        self._returned: deque[Request[MessageT, ReplyT]] = deque()  # before the queue
        self._aside: dict[str, dict[Request[MessageT, ReplyT], None]] = {}
        self._size = 0  # counted here, because `qsize` would cost more than everything else
        self._control: deque[Request[MessageT, ReplyT]] | None = None  # created on first use
        self._writers: deque[asyncio.Future[None]] | None = None
        self._in_progress: list[Request[MessageT, ReplyT]] = []
        self._reader: asyncio.Future[None] | None = None
        self._stop_requested: asyncio.Future[None] | None = None
        self._batches_left = BATCHES_PER_TURN
        self._open = False
        self._accepts = False
        self._crashed_on: tuple[str, ...] = ()
        self._calls: list[Callable[[Any], None]] = []
        self.drain_until: float | None = None
        self.busy_with: Callable[[MessageT], str] = _nothing
        self.batch_times: BatchTimes | None = None
        self.on_dropped: OnDropped = _ignore
        self.suspended = False
        self.down = False
        self.home: Home | None = None
        self.handled = self.skipped = self.late = 0

    def __len__(self) -> int:
        """Return the number of queued requests."""
        return self._size

    @property
    def maxsize(self) -> int:
        """The maximum number of queued requests."""
        return self._spec.maxsize

    @property
    def is_open(self) -> bool:
        """Whether requests are accepted."""
        return self._accepts

    @property
    def has_room(self) -> bool:
        """Whether a request can be added now without refusing or dropping any."""
        return self._accepts and self._size < self._spec.maxsize

    @property
    def in_progress(self) -> tuple[str, ...]:
        """The types of the messages that were taken up and are not answered yet, those set aside included."""
        return tuple(type(request.message).__name__ for request in (*self._in_progress, *chain(*self._aside.values())))

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
            request: The request to add.
            sender_stops: Done once the sender is to stop, for a sending actor that asks for no answer.

        Raises:
            ActorStopped: The mailbox was closed meanwhile; or its actor is between two incarnations and the sender is
                to stop.
        """
        stops = sender_stops or request.asker_stops
        while self._accepts and self._size >= self._spec.maxsize and self._spec.overflow == "raise":
            if self._would_block_stop(stops):
                break
            await self._wait_for_room()
        if self._would_block_stop(stops):
            raise ActorStopped(self._owner)
        self.put_nowait(request)

    async def _wait_for_room(self) -> None:
        """Wait until there is room or the mailbox is closed."""
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
        """Add a control request, which is handled before all others and needs no room; ignored if it is closed."""
        if self._open:
            if self._control is None:
                self._control = deque()
            self._control.append(request)
            self._wake_reader()

    def call_in_actor(self, call: Callable[[Any], None]) -> None:
        """Call a function with the actor, in its task, between two messages.

        Raises:
            ActorStopped: The mailbox is closed.
        """
        if not self._open:
            raise ActorStopped(self._owner)
        self._calls.append(call)
        self._batches_left = 0
        self._wake_reader()

    def _overflow(self, request: Request[MessageT, ReplyT]) -> None:
        error = MailboxFull(self._owner, self._spec.maxsize)
        if self._spec.overflow == "raise":
            raise error
        dropped = request
        if self._spec.overflow == "drop_old":
            dropped = self._next()
            self._queue.put_nowait(request)
        self._drop([dropped], error)

    # --- the reader

    async def wait(self) -> bool:
        """Wait for a request or a stop request; return False for a stop request, which takes precedence.

        Yields to other tasks even if nothing has to be waited for, so that an actor with a backlog does not block the
        event loop.
        """
        stop = self.stop_requested
        if self._has_work():
            await asyncio.sleep(0)
        while not (self._has_work() or (stop.done() and not self._drains())):
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._batches_left = BATCHES_PER_TURN
        return not stop.done() or (self.drain_until is not None and self._has_work())

    def take(self, limit: int) -> list[Request[MessageT, ReplyT]]:
        """Take up at most `limit` requests without waiting, skipping those whose senders have stopped waiting.

        Control requests come one at a time, before all others. Returns nothing when the reader must `wait` first: a
        stop or a call was requested, or other tasks must run.

        Earlier requests that are answered are finished; the others stay in progress, to be answered later.
        """
        kept = self._in_progress and [request for request in self._in_progress if not request.answered]
        batch: list[Request[MessageT, ReplyT]] = []
        if self._batches_left > 0:
            self._batches_left -= 1
            if self._control:
                batch.append(self._control.popleft())
            elif not self.suspended:
                self._take_into(batch, limit)
        self.handled += len(batch)
        self._in_progress = kept + batch if kept else batch
        return batch

    def _take_into(self, batch: list[Request[MessageT, ReplyT]], limit: int) -> None:
        times = self.batch_times
        admission = None if times is None else Admission(times, asyncio.get_running_loop().time(), limit, self._size)
        while len(batch) < limit and (request := self._take_waiting()) is not None:
            if admission is None:
                batch.append(request)
            elif admission.admits(request.deadline):
                batch.append(request)
                limit = admission.limit
            else:
                self._refuse(request)

    def _refuse(self, request: Request[MessageT, ReplyT]) -> None:
        request.taken = False
        request.fail(_timeout_of(request, "it would not have been handled in time, as too many wait"))
        self.skipped += 1
        self.on_dropped([request], None)

    def take_rest(self, limit: int) -> list[Request[MessageT, ReplyT]]:
        """Take up at most `limit` requests after a stop was requested, for an actor that handles them in `on_stop`."""
        batch: list[Request[MessageT, ReplyT]] = []
        while len(batch) < limit and (request := self._take_waiting()) is not None:
            batch.append(request)
        self.handled += len(batch)
        self._in_progress = batch
        return batch

    def take_one(self) -> Request[MessageT, ReplyT] | None:
        """Take up one request like `take`, for an actor that answers each request before the next."""
        if self._batches_left <= 0 or self._control or self.suspended:
            self._in_progress = []
            return next(iter(self.take(1)), None)
        self._batches_left -= 1
        request = self._take_waiting()
        if request is None:
            self._in_progress = []
        else:
            self._in_progress = [request]
            self.handled += 1
        return request

    def _take_waiting(self) -> Request[MessageT, ReplyT] | None:
        queue = self._queue
        while self._size:
            request = self._returned.popleft() if self._returned else queue.get_nowait()
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

    def set_aside(self, groups: Mapping[str, Sequence[Request[MessageT, ReplyT]]]) -> None:
        """Put requests that were taken up aside, as if they had not been, until their group is given back or resumed.

        A sender whose time is up meanwhile is told that nothing happened. A crash of the actor gives all groups back.
        """
        for key, requests in groups.items():
            group = self._aside.setdefault(key, {})
            for request in requests:
                request.taken = False
                group[request] = None
                if request.answer is not None:
                    request.answer.add_done_callback(partial(_forget, group, request))
        self._in_progress = [request for request in self._in_progress if request.taken or request.answer is None]

    def give_back(self, key: str) -> None:
        """Put a group of requests that were set aside before all that wait, in their order."""
        group = self._aside.pop(key, {})
        self._returned.extendleft(reversed(group))
        self._size += len(group)
        self._wake_reader()

    def resume_aside(self, key: str) -> list[Request[MessageT, ReplyT]]:
        """Take up a group of requests that were set aside again, to be answered now."""
        requests = [request for request in self._aside.pop(key, {}) if not request.abandoned]
        for request in requests:
            request.taken = request.asked
        self._in_progress = [*self._in_progress, *requests]
        return requests

    @property
    def aside(self) -> int:
        """How many requests are set aside."""
        return sum(map(len, self._aside.values()))

    def fail_in_progress(self, error: ActorError) -> None:
        """Answer every request that was taken up and not answered yet with an error; give back what was set aside."""
        failed = tuple(type(request.message).__name__ for request in self._in_progress)
        self._crashed_on = failed or self._crashed_on
        for request in self._in_progress:
            request.fail(error)
        self._in_progress = []
        self._give_all_back()

    def expire(self, requests: Sequence[Request[Any, Any]]) -> None:
        """Answer requests whose senders' time is up, unless they are answered already."""
        for request in requests:
            if not request.answered:
                self.late += request.taken
                request.fail(_timeout_of(request, self.busy_with(request.message)))

    def take_crashed_on(self) -> tuple[str, ...]:
        """Return the types of the messages that the last crash left unanswered, and forget them."""
        messages, self._crashed_on = self._crashed_on, ()
        return messages

    def run_calls(self, actor: object | None) -> None:
        """Run the functions passed to `call_in_actor`, with None if the actor no longer exists."""
        while self._calls:
            self._calls.pop(0)(actor)

    def suspend(self) -> None:
        """Stop taking up requests; control requests are still handled."""
        self.suspended = True

    def resume(self) -> None:
        """Take up requests again."""
        self.suspended = False
        self._wake_reader()

    def _has_work(self) -> bool:
        return bool(self._control or self._calls or (self._size and not self.suspended))

    def _give_all_back(self) -> None:
        for key in reversed(list(self._aside)):
            self.give_back(key)

    def _drains(self) -> bool:
        """Whether what was set aside is to be handled before a stop."""
        return self.drain_until is not None and bool(self._aside)

    def _next(self) -> Request[MessageT, ReplyT]:
        return self._returned.popleft() if self._returned else self._queue.get_nowait()

    def _make_room(self, writers: "deque[asyncio.Future[None]]") -> None:
        for _ in range(min(len(writers), self._spec.maxsize - self._size)):
            _wake(writers.popleft())

    # --- the supervisor

    @property
    def stop_requested(self) -> "asyncio.Future[None]":
        """Done once the actor has been asked to stop."""
        if self._stop_requested is None:
            self._stop_requested = asyncio.get_running_loop().create_future()
        return self._stop_requested

    def request_stop(self, *, drain_until: float | None = None) -> None:
        """Ask the reader to stop before the next request or, with a deadline, after the requests queued now."""
        self.drain_until = drain_until
        self._accepts = self._open and drain_until is None
        self._batches_left = 0
        self._wake_writers()
        if not self.stop_requested.done():
            self.stop_requested.set_result(None)
        self._wake_reader()

    def go_down(self) -> None:
        """Record that nothing is read until the next incarnation."""
        self.down = True
        self.fail_stopping_senders()

    def fail_stopping_senders(self) -> None:
        """Between two incarnations, refuse the requests of actors that have been asked to stop.

        A supervisor stops a whole group before it starts any of it again, so an actor that is asked to stop while it
        waits for the next incarnation of a sibling would block its own restart.
        """
        if not self.down:
            return
        for _ in range(self._size):
            request = self._next()
            if self._would_block_stop(request.asker_stops):
                self._size -= 1
                request.fail(ActorStopped(self._owner))
            else:
                self._queue.put_nowait(request)
        self._wake_writers()

    def _would_block_stop(self, sender_stops: "asyncio.Future[None] | None") -> bool:
        return self.down and sender_stops is not None and sender_stops.done()

    def open(self) -> None:
        """Accept requests and forget an earlier stop request."""
        self._open = self._accepts = True
        self.home = Home()
        self.down = False
        self._batches_left = BATCHES_PER_TURN
        self.drain_until = None
        self._stop_requested = None

    def discard(self) -> None:
        """Drop the queued requests at a restart if `on_restart` is `"discard"`."""
        if self._spec.on_restart == "discard":
            self._empty()
            if self._writers:
                self._make_room(self._writers)

    def close(self) -> None:
        """Refuse requests from now on and answer all pending ones with `ActorStopped`."""
        self._open = self._accepts = False
        self.home = None
        self._give_all_back()
        self._empty()
        error = ActorStopped(self._owner)
        while self._control:
            self._control.popleft().fail(error)
        self.run_calls(None)
        self.suspended = False
        self.fail_in_progress(error)
        self._wake_writers()
        self.on_dropped = _ignore  # a reference held elsewhere must not keep the supervisor alive

    def _empty(self) -> None:
        waiting = [self._next() for _ in range(self._size)]
        self._size = 0
        if waiting:
            self._drop(waiting, ActorStopped(self._owner))

    def _drop(self, requests: Sequence[Request[MessageT, ReplyT]], error: ActorError) -> None:
        """Answer the senders that asked; report the other messages, which would otherwise be lost silently."""
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
        """Pass the room that a cancelled writer was just given on to the next writer."""
        if room in writers:
            writers.remove(room)
        elif writers:
            _wake(writers.popleft())


def _timeout_of(request: Request[Any, Any], detail: str) -> ActorTimeout:
    name, seconds = type(request.message).__name__, 0.0
    if request.deadline is not None:
        name, seconds = request.deadline.operation or name, request.deadline.seconds
    return ActorTimeout(name, seconds, "unknown" if request.taken else "not_started", detail=detail)


def _forget(group: dict[Request[Any, Any], None], request: Request[Any, Any], _: object) -> None:
    """Forget a request that was set aside and whose sender does not wait any more."""
    group.pop(request, None)


def _nothing(_: object) -> str:
    return ""


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _ignore(_: Sequence[Request[Any, Any]], __: ActorError | None) -> None:
    """Ignore dropped messages of a mailbox without an owner."""
