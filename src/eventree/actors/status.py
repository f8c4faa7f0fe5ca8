"""What an actor is doing, and what its supervisor knows about it."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import Enum
from traceback import TracebackException


class Status(Enum):
    """What the actor behind a reference is doing."""

    STOPPED = "stopped"
    """It was never started, or was stopped for good."""
    STARTING = "starting"
    """Its `init` is running."""
    RUNNING = "running"
    """It handles messages."""
    RESTARTING = "restarting"
    """It ended and its supervisor starts it again; messages wait in its mailbox."""
    STOPPING = "stopping"
    """It was asked to stop."""


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """Describe an actor at one moment.

    Attributes:
        id: Its name.
        status: What it is doing.
        incarnation: How often it was started.
        queued: How many messages wait.
        in_work: The types of the messages it works on.
        suspended: Whether messages wait until it is resumed.
        handled: How many messages it has taken up, over all its incarnations.
        skipped: How many it has not, because whoever asked had given up before.
        late: How many it was still working on when the time of whoever asked was over.
        state: The attributes of its instance, if they were asked for and it runs; a copy, with the actor's own values.
    """

    id: Hashable
    status: Status
    incarnation: int
    queued: int
    in_work: tuple[str, ...]
    suspended: bool
    handled: int = 0
    skipped: int = 0
    late: int = 0
    state: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """Describe a child of a running supervisor.

    Attributes:
        id: Its name among its siblings.
        status: What it is doing.
        incarnation: The number of its present start.
        restarts: How often its supervisor started it again, tries that failed included.
        last_crash: What it crashed with the last time, None if it never did; without the frames, which would keep the
            state of the actor that crashed.
    """

    id: Hashable
    status: Status
    incarnation: int
    restarts: int
    last_crash: TracebackException | None
