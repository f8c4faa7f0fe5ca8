"""The events of a supervision tree, as values for metrics, tests and alerts."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeAlias

from eventree.actors.exits import ExitReason
from eventree.instrumentation import ActorRestart, Instrumentation
from eventree.instrumentation.guard import GuardedInstrumentation


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """A child has started.

    Attributes:
        supervisor: The name of its supervisor.
        child: Its id.
        incarnation: The number of this start.
    """

    supervisor: str
    child: Hashable
    incarnation: int


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """A child exited without being asked to, or could not be restarted.

    Attributes:
        supervisor: The name of its supervisor.
        child: Its id.
        incarnation: The incarnation that exited.
        reason: Why it exited.
        restarting: Whether its restart was due; `SupervisorGaveUp` follows if it was one too many.
    """

    supervisor: str
    child: Hashable
    incarnation: int
    reason: ExitReason
    restarting: bool


@dataclass(frozen=True, slots=True)
class ChildAbandoned:
    """A child's task ignored its cancellation and was abandoned; it has no more access to its mailbox.

    Attributes:
        supervisor: The name of its supervisor.
        child: The id of the child.
        incarnation: The incarnation that was abandoned.
    """

    supervisor: str
    child: Hashable
    incarnation: int


@dataclass(frozen=True, slots=True)
class SupervisorGaveUp:
    """A supervisor exceeded its restart intensity.

    Attributes:
        supervisor: Its name.
        error: The error it raises, with the crashes that led to it.
    """

    supervisor: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message sent without asking for an answer was dropped: its actor stopped, or its mailbox overflowed.

    Attributes:
        supervisor: The name of the actor's supervisor.
        actor: The id of the actor.
        message_type: The name of the message's class.
        reason: Why it was dropped.
    """

    supervisor: str
    actor: Hashable
    message_type: str
    reason: str


@dataclass(frozen=True, slots=True)
class AskAbandoned:
    """A message was skipped because its sender stopped waiting before the actor took it up.

    Attributes:
        supervisor: The name of the actor's supervisor.
        actor: The id of the actor.
        message_type: The name of the message's class.
    """

    supervisor: str
    actor: Hashable
    message_type: str


SupervisorEvent: TypeAlias = ChildStarted | ChildEnded | ChildAbandoned | SupervisorGaveUp | DeadLetter | AskAbandoned


def report_restarts(instrumentation: Instrumentation) -> Callable[[SupervisorEvent], None]:
    """Return a function that reports restarts to an instrumentation, to be used as the `on_event` of a supervisor.

    It reports the restarts in the whole tree below. An `EventSourcing` with an instrumentation reports its own tree.
    """
    guarded = GuardedInstrumentation.of(instrumentation)

    def report(event: SupervisorEvent) -> None:
        if isinstance(event, ChildEnded) and event.restarting:
            guarded.restart(ActorRestart(event.supervisor, event.child, event.incarnation, event.reason.error))

    return report
