"""What happens in a tree, as values: for metrics, tests and alarms."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias

from eventree.actors.exits import ExitReason


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """A child runs.

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
    """A child ended by itself, or could not be started again.

    Attributes:
        supervisor: The name of its supervisor.
        child: Its id.
        incarnation: The number of the start that ended.
        reason: Why it ended.
        restarting: Whether it is started again.
    """

    supervisor: str
    child: Hashable
    incarnation: int
    reason: ExitReason
    restarting: bool


@dataclass(frozen=True, slots=True)
class ChildAbandoned:
    """A task did not end although it was cancelled, and is left behind; it can do no more with its mailbox.

    Attributes:
        supervisor: The name of its supervisor.
        child: The id of the child it was.
        incarnation: The number of its start.
    """

    supervisor: str
    child: Hashable
    incarnation: int


@dataclass(frozen=True, slots=True)
class SupervisorGaveUp:
    """More children crashed than a supervisor allows.

    Attributes:
        supervisor: Its name.
        error: What it raises, with the crashes that led here.
    """

    supervisor: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nobody waited for was dropped: its actor stopped, or had no room and drops by choice.

    Attributes:
        supervisor: The name of the supervisor of the actor.
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
    """A message was skipped, since whoever asked had given up before the actor came to it.

    Attributes:
        supervisor: The name of the supervisor of the actor.
        actor: The id of the actor.
        message_type: The name of the message's class.
    """

    supervisor: str
    actor: Hashable
    message_type: str


SupervisorEvent: TypeAlias = ChildStarted | ChildEnded | ChildAbandoned | SupervisorGaveUp | DeadLetter | AskAbandoned
