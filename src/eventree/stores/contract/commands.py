"""Recorded commands, by which a store makes sure that each command takes effect only once."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class NewCommand:
    """A command to record with the events of its request.

    Attributes:
        command_id: The id given by the sender, unique in the store for good; 1 to 255 bytes.
        first_sequence: The sequence of its first event; without events, the sequence that comes next.
        last_sequence: The sequence of its last event; without events, `first_sequence - 1`. All its events are among
            those of its request.
        fingerprint: Tells it from another command with the same id, 1 to 255 bytes; None if nothing does. A store
            keeps it and never compares it.
    """

    command_id: str
    first_sequence: int
    last_sequence: int
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedCommand:
    """A recorded command: `NewCommand` with its aggregate."""

    command_id: str
    aggregate_type: str
    aggregate_id: str
    first_sequence: int
    last_sequence: int
    fingerprint: str | None = None


class CommandLog(Protocol):
    """Look up recorded commands; `EventLog.append` records them."""

    @abstractmethod
    async def find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        """Return the recorded commands by id; ids that are not recorded are left out."""
        ...
