"""The log: an append-only sequence of the events of all aggregates, and at the same time one stream per aggregate."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, Protocol, TypeAlias
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


class CommitStamp(NamedTuple):
    """What tells a commit from another one at the same place of the log.

    A database can go back in time: a backup is restored, or a standby that lacks the last commits becomes the primary.
    New commits then take the positions and sequences of those that are gone. What was read or decided at a place of the
    log holds only as long as the commit there has the same stamp. Kafka does the same with the epoch of its leader (KIP
    320). An id alone would not do: a command repeated with the same id has the same commit id.

    Attributes:
        commit_id: The id of the commit.
        recorded_at: When it was stored, as aware UTC.
    """

    commit_id: UUID
    recorded_at: datetime


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

    @property
    def stamp(self) -> CommitStamp:
        """What tells its commit from another one at the same place."""
        return CommitStamp(self.commit_id, self.recorded_at)


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """Events of one aggregate, to be stored if the aggregate is at the expected sequence.

    Attributes:
        aggregate_type: The type of the aggregate, 1 to 255 bytes.
        aggregate_id: The aggregate, 1 to 255 bytes.
        expected_sequence: The sequence of its last event; 0 if it has none.
        events: The events to store; a request without events only checks the sequence.
        commands: The commands to record with them, with different ids.
        expected_stamp: The stamp of the aggregate's last event, which must be the same too; default None, which
            compares only the sequence.
        confirms: Whether a caller will be answered that what the aggregate has is stored. A store whose commits wait
            for a standby then waits for it even if the request has no events. Default False.
    """

    aggregate_type: str
    aggregate_id: str
    expected_sequence: int
    events: Sequence[NewEvent] = ()
    commands: Sequence[NewCommand] = ()
    expected_stamp: CommitStamp | None = None
    confirms: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """The request was stored.

    Attributes:
        sequence: The sequence of the aggregate's last event now.
        position: The position of that event; 0 if the aggregate has none.
        stamp: The stamp of that event, for the next request; None if there is none. It is no part of a comparison.
    """

    sequence: int
    position: int
    stamp: CommitStamp | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Conflict:
    """The aggregate is not at the expected sequence, or its last event is another one; nothing was stored.

    Attributes:
        sequence: The sequence of the aggregate's last event; the expected one if only its stamp differs.
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
        up_to: Read no events with a higher sequence; default None, up to the last one.
        up_to_position: Read no events with a higher position, so that the events add up to the state as it was when
            that position was the newest; default None, up to the last one.
        after_stamp: The stamp of the event at `after`. If the event there is another one now, the page is diverged.
            Default None, which is not compared.
    """

    aggregate_type: str
    aggregate_id: str
    after: int = 0
    limit: int = 1_000
    up_to: int | None = None
    up_to_position: int | None = None
    after_stamp: CommitStamp | None = None


@dataclass(frozen=True, slots=True)
class StreamPage:
    """Events of one aggregate.

    `sequence` and `position` are those of the aggregate's last event in the store, even if the read had a bound before
    it: `up_to`, `up_to_position` or `limit`. A page with fewer events than its limit is the last one up to the bound.

    Attributes:
        sequence: The sequence of the aggregate's last event, read at the same moment; 0 if it has none.
        position: The position of that event; 0 if there is none.
        events: The requested events, in order; none if the page is diverged.
        is_diverged: Whether the event at `StreamRead.after` is missing or has another stamp than expected, so that
            what was read before is no longer part of the log; default False.
    """

    sequence: int
    position: int
    events: Sequence[RecordedEvent]
    is_diverged: bool = False


@dataclass(frozen=True, slots=True)
class LogPage:
    """A section of the log.

    Attributes:
        position: The last position that was examined; continue after it, or before it when reading backwards. If
            nothing was examined, it is where the read started.
        events: The requested events, by position; newest first when reading backwards.
        more: Whether the log continued beyond `position` at that moment, so that there is more to read right away.
        stamp: The stamp of the event at `position`, to be expected by the next read; None if nothing was examined,
            or when reading backwards. It is no part of a comparison.
    """

    position: int
    events: Sequence[RecordedEvent]
    more: bool
    stamp: CommitStamp | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AggregateSummary:
    """An aggregate with at least one event, in a list of aggregates.

    Attributes:
        aggregate_type: Its type.
        aggregate_id: Its id.
        sequence: The sequence of its last event.
        position: The position of that event.
    """

    aggregate_type: str
    aggregate_id: str
    sequence: int
    position: int

    @property
    def key(self) -> tuple[str, str]:
        """Its type and its id, by which lists are ordered: pass it as `after` for the next page."""
        return self.aggregate_type, self.aggregate_id


class EventLog(Protocol):
    """Append events and read them."""

    @abstractmethod
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

    @abstractmethod
    async def read_and_append(
        self,
        reads: Sequence[StreamRead],
        decide: Callable[[Sequence[StreamPage]], Sequence[AppendRequest]],
    ) -> Sequence[Outcome]:
        """Read streams and append what a function decides on them, before any other writer can append.

        Writers that compete for the same aggregates take turns here in the order in which they ask, while with `append`
        they would overtake each other. All other appends wait meanwhile, so read little and decide quickly. Everything
        happens in one transaction; the promises of `append` hold for what the function returns.

        Args:
            reads: What to read.
            decide: Called once with one page per read, in order; returns the requests to append, at most one per
                aggregate, none to append nothing. A plain function, which must not block. If it raises, nothing is
                stored.

        Returns:
            One outcome per request, in order.

        Raises:
            InvalidArgument: A read is invalid, or a request as for `append`; nothing was stored.
            CommitOutcomeUnknown: The store cannot tell whether the transaction was committed.
            EventStoreError: Any other failure, such as a server that ended the transaction because deciding took too
                long; nothing was stored.
        """
        ...

    @abstractmethod
    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        """Return events of several aggregates from one snapshot of the database: one page per read, in order."""
        ...

    @abstractmethod
    async def read(
        self,
        after: int,
        limit: int,
        types: Collection[str] | None = None,
        event_types: Collection[str] | None = None,
        *,
        live: bool = False,
        after_stamp: CommitStamp | None = None,
    ) -> LogPage:
        """Return the next page of the log.

        A page consists of whole commits. After its first commit it includes no commit that would take its events beyond
        `MAX_PAGE_BYTES`; events that the filters leave out are not part of the page and do not count.

        The cost of a read depends on the positions it examines, however few events pass the filters: no index covers
        the types.

        Args:
            after: The position to start after; 0 for the beginning.
            limit: How many positions to examine, at least 1. The page may hold fewer events, and it extends past the
                limit to the end of a commit.
            types: Return only events of these aggregate types; default all.
            event_types: Return only events with these names; default all.
            live: Whether the page may come from the memory of this store object, which holds its own latest appends;
                for readers that follow the log by `watch` and polling. The page may then report that there is no more,
                although another process has written meanwhile. A store without such a memory ignores it. Default
                False: read from the database.
            after_stamp: The stamp of the event at `after`, which must still be the same; default None, which is not
                compared.

        Raises:
            LogRolledBack: The log ends before `after`, or the event there is another one now, as after an older backup
                was restored.
        """
        ...

    @abstractmethod
    async def read_backwards(
        self,
        before: int | None,
        limit: int,
        types: Collection[str] | None = None,
        event_types: Collection[str] | None = None,
    ) -> LogPage:
        """Return the page of the log before a position, newest event first.

        The rules of `read` hold in the other direction: a page consists of whole commits, the newest first, and it
        extends past the limit to the beginning of a commit. It reports that there is more until it reaches position 1.

        Args:
            before: The position to start before, at least 1; None, or any position beyond the log, for its end.
            limit: How many positions to examine, at least 1.
            types: Return only events of these aggregate types; default all.
            event_types: Return only events with these names; default all.
        """
        ...

    @abstractmethod
    async def list_aggregates(
        self, aggregate_type: str | None = None, *, after: tuple[str, str] | None = None, limit: int = 1_000
    ) -> Sequence[AggregateSummary]:
        """Return aggregates by type and id, in the order of their UTF-8 bytes.

        Pages are read one at a time, so an aggregate that gets its first event meanwhile may be missed.

        Args:
            aggregate_type: Return only aggregates of this type; default all.
            after: The key of the last aggregate of the page before: its type and its id. Default the beginning.
            limit: The maximum number of aggregates, at least 1; default 1,000.
        """
        ...

    @abstractmethod
    async def list_aggregate_types(self) -> Sequence[str]:
        """Return the types of all aggregates with events, in the order of their UTF-8 bytes."""
        ...

    @abstractmethod
    async def head(self) -> int:
        """Return the position of the newest event, 0 if there is none."""
        ...

    @abstractmethod
    def watch(self, listener: Callable[[int], None], types: Collection[str] | None = None) -> Callable[[], None]:
        """Call a listener with the head position after each append; a hint, not a guarantee.

        Args:
            listener: Called in the event loop; it must neither raise nor block.
            types: Call it only after appends that stored events of one of these aggregate types; default all. A store
                that learns of an append of another process without its types calls it too.

        Returns:
            A function that removes the listener.

        Raises:
            InvalidArgument: The listener is not a plain function; an async one would never run. Or a type is no name.
        """
        ...
