"""Load aggregates: the newest snapshot, then the events after it, many aggregates in one read."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from eventree.domain.aggregate import AggregateType
from eventree.domain.events import EventEnvelope
from eventree.domain.snapshots import Snapshot
from eventree.errors import EventNotDecodable, EventreeError, HandlerCrashed
from eventree.sourcing.envelopes import envelope, payload_of
from eventree.stores.contract import EventStore, RecordedEvent, StoredSnapshot, StreamPage, StreamRead

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

PAGE = 1_000
"""Events of one aggregate to read at once."""


@dataclass(slots=True)
class Live(Generic[StateT]):
    """The state of an aggregate and where it stands.

    Attributes:
        state: After its last event.
        sequence: The sequence of that event; 0 if it has none.
        position: The position of that event; 0 if there is none.
        snapshot: The sequence of its newest snapshot, as far as we know; 0 if it has none.
    """

    state: StateT
    sequence: int
    position: int
    snapshot: int = 0


class Loader(Generic[StateT, CommandT, EventT, ErrorT]):
    """Read aggregates of one type from a store."""

    def __init__(
        self, aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT], store: EventStore, *, snapshots: bool
    ) -> None:
        """Remember what to load from where, and whether to look for snapshots."""
        self._type = aggregate_type
        self._store = store
        self._states = aggregate_type.states if snapshots else None
        self.state_version = self._states.fingerprint if self._states is not None else ""

    async def load(self, ids: Collection[str]) -> Mapping[str, Live[StateT] | EventreeError]:
        """Return the current state of each aggregate, or why it alone cannot be loaded.

        Raises:
            EventStoreError: The store could not answer.
        """
        loaded: dict[str, Live[StateT] | EventreeError] = await self._beginnings(ids)
        behind = list(ids)
        while behind:
            reads = [self._read_on(id, loaded[id]) for id in behind]
            pages = await self._store.read_streams(reads)
            for id, page in zip(behind, pages, strict=True):
                loaded[id] = self._advance(id, loaded[id], page)
            behind = [id for id, page in zip(behind, pages, strict=True) if self._is_behind(loaded[id], page.sequence)]
        return loaded

    async def snapshots(self, ids: Collection[str]) -> Mapping[str, Snapshot[StateT]]:
        """Return the newest snapshots that this code can read; a snapshot is never required."""
        if self._states is None:
            return {}
        stored = await self._store.load_snapshots(self._type.name, list(ids), self.state_version)
        decoded = ((id, self._decode_snapshot(snapshot)) for id, snapshot in stored.items())
        return {id: snapshot for id, snapshot in decoded if snapshot is not None}

    def envelope(self, event: RecordedEvent) -> EventEnvelope[EventT]:
        """Return a stored event with its payload decoded.

        Raises:
            EventNotDecodable: It does not fit the code.
        """
        return envelope(event, self._type.events)

    async def _beginnings(self, ids: Collection[str]) -> dict[str, Live[StateT] | EventreeError]:
        found = await self.snapshots(ids)
        return {id: _begin_at(found[id]) if id in found else self._nothing_yet(id) for id in ids}

    def _nothing_yet(self, id: str) -> Live[StateT] | EventreeError:
        try:
            return Live(self._type.empty_state(), 0, 0)
        except Exception as error:  # noqa: BLE001 - a bug in `empty_state` is the answer for this aggregate only
            return HandlerCrashed("empty_state", self._type.name, id, error)

    def _decode_snapshot(self, stored: StoredSnapshot) -> Snapshot[StateT] | None:
        if self._states is None:
            return None
        try:
            state = self._states.decode(stored.state_type, 1, stored.payload)
        except EventNotDecodable:
            return None
        return Snapshot(stored.aggregate_id, state, stored.sequence, stored.taken_at)

    def _read_on(self, id: str, live: Live[StateT] | EventreeError) -> StreamRead:
        return StreamRead(self._type.name, id, live.sequence if isinstance(live, Live) else 0, PAGE)

    def _is_behind(self, live: Live[StateT] | EventreeError, sequence: int) -> bool:
        return isinstance(live, Live) and live.sequence < sequence

    def _advance(self, id: str, live: Live[StateT] | EventreeError, page: StreamPage) -> Live[StateT] | EventreeError:
        if not isinstance(live, Live):
            return live
        if live.sequence > page.sequence:  # a snapshot from a future that a restored backup does not have
            return self._nothing_yet(id)
        try:
            payloads = [payload_of(event, self._type.events) for event in page.events]
        except EventNotDecodable as error:
            return error
        try:
            state = self._type.replay(live.state, payloads)
        except Exception as error:  # noqa: BLE001 - a bug in `apply` is the answer for this aggregate only
            return HandlerCrashed("apply", self._type.name, id, error)
        return Live(state, live.sequence + len(payloads), page.position, live.snapshot)


def _begin_at(snapshot: Snapshot[StateT]) -> Live[StateT]:
    return Live(snapshot.state, snapshot.sequence, 0, snapshot.sequence)
