"""A bounded `asyncio.Queue` of requests with a control lane; it outlives the actor that reads it."""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from eventree.errors import ActorError, ActorStopped, MailboxFull

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")
MessageT_co = TypeVar("MessageT_co", covariant=True)
ReplyT_contra = TypeVar("ReplyT_contra", contravariant=True)


class Request(Generic[MessageT_co, ReplyT_contra]):
    """Carry one message to an actor and, if the sender asked, its answer back.

    Attributes:
        message: What was sent.
        taken: Whether an actor has taken it up.
    """

    __slots__ = ("_answer", "message", "taken")

    def __init__(self, message: MessageT_co, answer: "asyncio.Future[ReplyT_contra] | None" = None) -> None:
        """Wrap a message; without a future nobody waits for an answer."""
        self.message = message
        self.taken = False
        self._answer = answer

    def reply(self, value: ReplyT_contra) -> None:
        """Answer the sender; does nothing where nobody waits (any more)."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Answer the sender with an error; does nothing where nobody waits (any more)."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    @property
    def answered(self) -> bool:
        """Whether nobody waits for an answer: it was given, the sender gave up, or never asked for one."""
        return self._answer is None or self._answer.done()

    @property
    def abandoned(self) -> bool:
        """Whether the sender asked and then gave up waiting, or has its answer."""
        return self._answer is not None and self._answer.done()


class Mailbox(Generic[MessageT, ReplyT]):
    """Keep the requests for an actor, in the order they came, across its restarts.

    The queue only stores. Waiting for messages and for room are the mailbox's own: a reader never holds an item that
    a cancellation could lose between the queue and its hands, and closing wakes everyone, on Python 3.11 too.
    """

    def __init__(self, owner: Hashable, maxsize: int) -> None:
        """Make a closed mailbox.

        Args:
            owner: Names the actor in errors.
            maxsize: How many requests it holds at most.
        """
        self._owner = owner
        self._queue: asyncio.Queue[Request[MessageT, ReplyT]] = asyncio.Queue(maxsize)
        self._control: deque[Request[MessageT, ReplyT]] = deque()
        self._in_work: list[Request[MessageT, ReplyT]] = []
        self._reader: asyncio.Future[None] | None = None
        self._writers: deque[asyncio.Future[None]] = deque()
        self._stopping: asyncio.Future[None] | None = None
        self._open = False

    def __len__(self) -> int:
        """Return how many requests wait."""
        return self._queue.qsize()

    @property
    def is_open(self) -> bool:
        """Whether requests are accepted."""
        return self._open

    def put_nowait(self, request: Request[MessageT, ReplyT]) -> None:
        """Add a request.

        Raises:
            ActorStopped: The mailbox is closed.
            MailboxFull: There is no room.
        """
        if not self._open:
            raise ActorStopped(self._owner)
        try:
            self._queue.put_nowait(request)
        except asyncio.QueueFull:
            raise MailboxFull(self._owner, self._queue.maxsize) from None
        self._wake_reader()

    async def put(self, request: Request[MessageT, ReplyT]) -> None:
        """Add a request as soon as there is room; raises `ActorStopped` when the mailbox closes meanwhile."""
        while self._open and self._queue.full():
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

    async def wait(self) -> bool:
        """Wait for a request or for the wish to stop; return False for the wish, which comes first.

        Gives way to other tasks even when there is no need to wait: an actor with a backlog must not keep the loop.
        """
        if self._control or self._queue.qsize():
            await asyncio.sleep(0)
        while not (self._control or self._queue.qsize() or self.stop_wish.done()):
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return not self.stop_wish.done()

    def take(self, limit: int) -> list[Request[MessageT, ReplyT]]:
        """Take up at most `limit` requests, leaving out those whose senders gave up; never waits.

        Control requests come one at a time, before all others.
        """
        batch: list[Request[MessageT, ReplyT]] = []
        if self._control:
            batch.append(self._control.popleft())
        else:
            queue = self._queue
            while len(batch) < limit and queue.qsize():
                request = queue.get_nowait()
                if not request.abandoned:
                    request.taken = True
                    batch.append(request)
        self._in_work.extend(batch)
        for _ in range(min(len(self._writers), self._queue.maxsize - self._queue.qsize())):
            _wake(self._writers.popleft())
        return batch

    def settle(self) -> None:
        """Forget the requests that are answered; what is left was kept by the actor, to be answered later."""
        self._in_work = [request for request in self._in_work if not request.answered]

    def fail_in_work(self, error: ActorError) -> None:
        """Answer all that was taken up and not answered yet with an error."""
        for request in self._in_work:
            request.fail(error)
        self._in_work.clear()

    @property
    def stop_wish(self) -> "asyncio.Future[None]":
        """Done once the actor was asked to stop."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_future()
        return self._stopping

    def ask_to_stop(self) -> None:
        """Let the reader know that it is to stop before the next request."""
        if not self.stop_wish.done():
            self.stop_wish.set_result(None)
        self._wake_reader()

    def open(self) -> None:
        """Accept requests; also forgets an earlier wish to stop."""
        self._open = True
        self._stopping = None

    def close(self) -> None:
        """Refuse requests from now on and answer everyone who waits with `ActorStopped`."""
        self._open = False
        error = ActorStopped(self._owner)
        while self._queue.qsize():
            self._queue.get_nowait().fail(error)
        while self._control:
            self._control.popleft().fail(error)
        self.fail_in_work(error)
        while self._writers:
            _wake(self._writers.popleft())

    def _wake_reader(self) -> None:
        if self._reader is not None:
            _wake(self._reader)

    def _give_up_room(self, room: "asyncio.Future[None]") -> None:
        """Hand the room on that a cancelled writer was just given, so that the next writer does not sleep on."""
        if room in self._writers:
            self._writers.remove(room)
        elif self._writers:
            _wake(self._writers.popleft())


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
