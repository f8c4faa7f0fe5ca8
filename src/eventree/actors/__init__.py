"""The actor runtime: knows nothing of events."""

from eventree.actors.actor.actor import Actor, ActorContext, Ignore, Reject, StopActor
from eventree.actors.actor.mailbox import MailboxSpec
from eventree.actors.actor.monitor import Down, Monitor, MonitorEvent, Restarted
from eventree.actors.actor.ref import ActorRef
from eventree.actors.actor.request import Request
from eventree.actors.events import (
    AskAbandoned,
    ChildAbandoned,
    ChildEnded,
    ChildStarted,
    DeadLetter,
    SupervisorEvent,
    SupervisorGaveUp,
    report_restarts,
)
from eventree.actors.exits import ExitKind, ExitReason
from eventree.actors.status import ActorInfo, ChildInfo, Status
from eventree.actors.supervision.diagram import ChildCounts
from eventree.actors.supervision.dynamic import DynamicSupervisor
from eventree.actors.supervision.options import AutoShutdown, Restart, Strategy
from eventree.actors.supervision.run import run
from eventree.actors.supervision.spec import BRUTAL_KILL, ChildSpec
from eventree.actors.supervision.supervisor import Supervisor

__all__ = [
    "BRUTAL_KILL",
    "Actor",
    "ActorContext",
    "ActorInfo",
    "ActorRef",
    "AskAbandoned",
    "AutoShutdown",
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
    "MonitorEvent",
    "Reject",
    "Request",
    "Restart",
    "Restarted",
    "Status",
    "StopActor",
    "Strategy",
    "Supervisor",
    "SupervisorEvent",
    "SupervisorGaveUp",
    "report_restarts",
    "run",
]
