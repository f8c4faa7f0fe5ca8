"""What happened: an event as it was stored, and what one command stored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeVar
from uuid import UUID

from msgspec import Struct

from eventree.domain.metadata import CAUSATION_ID, CORRELATION_ID
from eventree.values import subscriptable

EventT_co = TypeVar("EventT_co", covariant=True)

_NIL: Final = UUID(int=0)


# Made 15 times faster than a frozen dataclass; and Python need not look for cycles in it, as it is made of JSON.
class EventEnvelope(Struct, Generic[EventT_co], frozen=True, gc=False):
    """Hold one stored event and where it stands.

    Attributes:
        aggregate_type: The name of the aggregate's type.
        aggregate_id: The aggregate.
        sequence: Its place in the aggregate, from 1, without gaps.
        position: Its place in the whole store, from 1, without gaps, in the order of commits.
        payload: The event.
        metadata: What was given with the command, and the ids of what led to it.
        event_type: The stable name under which the event's class is stored.
        event_version: The version of its form, from 1.
        recorded_at: When it was stored, aware UTC; information only, never an order.
        commit_id: The same for all events of one command.
    """

    aggregate_type: str
    aggregate_id: str
    sequence: int
    position: int
    payload: EventT_co
    metadata: Mapping[str, str]
    event_type: str
    event_version: int
    recorded_at: datetime
    commit_id: UUID

    def __hash__(self) -> int:
        return hash((self.aggregate_type, self.aggregate_id, self.sequence))

    @property
    def correlation_id(self) -> str:
        """The same for all that follows from one beginning: the one in the metadata; without one, its commit's id."""
        return self.metadata.get(CORRELATION_ID) or str(self.commit_id)

    @property
    def causation_id(self) -> str | None:
        """What directly led to its command, such as the id of the commit that a query handled; None for a beginning."""
        return self.metadata.get(CAUSATION_ID)


@subscriptable
@dataclass(frozen=True, slots=True)
class Commit(Generic[EventT_co]):
    """Say what a command stored.

    Attributes:
        aggregate_id: The aggregate.
        sequence: The sequence of the aggregate's last event after this command; 0 if it has none.
        position: The position of that event in the store; 0 if there is none.
        events: The events of this command, in order; empty if it decided nothing.
        commit_id: The same in all its events. It is made anew for each command without a `command_id`, so commits are
            compared without it.
    """

    aggregate_id: str
    sequence: int
    position: int
    events: tuple[EventT_co, ...]
    commit_id: UUID = field(default=_NIL, compare=False)
