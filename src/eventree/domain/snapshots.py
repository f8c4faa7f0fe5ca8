"""Snapshots, which save replaying earlier events on a load, and the policies that decide when one is due."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from inspect import iscoroutinefunction, signature
from typing import Generic, Protocol, TypeVar

from eventree.errors import InvalidArgument
from eventree.errors.root import check_count, check_positive
from eventree.values import subscriptable

StateT_co = TypeVar("StateT_co", covariant=True)


@subscriptable
@dataclass(frozen=True, slots=True)
class Snapshot(Generic[StateT_co]):
    """The state of an aggregate after one of its events.

    Attributes:
        aggregate_id: The aggregate.
        state: Its state.
        sequence: The sequence of the last event that it includes.
        taken_at: When it was taken, aware UTC.
    """

    aggregate_id: str
    state: StateT_co
    sequence: int
    taken_at: datetime


class SnapshotPolicy(Protocol):
    """Decide when an aggregate gets a new snapshot; `SnapshotConfig` is the policy for most systems."""

    def is_due(self, before: int, after: int, replay_seconds: float, /) -> bool:
        """Return whether a commit makes a snapshot due.

        It is called in the event loop for each aggregate of a batch of commands, so it must be quick. If it raises, the
        error is logged, the snapshot is counted as dropped, and the command succeeds all the same.

        Args:
            before: The sequence of the newest snapshot; 0 if there is none. One that was due and dropped because too
                many waited to be written is taken with the next commit, without a call of this method.
            after: The sequence of the aggregate now.
            replay_seconds: How long it took to replay the events after the newest snapshot when the aggregate was last
                loaded, in seconds; 0 if a snapshot was taken since.
        """
        ...


def check_snapshot_policy(policy: SnapshotPolicy) -> None:
    """Raise `InvalidArgument` unless an object has a plain (not async) method `is_due` that takes three arguments."""
    is_due = getattr(policy, "is_due", None)
    if isinstance(policy, type) or not callable(is_due) or iscoroutinefunction(is_due) or not _takes_three(is_due):
        raise InvalidArgument(
            "snapshots",
            f"must be a SnapshotConfig or another SnapshotPolicy with a plain method is_due(before, after, "
            f"replay_seconds), got {policy!r}",
        )


def _takes_three(function: Callable[..., object]) -> bool:
    try:
        signature(function).bind(0, 0, 0.0)
    except TypeError:
        return False
    except ValueError:  # some built-in functions have no signature
        pass
    return True


@dataclass(frozen=True, slots=True)
class SnapshotConfig:
    """Take snapshots by the number of events, by the cost of a load, or by whichever comes first.

    The cost is measured only when an aggregate is loaded, not while it stays in memory. Give a frequency too if
    aggregates stay in memory for long.

    Attributes:
        frequency: A snapshot is due whenever a commit reaches or passes a multiple of this many events; default None:
            never.
        max_replay_seconds: A snapshot is due with the next commit of an aggregate whose last load took at least this
            long to decode and apply the events after its newest snapshot, in seconds; default None: never.
    """

    frequency: int | None = None
    max_replay_seconds: float | None = None

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            InvalidArgument: Neither is given, or one is not positive.
        """
        if self.frequency is None and self.max_replay_seconds is None:
            raise InvalidArgument(
                "frequency", "is required unless max_replay_seconds is given: no snapshot would ever be due"
            )
        if self.frequency is not None:
            check_count("frequency", self.frequency)
        if self.max_replay_seconds is not None:
            check_positive("max_replay_seconds", self.max_replay_seconds)
            if self.max_replay_seconds == math.inf:
                raise InvalidArgument("max_replay_seconds", "must be finite; leave it out for no limit")

    def is_due(self, before: int, after: int, replay_seconds: float = 0.0) -> bool:
        """Return whether a commit makes a snapshot due.

        Args:
            before: The sequence of the newest snapshot; 0 if there is none.
            after: The sequence after the commit.
            replay_seconds: How long it took to replay the events in between when they were last loaded, in seconds;
                default 0, if a snapshot was taken since.
        """
        if self.frequency is not None and after // self.frequency > before // self.frequency:
            return True
        return self.max_replay_seconds is not None and replay_seconds >= self.max_replay_seconds
