"""What a supervisor is told: by its callers, and by its own children and jobs."""

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
    """Return a child, added or started if need be."""

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
    """A child ended by itself.

    Attributes:
        child: Which one.
        reason: How.
        is_known: Whether it was reported already, when a restart of its group was due that did not take place.
    """

    child: AnyChild
    reason: ExitReason
    is_known: bool = False


@dataclass(frozen=True, slots=True)
class RestartFailed:
    """A child could not be started again. It comes back as a message, so that others come between (OTP-9549)."""

    child: AnyChild
    error: ChildStartError


@dataclass(frozen=True, slots=True)
class JobFailed:
    """A job raised what it never should: the supervisor crashes with it."""

    error: BaseException


CallerOrder: TypeAlias = StartChild | GetOrStart | TerminateChild | RestartChild
SupervisorMessage: TypeAlias = CallerOrder | ChildExited | RestartFailed | JobFailed
