"""Write snapshots beside the command path: a supervised actor that may be slow, and is never waited for."""

import logging
from collections.abc import Sequence

from eventree.actors.actor import Actor, ActorContext
from eventree.actors.request import Request
from eventree.errors import EventStoreError
from eventree.sourcing.statistics import Counters
from eventree.stores.contract import EventStore, StoredSnapshot

logger = logging.getLogger("eventree")


class SnapshotWriter(Actor[StoredSnapshot, None]):
    """Save the snapshots that wait in its mailbox, many in one transaction; what cannot be saved is dropped."""

    max_batch = 64

    def __init__(self, store: EventStore, counters: Counters) -> None:
        """Remember where to save and what to count."""
        self._store = store
        self._counters = counters

    async def receive_batch(
        self, requests: Sequence[Request[StoredSnapshot, None]], ctx: ActorContext[StoredSnapshot, None]
    ) -> None:
        """Save snapshots; a store that fails costs only time at the next load."""
        try:
            await self._store.save_snapshots([request.message for request in requests])
        except EventStoreError as error:
            self._counters.snapshots_dropped += len(requests)
            logger.warning("%d snapshots were not written: %s", len(requests), error)
        else:
            self._counters.snapshots_written += len(requests)
