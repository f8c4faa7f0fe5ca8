"""The address of an actor: what others hold to send it messages, valid across its restarts."""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, Generic, Never, TypeVar

from eventree.actors.actor.mailbox import Mailbox, MailboxSpec
from eventree.actors.actor.monitor import Monitor, Monitors
from eventree.actors.actor.request import Request
from eventree.actors.status import ActorInfo, Status
from eventree.errors import ActorError, ActorStopped, ActorTimeout, AskCycle, MailboxFull
from eventree.errors.arguments import check_positive

logger = logging.getLogger("eventree")

MessageT_contra = TypeVar("MessageT_contra", contravariant=True)
ReplyT_co = TypeVar("ReplyT_co", covariant=True)
T = TypeVar("T")


class ActorRef(Generic[MessageT_contra, ReplyT_co]):
    """Send messages to an actor, whichever incarnation of it is running.

    Messages of one sender arrive in order, one actor handles one at a time. What waits in the mailbox survives a
    restart; what was in work at a crash is answered with `ActorCrashed`; everything is answered when it stops.

    Attributes:
        id: Names the actor.
        incarnation: How often it was started; 0 before the first time.
        status: What it is doing.
        mailbox: For the runtime: what waits for it.
        monitors: For the runtime: who watches it.
        parent: For the runtime: its supervisor, None at the root.
        task: For the runtime: the task of its present incarnation.
        waits_for: For the runtime: the actor whose answer its task awaits.
        waits_on: For the runtime: the answers it awaits there.
    """

    def __init__(self, id: Hashable, *, mailbox: MailboxSpec | None = None) -> None:
        """Make the address of an actor that is not started yet.

        Args:
            id: Names the actor in errors and logs.
            mailbox: How many messages may wait, and what becomes of more; default 1,000, then `MailboxFull`.
        """
        self.id = id
        self.incarnation = 0
        self.status = Status.STOPPED
        self.mailbox: Mailbox[MessageT_contra, ReplyT_co] = Mailbox(id, mailbox or MailboxSpec())
        self.monitors = Monitors()
        self.parent: ActorRef[Never, object] | None = None
        self.task: asyncio.Task[object] | None = None
        self.waits_for: ActorRef[Never, object] | None = None
        self.waits_on: Sequence[asyncio.Future[Any]] = ()

    def __repr__(self) -> str:
        return f"<ActorRef {self.id!r} {self.status.value}, incarnation {self.incarnation}, {len(self.mailbox)} queued>"

    def tell(self, message: MessageT_contra) -> None:
        """Hand over a message without waiting for anything.

        Raises:
            ActorStopped: The actor is not running.
            MailboxFull: There is no room.
        """
        self.mailbox.put_nowait(Request(message))

    def tell_threadsafe(self, message: MessageT_contra) -> None:
        """Hand over a message from another thread; if it cannot be taken there is a log line.

        Raises:
            ActorStopped: The actor is not running.
        """
        loop = self.mailbox.loop
        if loop is None or not self.mailbox.is_open:
            raise ActorStopped(self.id)
        loop.call_soon_threadsafe(self._tell_or_log, message)

    def _tell_or_log(self, message: MessageT_contra) -> None:
        try:
            self.tell(message)
        except ActorError as error:
            logger.warning("a %s from another thread is lost: %s", type(message).__name__, error)

    async def send(self, message: MessageT_contra, *, timeout: float | None = None) -> None:
        """Hand over a message, waiting for room in the mailbox.

        Args:
            message: What to send.
            timeout: How long to wait for room, in seconds; default without limit.

        Raises:
            ActorStopped: The actor is not running, or stopped while we waited.
            MailboxFull: There was no room in time; at once for an actor that sends to itself.
        """
        if timeout is not None:
            check_positive("timeout", timeout)
        asker = current_actor()
        try:
            self.tell(message)
        except MailboxFull:
            if asker is self:
                raise
            await self._send(Request(message), asker, timeout)

    def ask_nowait(self, message: MessageT_contra) -> "asyncio.Future[ReplyT_co]":
        """Hand over a message and return the future that will hold its answer; without a timeout.

        Nothing looks for rings here: an actor that awaits its own answer waits until it is stopped.

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
            ActorStopped: The actor is not running; or it is being restarted while the actor that asks is to stop.
            AskCycle: It waits for an answer of the actor that asks.
            MailboxFull: There was no room in time.
        """
        check_positive("timeout", timeout)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[ReplyT_co] = loop.create_future()
        asker = current_actor()
        request = Request(message, answer, None if asker is None else self._await_as(asker, [answer]))
        deadline = loop.time() + timeout
        timer: asyncio.TimerHandle | None = None
        try:
            try:
                self.mailbox.put_nowait(request)
            except MailboxFull:
                await self._put(request, timeout)
            timer = loop.call_at(deadline, self._expire, (request,), operation, timeout)
            return await answer
        finally:
            if timer is not None:
                timer.cancel()
            if asker is not None:
                asker.waits_for = None

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

        Raises:
            AskCycle: The actor waits for an answer of the actor that asks; nothing was sent.
        """
        check_positive("timeout", timeout)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        asker = current_actor()
        requests: list[Request[MessageT_contra, ReplyT_co]] = []
        answers: list[asyncio.Future[ReplyT_co]] = []
        asker_stops = None if asker is None else self._await_as(asker, answers)
        timer = loop.call_at(deadline, self._expire, requests, operation or "ask_many", timeout)
        try:
            for message in messages:
                answers.append(loop.create_future())
                requests.append(Request(message, answers[-1], asker_stops))
                if loop.time() < deadline:
                    await self._put_or_fail(requests[-1], deadline)
                else:
                    requests[-1].fail(ActorTimeout(operation or "ask_many", timeout, "not_started"))
            return await asyncio.gather(*answers, return_exceptions=True)
        finally:
            timer.cancel()
            if asker is not None:
                asker.waits_for = None
            for answer in answers:
                answer.cancel()

    def monitor(self) -> Monitor:
        """Watch the actor: `async with ref.monitor() as sightings: async for sighting in sightings: ...`.

        Each restart is a `Restarted`; the last thing, at once if it does not run, is `Down`.
        """
        return Monitor(self.monitors)

    async def inspect(self, *, state: bool = False, timeout: float = 5.0) -> ActorInfo:
        """Return what the actor is doing, however much waits for it.

        Args:
            state: Whether to return the attributes of its instance too; waits until its present message is done.
            timeout: How long to wait for that, in seconds; default 5.

        Raises:
            ActorTimeout: The state could not be read in time.
        """
        found: Mapping[str, object] | None = None
        if state and self.mailbox.is_open:
            with suppress(ActorStopped):
                found = await self._order(_attributes, "inspect", timeout)
        mailbox = self.mailbox
        return ActorInfo(
            id=self.id,
            status=self.status,
            incarnation=self.incarnation,
            queued=len(mailbox),
            in_work=mailbox.in_work,
            suspended=mailbox.suspended,
            handled=mailbox.handled,
            skipped=mailbox.skipped,
            late=mailbox.late,
            state=found,
        )

    async def suspend(self, *, timeout: float = 5.0) -> None:
        """Let messages wait until `resume`; returns once the present one is done. It can still be stopped.

        Args:
            timeout: How long to wait for that, in seconds; default 5.

        Raises:
            ActorStopped: The actor is not running.
            ActorTimeout: It was not done in time, and goes on with what waits.
        """
        await self._order(lambda _: self.mailbox.suspend(), "suspend", timeout)

    def resume(self) -> None:
        """Let the actor handle messages again."""
        self.mailbox.resume()

    async def _order(self, order: "Callable[[Any], T]", operation: str, timeout: float) -> T:
        check_positive("timeout", timeout)
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def carry_out(actor: object | None) -> None:
            if actor is None and not done.done():
                done.set_exception(ActorStopped(self.id))
            if not done.done():
                done.set_result(order(actor))

        self.mailbox.order(carry_out)
        try:
            await asyncio.wait({done}, timeout=timeout)
        finally:
            done.cancel()  # who gave up has nothing carried out any more
        if done.cancelled():
            raise ActorTimeout(operation, timeout)
        return done.result()

    def _await_as(
        self, asker: "ActorRef[Never, object]", answers: "Sequence[asyncio.Future[Any]]"
    ) -> "asyncio.Future[None]":
        """Take note that an actor waits for this one; return what is done when that actor is to stop."""
        self._refuse_cycle(asker)
        stops = asker.mailbox.stop_wish
        if self.mailbox.down and stops.done():
            raise ActorStopped(self.id)
        asker.waits_for, asker.waits_on = self, answers
        return stops

    def _refuse_cycle(self, asker: "ActorRef[Never, object]") -> None:
        waiting: list[ActorRef[Never, object]] = [asker, self]
        while waiting[-1] is not asker:
            following = waiting[-1].waits_for
            is_answered = waiting[-1] is not asker and all(answer.done() for answer in waiting[-1].waits_on)
            if following is None or is_answered:  # it has its answer, though its task has had no turn since
                return
            waiting.append(following)
        raise AskCycle([each.id for each in waiting])

    def _expire(self, requests: "Sequence[Request[Any, Never]]", operation: str | None, seconds: float) -> None:
        for request in requests:
            if not request.answered:
                self.mailbox.late += request.taken
                name = operation or type(request.message).__name__
                request.fail(ActorTimeout(name, seconds, "unknown" if request.taken else "not_started"))

    async def _put_or_fail(self, request: "Request[MessageT_contra, ReplyT_co]", deadline: float) -> None:
        """Hand a request over or answer it with why that did not work."""
        try:
            if self.mailbox.down and request.asker_stops is not None and request.asker_stops.done():
                raise ActorStopped(self.id)
            try:
                self.mailbox.put_nowait(request)
            except MailboxFull:
                await self._put(request, max(deadline - asyncio.get_running_loop().time(), 0))
        except ActorError as error:
            request.fail(error)

    async def _send(
        self,
        request: Request[MessageT_contra, ReplyT_co],
        asker: "ActorRef[Never, object] | None",
        timeout: float | None,
    ) -> None:
        """Wait for room; an actor that does so is known to wait for this one."""
        if asker is None:
            await self._put(request, timeout)
            return
        sent = asyncio.get_running_loop().create_future()
        try:
            await self._put(request, timeout, self._await_as(asker, [sent]))
        finally:
            sent.cancel()
            asker.waits_for = None

    async def _put(
        self,
        request: Request[MessageT_contra, ReplyT_co],
        timeout: float | None,
        sender_stops: "asyncio.Future[None] | None" = None,
    ) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self.mailbox.put(request, sender_stops)
        except TimeoutError:
            raise MailboxFull(self.id, len(self.mailbox)) from None


CURRENT: Final[ContextVar["ActorRef[Never, object] | None"]] = ContextVar("CURRENT", default=None)
"""The actor in whose task, or in a task made by it, the code runs."""


def _attributes(actor: object) -> Mapping[str, object]:
    return dict(vars(actor))


def current_actor() -> "ActorRef[Never, object] | None":
    """Return the actor whose own task runs; None anywhere else, in tasks made by an actor too."""
    ref = CURRENT.get()
    return ref if ref is not None and ref.task is asyncio.current_task() else None
