"""The log: an append-only sequence of the events of all aggregates, which is also a stream per aggregate."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeAlias
from uuid import UUID

from msgspec import Struct

from eventree.stores.contract.commands import NewCommand

MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
"""The limit on payloads and metadata in a page of the log, in bytes of UTF-8; a single commit may exceed it."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to store.

    Attributes:
        event_type: The stable name of its class, 1 to 255 bytes.
        event_version: The version of its schema, 1 to 2**31 - 1.
        payload: JSON text, at most 1 MiB of UTF-8. A store may refuse text that is not JSON.
        metadata: A JSON object of strings, at most 64 KiB of UTF-8.
        commit_id: Shared by all events of one command, which are stored next to each other.
    """

    event_type: str
    event_version: int
    payload: str
    metadata: str
    commit_id: UUID


class RecordedEvent(Struct, frozen=True, gc=False):  # created 15 times faster than a frozen dataclass, per event read
    """A stored event: `NewEvent` with its place in the log.

    Attributes:
        position: Its place in the log, from 1, without gaps, in commit order.
        aggregate_type: The type of its aggregate.
        aggregate_id: Its aggregate.
        sequence: Its place in the aggregate's stream, from 1, without gaps.
        event_type: The stable name of its class.
        event_version: The version of its schema.
        payload: JSON text.
        metadata: A JSON object of strings.
        commit_id: Shared by all events of one command.
        recorded_at: When it was stored, as aware UTC; for information only, never for ordering.
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
class AppendRequest:
    """Events of one aggregate, to be stored if the aggregate is at the expected sequence.

    Attributes:
        aggregate_type: The type of the aggregate, 1 to 255 bytes.
        aggregate_id: The aggregate, 1 to 255 bytes.
        expected_sequence: The sequence of its last event; 0 if it has none.
        events: The events to store; a request without events only checks the sequence.
        commands: The commands to record with them, with different ids.
    """

    aggregate_type: str
    aggregate_id: str
    expected_sequence: int
    events: Sequence[NewEvent] = ()
    commands: Sequence[NewCommand] = ()


@dataclass(frozen=True, slots=True)
class Appended:
    """The request was stored.

    Attributes:
        sequence: The sequence of the aggregate's last event now.
        position: The position of that event; 0 if the aggregate has none.
    """

    sequence: int
    position: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """The aggregate is not at the expected sequence; nothing of the request was stored.

    Attributes:
        sequence: The sequence of the aggregate's last event.
    """

    sequence: int


@dataclass(frozen=True, slots=True)
class DuplicateCommand:
    """Commands of the request are recorded already; nothing of the request was stored.

    Attributes:
        command_ids: Their ids.
    """

    command_ids: frozenset[str]


Outcome: TypeAlias = Appended | Conflict | DuplicateCommand


@dataclass(frozen=True, slots=True)
class StreamRead:
    """A request to read events of one aggregate.

    Attributes:
        aggregate_type: The type of the aggregate.
        aggregate_id: The aggregate.
        after: Read events with a higher sequence; default 0, all of them.
        limit: The maximum number of events; 0 reads only the aggregate's current sequence. Default 1,000.
    """

    aggregate_type: str
    aggregate_id: str
    after: int = 0
    limit: int = 1_000


@dataclass(frozen=True, slots=True)
class StreamPage:
    """Events of one aggregate.

    Attributes:
        sequence: The sequence of the aggregate's last event, read at the same moment; 0 if it has none.
        position: The position of that event; 0 if there is none.
        events: The requested events, in order.
    """

    sequence: int
    position: int
    events: Sequence[RecordedEvent]


@dataclass(frozen=True, slots=True)
class LogPage:
    """A section of the log.

    Attributes:
        position: The last position that was examined; continue after it. At the end of the log it equals `after`.
        events: The requested events, by position.
        more: Whether the log was known to continue after `position`, so that there is more to read right away.
    """

    position: int
    events: Sequence[RecordedEvent]
    more: bool


class EventLog(Protocol):
    """Append events and read them."""

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        """Store events durably, in one transaction for all requests.

        Each request is stored completely or not at all, independently of the others. Positions are assigned without
        gaps in the order of requests and events, and become visible in that order: a reader that sees a position sees
        all lower ones. Once this returns, what was stored survives a crash of the process and of the machine.

        Args:
            requests: At most one per aggregate.

        Returns:
            One outcome per request, in order. A request with the wrong sequence is a `Conflict`, even if one of its
            commands is recorded already.

        Raises:
            InvalidArgument: A text is too long or cannot be stored, a number is out of range, two requests are for the
                same aggregate, or a request has a command id twice; nothing was stored.
            CommitOutcomeUnknown: The store cannot tell whether the transaction was committed.
            EventStoreError: Any other failure; nothing was stored.
        """
        ...

    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        """Return events of several aggregates from one snapshot of the database: one page per read, in order."""
        ...

    async def read(self, after: int, limit: int, types: Collection[str] | None = None) -> LogPage:
        """Return the next page of the log.

        A page consists of whole commits. After its first commit it includes no commit that would take its events beyond
        `MAX_PAGE_BYTES`; events of other types are not part of the page and do not count.

        Args:
            after: The position to start after; 0 for the beginning.
            limit: How many positions to examine, at least 1. The page may hold fewer events, and it extends past the
                limit to the end of a commit.
            types: Return only events of these aggregate types; default all.

        Raises:
            LogRolledBack: The log ends before `after`, as it does after an older backup was restored.
        """
        ...

    async def head(self) -> int:
        """Return the position of the newest event, 0 if there is none."""
        ...

    def watch(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call a listener with the newest position after each append; a hint, not a guarantee.

        Args:
            listener: Called in the event loop; it must neither raise nor block.

        Returns:
            A function that removes the listener.
        """
        ...
