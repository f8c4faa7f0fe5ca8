"""The base class of stores: public methods check their arguments once, then call the store's own code.

The limits are the same for all stores. A read with arguments that no store could hold is refused just like a write.
Texts are UTF-8 without lone surrogates or NUL; ids and names have 1 to 255 bytes.
"""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from inspect import iscoroutinefunction
from typing import Final, TypeAlias
from uuid import UUID

from eventree.domain.limits import (
    MAX_ID_BYTES,
    MAX_METADATA_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_VERSION,
    check_id,
    check_text,
)
from eventree.errors import InvalidArgument
from eventree.stores.contract import (
    NO_LEASE,
    AggregateSummary,
    AppendRequest,
    Checkpoint,
    CheckpointUpdate,
    CheckpointWriter,
    CommitStamp,
    EventStore,
    LeaseRequest,
    LogPage,
    NewCommand,
    NewEvent,
    Outcome,
    ParkedCommit,
    QueryRequest,
    RecordedCommand,
    RequestAnswer,
    StoredCheckpoint,
    StoredFailure,
    StoredSnapshot,
    StoredStop,
    StreamPage,
    StreamRead,
)

Append: TypeAlias = Callable[[Sequence[AppendRequest]], Awaitable[Sequence[Outcome]]]
Decide: TypeAlias = Callable[[Sequence[StreamPage]], Sequence[AppendRequest]]


class CheckedCheckpointWriter(CheckpointWriter):
    """Check the arguments of a store and of its transactions; a subclass implements the abstract methods below."""

    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        _check_query(name, version)
        check_name("owner", lease.owner)
        check_seconds(lease.seconds)
        if lease.start is not None:
            check_number("start", lease.start, 0, MAX_NUMBER)
        return await self._claim_checkpoint(name, version, lease)

    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        _check_query(name, version)
        _check_update(update)
        await self._save_checkpoint(name, version, update)

    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        _check_query(name, version)
        check_number("fencing_token", fencing_token, 0, MAX_NUMBER)
        return await self._make_live(name, version, fencing_token)

    @abstractmethod
    async def _claim_checkpoint(self, name: str, version: int, lease: LeaseRequest) -> Checkpoint: ...
    @abstractmethod
    async def _save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None: ...
    @abstractmethod
    async def _make_live(self, name: str, version: int, fencing_token: int) -> bool: ...


class CheckedStore(CheckedCheckpointWriter, EventStore):
    """Check the arguments of every method of `EventStore`, once per call.

    A subclass implements `_append` instead of `append`, and so on, and can rely on valid arguments. It also implements
    `head`, `list_aggregate_types`, `list_queries` and the lifecycle, which have nothing to check, and it may override
    `_read_live`. A store that does not derive from this class works too: `EventSourcing` wraps it to check the
    arguments.
    """

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        _check_requests(requests)
        return await self._append(requests)

    @staticmethod
    def unchecked_append(store: EventStore) -> Append:
        """Return a store's `append` without the checks, for requests made of values that are checked already.

        Args:
            store: The store; if it does not derive from this class, or overrides `append`, its `append` is returned.
        """
        if isinstance(store, CheckedStore) and getattr(store.append, "__func__", None) is CheckedStore.append:
            return store._append  # noqa: SLF001 - a method of this class
        return store.append

    async def read_and_append(self, reads: Sequence[StreamRead], decide: Decide) -> Sequence[Outcome]:
        _check_reads(reads)
        if not callable(decide) or iscoroutinefunction(decide):
            raise InvalidArgument("decide", f"must be a plain function that takes pages, got {decide!r}")

        def checked(pages: Sequence[StreamPage]) -> Sequence[AppendRequest]:
            requests = decide(pages)
            _check_requests(requests)
            return requests

        return await self._read_and_append(reads, checked)

    async def find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        for command_id in command_ids:
            check_name("command_id", command_id)
        return await self._find_commands(command_ids)

    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        _check_reads(reads)
        return await self._read_streams(reads)

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
        check_number("after", after, 0, MAX_NUMBER)
        _check_page(limit, types, event_types)
        check_stamp("after_stamp", after_stamp)
        return await (self._read_live if live else self._read)(after, limit, types, event_types, after_stamp)

    async def read_backwards(
        self,
        before: int | None,
        limit: int,
        types: Collection[str] | None = None,
        event_types: Collection[str] | None = None,
    ) -> LogPage:
        if before is not None:
            check_number("before", before, 1, MAX_NUMBER)
        _check_page(limit, types, event_types)
        return await self._read_backwards(before or MAX_NUMBER, limit, types, event_types)

    async def list_aggregates(
        self, aggregate_type: str | None = None, *, after: tuple[str, str] | None = None, limit: int = 1_000
    ) -> Sequence[AggregateSummary]:
        if aggregate_type is not None:
            check_name("aggregate_type", aggregate_type)
        if after is not None:
            check_key("after", after)
        check_number("limit", limit, 1, MAX_VERSION)
        return await self._list_aggregates(aggregate_type, after or ("", ""), limit)

    def watch(self, listener: Callable[[int], None], types: Collection[str] | None = None) -> Callable[[], None]:
        check_listener(listener)
        if types is not None:
            _check_types(types)
        return self._watch(listener, types)

    async def renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        _check_query(name, version)
        check_number("fencing_token", fencing_token, 0, MAX_NUMBER)
        check_seconds(seconds)
        return await self._renew_checkpoint(name, version, fencing_token, seconds)

    async def stop_checkpoint(self, name: str, version: int, owner: str, stop: StoredStop) -> bool:
        _check_query(name, version)
        check_name("owner", owner)
        if stop.kind not in {"stopped", "outdated"}:
            raise InvalidArgument("kind", f"must be 'stopped' or 'outdated', got {stop.kind!r}")
        check_reason(stop.reason)
        return await self._stop_checkpoint(name, version, owner, stop)

    async def load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        _check_query(name, version)
        return await self._load_checkpoint(name, version)

    async def load_parked(
        self, name: str, version: int, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ParkedCommit]:
        _check_query(name, version)
        check_number("after", after, 0, MAX_NUMBER)
        check_number("limit", limit, 1, MAX_VERSION)
        return await self._load_parked(name, version, after=after, limit=limit)

    async def put_request(self, request: QueryRequest) -> bool:
        _check_query(request.name, request.version)
        _check_uuid("id", request.id)
        check_name("action", request.action)
        if request.argument:
            check_name("argument", request.argument)
        return await self._put_request(request)

    async def load_requests(self, name: str, version: int) -> Sequence[QueryRequest]:
        _check_query(name, version)
        return await self._load_requests(name, version)

    async def take_answer(self, id: UUID) -> RequestAnswer | None:
        _check_uuid("id", id)
        return await self._take_answer(id)

    async def save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        for snapshot in snapshots:
            _check_snapshot(snapshot)
        await self._save_snapshots(snapshots)

    async def load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        check_name("aggregate_type", aggregate_type)
        check_name("state_version", state_version)
        for aggregate_id in aggregate_ids:
            check_name("aggregate_id", aggregate_id)
        return await self._load_snapshots(aggregate_type, aggregate_ids, state_version)

    @abstractmethod
    async def _append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]: ...
    @abstractmethod
    async def _read_and_append(self, reads: Sequence[StreamRead], decide: Decide, /) -> Sequence[Outcome]: ...
    @abstractmethod
    async def _find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]: ...
    @abstractmethod
    async def _read_streams(self, reads: Sequence[StreamRead], /) -> Sequence[StreamPage]: ...
    @abstractmethod
    async def _read(
        self,
        after: int,
        limit: int,
        types: Collection[str] | None,
        event_types: Collection[str] | None,
        after_stamp: CommitStamp | None,
    ) -> LogPage: ...
    async def _read_live(
        self,
        after: int,
        limit: int,
        types: Collection[str] | None,
        event_types: Collection[str] | None,
        after_stamp: CommitStamp | None,
    ) -> LogPage:
        return await self._read(after, limit, types, event_types, after_stamp)

    @abstractmethod
    async def _read_backwards(
        self, before: int, limit: int, types: Collection[str] | None, event_types: Collection[str] | None
    ) -> LogPage: ...
    @abstractmethod
    async def _list_aggregates(
        self, aggregate_type: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[AggregateSummary]: ...
    @abstractmethod
    def _watch(self, listener: Callable[[int], None], types: Collection[str] | None) -> Callable[[], None]: ...
    @abstractmethod
    async def _renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool: ...
    @abstractmethod
    async def _stop_checkpoint(self, name: str, version: int, owner: str, stop: StoredStop) -> bool: ...
    @abstractmethod
    async def _load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None: ...
    @abstractmethod
    async def _load_parked(self, name: str, version: int, *, after: int, limit: int) -> Sequence[ParkedCommit]: ...
    @abstractmethod
    async def _put_request(self, request: QueryRequest) -> bool: ...
    @abstractmethod
    async def _load_requests(self, name: str, version: int) -> Sequence[QueryRequest]: ...
    @abstractmethod
    async def _take_answer(self, id: UUID) -> RequestAnswer | None: ...
    @abstractmethod
    async def _save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None: ...
    @abstractmethod
    async def _load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]: ...


def _check_requests(requests: Sequence[AppendRequest]) -> None:
    for request in requests:
        check_name("aggregate_type", request.aggregate_type)
        check_name("aggregate_id", request.aggregate_id)
        check_number("expected_sequence", request.expected_sequence, 0, MAX_NUMBER)
        check_stamp("expected_stamp", request.expected_stamp)
        for event in request.events:
            _check_event(event)
        if request.commands:
            _check_commands(request, request.commands)
    if len(requests) > 1 and len({(one.aggregate_type, one.aggregate_id) for one in requests}) < len(requests):
        raise InvalidArgument("requests", "must have at most one request per aggregate")


def _check_reads(reads: Sequence[StreamRead]) -> None:
    for read in reads:
        check_name("aggregate_type", read.aggregate_type)
        check_name("aggregate_id", read.aggregate_id)
        check_number("after", read.after, 0, MAX_NUMBER)
        check_number("limit", read.limit, 0, MAX_VERSION)
        check_stamp("after_stamp", read.after_stamp)
        for name, bound in (("up_to", read.up_to), ("up_to_position", read.up_to_position)):
            if bound is not None:
                check_number(name, bound, 0, MAX_NUMBER)


def _check_query(name: str, version: int) -> None:
    check_name("name", name)
    check_number("version", version, 1, MAX_VERSION)


def _check_page(limit: int, types: Collection[str] | None, event_types: Collection[str] | None) -> None:
    check_number("limit", limit, 1, MAX_VERSION)
    for aggregate_type in types or ():
        check_name("types", aggregate_type)
    for event_type in event_types or ():
        check_name("event_types", event_type)


def _check_event(event: NewEvent) -> None:
    check_name("event_type", event.event_type)
    check_number("event_version", event.event_version, 1, MAX_VERSION)
    check_json("payload", event.payload, MAX_PAYLOAD_BYTES)
    check_json("metadata", event.metadata, MAX_METADATA_BYTES)
    _check_uuid("commit_id", event.commit_id)


def _check_commands(request: AppendRequest, commands: Sequence[NewCommand]) -> None:
    first = request.expected_sequence + 1
    last = min(request.expected_sequence + len(request.events), MAX_NUMBER - 1)
    for command in commands:
        check_name("command_id", command.command_id)
        check_number("first_sequence", command.first_sequence, first, last + 1)
        check_number("last_sequence", command.last_sequence, command.first_sequence - 1, last)
        if command.fingerprint is not None:
            check_name("fingerprint", command.fingerprint)
    if len(commands) > 1 and len({command.command_id for command in commands}) < len(commands):
        raise InvalidArgument("commands", "must have different command ids")


def _check_update(update: CheckpointUpdate) -> None:
    check_number("position", update.checkpoint.position, 0, MAX_NUMBER)
    check_number("fencing_token", update.checkpoint.fencing_token, 0, MAX_NUMBER)
    check_stamp("stamp", update.checkpoint.stamp)
    if update.moved_from is not None:
        check_number("moved_from", update.moved_from, 0, MAX_NUMBER)
    check_seconds(update.seconds)
    check_number("skipped", update.skipped, 0, MAX_VERSION)
    check_number("replay_until", update.replay_until, 0, MAX_NUMBER)
    for position in update.unpark:
        check_number("unpark", position, 1, MAX_NUMBER)
    if update.failure is not None:
        _check_failure(update.failure)
    for answer in update.answers:
        _check_answer(answer)
    for parked in update.park:
        _check_parked(parked)
    positions = {parked.position for parked in update.park}
    if len(positions) < len(update.park) or not positions.isdisjoint(update.unpark):
        raise InvalidArgument("park", "must have at most one commit per position, and none that is also in unpark")


def _check_failure(failure: StoredFailure) -> None:
    check_number("position", failure.position, 1, MAX_NUMBER)
    check_number("attempts", failure.attempts, 1, MAX_VERSION)
    check_reason(failure.reason)
    check_utc("failed_at", failure.failed_at)


def _check_answer(answer: RequestAnswer) -> None:
    _check_uuid("id", answer.id)
    check_number("result", answer.result, 0, MAX_NUMBER)
    if answer.error:
        check_name("error", answer.error)
    check_reason(answer.detail)


def _check_uuid(name: str, value: UUID) -> None:
    if not isinstance(value, UUID):
        raise InvalidArgument(name, f"must be a UUID, got {type(value).__name__}")


def _check_parked(parked: ParkedCommit) -> None:
    check_number("position", parked.position, 1, MAX_NUMBER)
    check_number("last_position", parked.last_position, parked.position, MAX_NUMBER)
    check_name("aggregate_type", parked.aggregate_type)
    check_name("aggregate_id", parked.aggregate_id)
    check_reason(parked.reason)
    check_utc("parked_at", parked.parked_at)


def _check_snapshot(snapshot: StoredSnapshot) -> None:
    check_name("aggregate_type", snapshot.aggregate_type)
    check_name("aggregate_id", snapshot.aggregate_id)
    check_name("state_version", snapshot.state_version)
    check_name("state_type", snapshot.state_type)
    check_number("sequence", snapshot.sequence, 1, MAX_NUMBER)
    check_json("payload", snapshot.payload, MAX_PAYLOAD_BYTES)
    check_number("checksum", snapshot.checksum, 0, MAX_CHECKSUM)
    check_utc("taken_at", snapshot.taken_at)
    check_stamp("stamp", snapshot.stamp)


MAX_NUMBER: Final = 2**63 - 1
"""The highest position, sequence or fencing token."""

MAX_LEASE: Final = 86_400
"""The longest lease on a checkpoint or a transaction, in seconds."""

MAX_REASON_BYTES: Final = 4_000
"""The longest text of a failure, in bytes of UTF-8."""

MAX_CHECKSUM: Final = 2**32 - 1
"""The highest checksum of a snapshot."""


def check_name(name: str, value: str) -> None:
    """Raise `InvalidArgument` unless this is an id or a name of 1 to 255 bytes."""
    if type(value) is not str or not value.isascii() or not 0 < len(value) <= MAX_ID_BYTES or "\0" in value:
        check_id(name, value)


def check_key(name: str, value: tuple[str, str]) -> None:
    """Raise `InvalidArgument` unless this is the key of an aggregate: its type and its id."""
    if not isinstance(value, tuple) or len(value) != 2:  # noqa: PLR2004 - a pair
        raise InvalidArgument(name, f"must be the type and the id of an aggregate, got {value!r}")
    for part in value:
        check_name(name, part)


def check_json(name: str, value: str, max_bytes: int) -> None:
    """Raise `InvalidArgument` unless this is text of at most `max_bytes` of UTF-8, without NUL; it is not parsed."""
    if type(value) is str and value.isascii() and len(value) <= max_bytes and "\0" not in value:
        return
    if not isinstance(value, str):
        raise InvalidArgument(name, f"must be a str, got {type(value).__name__}")
    if "\0" in value:
        raise InvalidArgument(name, "must not contain NUL, which JSON text escapes")
    check_text(name, value, max_bytes)


def check_reason(value: str) -> None:
    """Raise `InvalidArgument` unless this is the text of a failure."""
    check_text("reason", value, MAX_REASON_BYTES)
    if "\0" in value:
        raise InvalidArgument("reason", "must not contain NUL")


def check_number(name: str, value: int, lowest: int, highest: int) -> None:
    """Raise `InvalidArgument` unless this is an int within these bounds, both included."""
    if type(value) is int and lowest <= value <= highest:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(name, f"must be an int, got {type(value).__name__}")
    if not lowest <= value <= highest:
        raise InvalidArgument(name, f"must be between {lowest} and {highest}, got {value}")


def check_stamp(name: str, value: CommitStamp | None) -> None:
    """Raise `InvalidArgument` unless this is the stamp of a commit, or None."""
    if value is None:
        return
    if not isinstance(value, CommitStamp) or not isinstance(value.commit_id, UUID):
        raise InvalidArgument(name, f"must be a CommitStamp, got {value!r}")
    check_utc(name, value.recorded_at)


def check_seconds(value: float) -> None:
    """Raise `InvalidArgument` unless this is the duration of a lease."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_LEASE:
        raise InvalidArgument("seconds", f"must be between 0 and {MAX_LEASE}, got {value!r}")


def check_transaction_lease(value: float) -> None:
    """Raise `InvalidArgument` unless this is the duration for which a transaction may be idle."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_LEASE:
        raise InvalidArgument("lease", f"must be more than 0 and at most {MAX_LEASE} seconds, got {value!r}")


def _check_types(types: Collection[str]) -> None:
    if isinstance(types, str) or not isinstance(types, Collection):
        raise InvalidArgument("types", f"must be a collection of names of aggregate types, got {types!r}")
    for aggregate_type in types:
        check_name("types", aggregate_type)


def check_listener(listener: object) -> None:
    """Raise `InvalidArgument` unless this is a plain (not async) function."""
    if not callable(listener) or iscoroutinefunction(listener):
        raise InvalidArgument("listener", f"must be a plain function that takes a position, got {listener!r}")


def check_utc(name: str, value: datetime) -> None:
    """Raise `InvalidArgument` unless this is an aware datetime in UTC."""
    if value.utcoffset() != timedelta(0):
        raise InvalidArgument(name, "must be an aware datetime in UTC")
