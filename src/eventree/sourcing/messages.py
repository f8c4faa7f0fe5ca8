"""Make messages of what callers pass in: every argument is checked before anything happens."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

from eventree.actors.actor.request import CARRIED
from eventree.domain.limits import check_command_id, check_id, check_metadata
from eventree.domain.metadata import CAUSATION_ID, CORRELATION_ID, encode_metadata
from eventree.errors import EventreeError, InvalidArgument
from eventree.sourcing.batch import Execute
from eventree.sourcing.correlation import correlated

CommandT = TypeVar("CommandT")

CommandId: TypeAlias = str | UUID
Metadata: TypeAlias = Mapping[str, str]

_IDS: Final = frozenset({CORRELATION_ID, CAUSATION_ID})


def message(
    aggregate_id: str,
    command: CommandT,
    metadata: Metadata | None = None,
    command_id: CommandId | None = None,
    expected_sequence: int | None = None,
) -> Execute[CommandT]:
    """Return a command as its actor takes it.

    Raises:
        InvalidArgument: An argument cannot be accepted.
    """
    check_id("aggregate_id", aggregate_id)
    if command is None:
        raise InvalidArgument("command", "must not be None")
    text = check_command_id(command_id)
    # Never the command's id itself: that may be the id of the commit that led to it, which ends where this one begins.
    commit_id = uuid4() if text is None else uuid5(NAMESPACE_OID, text)
    _check_sequence(expected_sequence)
    metadata = check_metadata(metadata)
    for name in metadata.keys() & _IDS:  # all that follows from this command inherits them
        if metadata[name]:
            check_id(name, metadata[name])
    if CARRIED.get() is not None:
        metadata = correlated(metadata)
    return Execute(aggregate_id, command, encode_metadata(metadata), text, commit_id, expected_sequence)


def messages(
    commands: Iterable[tuple[str, CommandT]],
    metadata: Metadata | Sequence[Metadata | None] | None,
    command_ids: Sequence[CommandId | None] | None,
) -> list[Execute[CommandT] | EventreeError]:
    """Return for each of many commands its message, or why it cannot be accepted."""
    pairs = list(commands)
    try:
        details = _details(len(pairs), metadata, command_ids)
    except InvalidArgument as error:
        return [error] * len(pairs)
    return [_message_or_error(*pair, *its) for pair, its in zip(pairs, details, strict=True)]


def _message_or_error(
    aggregate_id: str, command: CommandT, metadata: Metadata | None, command_id: CommandId | None
) -> Execute[CommandT] | EventreeError:
    try:
        return message(aggregate_id, command, metadata, command_id)
    except EventreeError as error:
        return error


def _details(
    count: int, metadata: Metadata | Sequence[Metadata | None] | None, command_ids: Sequence[CommandId | None] | None
) -> list[tuple[Metadata | None, CommandId | None]]:
    """Return metadata and id for each of a number of commands."""
    each = [metadata] * count if metadata is None or isinstance(metadata, Mapping) else metadata
    ids = [None] * count if command_ids is None else command_ids
    for name, values in (("metadata", each), ("command_ids", ids)):
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != count:
            raise InvalidArgument(name, f"must be a sequence of one entry per command, {count} in all")
    return list(zip(each, ids, strict=True))


def _check_sequence(expected: int | None) -> None:
    if expected is not None and (isinstance(expected, bool) or not isinstance(expected, int) or expected < 0):
        raise InvalidArgument(
            "expected_sequence", f"must be a whole number from 0, the sequence of the last event, got {expected!r}"
        )
