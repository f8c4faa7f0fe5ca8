"""Schedule snapshots when they fall due, without delaying commands."""

import logging
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from eventree.actors import ActorRef
from eventree.domain.snapshots import SnapshotPolicy
from eventree.errors.failures import is_failure
from eventree.errors.root import error_text
from eventree.isolation import isolated
from eventree.sourcing.snapshots.codec import SnapshotCodec
from eventree.sourcing.statistics import Counters
from eventree.stores.contract import CommitStamp, StoredSnapshot

logger = logging.getLogger("eventree")

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class NewestSnapshot:
    """Describe the newest snapshot of an aggregate, as far as this process knows.

    Attributes:
        sequence: The sequence of the last event that it includes; 0 if there is no snapshot.
        replay_seconds: How long it took to decode and apply the events after it when the aggregate was loaded, in
            seconds; 0 if the snapshot was taken since.
        is_overdue: Whether the next commit makes a snapshot due, whatever the policy says: the stored one could not be
            used, or one that was due was dropped.
    """

    sequence: int = 0
    replay_seconds: float = 0.0
    is_overdue: bool = False


NO_SNAPSHOT: Final = NewestSnapshot()
UNUSABLE_SNAPSHOT: Final = NewestSnapshot(is_overdue=True)

MAX_MISSED: Final = 10_000
"""How many aggregates to remember whose snapshots the store did not take."""


class MissedSnapshots:
    """Remember, for the scheduler, which aggregates the writer could not write a snapshot of."""

    def __init__(self) -> None:
        """Start with none."""
        self._ids: set[str] = set()

    def add(self, aggregate_id: str) -> None:
        """Remember an aggregate, unless there are `MAX_MISSED` already."""
        if len(self._ids) < MAX_MISSED:
            self._ids.add(aggregate_id)

    def remove(self, aggregate_id: str) -> bool:
        """Forget an aggregate; return whether it was there."""
        if not self._ids or aggregate_id not in self._ids:
            return False
        self._ids.remove(aggregate_id)
        return True


class SnapshotScheduler(Generic[StateT]):
    """Ask the policy after each commit whether a snapshot is due, and send those that are to the writer."""

    def __init__(
        self,
        policy: SnapshotPolicy,
        codec: SnapshotCodec[StateT],
        writer: ActorRef[StoredSnapshot, None],
        counters: Counters,
        missed: MissedSnapshots,
    ) -> None:
        """Create a scheduler.

        Args:
            policy: Decides when a snapshot is due.
            codec: Encodes states.
            writer: Saves snapshots.
            counters: Counts dropped snapshots.
            missed: The aggregates that the writer could not write a snapshot of.
        """
        self._policy = policy
        self._codec = codec
        self._writer = writer
        self._counters = counters
        self._missed = missed

    def schedule_if_due(
        self,
        aggregate_id: str,
        state: StateT,
        sequence: int,
        newest: NewestSnapshot,
        stamp: CommitStamp | None = None,
    ) -> NewestSnapshot:
        """Send a snapshot of an aggregate to the writer, if one is due.

        A failure is counted and logged, never raised: the command has been stored already.

        Args:
            aggregate_id: The aggregate.
            state: Its state after the commit.
            sequence: Its sequence after the commit.
            newest: Its newest snapshot so far.
            stamp: The stamp of its last event; default None, if it is unknown.

        Returns:
            Its newest snapshot now. One that was dropped because too many wait to be written is due again with the next
            commit. A state that cannot be encoded counts as taken, as each attempt would cost as much.
        """
        if not sequence or not self._is_due(aggregate_id, sequence, newest):
            return newest
        if not self._writer.mailbox.has_room:  # encoding a snapshot just to drop it would only add to the load
            self._counters.snapshots_dropped += 1
            return replace(newest, is_overdue=True)
        try:
            self._writer.tell(self._codec.encode(aggregate_id, state, sequence, stamp))
        except BaseException as error:  # the events are stored, so no failure may be that of the command
            if not is_failure(error):
                raise
            self._drop(aggregate_id, sequence, error)
        return NewestSnapshot(sequence)

    def _is_due(self, aggregate_id: str, sequence: int, newest: NewestSnapshot) -> bool:
        # Measured from the last snapshot, not from the last commit: one that a crash prevented is still due.
        try:
            is_overdue = self._missed.remove(aggregate_id) or newest.is_overdue
            return is_overdue or bool(isolated(self._policy.is_due, newest.sequence, sequence, newest.replay_seconds))
        except BaseException as error:  # a bug in a policy must not fail commands
            if not is_failure(error):
                raise
            self._drop(aggregate_id, sequence, error)
            return False

    def _drop(self, aggregate_id: str, sequence: int, error: BaseException) -> None:
        self._counters.snapshots_dropped += 1
        logger.warning(
            "%s %r: no snapshot taken at sequence %d: %s", self._codec.name, aggregate_id, sequence, error_text(error)
        )
