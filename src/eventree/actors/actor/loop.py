"""The loop that every actor runs: init, receive, on_stop."""

import asyncio
import logging
import math
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from eventree.actors.actor.actor import Actor, ActorContext, Ignore, Reject, StopActor, refuse
from eventree.actors.actor.ref import CURRENT, ActorRef
from eventree.actors.actor.request import CARRIED, Request
from eventree.actors.exits import ExitKind, ExitReason, only
from eventree.actors.status import Status
from eventree.errors import ActorCrashed, ActorError, ActorStopped, HandlerTimeout, UnexpectedCancellation

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")

logger = logging.getLogger("eventree")

_KILLED = ExitReason(ExitKind.KILLED)


@dataclass(frozen=True, slots=True)
class Patience:
    """Say how long the end of an actor may take where nobody outside keeps the time, in seconds.

    Attributes:
        stop: For `on_stop`; `math.inf` for as long as it takes.
        kill: For `on_kill`, beside what the actor waits for itself.
    """

    stop: float
    kill: float


async def run_actor(
    actor: Actor[MessageT, ReplyT],
    ctx: ActorContext[MessageT, ReplyT],
    started: "asyncio.Future[None]",
    patience: Patience,
) -> ExitReason:
    """Run one incarnation of an actor to its end.

    Nothing ever leaves this coroutine but its result, so that a supervisor reads every end in one way, and neither
    SystemExit nor KeyboardInterrupt tears the event loop down from inside a child.

    Args:
        actor: A new one.
        ctx: What it is told about itself.
        started: Done when `init` has returned; cancelled by whoever will not wait for that any more.
        patience: How long its end may take.

    Returns:
        Why it ended.
    """
    CURRENT.set(ctx.ref)
    CARRIED.set(None)  # a task begins with what was there where it was made, and the actor outlives that
    ctx.ref.task = asyncio.current_task()
    try:
        await actor.init(ctx)
    except Ignore:
        return ExitReason(ExitKind.NORMAL)
    except asyncio.CancelledError:
        return await _killed(actor, ctx, patience) if _is_cancelled() else _crash(UnexpectedCancellation(ctx.ref.id))
    except BaseException as error:  # noqa: BLE001 - every end of a child is a result for its supervisor
        return _crash(error)
    if started.cancelled():
        await _until_cancelled()  # the start was given up while `init` would not end, and whoever did kills us
        return await _killed(actor, ctx, patience)
    ctx.ref.status = Status.RUNNING
    started.set_result(None)
    reason = await _end(actor, ctx, await _receive_until_the_end(actor, ctx), patience)
    if ctx.is_current:
        ctx.ref.mailbox.fail_in_work(_answer_after(ctx.ref, reason))
    return reason


async def _receive_until_the_end(actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT]) -> ExitReason:
    try:
        return await _receive(actor, ctx)
    except asyncio.CancelledError:
        return _KILLED if _is_cancelled() else _crash(UnexpectedCancellation(ctx.ref.id))
    except BaseException as error:  # noqa: BLE001 - every end of a child is a result for its supervisor
        return _crash(error)


async def _end(
    actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT], reason: ExitReason, patience: Patience
) -> ExitReason:
    """Let the actor clean up; what goes wrong with that is its end, unless it crashed before."""
    if reason.abnormal and ctx.is_current:
        ctx.ref.mailbox.fail_in_work(ActorCrashed(ctx.ref.id, reason.error))
    if reason.kind is ExitKind.KILLED:
        return await _killed(actor, ctx, patience)
    is_asked = ctx.ref.mailbox.stop_wish.done()  # whoever asked keeps the time
    failure = await _failure_of(actor.on_stop(reason), ctx, math.inf if is_asked else patience.stop)
    if failure is None:
        return reason
    killed = await _killed(actor, ctx, patience)
    if reason.error is None:
        return killed if failure.kind is ExitKind.KILLED else failure
    if failure.error is not None:
        logger.error("actor %r failed to clean up after its crash", ctx.ref.id, exc_info=failure.error)
    return reason


async def _killed(
    actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT], patience: Patience
) -> ExitReason:
    is_watched = ctx.ref.status in {Status.STOPPING, Status.STOPPED}  # whoever kills it keeps the time
    seconds = math.inf if is_watched else patience.kill + actor.kill_time
    failure = await _failure_of(actor.on_kill(), ctx, seconds)
    return _KILLED if failure is None else ExitReason(ExitKind.KILLED, failure.error)


async def _until_cancelled() -> None:
    """Wait for a cancellation that has not come yet, or let one strike here that is under way."""
    with suppress(asyncio.CancelledError):
        await (asyncio.sleep(0) if _is_cancelled() else asyncio.get_running_loop().create_future())


async def _failure_of(
    clean_up: Coroutine[Any, Any, None], ctx: ActorContext[MessageT, ReplyT], seconds: float
) -> ExitReason | None:
    """Run a hook within its time; return how it failed, None if it did not."""
    try:
        async with asyncio.timeout(None if seconds == math.inf else seconds):
            await clean_up
    except asyncio.CancelledError:
        return _KILLED if _is_cancelled() else _crash(UnexpectedCancellation(ctx.ref.id))
    except BaseException as error:  # noqa: BLE001 - every end of a child is a result for its supervisor
        return _crash(error)
    return None


async def _receive(actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT]) -> ExitReason:
    one_by_one = actor.max_batch == 1 and type(actor).receive_batch is Actor[Any, Any].receive_batch
    handle_waiting = _handle_each if one_by_one and ctx.handler_timeout is None else _handle_batches
    mailbox = ctx.ref.mailbox
    try:
        while True:
            await handle_waiting(actor, ctx)
            if not (ctx.is_current and await mailbox.wait()):
                break
            mailbox.carry_out_orders(actor)
    except StopActor as stop:
        return ExitReason(stop.kind)
    except BaseExceptionGroup as group:
        if (wish := only(group, StopActor)) is None:
            raise
        return ExitReason(wish.kind)
    return ExitReason(ExitKind.SHUTDOWN)


async def _handle_batches(actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT]) -> None:
    """Handle what waits until there is nothing more, or it is time to look around."""
    limit, seconds = actor.max_batch, ctx.handler_timeout
    while ctx.is_current and (batch := ctx.ref.mailbox.take(limit)):
        if seconds is None:
            await actor.receive_batch(batch, ctx)
        else:
            await _receive_in_time(actor, ctx, batch, seconds)


async def _handle_each(actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT]) -> None:
    """Do as `Actor.receive_batch` for one after the other, which saves a list and a coroutine for each."""
    ref, incarnation = ctx.ref, ctx.incarnation
    mailbox, receive = ref.mailbox, actor.receive
    while ref.incarnation == incarnation and (request := mailbox.take_one()) is not None:
        try:
            if request.carried is None:
                request.reply(await receive(request.message, ctx))
            else:
                with request.carrying():
                    request.reply(await receive(request.message, ctx))
        except (Reject, BaseExceptionGroup) as error:
            refuse(request, error)


async def _receive_in_time(
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
    """Tell whether somebody cancelled the actor, or it only awaited what somebody cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
