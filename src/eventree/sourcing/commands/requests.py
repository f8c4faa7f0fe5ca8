"""Build the messages of the command actor; every argument of a caller is checked here, before anything is sent."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Generic, TypeAlias, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

from msgspec import Struct
from msgspec.structs import replace

from eventree.commit import Commit
from eventree.domain.fingerprints import CommandFingerprints
from eventree.domain.limits import check_command_id, check_id, check_metadata
from eventree.domain.metadata import CAUSATION_ID, CORRELATION_ID, decode_metadata, encode_metadata
from eventree.errors import DomainError, EventreeError, InvalidArgument
from eventree.instrumentation import CommandExecution
from eventree.instrumentation.context import CARRIED
from eventree.result import Result
from eventree.sourcing.correlation import correlated

CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

CommandId: TypeAlias = str | UUID
Metadata: TypeAlias = Mapping[str, str]
Fingerprint: TypeAlias = str | bytes

_IDS: Final = frozenset({CORRELATION_ID, CAUSATION_ID})


class CommandEnvelope(Struct, Generic[CommandT], frozen=True):
    """Carry a command to the actor that decides it.

    Attributes:
        aggregate_id: The aggregate.
        command: The command, for the aggregate type's `handle`.
        metadata: Stored with each of its events; a JSON object as text.
        command_id: Makes the command idempotent; None if it is not.
        commit_id: The commit id of its events.
        expected_sequence: The sequence that the caller expects the aggregate to be at; None for any.
        fingerprint: Tells it from another command with the same id; None if it has no id, or nothing tells it.
        execution: The instrumentation's record of it; None without an instrumentation.
    """

    aggregate_id: str
    command: CommandT
    metadata: str
    command_id: str | None
    commit_id: UUID
    expected_sequence: int | None = None
    fingerprint: str | None = None
    execution: CommandExecution | None = None


CommandResult: TypeAlias = Result[Commit[EventT], DomainError[ErrorT] | EventreeError]
"""The answer to a command."""


def make_request(
    aggregate_id: str,
    command: CommandT,
    metadata: Metadata | None = None,
    command_id: CommandId | None = None,
    expected_sequence: int | None = None,
    fingerprint: Fingerprint | None = None,
    fingerprints: CommandFingerprints | None = None,
) -> CommandEnvelope[CommandT]:
    """Check the arguments of a command and put it into an envelope.

    Args:
        aggregate_id: 1 to 255 bytes of UTF-8.
        command: Anything but None.
        metadata: At most 64 KiB of JSON; default none. The correlation ids of the caller are added.
        command_id: 1 to 255 bytes of UTF-8, or a UUID; default none.
        expected_sequence: From 0; default any.
        fingerprint: The caller's own fingerprint of the command, not empty; default the one computed.
        fingerprints: Computes fingerprints; default none are computed.

    Raises:
        InvalidArgument: An argument is invalid.
    """
    check_id("aggregate_id", aggregate_id)
    if command is None:
        raise InvalidArgument("command", "must not be None")
    id = None if command_id is None else check_command_id(command_id)
    # Never the command id itself: a command may use the id of the commit that caused it as its own, and two adjacent
    # commits with the same id would be taken for one.
    commit_id = uuid4() if id is None else uuid5(NAMESPACE_OID, id)
    if expected_sequence is not None:
        _check_sequence(expected_sequence)
    stored = "{}" if metadata is None and CARRIED.get() is None else _stored_metadata(metadata)
    stands_for = _fingerprint(command, id, fingerprint, fingerprints)
    return CommandEnvelope(aggregate_id, command, stored, id, commit_id, expected_sequence, stands_for)


def with_execution(
    request: CommandEnvelope[CommandT], execution: CommandExecution, metadata: Metadata
) -> CommandEnvelope[CommandT]:
    """Return a command with the instrumentation's record of it.

    Args:
        request: The command.
        execution: The record.
        metadata: Added to the metadata of the command, which takes precedence.

    Raises:
        InvalidArgument: The metadata is invalid.
    """
    stored = request.metadata
    if metadata:
        stored = _stored_metadata({**check_metadata(metadata), **decode_metadata(stored)})
    return replace(request, metadata=stored, execution=execution)


def make_requests(
    commands: Iterable[tuple[str, CommandT]],
    metadata: Metadata | Sequence[Metadata | None] | None,
    command_ids: Sequence[CommandId | None] | None,
    fingerprints: Sequence[Fingerprint | None] | None,
    computing: CommandFingerprints,
) -> list[CommandEnvelope[CommandT] | EventreeError]:
    """Return an envelope for each command, or the error in its arguments."""
    pairs = list(commands)
    try:
        options = _options(len(pairs), metadata, command_ids, fingerprints)
    except InvalidArgument as error:
        return [error] * len(pairs)
    return [
        _request_or_error(id, command, *option, computing) for (id, command), option in zip(pairs, options, strict=True)
    ]


def _request_or_error(
    aggregate_id: str,
    command: CommandT,
    metadata: Metadata | None,
    command_id: CommandId | None,
    fingerprint: Fingerprint | None,
    computing: CommandFingerprints,
) -> CommandEnvelope[CommandT] | EventreeError:
    try:
        return make_request(aggregate_id, command, metadata, command_id, None, fingerprint, computing)
    except EventreeError as error:
        return error


def _options(
    count: int,
    metadata: Metadata | Sequence[Metadata | None] | None,
    command_ids: Sequence[CommandId | None] | None,
    fingerprints: Sequence[Fingerprint | None] | None,
) -> list[tuple[Metadata | None, CommandId | None, Fingerprint | None]]:
    """Return the options of each command, given one value for all or one per command."""
    each = [metadata] * count if metadata is None or isinstance(metadata, Mapping) else metadata
    ids = [None] * count if command_ids is None else command_ids
    own = [None] * count if fingerprints is None else fingerprints
    for name, values in (("metadata", each), ("command_ids", ids), ("fingerprints", own)):
        if isinstance(values, str | bytes) or not isinstance(values, Sequence) or len(values) != count:
            raise InvalidArgument(name, f"must be a sequence of one entry per command, {count} in all")
    return list(zip(each, ids, own, strict=True))


def _fingerprint(
    command: object, command_id: str | None, given: Fingerprint | None, computing: CommandFingerprints | None
) -> str | None:
    """Return the fingerprint to store with a command; the caller's own takes precedence."""
    if given is None:
        return None if command_id is None or computing is None else computing.of(command)
    if not isinstance(given, str | bytes) or not given:
        raise InvalidArgument("fingerprint", f"must be a str or bytes, and not empty, got {given!r}")
    if command_id is None:
        raise InvalidArgument("fingerprint", "needs a command_id, whose repetitions it is compared with")
    return CommandFingerprints.of_caller(given)


def _check_sequence(expected: int) -> None:
    if isinstance(expected, bool) or not isinstance(expected, int) or expected < 0:
        raise InvalidArgument(
            "expected_sequence", f"must be a whole number from 0, the sequence of the last event, got {expected!r}"
        )


def _stored_metadata(metadata: Metadata | None) -> str:
    """Return metadata as JSON text, with the correlation ids of the work in progress."""
    metadata = check_metadata(metadata)
    for name in metadata.keys() & _IDS:  # later commands inherit these ids
        if metadata[name]:
            check_id(name, metadata[name])
    return encode_metadata(correlated(metadata))
