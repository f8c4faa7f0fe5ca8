"""Write snapshots beside the command path: a supervised actor that may be slow, and is never waited for."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from eventree.actors import Actor, ActorContext, Request
from eventree.errors.root import error_text
from eventree.sourcing.statistics import Counters
from eventree.stores.contract import EventStore, StoredSnapshot

logger = logging.getLogger("eventree")

MAX_BYTES: Final = 1024 * 1024
"""Characters of JSON after which a transaction ends: commands wait behind it on a store with one writer."""


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
        for batch in _batches(request.message for request in requests):
            await self._save(batch)

    async def _save(self, snapshots: Sequence[StoredSnapshot]) -> None:
        try:
            await self._store.save_snapshots(snapshots)
        except Exception as error:  # noqa: BLE001 - a system needs no snapshot so much that it could fail by them
            self._counters.snapshots_dropped += len(snapshots)
            logger.warning("%d snapshots were not written: %s", len(snapshots), error_text(error))
        else:
            self._counters.snapshots_written += len(snapshots)


def _batches(snapshots: Iterable[StoredSnapshot]) -> Iterator[Sequence[StoredSnapshot]]:
    """Divide snapshots into what one transaction may hold, give or take one."""
    batch: list[StoredSnapshot] = []
    size = 0
    for snapshot in snapshots:
        batch.append(snapshot)
        size += len(snapshot.payload)
        if size >= MAX_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
