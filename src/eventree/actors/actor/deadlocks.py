"""Waits that would wait for themselves: an actor that wants something of its own supervisor."""

from collections.abc import Iterator
from typing import Never

from eventree.actors.actor.ref import ActorRef, current_actor
from eventree.actors.status import Status
from eventree.errors import WouldDeadlock

_REMEDY = "raise StopActor to end oneself, or let somebody outside of it do it"


def refuse_to_wait_for(stopped: ActorRef[Never, object] | None) -> None:
    """Raise `WouldDeadlock` if the actor that is to be stopped is the caller, or above it."""
    for caller, above in _caller_and_all_above():
        if above is stopped:
            raise WouldDeadlock(caller.id, above.id, _REMEDY)


def refuse_to_wait_in_start_below(supervisor: ActorRef[Never, object] | None) -> None:
    """Raise `WouldDeadlock` if the caller is in the start of a child of this supervisor, which starts one by one."""
    for caller, above in _caller_and_all_above():
        if supervisor is not None and above.parent is supervisor and above.status is Status.STARTING:
            raise WouldDeadlock(caller.id, supervisor.id, _REMEDY)


def _caller_and_all_above() -> Iterator[tuple[ActorRef[Never, object], ActorRef[Never, object]]]:
    caller = above = current_actor()
    while caller is not None and above is not None:
        yield caller, above
        above = above.parent
