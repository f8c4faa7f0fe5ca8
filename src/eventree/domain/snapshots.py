"""Snapshots: the state of an aggregate at one sequence, so that a load need not replay what came before."""

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from eventree.errors.arguments import check_count
from eventree.values import subscriptable

StateT_co = TypeVar("StateT_co", covariant=True)


@subscriptable
@dataclass(frozen=True, slots=True)
class Snapshot(Generic[StateT_co]):
    """Hold the state of an aggregate as it was after one of its events.

    Attributes:
        aggregate_id: The aggregate.
        state: Its state.
        sequence: The sequence of the last event that is in it.
        taken_at: When it was stored, aware UTC.
    """

    aggregate_id: str
    state: StateT_co
    sequence: int
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class SnapshotConfig:
    """Say when snapshots are taken.

    Attributes:
        frequency: One falls due whenever a commit reaches or passes a multiple of this many events.
    """

    frequency: int

    def __post_init__(self) -> None:
        """Refuse a frequency that is not a positive whole number."""
        check_count("frequency", self.frequency)

    def is_due(self, before: int, after: int) -> bool:
        """Return whether a commit from one sequence to another reaches or passes a multiple of the frequency."""
        return after // self.frequency > before // self.frequency
