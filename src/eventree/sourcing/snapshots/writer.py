"""The actor that writes snapshots in the background; commands never wait for it."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from eventree.actors import Actor, ActorContext, Request
from eventree.errors.failures import is_failure
from eventree.errors.root import error_text
from eventree.sourcing.statistics import Counters
from eventree.stores.contract import EventStore, StoredSnapshot

logger = logging.getLogger("eventree")

MAX_CHARACTERS: Final = 1024 * 1024
"""Characters of JSON after which a transaction ends, because commands wait for it on a store with a single writer."""


class SnapshotWriter(Actor[StoredSnapshot, None]):
    """Save the snapshots in its mailbox, many in one transaction; drop those that cannot be saved."""

    max_batch = 64

    def __init__(self, store: EventStore, counters: Counters) -> None:
        """Create a writer.

        Args:
            store: Stores the snapshots.
            counters: Counts snapshots written and dropped.
        """
        self._store = store
        self._counters = counters

    async def receive_batch(
        self, requests: Sequence[Request[StoredSnapshot, None]], ctx: ActorContext[StoredSnapshot, None]
    ) -> None:
        """Save snapshots. If the store fails, the only cost is a slower load later."""
        for batch in _batches(request.message for request in requests):
            await self._save(batch)

    async def _save(self, snapshots: Sequence[StoredSnapshot]) -> None:
        try:
            await self._store.save_snapshots(snapshots)
        except BaseException as error:  # snapshots are optional: no failure may crash the actor
            if not is_failure(error, closed=True):
                raise
            self._counters.snapshots_dropped += len(snapshots)
            logger.warning("%d snapshots were not written: %s", len(snapshots), error_text(error))
        else:
            self._counters.snapshots_written += len(snapshots)


def _batches(snapshots: Iterable[StoredSnapshot]) -> Iterator[Sequence[StoredSnapshot]]:
    """Divide snapshots into transactions of about `MAX_CHARACTERS`."""
    batch: list[StoredSnapshot] = []
    size = 0
    for snapshot in snapshots:
        batch.append(snapshot)
        size += len(snapshot.payload)
        if size >= MAX_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
