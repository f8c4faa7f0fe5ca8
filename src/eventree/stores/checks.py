"""What every store refuses: each of its methods calls one of these first, so that limits are equal everywhere."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
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
    AppendRequest,
    CheckpointUpdate,
    LeaseRequest,
    NewCommand,
    NewEvent,
    StoredSnapshot,
    StreamRead,
)

MAX_NUMBER: Final = 2**63 - 1
"""The highest position, sequence or fencing token."""

MAX_LEASE: Final = 86_400
"""The longest claim on a checkpoint, in seconds."""

MAX_REASON_BYTES: Final = 4_000
"""The longest reason for parking a commit."""

MAX_CHECKSUM: Final = 2**32 - 1
"""The highest checksum of a snapshot."""


def check_requests(requests: Sequence[AppendRequest]) -> None:
    """Raise `InvalidArgument` unless every store can keep these requests.

    Args:
        requests: At most one per aggregate. Ids and names have 1 to 255 bytes of UTF-8; payloads have at most 1 MiB
            and metadata 64 KiB; no text has lone surrogates or a NUL (in JSON it is escaped); command ids of a request
            are different, and each belongs to a stretch of its events.
    """
    for request in requests:
        _check_id("aggregate_type", request.aggregate_type)
        _check_id("aggregate_id", request.aggregate_id)
        _check_number("expected_sequence", request.expected_sequence, 0, MAX_NUMBER)
        for event in request.events:
            _check_event(event)
        if request.commands:
            _check_commands(request, request.commands)
    if len({(request.aggregate_type, request.aggregate_id) for request in requests}) < len(requests):
        raise InvalidArgument("requests", "must have at most one request per aggregate")


def check_command_ids(command_ids: Iterable[str]) -> None:
    """Raise `InvalidArgument` unless all of these can be ids of commands."""
    for command_id in command_ids:
        _check_id("command_id", command_id)


def check_stream_reads(reads: Iterable[StreamRead]) -> None:
    """Raise `InvalidArgument` unless there can be such aggregates, sequences from 0 and limits from 0."""
    for read in reads:
        _check_id("aggregate_type", read.aggregate_type)
        _check_id("aggregate_id", read.aggregate_id)
        _check_number("after", read.after, 0, MAX_NUMBER)
        _check_number("limit", read.limit, 0, MAX_VERSION)


def check_log_read(after: int, limit: int, types: Collection[str] | None) -> None:
    """Raise `InvalidArgument` unless there can be such a position and such types, and the limit is at least 1."""
    _check_number("after", after, 0, MAX_NUMBER)
    _check_number("limit", limit, 1, MAX_VERSION)
    for aggregate_type in types or ():
        _check_id("types", aggregate_type)


def check_checkpoint(name: str, version: int) -> None:
    """Raise `InvalidArgument` unless there can be a query of this name and version, from 1."""
    _check_id("name", name)
    _check_number("version", version, 1, MAX_VERSION)


def check_lease_request(name: str, version: int, lease: LeaseRequest) -> None:
    """Raise `InvalidArgument` unless there can be such a query and such a claim on it."""
    check_checkpoint(name, version)
    _check_id("owner", lease.owner)
    _check_seconds(lease.seconds)
    if lease.start is not None:
        _check_number("start", lease.start, 0, MAX_NUMBER)


def check_update(name: str, version: int, update: CheckpointUpdate) -> None:
    """Raise `InvalidArgument` unless there can be such a query and such a move of its checkpoint."""
    check_checkpoint(name, version)
    _check_number("position", update.checkpoint.position, 0, MAX_NUMBER)
    check_fencing_token(update.checkpoint.fencing_token)
    _check_seconds(update.seconds)
    _check_number("skipped", update.skipped, 0, MAX_VERSION)
    _check_number("replay_until", update.replay_until, 0, MAX_NUMBER)
    for position in update.unpark:
        _check_number("unpark", position, 1, MAX_NUMBER)
    for parked in update.park:
        _check_number("position", parked.position, 1, MAX_NUMBER)
        _check_number("last_position", parked.last_position, parked.position, MAX_NUMBER)
        _check_id("aggregate_type", parked.aggregate_type)
        _check_id("aggregate_id", parked.aggregate_id)
        check_text("reason", parked.reason, MAX_REASON_BYTES)
        if "\0" in parked.reason:
            raise InvalidArgument("reason", "must not contain NUL")
        _check_utc("parked_at", parked.parked_at)
    positions = {parked.position for parked in update.park}
    if len(positions) < len(update.park) or not positions.isdisjoint(update.unpark):
        raise InvalidArgument("park", "must have at most one commit per position, and none that is to be forgotten")


def check_fencing_token(fencing_token: int) -> None:
    """Raise `InvalidArgument` unless there can be such a fencing token."""
    _check_number("fencing_token", fencing_token, 0, MAX_NUMBER)


def check_renewal(name: str, version: int, fencing_token: int, seconds: float) -> None:
    """Raise `InvalidArgument` unless there can be such a claim on such a query."""
    check_checkpoint(name, version)
    check_fencing_token(fencing_token)
    _check_seconds(seconds)


def check_parked_read(name: str, version: int, after: int, limit: int) -> None:
    """Raise `InvalidArgument` unless there can be such a query and such a page of what it parked."""
    check_checkpoint(name, version)
    _check_number("after", after, 0, MAX_NUMBER)
    _check_number("limit", limit, 1, MAX_VERSION)


def check_snapshots(snapshots: Iterable[StoredSnapshot]) -> None:
    """Raise `InvalidArgument` unless every store can keep these snapshots; their limits are those of events."""
    for snapshot in snapshots:
        _check_id("aggregate_type", snapshot.aggregate_type)
        _check_id("aggregate_id", snapshot.aggregate_id)
        _check_id("state_version", snapshot.state_version)
        _check_id("state_type", snapshot.state_type)
        _check_number("sequence", snapshot.sequence, 1, MAX_NUMBER)
        _check_json("payload", snapshot.payload, MAX_PAYLOAD_BYTES)
        _check_number("checksum", snapshot.checksum, 0, MAX_CHECKSUM)
        _check_utc("taken_at", snapshot.taken_at)


def check_snapshot_ids(aggregate_type: str, aggregate_ids: Iterable[str], state_version: str) -> None:
    """Raise `InvalidArgument` unless there can be such snapshots."""
    _check_id("aggregate_type", aggregate_type)
    _check_id("state_version", state_version)
    for aggregate_id in aggregate_ids:
        _check_id("aggregate_id", aggregate_id)


def _check_event(event: NewEvent) -> None:
    _check_id("event_type", event.event_type)
    _check_number("event_version", event.event_version, 1, MAX_VERSION)
    _check_json("payload", event.payload, MAX_PAYLOAD_BYTES)
    _check_json("metadata", event.metadata, MAX_METADATA_BYTES)
    if not isinstance(event.commit_id, UUID):
        raise InvalidArgument("commit_id", f"must be a UUID, got {type(event.commit_id).__name__}")


def _check_commands(request: AppendRequest, commands: Sequence[NewCommand]) -> None:
    first = request.expected_sequence + 1
    last = min(request.expected_sequence + len(request.events), MAX_NUMBER - 1)
    for command in commands:
        _check_id("command_id", command.command_id)
        _check_number("first_sequence", command.first_sequence, first, last + 1)
        _check_number("last_sequence", command.last_sequence, command.first_sequence - 1, last)
    if len(commands) > 1 and len({command.command_id for command in commands}) < len(commands):
        raise InvalidArgument("commands", "must have different command ids")


# Each check below lets what is usual pass at once, since a command pays for all of them; only then it looks closer.


def _check_id(name: str, value: str) -> None:
    if type(value) is not str or not value.isascii() or not 0 < len(value) <= MAX_ID_BYTES or "\0" in value:
        check_id(name, value)


def _check_json(name: str, value: str, max_bytes: int) -> None:
    if type(value) is str and value.isascii() and len(value) <= max_bytes and "\0" not in value:
        return
    if not isinstance(value, str):
        raise InvalidArgument(name, f"must be a str, got {type(value).__name__}")
    if "\0" in value:
        raise InvalidArgument(name, "must not contain NUL, which JSON text escapes")
    check_text(name, value, max_bytes)


def _check_number(name: str, value: int, lowest: int, highest: int) -> None:
    if type(value) is int and lowest <= value <= highest:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(name, f"must be an int, got {type(value).__name__}")
    if not lowest <= value <= highest:
        raise InvalidArgument(name, f"must be between {lowest} and {highest}, got {value}")


def _check_seconds(value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_LEASE:
        raise InvalidArgument("seconds", f"must be between 0 and {MAX_LEASE}, got {value!r}")


def _check_utc(name: str, value: datetime) -> None:
    if value.utcoffset() != timedelta(0):
        raise InvalidArgument(name, "must be an aware datetime of UTC")
