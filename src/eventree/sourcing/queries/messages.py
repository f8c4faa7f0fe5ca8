"""The messages of a query's actor."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ReadOn:
    """Look for new events."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Answer once the query has reached a position; `is_newest` says that it is the newest position of the store."""

    position: int
    is_newest: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Deliver nothing until `Resume`."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Continue after a pause or a failure."""


@dataclass(frozen=True, slots=True)
class SkipCommit:
    """Skip the failing commit, if it begins at this position."""

    position: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Start over and deliver everything again."""


@dataclass(frozen=True, slots=True)
class RetryParked:
    """Deliver parked commits again, of one aggregate or of all."""

    aggregate_id: str | None


@dataclass(frozen=True, slots=True)
class DropParked:
    """Discard a parked commit for good."""

    position: int


Control: TypeAlias = Pause | Resume | SkipCommit | Reset | RetryParked | DropParked
QueryMessage: TypeAlias = ReadOn | CaughtUp | Control
READ_ON = ReadOn()
