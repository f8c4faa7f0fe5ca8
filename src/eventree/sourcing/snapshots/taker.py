"""Take snapshots where they fall due, without ever holding up a command."""

import logging
from typing import Generic, TypeVar

from eventree.actors import ActorRef
from eventree.domain.snapshots import SnapshotConfig
from eventree.errors.root import error_text
from eventree.sourcing.loading import Live
from eventree.sourcing.snapshots.codec import SnapshotCodec
from eventree.sourcing.statistics import Counters
from eventree.stores.contract import StoredSnapshot

logger = logging.getLogger("eventree")

StateT = TypeVar("StateT")


class SnapshotTaker(Generic[StateT]):
    """Decide after each commit whether a snapshot is due, and hand it to the writer."""

    def __init__(
        self,
        config: SnapshotConfig,
        codec: SnapshotCodec[StateT],
        writer: ActorRef[StoredSnapshot, None],
        counters: Counters,
    ) -> None:
        """Remember the policy.

        Args:
            config: When snapshots fall due.
            codec: Makes them.
            writer: Saves them.
            counters: What to count in.
        """
        self._config = config
        self._codec = codec
        self._writer = writer
        self._counters = counters

    def take_if_due(self, aggregate_id: str, live: Live[StateT]) -> None:
        """Hand a snapshot over to be written some time, if one is due, and note that in the state.

        It is noted even if it is dropped: under load, the next one that falls due is soon enough.
        """
        # Measured from the last snapshot, not from the last commit: one that was missed falls due with the next commit.
        due = live.needs_snapshot or self._config.is_due(live.snapshot, live.sequence, live.replay_seconds)
        if not due or not live.sequence:
            return
        live.snapshot, live.replay_seconds, live.needs_snapshot = live.sequence, 0.0, False
        if not self._writer.mailbox.has_room:  # under load, to encode it for nothing would cost most
            self._counters.snapshots_dropped += 1
            return
        try:
            self._writer.tell(self._codec.encode(aggregate_id, live.state, live.sequence))
        except Exception as error:  # noqa: BLE001 - the command was stored: no snapshot may make it fail
            self._counters.snapshots_dropped += 1
            logger.warning(
                "%s %r: no snapshot at sequence %d: %s",
                self._codec.name,
                aggregate_id,
                live.sequence,
                error_text(error),
            )
