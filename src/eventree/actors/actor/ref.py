"""References to actors, to send messages to; they stay valid across restarts."""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, Generic, Never, TypeVar

from eventree.actors.actor.mailbox import Mailbox, MailboxSpec
from eventree.actors.actor.monitor import Monitor, Monitors
from eventree.actors.actor.request import Deadline, Request
from eventree.actors.status import ActorInfo, Status
from eventree.errors import ActorError, ActorStopped, ActorTimeout, AskCycle, MailboxFull
from eventree.errors.root import check_positive

logger = logging.getLogger("eventree")

MessageT_contra = TypeVar("MessageT_contra", contravariant=True)
ReplyT_co = TypeVar("ReplyT_co", covariant=True)
T = TypeVar("T")


class ActorRef(Generic[MessageT_contra, ReplyT_co]):
    """Send messages to an actor, across its restarts.

    Messages from one sender arrive in order, and the actor handles one at a time. Queued messages survive a restart.
    A message in progress at a crash is answered with `ActorCrashed`; when the actor stops, every pending message is
    answered with `ActorStopped`.

    Attributes:
        id: The actor's id.
        incarnation: How often it was started; 0 before the first start.
        status: Its status.
        mailbox: For the runtime: its mailbox.
        monitors: For the runtime: its monitors.
        parent: For the runtime: its supervisor, None at the root.
        task: For the runtime: the task of its current incarnation.
        is_ending: For the runtime: whether that task handles no more messages and cleans up before it exits.
        waits_for: For the runtime: the actor whose answer its task awaits.
        waits_on: For the runtime: the answers it awaits from that actor.
    """

    def __init__(self, id: Hashable, *, mailbox: MailboxSpec | None = None) -> None:
        """Create a reference to an actor that is not started yet.

        Args:
            id: The actor's id in errors and logs.
            mailbox: The size and overflow policy of its mailbox; default 1,000 messages, then `MailboxFull`.
        """
        self.id = id
        self.incarnation = 0
        self.status = Status.STOPPED
        self.mailbox: Mailbox[MessageT_contra, ReplyT_co] = Mailbox(id, mailbox or MailboxSpec())
        self.monitors = Monitors()
        self.parent: ActorRef[Never, object] | None = None
        self.task: asyncio.Task[object] | None = None
        self.is_ending = False
        self.waits_for: ActorRef[Never, object] | None = None
        self.waits_on: Sequence[asyncio.Future[Any]] = ()

    def __repr__(self) -> str:
        return f"<ActorRef {self.id!r} {self.status.value}, incarnation {self.incarnation}, {len(self.mailbox)} queued>"

    def tell(self, message: MessageT_contra) -> None:
        """Send a message without waiting.

        Raises:
            ActorStopped: The actor is not running.
            MailboxFull: The mailbox is full.
            WrongEventLoop: The caller runs in another event loop than the actor; nothing was sent.
        """
        self.check_loop()
        self.mailbox.put_nowait(Request(message))

    def tell_threadsafe(self, message: MessageT_contra) -> None:
        """Send a message from another thread; if it is refused later, that is logged.

        Raises:
            ActorStopped: The actor is not running.
            WrongEventLoop: It runs in the process that this one was forked from.
        """
        home = self.mailbox.home
        if home is None or not self.mailbox.is_open:
            raise ActorStopped(self.id)
        home.check_process(self)
        home.loop.call_soon_threadsafe(self._tell_or_log, message)

    def _tell_or_log(self, message: MessageT_contra) -> None:
        try:
            self.tell(message)
        except ActorError as error:
            logger.warning("lost a %s sent from another thread: %s", type(message).__name__, error)

    async def send(self, message: MessageT_contra, *, timeout: float | None = None) -> None:
        """Send a message, waiting for room in the mailbox.

        Args:
            message: The message to send.
            timeout: How long to wait for room, in seconds; default unlimited.

        Raises:
            ActorStopped: The actor is not running, or stopped during the wait.
            MailboxFull: There was no room in time; raised at once for an actor that sends to itself.
            WrongEventLoop: The caller runs in another event loop than the actor; nothing was sent.
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
        """Send a message and return the future of its answer, without a timeout.

        Cycles are not detected here: an actor that awaits its own answer waits until it is stopped.

        Raises:
            ActorStopped: The actor is not running.
            MailboxFull: The mailbox is full.
            WrongEventLoop: The caller runs in another event loop than the actor; nothing was sent.
        """
        answer: asyncio.Future[ReplyT_co] = self._own_loop().create_future()
        self.mailbox.put_nowait(Request(message, answer))
        return answer

    async def ask(self, message: MessageT_contra, *, timeout: float = 5.0, operation: str | None = None) -> ReplyT_co:
        """Send a message and wait for its answer.

        Args:
            message: The message to send.
            timeout: How long to wait, for room and answer together, in seconds; default 5.
            operation: The name for an `ActorTimeout`; default the name of the message's class.

        Returns:
            The return value of `receive`.

        Raises:
            ActorTimeout: No answer in time; its `outcome` says whether the message was taken up.
            ActorCrashed: The actor crashed while handling it.
            ActorStopped: The actor is not running; or it is being restarted and the asking actor has to stop.
            AskCycle: The actor waits for an answer from the asking actor.
            MailboxFull: There was no room in time.
            WrongEventLoop: The caller runs in another event loop than the actor; nothing was sent.
        """
        check_positive("timeout", timeout)
        loop = self._own_loop()
        answer: asyncio.Future[ReplyT_co] = loop.create_future()
        asker = current_actor()
        stops = None if asker is None else self._await_as(asker, [answer])
        deadline = Deadline(operation, timeout, loop.time() + timeout)
        request = Request(message, answer, stops, deadline=deadline)
        timer: asyncio.TimerHandle | None = None
        try:
            try:
                self.mailbox.put_nowait(request)
            except MailboxFull:
                await self._put(request, timeout)
            timer = loop.call_at(deadline.at, self.mailbox.expire, (request,))
            return await answer
        finally:
            if timer is not None:
                timer.cancel()
            if asker is not None:
                asker.waits_for = None

    async def ask_many(
        self, messages: Iterable[MessageT_contra], *, timeout: float = 5.0, operation: str | None = None
    ) -> list[ReplyT_co | BaseException]:
        """Send messages and wait for all answers; cheaper than one `ask` each.

        Args:
            messages: The messages to send, in order.
            timeout: How long to wait for all of them together, in seconds; default 5.
            operation: As for `ask`.

        Returns:
            For each message its answer, or the error that `ask` would raise.

        Raises:
            AskCycle: The actor waits for an answer from the asking actor; nothing was sent.
            WrongEventLoop: The caller runs in another event loop than the actor; nothing was sent.
        """
        check_positive("timeout", timeout)
        loop = self._own_loop()
        deadline = Deadline(operation or "ask_many", timeout, loop.time() + timeout)
        asker = current_actor()
        requests: list[Request[MessageT_contra, ReplyT_co]] = []
        answers: list[asyncio.Future[ReplyT_co]] = []
        asker_stops = None if asker is None else self._await_as(asker, answers)
        timer = loop.call_at(deadline.at, self.mailbox.expire, requests)
        try:
            for message in messages:
                answers.append(loop.create_future())
                requests.append(Request(message, answers[-1], asker_stops, deadline=deadline))
                if loop.time() < deadline.at:
                    await self._put_or_fail(requests[-1], deadline.at)
                else:
                    self.mailbox.expire(requests[-1:])
            return await asyncio.gather(*answers, return_exceptions=True)
        finally:
            timer.cancel()
            if asker is not None:
                asker.waits_for = None
            for answer in answers:
                answer.cancel()

    def monitor(self) -> Monitor:
        """Monitor the actor: `async with ref.monitor() as events: async for event in events: ...`.

        Each restart is a `Restarted`; the last event, immediate if the actor does not run, is `Down`.
        """
        return Monitor(self.monitors, self.check_loop)

    async def inspect(self, *, state: bool = False, timeout: float = 5.0) -> ActorInfo:
        """Describe the actor, without waiting for its queued messages.

        Args:
            state: Whether to include the attributes of its instance; waits until the current message is handled.
            timeout: How long to wait for the state, in seconds; default 5.

        Raises:
            ActorTimeout: The state could not be read in time.
            WrongEventLoop: The caller runs in another event loop than the actor.
        """
        self.check_loop()
        found: Mapping[str, object] | None = None
        if state and self.mailbox.is_open:
            with suppress(ActorStopped):
                found = await self._call_in_actor(_attributes, "inspect", timeout)
        mailbox = self.mailbox
        return ActorInfo(
            id=self.id,
            status=self.status,
            incarnation=self.incarnation,
            queued=len(mailbox),
            in_progress=mailbox.in_progress,
            suspended=mailbox.suspended,
            handled=mailbox.handled,
            skipped=mailbox.skipped,
            late=mailbox.late,
            state=found,
        )

    async def suspend(self, *, timeout: float = 5.0) -> None:
        """Handle no messages until `resume`; returns once the current one is handled. It can still be stopped.

        Args:
            timeout: How long to wait for the current message, in seconds; default 5.

        Raises:
            ActorStopped: The actor is not running.
            ActorTimeout: The current message took longer; the actor is not suspended.
            WrongEventLoop: The caller runs in another event loop than the actor.
        """
        self.check_loop()
        await self._call_in_actor(lambda _: self.mailbox.suspend(), "suspend", timeout)

    def resume(self) -> None:
        """Handle messages again.

        Raises:
            WrongEventLoop: The caller runs in another event loop than the actor.
        """
        self.check_loop()
        self.mailbox.resume()

    def check_loop(self) -> None:
        """Raise `WrongEventLoop` if the actor runs in another event loop or process than the caller."""
        home = self.mailbox.home
        if home is not None:
            home.check(self)

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        """Return the running event loop, which has to be the actor's, if the actor runs."""
        home = self.mailbox.home
        if home is None:
            return asyncio.get_running_loop()
        home.check(self)
        return home.loop

    async def _call_in_actor(self, function: "Callable[[Any], T]", operation: str, timeout: float) -> T:
        check_positive("timeout", timeout)
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def call(actor: object | None) -> None:
            if actor is None and not done.done():
                done.set_exception(ActorStopped(self.id))
            if not done.done():
                done.set_result(function(actor))

        self.mailbox.call_in_actor(call)
        try:
            await asyncio.wait({done}, timeout=timeout)
        finally:
            done.cancel()  # after a timeout the function must not be called any more
        if done.cancelled():
            raise ActorTimeout(operation, timeout)
        return done.result()

    def _await_as(
        self, asker: "ActorRef[Never, object]", answers: "Sequence[asyncio.Future[Any]]"
    ) -> "asyncio.Future[None]":
        """Record that an actor waits for this one; return the future that is done once that actor is to stop."""
        self._refuse_cycle(asker)
        stops = asker.mailbox.stop_requested
        if self.mailbox.down and stops.done():
            raise ActorStopped(self.id)
        asker.waits_for, asker.waits_on = self, answers
        return stops

    def _refuse_cycle(self, asker: "ActorRef[Never, object]") -> None:
        waiting: list[ActorRef[Never, object]] = [asker, self]
        while waiting[-1] is not asker:
            following = waiting[-1].waits_for
            is_answered = waiting[-1] is not asker and all(answer.done() for answer in waiting[-1].waits_on)
            if following is None or is_answered:  # answered means that only its task has not run since
                return
            waiting.append(following)
        raise AskCycle([each.id for each in waiting])

    async def _put_or_fail(self, request: "Request[MessageT_contra, ReplyT_co]", deadline: float) -> None:
        """Send a request, or answer it with the error."""
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
        """Wait for room; a sending actor is recorded as waiting for this one."""
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
"""The actor whose task, or a task created by it, is running."""


def _attributes(actor: object) -> Mapping[str, object]:
    return dict(vars(actor))


def current_actor() -> "ActorRef[Never, object] | None":
    """Return the actor whose own task is running; None elsewhere, even in tasks created by an actor."""
    ref = CURRENT.get()
    return ref if ref is not None and ref.task is asyncio.current_task() else None
