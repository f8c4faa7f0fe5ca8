"""Snapshots: stored states of aggregates, which save reading their whole streams."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from eventree.stores.contract.log import CommitStamp


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A snapshot of one aggregate.

    Attributes:
        aggregate_type: The type of the aggregate.
        aggregate_id: The aggregate.
        state_version: The version of the state's schema, 1 to 255 bytes; each version has its own snapshot.
        sequence: The sequence of the last event it includes.
        state_type: The name of the state's class, 1 to 255 bytes.
        payload: JSON text, at most 1 MiB. A store may refuse text that is not JSON.
        checksum: A 32-bit checksum over the rest; a store saves it and never verifies it.
        taken_at: When it was taken, as aware UTC.
        stamp: The stamp of the last event it includes; default None, if it is unknown.
    """

    aggregate_type: str
    aggregate_id: str
    state_version: str
    sequence: int
    state_type: str
    payload: str
    checksum: int
    taken_at: datetime
    stamp: CommitStamp | None = None


class Snapshots(Protocol):
    """Save and load snapshots."""

    @abstractmethod
    async def save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        """Keep the newest snapshot per aggregate and state version; older ones are dropped.

        A snapshot that is ahead of its aggregate, or whose last event is another one in the log, was taken before the
        database went back in time: it is dropped. A stored one that is ahead is replaced by any that is not.
        """
        ...

    @abstractmethod
    async def load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        """Return snapshots by aggregate id, damaged ones included; aggregates without one are left out."""
        ...
