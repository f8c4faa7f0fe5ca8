"""The address of an actor: what others hold to send it messages, valid across its restarts."""

import asyncio
from collections.abc import Hashable, Iterable
from enum import Enum
from typing import Generic, Never, TypeVar

from eventree.actors.mailbox import Mailbox, Request
from eventree.errors import ActorError, ActorTimeout, MailboxFull
from eventree.errors.arguments import check_count, check_positive

MessageT_contra = TypeVar("MessageT_contra", contravariant=True)
ReplyT_co = TypeVar("ReplyT_co", covariant=True)


class Status(Enum):
    """What the actor behind a reference is doing."""

    STOPPED = "stopped"
    """It was never started, or was stopped for good."""
    STARTING = "starting"
    """Its `init` is running."""
    RUNNING = "running"
    """It handles messages."""
    RESTARTING = "restarting"
    """It ended and its supervisor starts it again; messages wait in its mailbox."""
    STOPPING = "stopping"
    """It was asked to stop."""


class ActorRef(Generic[MessageT_contra, ReplyT_co]):
    """Send messages to an actor, whichever incarnation of it is running.

    Messages of one sender arrive in order, one actor handles one at a time. What waits in the mailbox survives a
    restart; what was in work at a crash is answered with `ActorCrashed`; everything is answered when it stops.

    Attributes:
        id: Names the actor.
        incarnation: How often it was started; 0 before the first time.
        status: What it is doing.
    """

    def __init__(self, id: Hashable, *, mailbox_size: int = 1_000) -> None:
        """Make the address of an actor that is not started yet.

        Args:
            id: Names the actor in errors and logs.
            mailbox_size: How many messages wait at most; default 1,000.
        """
        check_count("mailbox_size", mailbox_size)
        self.id = id
        self.incarnation = 0
        self.status = Status.STOPPED
        self.mailbox: Mailbox[MessageT_contra, ReplyT_co] = Mailbox(id, mailbox_size)

    def __repr__(self) -> str:
        return f"<ActorRef {self.id!r} {self.status.value}, incarnation {self.incarnation}, {len(self.mailbox)} queued>"

    def tell(self, message: MessageT_contra) -> None:
        """Hand over a message without waiting for anything.

        Raises:
            ActorStopped: The actor is not running.
            MailboxFull: There is no room.
        """
        self.mailbox.put_nowait(Request(message))

    async def send(self, message: MessageT_contra, *, timeout: float | None = None) -> None:
        """Hand over a message, waiting for room in the mailbox.

        Args:
            message: What to send.
            timeout: How long to wait for room, in seconds; default without limit.

        Raises:
            ActorStopped: The actor is not running, or stopped while we waited.
            MailboxFull: There was no room in time.
        """
        if timeout is not None:
            check_positive("timeout", timeout)
        await self._put(Request(message), timeout)

    def ask_nowait(self, message: MessageT_contra) -> "asyncio.Future[ReplyT_co]":
        """Hand over a message and return the future that will hold its answer; without a timeout.

        Raises:
            ActorStopped: The actor is not running.
            MailboxFull: There is no room.
        """
        answer: asyncio.Future[ReplyT_co] = asyncio.get_running_loop().create_future()
        self.mailbox.put_nowait(Request(message, answer))
        return answer

    async def ask(self, message: MessageT_contra, *, timeout: float = 5.0, operation: str | None = None) -> ReplyT_co:
        """Send a message and wait for its answer.

        Args:
            message: What to send.
            timeout: How long to wait, for room and answer together, in seconds; default 5.
            operation: What to call it in an `ActorTimeout`; default the name of the message's class.

        Returns:
            What `receive` returned for it.

        Raises:
            ActorTimeout: No answer in time; its `outcome` says whether the message was taken up.
            ActorCrashed: The actor crashed while it worked on it.
            ActorStopped: The actor is not running.
            MailboxFull: There was no room in time.
        """
        check_positive("timeout", timeout)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[ReplyT_co] = loop.create_future()
        request = Request(message, answer)
        deadline = loop.time() + timeout
        try:
            self.mailbox.put_nowait(request)
        except MailboxFull:
            await self._put(request, timeout)
        timer = loop.call_at(deadline, _expire, request, operation or type(message).__name__, timeout)
        try:
            return await answer
        finally:
            timer.cancel()

    async def ask_many(
        self, messages: Iterable[MessageT_contra], *, timeout: float = 5.0, operation: str | None = None
    ) -> list[ReplyT_co | BaseException]:
        """Send messages and wait for all answers: cheaper than one `ask` each.

        Args:
            messages: What to send, in order.
            timeout: How long to wait for all of them together, in seconds; default 5.
            operation: As for `ask`.

        Returns:
            For each message its answer, or the error that `ask` would raise.
        """
        check_positive("timeout", timeout)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        requests: list[Request[MessageT_contra, ReplyT_co]] = []
        answers: list[asyncio.Future[ReplyT_co]] = []
        timer = loop.call_at(deadline, _expire_all, requests, operation or "ask_many", timeout)
        try:
            for message in messages:
                answers.append(loop.create_future())
                requests.append(Request(message, answers[-1]))
                if loop.time() < deadline:
                    await self._put_or_fail(requests[-1], deadline)
                else:
                    requests[-1].fail(ActorTimeout(operation or "ask_many", timeout, "not_started"))
            return await asyncio.gather(*answers, return_exceptions=True)
        finally:
            timer.cancel()
            for answer in answers:
                answer.cancel()

    async def _put_or_fail(self, request: "Request[MessageT_contra, ReplyT_co]", deadline: float) -> None:
        """Hand a request over or answer it with why that did not work."""
        try:
            try:
                self.mailbox.put_nowait(request)
            except MailboxFull:
                await self._put(request, max(deadline - asyncio.get_running_loop().time(), 0))
        except ActorError as error:
            request.fail(error)

    async def _put(self, request: Request[MessageT_contra, ReplyT_co], timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self.mailbox.put(request)
        except TimeoutError:
            raise MailboxFull(self.id, len(self.mailbox)) from None


def _expire_all(requests: "Iterable[Request[object, Never]]", operation: str, seconds: float) -> None:
    for request in requests:
        if not request.answered:
            _expire(request, operation, seconds)


def _expire(request: "Request[object, Never]", operation: str, seconds: float) -> None:
    request.fail(ActorTimeout(operation, seconds, "unknown" if request.taken else "not_started"))
