"""The messages of a query's actor."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ReadOn:
    """Read the log on, as it may have new events."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Answer once the query has reached a position.

    Attributes:
        position: The position.
        is_head: Whether it is the head of the log.
    """

    position: int
    is_head: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Deliver nothing until `Resume`."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Continue after a pause or a failure."""


@dataclass(frozen=True, slots=True)
class SkipCommit:
    """Skip the failing commit.

    Attributes:
        position: The position of its first event, as a check that this is the commit to skip.
    """

    position: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Start over and deliver everything again."""


@dataclass(frozen=True, slots=True)
class RetryParked:
    """Deliver parked commits again.

    Attributes:
        aggregate_id: Deliver only those of this aggregate; None for all.
    """

    aggregate_id: str | None


@dataclass(frozen=True, slots=True)
class DropParked:
    """Discard a parked commit for good.

    Attributes:
        position: The position of its first event.
    """

    position: int


Control: TypeAlias = Pause | Resume | SkipCommit | Reset | RetryParked | DropParked
QueryMessage: TypeAlias = ReadOn | CaughtUp | Control
READ_ON = ReadOn()
