"""What an actor is, and the loop that every actor runs: init, receive, on_stop."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from eventree.actors.mailbox import Request
from eventree.actors.policy import ExitKind, ExitReason
from eventree.actors.ref import ActorRef, Status
from eventree.errors import ActorCrashed, ActorError, ActorStopped

MessageT_contra = TypeVar("MessageT_contra", contravariant=True)
ReplyT_co = TypeVar("ReplyT_co", covariant=True)
MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


class StopActor(Exception):
    """Raise it in `receive` to end the actor normally; a message in work is answered with `ActorStopped`."""


@dataclass(frozen=True, slots=True)
class ActorContext(Generic[MessageT_contra, ReplyT_co]):
    """What an actor knows about itself.

    Attributes:
        ref: Its own address.
        incarnation: The number of this start, from 1.
    """

    ref: ActorRef[MessageT_contra, ReplyT_co]
    incarnation: int

    @property
    def is_current(self) -> bool:
        """Whether no newer incarnation took over from this one, left behind because it would not end."""
        return self.incarnation == self.ref.incarnation


class Actor(Generic[MessageT_contra, ReplyT_co]):
    """Handle messages one at a time, in a task of its own, under a supervisor.

    Subclass it and override `receive`. State lives in the instance; a restart makes a new instance, so a crash leaves
    nothing behind. An actor that wants all that is waiting sets `max_batch` and overrides `receive_batch`.
    """

    default_shutdown: float = 5.0
    """Seconds it may take to stop where its `ChildSpec` says nothing (OTP's default for a worker)."""

    max_batch: int = 1
    """How many requests `receive_batch` gets at most."""

    async def init(self, ctx: ActorContext[MessageT_contra, ReplyT_co]) -> None:
        """Prepare to receive; runs in the actor's task before the first message.

        The actor counts as started once this returns, and whoever starts it waits for that. If it raises, the start
        has failed.
        """

    async def receive(self, message: MessageT_contra, ctx: ActorContext[MessageT_contra, ReplyT_co]) -> ReplyT_co:
        """Handle one message and return the answer for whoever asked.

        An exception crashes the actor: whoever asked gets `ActorCrashed` and the supervisor decides about a restart.
        """
        raise NotImplementedError(f"{type(self).__name__} must override receive or receive_batch")

    async def receive_batch(
        self, requests: Sequence[Request[MessageT_contra, ReplyT_co]], ctx: ActorContext[MessageT_contra, ReplyT_co]
    ) -> None:
        """Handle the requests that wait, at most `max_batch`, and answer each with its `reply` or `fail`.

        A request may also be kept and answered later. What is not answered at a crash, the loop answers.
        """
        for request in requests:
            request.reply(await self.receive(request.message, ctx))

    async def on_stop(self, reason: ExitReason) -> None:
        """Clean up after the last message; runs in the actor's task, within its `shutdown` time.

        It also runs after a crash, with the same limit, but not when the task was cancelled. An exception here is a
        crash.
        """

    async def on_kill(self) -> None:
        """Let go of what must not outlive the actor; runs in the actor's task when that was cancelled.

        There is about a second for it; a further cancellation cuts it short.
        """


async def run_actor(
    actor: Actor[MessageT, ReplyT],
    ctx: ActorContext[MessageT, ReplyT],
    started: "asyncio.Future[None]",
    patience: float,
) -> ExitReason:
    """Run one incarnation of an actor to its end.

    Nothing ever leaves this coroutine but its result, so that a supervisor reads every end in one way, and neither
    SystemExit nor KeyboardInterrupt tears the event loop down from inside a child.

    Args:
        actor: A new one.
        ctx: What it is told about itself.
        started: Done when `init` has returned; cancelled by whoever will not wait for that any more.
        patience: How long `on_stop` may take after a crash, in seconds; a stop has its own limit outside.

    Returns:
        Why it ended.
    """
    try:
        await actor.init(ctx)
        if started.cancelled():
            raise asyncio.CancelledError  # noqa: TRY301 - the start was given up while `init` would not end
        ctx.ref.status = Status.RUNNING
        started.set_result(None)
        reason = await _receive_until_stopped(actor, ctx, patience)
        await actor.on_stop(reason)
    except asyncio.CancelledError:
        reason = await _killed(actor)
    except BaseException as error:  # noqa: BLE001 - every end of a child is a result for its supervisor
        reason = ExitReason(ExitKind.CRASH, error)
    if ctx.is_current:
        ctx.ref.mailbox.fail_in_work(_answer_after(ctx.ref, reason))
    return reason


async def _receive_until_stopped(
    actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT], patience: float
) -> ExitReason:
    mailbox = ctx.ref.mailbox
    limit = actor.max_batch
    try:
        while ctx.is_current and await mailbox.wait():
            if batch := mailbox.take(limit):
                await actor.receive_batch(batch, ctx)
                mailbox.settle()
    except StopActor:
        return ExitReason(ExitKind.NORMAL)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        reason = ExitReason(ExitKind.CRASH, error)
        if ctx.is_current:
            mailbox.fail_in_work(_answer_after(ctx.ref, reason))
        async with asyncio.timeout(None if patience == math.inf else patience):
            await actor.on_stop(reason)
        raise
    return ExitReason(ExitKind.SHUTDOWN)


async def _killed(actor: Actor[MessageT, ReplyT]) -> ExitReason:
    try:
        await actor.on_kill()
    except BaseException as error:  # noqa: BLE001 - it is at its end, one way or another
        return ExitReason(ExitKind.KILLED, error)
    return ExitReason(ExitKind.KILLED)


def _answer_after(ref: ActorRef[MessageT, ReplyT], reason: ExitReason) -> ActorError:
    return ActorCrashed(ref.id, reason.error) if reason.abnormal else ActorStopped(ref.id)
