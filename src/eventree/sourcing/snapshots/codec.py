"""Encode snapshots for a store; decode them, and reject the damaged ones."""

import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from eventree.domain.aggregate import AggregateType
from eventree.domain.defaults import text_of
from eventree.domain.snapshots import Snapshot
from eventree.errors import EventNotDecodable, InvalidArgument
from eventree.isolation import isolated
from eventree.stores.contract import CommitStamp, StoredSnapshot

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")


class SnapshotCodec(Generic[StateT]):
    """Encode and decode the snapshots of one aggregate type.

    Attributes:
        name: The name of the aggregate type.
        state_version: The version of the stored form. It changes with the fields of the state and their defaults, the
            empty state, the versions of the state's classes and of the events, and the `state_version` of the aggregate
            type, so that code never loads a snapshot that other code has written.
    """

    def __init__(self, aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT]) -> None:
        """Create the codec of an aggregate type.

        Raises:
            InvalidArgument: Its state cannot be stored.
        """
        self.name = aggregate_type.name
        try:
            self._states = aggregate_type.state_codec()
        except InvalidArgument as error:
            raise InvalidArgument("snapshots", f"a state of {self.name} cannot be stored: {error.reason}") from error
        self._versions = {known.name: known.version for known in self._states.types}
        events = {known.name: known.version for known in aggregate_type.events.types if known.upcasters}
        start = (text_of(lambda: _named(isolated(aggregate_type.empty_state))), self._states.defaults)
        classes = zlib.crc32(repr((sorted(self._versions.items()), sorted(events.items()), start)).encode())
        self.state_version = f"{self._states.fingerprint}-{classes:08x}-{aggregate_type.state_version}"

    def encode(
        self, aggregate_id: str, state: StateT, sequence: int, stamp: CommitStamp | None = None
    ) -> StoredSnapshot:
        """Return the stored form of a snapshot taken now.

        Args:
            aggregate_id: The aggregate.
            state: Its state.
            sequence: The sequence of the last event that the state includes.
            stamp: The stamp of that event; default None, if it is unknown.

        Raises:
            EventNotEncodable: The state does not match its classes, or is larger than 1 MiB.
        """
        form = self._states.encode(state)
        now = datetime.now(UTC)
        stored = StoredSnapshot(
            self.name, aggregate_id, self.state_version, sequence, form.type, form.payload, 0, now, stamp
        )
        return replace(stored, checksum=checksum_of(stored))

    def decode(self, stored: StoredSnapshot) -> Snapshot[StateT]:
        """Return the snapshot of a stored form.

        Raises:
            EventNotDecodable: It is damaged, or does not fit the code.
        """
        version = self._versions.get(stored.state_type, 1)  # the store only returns snapshots of this `state_version`
        if stored.checksum != checksum_of(stored):
            raise EventNotDecodable(stored.state_type, version, "its checksum is wrong")
        state = self._states.decode(stored.state_type, version, stored.payload)
        return Snapshot(stored.aggregate_id, state, stored.sequence, stored.taken_at)


def _named(state: object) -> tuple[str, object]:
    return type(state).__name__, state


def checksum_of(stored: StoredSnapshot) -> int:
    """Return the checksum of everything in a stored snapshot that the state depends on."""
    place = (stored.aggregate_type, stored.aggregate_id, stored.state_version, stored.state_type, str(stored.sequence))
    return zlib.crc32("\0".join((*place, stored.payload)).encode(errors="surrogatepass"))
