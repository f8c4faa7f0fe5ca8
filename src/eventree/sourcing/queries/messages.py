"""What the actor of a query can be told."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ReadOn:
    """There may be new events."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Answer once the query has reached a position; `is_newest` tells that it is the newest of the store."""

    position: int
    is_newest: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Handle nothing until you are resumed."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on after a pause or a failure."""


@dataclass(frozen=True, slots=True)
class SkipCommit:
    """Leave out the commit that fails, if it begins at this position."""

    position: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Handle everything again."""


@dataclass(frozen=True, slots=True)
class RetryParked:
    """Try what is parked again, of one aggregate or of all."""

    aggregate_id: str | None


@dataclass(frozen=True, slots=True)
class DropParked:
    """Forget a parked commit for good."""

    position: int


Control: TypeAlias = Pause | Resume | SkipCommit | Reset | RetryParked | DropParked
QueryMessage: TypeAlias = ReadOn | CaughtUp | Control
READ_ON = ReadOn()
