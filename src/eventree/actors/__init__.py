"""The actor runtime: actors, their addresses and their supervisors. It knows nothing of events."""

from eventree.actors.actor import Actor, ActorContext, StopActor
from eventree.actors.child import ChildInfo
from eventree.actors.dynamic import DynamicSupervisor
from eventree.actors.mailbox import Request
from eventree.actors.policy import Backoff, ExitKind, ExitReason, Restart, Strategy
from eventree.actors.ref import ActorRef, Status
from eventree.actors.spec import BRUTAL_KILL, ChildSpec
from eventree.actors.supervisor import Supervisor

__all__ = [
    "BRUTAL_KILL",
    "Actor",
    "ActorContext",
    "ActorRef",
    "Backoff",
    "ChildInfo",
    "ChildSpec",
    "DynamicSupervisor",
    "ExitKind",
    "ExitReason",
    "Request",
    "Restart",
    "Status",
    "StopActor",
    "Strategy",
    "Supervisor",
]
