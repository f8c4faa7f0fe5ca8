"""The contract of every event store: promises and the values they are made of; no code.

A store keeps an append-only log of events, shared by all aggregates, and beside it what belongs to the log: which
commands were stored, how far queries have read, and snapshots. It knows nothing of the classes behind the JSON text.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias
from uuid import UUID

from msgspec import Struct

from eventree.stores.checkpoint import (
    NO_LEASE,
    Checkpoint,
    Checkpoints,
    CheckpointUpdate,
    LeaseRequest,
    ParkedCommit,
    StoredCheckpoint,
)

__all__ = [
    "MAX_PAGE_BYTES",
    "NO_LEASE",
    "AppendRequest",
    "Appended",
    "Checkpoint",
    "CheckpointUpdate",
    "Checkpoints",
    "Conflict",
    "DuplicateCommand",
    "EventStore",
    "LeaseRequest",
    "LogPage",
    "NewCommand",
    "NewEvent",
    "Outcome",
    "ParkedCommit",
    "RecordedCommand",
    "RecordedEvent",
    "StoredCheckpoint",
    "StoredSnapshot",
    "StreamPage",
    "StreamRead",
]

MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
"""The most that a page of the log holds of payloads and metadata, in bytes of UTF-8; one commit may be larger."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Hold an event to be stored.

    Attributes:
        event_type: The stable name of its class, 1 to 255 bytes.
        event_version: The version of its form, 1 to 2**31 - 1.
        payload: JSON text, at most 1 MiB of UTF-8. A store may refuse a text that is not JSON.
        metadata: A JSON object of texts, at most 64 KiB of UTF-8.
        commit_id: The same for all events of one command, which stand next to each other.
    """

    event_type: str
    event_version: int
    payload: str
    metadata: str
    commit_id: UUID


@dataclass(frozen=True, slots=True)
class NewCommand:
    """Record a command whose sender gave it an id.

    Attributes:
        command_id: The id, unique in the store for good; 1 to 255 bytes.
        first_sequence: The sequence of its first event, or of the event that would come next if it has none.
        last_sequence: The sequence of its last event; `first_sequence - 1` if it has none. All its events are among
            those of its request.
    """

    command_id: str
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """Ask for events of one aggregate to be stored, if it stands where it is expected.

    Attributes:
        aggregate_type: The type of the aggregate, 1 to 255 bytes.
        aggregate_id: The aggregate, 1 to 255 bytes.
        expected_sequence: The sequence of its last event; 0 if it has none.
        events: What to store; with none the request only checks the sequence.
        commands: Which ids to record with them, all different.
    """

    aggregate_type: str
    aggregate_id: str
    expected_sequence: int
    events: Sequence[NewEvent] = ()
    commands: Sequence[NewCommand] = ()


@dataclass(frozen=True, slots=True)
class Appended:
    """The request was kept.

    Attributes:
        sequence: The sequence of the aggregate's last event now.
        position: The position of that event; 0 if it has none.
    """

    sequence: int
    position: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """The aggregate stands elsewhere than expected; nothing of the request was stored.

    Attributes:
        sequence: Where it stands.
    """

    sequence: int


@dataclass(frozen=True, slots=True)
class DuplicateCommand:
    """Ids of the request are recorded already; nothing of the request was stored.

    Attributes:
        command_ids: Which ones.
    """

    command_ids: frozenset[str]


Outcome: TypeAlias = Appended | Conflict | DuplicateCommand


@dataclass(frozen=True, slots=True)
class RecordedCommand:
    """Tell where a command was stored: `NewCommand` with its aggregate."""

    command_id: str
    aggregate_type: str
    aggregate_id: str
    first_sequence: int
    last_sequence: int


class RecordedEvent(Struct, frozen=True, gc=False):  # made 15 times faster than a frozen dataclass, for each event read
    """Hold an event as it is stored: `NewEvent` with its place.

    Attributes:
        position: Its place in the store, from 1, without gaps, in the order of commits.
        aggregate_type: The type of its aggregate.
        aggregate_id: Its aggregate.
        sequence: Its place in the aggregate, from 1, without gaps.
        event_type: The stable name of its class.
        event_version: The version of its form.
        payload: JSON text.
        metadata: A JSON object of texts.
        commit_id: The same for all events of one command.
        recorded_at: When it was stored, aware UTC; information only.
    """

    position: int
    aggregate_type: str
    aggregate_id: str
    sequence: int
    event_type: str
    event_version: int
    payload: str
    metadata: str
    commit_id: UUID
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class StreamRead:
    """Ask for events of one aggregate.

    Attributes:
        aggregate_type: The type of the aggregate.
        aggregate_id: The aggregate.
        after: Only events with a higher sequence; 0 for all.
        limit: At most this many; 0 asks only where the aggregate stands.
    """

    aggregate_type: str
    aggregate_id: str
    after: int = 0
    limit: int = 1_000


@dataclass(frozen=True, slots=True)
class StreamPage:
    """Hold events of one aggregate.

    Attributes:
        sequence: The sequence of the aggregate's last event, read at the same moment; 0 if it has none.
        position: The position of that event; 0 if there is none.
        events: The events asked for, in order.
    """

    sequence: int
    position: int
    events: Sequence[RecordedEvent]


@dataclass(frozen=True, slots=True)
class LogPage:
    """Hold a stretch of the log.

    Attributes:
        position: The last position that was looked at; read on after it. It equals `after` at the end of the log.
        events: The events that were asked for, in order of position.
        more: Whether the log was known to go on after `position`: there is something to read at once.
    """

    position: int
    events: Sequence[RecordedEvent]
    more: bool


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """Hold a snapshot as it is stored.

    Attributes:
        aggregate_type: The type of the aggregate.
        aggregate_id: The aggregate.
        state_version: The version of the form of the state, 1 to 255 bytes; snapshots of other versions are invisible.
        sequence: The sequence of the last event in it.
        state_type: The name of the state's class, 1 to 255 bytes.
        payload: JSON text, at most 1 MiB. A store may refuse a text that is not JSON.
        checksum: A number of 32 bits that belongs to the rest; a store keeps it and never looks whether it is right.
        taken_at: When it was taken, aware UTC.
    """

    aggregate_type: str
    aggregate_id: str
    state_version: str
    sequence: int
    state_type: str
    payload: str
    checksum: int
    taken_at: datetime


class EventStore(Checkpoints, Protocol):
    """Keep events for good.

    It is an async context manager: used before entry or after exit, it raises `StoreUnavailable`. Any number of tasks
    of one event loop may use it at once. Cancelling a caller neither leaves a transaction open nor harms another
    caller; a cancelled append may still take place.

    Every method first calls the check of its arguments in `eventree.stores.checks`, which raises `InvalidArgument` for
    what no store could keep: to ask for it is as wrong as to store it. All texts are UTF-8, without lone surrogates and
    NUL.
    """

    async def __aenter__(self) -> Self:
        """Open the store and create or migrate its schema.

        Raises:
            StoreUnusable: The database cannot keep the promises below.
            SchemaTooNew: A newer version of the library wrote it.
            StoreUnavailable: It cannot be reached.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish what is in work and close the store."""
        ...

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        """Store events durably, in one transaction for all requests.

        Each request is kept or refused by itself: wholly, or without a trace. Positions are given without gaps in
        the order of requests and events, and become visible in that order: whoever sees a position sees all lower
        ones. When this returns, what was kept survives a crash of the process and of the machine.

        Args:
            requests: At most one per aggregate.

        Returns:
            One outcome per request, in order. Where the sequence does not fit it is `Conflict`, even if an id is
            recorded already too.

        Raises:
            InvalidArgument: A text is too long or cannot be kept, a number is out of range, two requests are for one
                aggregate, or a request has an id twice; nothing was stored.
            CommitOutcomeUnknown: The store cannot tell whether the transaction took place.
            EventStoreError: Anything else; nothing was stored.
        """
        ...

    async def find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        """Return where these commands were stored; ids that are not recorded are left out."""
        ...

    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        """Return events of several aggregates, one page per read, in order, all seen at one moment."""
        ...

    async def read(self, after: int, limit: int, types: Collection[str] | None = None) -> LogPage:
        """Return the next stretch of the log.

        The page is made of whole commits: it never ends inside the events of one command. Beyond its first commit, it
        takes no commit with which its events would have more than `MAX_PAGE_BYTES`; events of types that were not
        asked for have no bytes, as the page does not hold them.

        Args:
            after: The position after which to begin; 0 for the beginning.
            limit: How many positions to look at, at least 1; the page may hold fewer events, and it ends later where
                it would otherwise end inside the events of one command.
            types: Only events of these aggregate types; default all.

        Raises:
            LogRolledBack: The log ends before `after`, as after a restore of an older backup.
        """
        ...

    async def head(self) -> int:
        """Return the position of the newest event, 0 if there is none."""
        ...

    def watch(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call a function with the newest position after each append; a hint, not a promise.

        Returns:
            A function that ends it.
        """
        ...

    async def renew_checkpoint(self, name: str, version: int, fence: int, seconds: float) -> bool:
        """Let the claim on a checkpoint hold for so long from now on; 0 lets others take it over at once.

        It moves nothing, so it does no harm where it is late.

        Returns:
            Whether the fence is still the newest; nothing was done where it is not.
        """
        ...

    async def load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        """Return what is stored of a checkpoint, None if there is none."""
        ...

    async def load_parked(
        self, name: str, version: int, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ParkedCommit]:
        """Return parked commits in the order of their positions.

        Args:
            name: The query.
            version: Its version.
            after: Only those with a higher position.
            limit: At most this many, from 1.
        """
        ...

    async def save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        """Keep the newest snapshot of each aggregate and state version; older ones are dropped.

        A snapshot ahead of its aggregate, taken before a restore of an older backup, is dropped too; one that is kept
        already gives way to any that is not ahead.
        """
        ...

    async def load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        """Return the snapshots of aggregates by their ids, damaged ones too; aggregates without one are left out."""
        ...
