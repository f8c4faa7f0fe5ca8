"""The loop that every actor runs: init, receive, on_stop."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, TypeVar

from eventree.actors.actor import Actor, ActorContext, Ignore, Reject, StopActor
from eventree.actors.exits import ExitKind, ExitReason
from eventree.actors.ref import CURRENT, ActorRef
from eventree.actors.request import Request
from eventree.actors.status import Status
from eventree.errors import ActorCrashed, ActorError, ActorStopped, HandlerTimeout, UnexpectedCancellation

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")


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
    CURRENT.set(ctx.ref)
    ctx.ref.task = asyncio.current_task()
    try:
        try:
            await actor.init(ctx)
        except Ignore:
            return ExitReason(ExitKind.NORMAL)
        if started.cancelled():
            raise asyncio.CancelledError  # noqa: TRY301 - the start was given up while `init` would not end
        ctx.ref.status = Status.RUNNING
        started.set_result(None)
        reason = await _receive_until_stopped(actor, ctx, patience)
        await actor.on_stop(reason)
    except asyncio.CancelledError:
        reason = await _killed(actor) if _is_cancelled() else _crash(UnexpectedCancellation(ctx.ref.id))
    except BaseException as error:  # noqa: BLE001 - every end of a child is a result for its supervisor
        reason = _crash(error)
    if ctx.is_current:
        ctx.ref.mailbox.fail_in_work(_answer_after(ctx.ref, reason))
    return reason


async def _receive_until_stopped(
    actor: Actor[MessageT, ReplyT], ctx: ActorContext[MessageT, ReplyT], patience: float
) -> ExitReason:
    try:
        return await _receive(actor, ctx)
    except asyncio.CancelledError:
        if _is_cancelled():
            raise
        crash: BaseException = UnexpectedCancellation(ctx.ref.id)
    except BaseException as error:  # noqa: BLE001 - raised again when the actor has cleaned up
        crash = error
    if ctx.is_current:
        ctx.ref.mailbox.fail_in_work(ActorCrashed(ctx.ref.id, crash))
    async with asyncio.timeout(None if patience == math.inf else patience):
        await actor.on_stop(_crash(crash))
    raise crash


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
            request.reply(await receive(request.message, ctx))
        except Reject as refusal:
            request.fail(refusal)


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


async def _killed(actor: Actor[MessageT, ReplyT]) -> ExitReason:
    try:
        await actor.on_kill()
    except asyncio.CancelledError:
        pass
    except BaseException as error:  # noqa: BLE001 - it is at its end, one way or another
        return ExitReason(ExitKind.KILLED, error)
    return ExitReason(ExitKind.KILLED)


def _answer_after(ref: ActorRef[MessageT, ReplyT], reason: ExitReason) -> ActorError:
    return ActorCrashed(ref.id, reason.error) if reason.abnormal else ActorStopped(ref.id)


def _crash(error: BaseException) -> ExitReason:
    return ExitReason(ExitKind.CRASH, error)


def _is_cancelled() -> bool:
    """Tell whether somebody cancelled the actor, or it only awaited what somebody cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
