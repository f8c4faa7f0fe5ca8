"""The messages a supervisor receives: calls from its users, notifications from its children and operations."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Never, TypeAlias

from eventree.actors.exits import ExitReason
from eventree.actors.supervision.child import Child
from eventree.actors.supervision.spec import ChildSpec
from eventree.errors import ChildStartError

AnyChild: TypeAlias = Child[Any, Any]
AnySpec: TypeAlias = ChildSpec[Never, object]


@dataclass(frozen=True, slots=True)
class StartChild:
    """Add a child and start it."""

    spec: AnySpec


@dataclass(frozen=True, slots=True)
class GetOrStart:
    """Return a child; add and start it if necessary."""

    spec: AnySpec


@dataclass(frozen=True, slots=True)
class TerminateChild:
    """Stop a child and keep its spec."""

    id: Hashable


@dataclass(frozen=True, slots=True)
class RestartChild:
    """Start a stopped child again."""

    id: Hashable


@dataclass(frozen=True, slots=True)
class ChildExited:
    """A child exited without being asked to.

    Attributes:
        child: The child.
        reason: Why it exited.
        is_reported: Whether the exit was already logged and emitted, when it was deferred to a group restart.
    """

    child: AnyChild
    reason: ExitReason
    is_reported: bool = False


@dataclass(frozen=True, slots=True)
class RestartFailed:
    """A restart failed. It is retried by way of a message, so that other messages are handled between (OTP-9549)."""

    child: AnyChild
    error: ChildStartError


@dataclass(frozen=True, slots=True)
class OperationFailed:
    """An operation raised an unexpected error; the supervisor crashes with it."""

    error: BaseException


SupervisorCall: TypeAlias = StartChild | GetOrStart | TerminateChild | RestartChild
SupervisorMessage: TypeAlias = SupervisorCall | ChildExited | RestartFailed | OperationFailed
