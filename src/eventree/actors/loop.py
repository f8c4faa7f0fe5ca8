"""The loop that every actor runs: init, receive, on_stop."""

import asyncio
import math
from typing import TypeVar

from eventree.actors.actor import Actor, ActorContext, Ignore, StopActor
from eventree.actors.exits import ExitKind, ExitReason
from eventree.actors.ref import CURRENT, ActorRef
from eventree.actors.status import Status
from eventree.errors import ActorCrashed, ActorError, ActorStopped, UnexpectedCancellation

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
    mailbox = ctx.ref.mailbox
    limit = actor.max_batch
    try:
        while ctx.is_current:
            if batch := mailbox.take(limit):
                await actor.receive_batch(batch, ctx)
                mailbox.settle()
                continue
            if not await mailbox.wait():
                break
            while mailbox.orders:
                mailbox.orders.popleft()(actor)
    except StopActor as stop:
        return ExitReason(stop.kind)
    return ExitReason(ExitKind.SHUTDOWN)


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
