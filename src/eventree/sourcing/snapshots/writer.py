"""The actor that writes snapshots in the background; commands never wait for it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from eventree.actors import Actor, ActorContext, ExitKind, ExitReason, Request
from eventree.errors.failures import is_failure
from eventree.errors.root import error_text
from eventree.errors.stores import TRANSIENT_ERRORS
from eventree.sourcing.snapshots.scheduler import MissedSnapshots
from eventree.sourcing.statistics import Counters
from eventree.stores.contract import EventStore, StoredSnapshot

logger = logging.getLogger("eventree")

MAX_CHARACTERS: Final = 1024 * 1024
"""Characters of JSON after which a transaction ends, because commands wait for it on a store with a single writer."""


class SnapshotWriter(Actor[StoredSnapshot, None]):
    """Save the snapshots in its mailbox, many in one transaction; drop those that cannot be saved.

    When it is stopped, it saves those that still wait, within its `shutdown` time.
    """

    max_batch = 64

    def __init__(self, store: EventStore, counters: Counters, missed: MissedSnapshots) -> None:
        """Create a writer.

        Args:
            store: Stores the snapshots.
            counters: Counts snapshots written and dropped.
            missed: Receives the aggregates of those that a transient error of the store kept from being written.
        """
        self._store = store
        self._counters = counters
        self._missed = missed
        self._take_rest: Callable[[int], Sequence[Request[StoredSnapshot, None]]] = lambda _: ()

    async def init(self, ctx: ActorContext[StoredSnapshot, None]) -> None:
        """Remember how to empty the mailbox."""
        self._take_rest = ctx.ref.mailbox.take_rest

    async def receive_batch(
        self, requests: Sequence[Request[StoredSnapshot, None]], ctx: ActorContext[StoredSnapshot, None]
    ) -> None:
        """Save snapshots. If the store fails, the only cost is a slower load later."""
        for batch in _batches(request.message for request in requests):
            await self._save(batch)

    async def on_stop(self, reason: ExitReason) -> None:
        """Save what still waits in the mailbox; after a crash it stays there for the next incarnation."""
        while reason.kind is ExitKind.SHUTDOWN and (rest := self._take_rest(self.max_batch)):
            for batch in _batches(request.message for request in rest):
                await self._save(batch)

    async def _save(self, snapshots: Sequence[StoredSnapshot]) -> None:
        try:
            await self._store.save_snapshots(snapshots)
        except BaseException as error:  # snapshots are optional: no failure may crash the actor
            if not is_failure(error, closed=True):
                raise
            self._counters.snapshots_dropped += len(snapshots)
            if isinstance(error, TRANSIENT_ERRORS):
                for snapshot in snapshots:
                    self._missed.add(snapshot.aggregate_id)
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
