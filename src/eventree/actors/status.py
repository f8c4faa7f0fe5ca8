"""Descriptions of running actors and children."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import Enum
from traceback import TracebackException


class Status(Enum):
    """Describe the state of the actor behind a reference."""

    STOPPED = "stopped"
    """It was never started, or was stopped for good."""
    STARTING = "starting"
    """Its `init` is running."""
    RUNNING = "running"
    """It handles messages."""
    RESTARTING = "restarting"
    """It exited and its supervisor restarts it; messages wait in its mailbox."""
    STOPPING = "stopping"
    """It was asked to stop."""


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """Describe an actor at one moment.

    Attributes:
        id: Its id.
        status: Its status.
        incarnation: How often it was started.
        queued: The number of messages in its mailbox.
        in_progress: The types of the messages it is handling.
        suspended: Whether it handles no messages until it is resumed.
        handled: How many messages it has taken up, over all its incarnations.
        skipped: How many messages it skipped because their senders had stopped waiting.
        late: How many messages it was still handling when the sender's timeout expired.
        state: The attributes of its instance, if requested and running; a shallow copy.
    """

    id: Hashable
    status: Status
    incarnation: int
    queued: int
    in_progress: tuple[str, ...]
    suspended: bool
    handled: int = 0
    skipped: int = 0
    late: int = 0
    state: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """Describe a child of a running supervisor.

    Attributes:
        id: Its id among its siblings.
        status: Its status.
        incarnation: The number of its current start.
        restarts: How often its supervisor restarted it, failed attempts included.
        last_crash: Its last crash, None if it never crashed; without the stack frames, which would keep the state of
            the crashed actor alive.
    """

    id: Hashable
    status: Status
    incarnation: int
    restarts: int
    last_crash: TracebackException | None
