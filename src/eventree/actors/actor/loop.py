"""The loop of every actor: init, receive, on_stop."""

import asyncio
import logging
import math
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from eventree.actors.actor.actor import Actor, ActorContext, Ignore, Reject, StopActor, reject_or_raise
from eventree.actors.actor.ref import CURRENT, ActorRef
from eventree.actors.actor.request import Request
from eventree.actors.exits import ExitKind, ExitReason, sole_error
from eventree.actors.status import Status
from eventree.errors import ActorCrashed, ActorError, ActorStopped, HandlerTimeout, UnexpectedCancellation
from eventree.errors.showing import loggable
from eventree.instrumentation.context import CARRIED

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")

logger = logging.getLogger("eventree")

_KILLED = ExitReason(ExitKind.KILLED)


@dataclass(frozen=True, slots=True)
class StopTimeouts:
    """Limit the clean-up of an actor that exits without a supervisor timing it, in seconds.

    Attributes:
        stop: The limit for `on_stop`; `math.inf` for none.
        kill: The limit for `on_kill`, in addition to the actor's own `kill_time`.
    """

    stop: float
    kill: float


async def run_actor(
    actor: Actor[MessageT, ReplyT],
    ctx: ActorContext[MessageT, ReplyT],
    started: "asyncio.Future[None]",
    timeouts: StopTimeouts,
) -> ExitReason:
    """Run one incarnation of an actor until it exits.

    This coroutine never raises, so that a supervisor reads every exit in the same way, and neither SystemExit nor
    KeyboardInterrupt stops the event loop from inside a child.

    Args:
        actor: A new actor.
        ctx: Its context.
        started: Done when `init` has returned; cancelled by the supervisor when the start timed out.
        timeouts: Limits of the clean-up.

    Returns:
        Why it exited.
    """
    CURRENT.set(ctx.ref)
    CARRIED.set(None)  # a task inherits the context of its creator, which the actor outlives
    ctx.ref.task = asyncio.current_task()
    try:
        await actor.init(ctx)
    except Ignore:
        return ExitReason(ExitKind.NORMAL)
    except asyncio.CancelledError:
        return await _killed(actor, ctx, timeouts) if _is_cancelled() else _crash(UnexpectedCancellation(ctx.ref.id))
    except BaseException as error:  # noqa: BLE001 - every exit of a child is a result for its supervisor
        return _crash(error)
    if started.cancelled():
        await _until_cancelled()  # the start timed out; the supervisor cancels this task
        return await _killed(actor, ctx, timeouts)
    ctx.ref.status = Status.RUNNING
    started.set_result(None)
    reason = await _clean_up(actor, ctx, await _receive_until_exit(actor, ctx), timeouts)
    if ctx.is_current:
        ctx.ref.mailbox.fail_in_progress(_answer_after(ctx.ref, reason))
    return reason


async def _receive_until_exit(actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT]) -> ExitReason:
    one_by_one = actor.max_batch == 1 and type(actor).receive_batch is Actor[Any, Any].receive_batch
    receive = _receive_each if one_by_one and ctx.handler_timeout is None else _receive_batches
    try:
        await receive(actor, ctx)
    except StopActor as stop:
        return ExitReason(stop.kind)
    except BaseExceptionGroup as group:
        stop_actor = sole_error(group, StopActor)
        return _crash(group) if stop_actor is None else ExitReason(stop_actor.kind)
    except asyncio.CancelledError:
        return _KILLED if _is_cancelled() else _crash(UnexpectedCancellation(ctx.ref.id))
    except BaseException as error:  # noqa: BLE001 - every exit of a child is a result for its supervisor
        return _crash(error)
    return ExitReason(ExitKind.SHUTDOWN)


async def _receive_batches(actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT]) -> None:
    """Handle batches until the actor is asked to stop, or this incarnation is no longer the live one."""
    mailbox, limit, seconds = ctx.ref.mailbox, actor.max_batch, ctx.handler_timeout
    while ctx.is_current:
        if batch := mailbox.take(limit):
            if seconds is None:
                await actor.receive_batch(batch, ctx)
            else:
                await _receive_with_timeout(actor, ctx, batch, seconds)
        elif await mailbox.wait():
            mailbox.run_calls(actor)
        else:
            return


async def _receive_each(actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT]) -> None:
    """Do the same as `Actor.receive_batch`, without creating a list and a coroutine for each message."""
    ref, incarnation = ctx.ref, ctx.incarnation
    mailbox, receive = ref.mailbox, actor.receive
    while ref.incarnation == incarnation and ref.task is not None:
        request = mailbox.take_one()
        if request is None:
            if not await mailbox.wait():
                return
            mailbox.run_calls(actor)
            continue
        try:
            if request.carried is None:
                request.reply(await receive(request.message, ctx))
            else:
                with request.propagate():
                    request.reply(await receive(request.message, ctx))
        except (Reject, BaseExceptionGroup) as error:
            reject_or_raise(request, error)


async def _clean_up(
    actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT], reason: ExitReason, timeouts: StopTimeouts
) -> ExitReason:
    """Run the actor's clean-up; its failure becomes the exit reason, unless the actor has crashed before."""
    if ctx.is_current:
        ctx.ref.is_ending = True
        if reason.abnormal:
            ctx.ref.mailbox.fail_in_progress(ActorCrashed(ctx.ref.id, reason.error))
    if reason.kind is ExitKind.KILLED:
        return await _killed(actor, ctx, timeouts)
    is_timed = ctx.ref.mailbox.stop_requested.done()  # by the supervisor that requested the stop
    failure = await _failure_of(actor.on_stop(reason), ctx, math.inf if is_timed else timeouts.stop)
    if failure is None:
        return reason
    killed = await _killed(actor, ctx, timeouts)
    if reason.error is None:
        return killed if failure.kind is ExitKind.KILLED else failure
    if failure.error is not None:
        logger.error("actor %r failed to clean up after its crash", ctx.ref.id, exc_info=loggable(failure.error))
    return reason


async def _killed(
    actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT], timeouts: StopTimeouts
) -> ExitReason:
    is_timed = ctx.ref.status in {Status.STOPPING, Status.STOPPED}  # by the supervisor that kills it
    seconds = math.inf if is_timed else timeouts.kill + actor.kill_time
    failure = await _failure_of(actor.on_kill(), ctx, seconds)
    return _KILLED if failure is None else ExitReason(ExitKind.KILLED, failure.error)


async def _until_cancelled() -> None:
    """Wait for a cancellation that has not arrived yet, or receive one that is pending."""
    with suppress(asyncio.CancelledError):
        await (asyncio.sleep(0) if _is_cancelled() else asyncio.get_running_loop().create_future())


async def _failure_of(
    clean_up: Coroutine[Any, Any, None], ctx: ActorContext[MessageT, ReplyT], seconds: float
) -> ExitReason | None:
    """Run a clean-up hook within its time limit; return how it failed, None if it succeeded."""
    try:
        async with asyncio.timeout(None if seconds == math.inf else seconds):
            await clean_up
    except asyncio.CancelledError:
        return _KILLED if _is_cancelled() else _crash(UnexpectedCancellation(ctx.ref.id))
    except BaseException as error:  # noqa: BLE001 - every exit of a child is a result for its supervisor
        return _crash(error)
    return None


async def _receive_with_timeout(
    actor: Actor[MessageT, ReplyT],
    ctx: ActorContext[MessageT, ReplyT],
    batch: Sequence[Request[MessageT, ReplyT]],
    seconds: float,
) -> None:
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            await actor.receive_batch(batch, ctx)
    except TimeoutError:
        if scope.expired():
            raise HandlerTimeout(ctx.ref.id, seconds) from None
        raise


def _answer_after(ref: ActorRef[MessageT, ReplyT], reason: ExitReason) -> ActorError:
    return ActorCrashed(ref.id, reason.error) if reason.abnormal else ActorStopped(ref.id)


def _crash(error: BaseException) -> ExitReason:
    return ExitReason(ExitKind.CRASH, error)


def _is_cancelled() -> bool:
    """Return whether the actor's own task was cancelled, not just something that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
