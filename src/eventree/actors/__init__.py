"""The actor runtime: knows nothing of events."""

from eventree.actors.actor import Actor, ActorContext, Ignore, Reject, StopActor
from eventree.actors.dynamic import DynamicSupervisor
from eventree.actors.events import (
    AskAbandoned,
    ChildAbandoned,
    ChildEnded,
    ChildStarted,
    DeadLetter,
    SupervisorEvent,
    SupervisorGaveUp,
)
from eventree.actors.exits import ExitKind, ExitReason
from eventree.actors.mailbox_spec import MailboxSpec
from eventree.actors.monitor import Down, Monitor, Restarted, Sighting
from eventree.actors.policy import AutoShutdown, Backoff, Restart, Strategy
from eventree.actors.ref import ActorRef
from eventree.actors.request import Request
from eventree.actors.run import run
from eventree.actors.spec import BRUTAL_KILL, ChildSpec
from eventree.actors.status import ActorInfo, ChildInfo, Status
from eventree.actors.supervisor import Supervisor
from eventree.actors.tree import ChildCounts

__all__ = [
    "BRUTAL_KILL",
    "Actor",
    "ActorContext",
    "ActorInfo",
    "ActorRef",
    "AskAbandoned",
    "AutoShutdown",
    "Backoff",
    "ChildAbandoned",
    "ChildCounts",
    "ChildEnded",
    "ChildInfo",
    "ChildSpec",
    "ChildStarted",
    "DeadLetter",
    "Down",
    "DynamicSupervisor",
    "ExitKind",
    "ExitReason",
    "Ignore",
    "MailboxSpec",
    "Monitor",
    "Reject",
    "Request",
    "Restart",
    "Restarted",
    "Sighting",
    "Status",
    "StopActor",
    "Strategy",
    "Supervisor",
    "SupervisorEvent",
    "SupervisorGaveUp",
    "run",
]
