"""Detect calls that would wait for themselves, as when an actor waits for its own supervisor."""

from collections.abc import Iterator
from typing import Never

from eventree.actors.actor.ref import ActorRef, current_actor
from eventree.actors.status import Status
from eventree.errors import WouldDeadlock

_REMEDY = "raise StopActor to stop the actor itself, or make the call from outside that subtree"


def refuse_to_wait_for(stopped: ActorRef[Never, object] | None) -> None:
    """Raise `WouldDeadlock` if the actor to be stopped is the caller, or an ancestor of it."""
    for caller, ancestor in _caller_and_ancestors():
        if ancestor is stopped:
            raise WouldDeadlock(caller.id, ancestor.id, _REMEDY)


def refuse_to_wait_in_start_below(supervisor: ActorRef[Never, object] | None) -> None:
    """Raise `WouldDeadlock` if the caller is part of a child that this supervisor is starting, one at a time."""
    for caller, ancestor in _caller_and_ancestors():
        if supervisor is not None and ancestor.parent is supervisor and ancestor.status is Status.STARTING:
            raise WouldDeadlock(caller.id, supervisor.id, _REMEDY)


def _caller_and_ancestors() -> Iterator[tuple[ActorRef[Never, object], ActorRef[Never, object]]]:
    """Yield the calling actor together with itself and each of its ancestors."""
    caller = ancestor = current_actor()
    while caller is not None and ancestor is not None:
        yield caller, ancestor
        ancestor = ancestor.parent
