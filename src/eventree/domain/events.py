"""What happened: an event as it was stored, and what one command stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from msgspec import Struct

from eventree.values import subscriptable

EventT_co = TypeVar("EventT_co", covariant=True)


# Made 15 times faster than a frozen dataclass; and Python need not look for cycles in it, as it is made of JSON.
class EventEnvelope(Struct, Generic[EventT_co], frozen=True, gc=False):
    """Hold one stored event and where it stands.

    Attributes:
        aggregate_type: The name of the aggregate's type.
        aggregate_id: The aggregate.
        sequence: Its place in the aggregate, from 1, without gaps.
        position: Its place in the whole store, from 1, without gaps, in the order of commits.
        payload: The event.
        metadata: What was given with the command.
        event_type: The stable name under which the event's class is stored.
        event_version: The version of its form, from 1.
        recorded_at: When it was stored, aware UTC; information only, never an order.
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

    def __hash__(self) -> int:
        return hash((self.aggregate_type, self.aggregate_id, self.sequence))


@subscriptable
@dataclass(frozen=True, slots=True)
class Commit(Generic[EventT_co]):
    """Say what a command stored.

    Attributes:
        aggregate_id: The aggregate.
        sequence: The sequence of the aggregate's last event after this command; 0 if it has none.
        position: The position of that event in the store; 0 if there is none.
        events: The events of this command, in order; empty if it decided nothing.
    """

    aggregate_id: str
    sequence: int
    position: int
    events: tuple[EventT_co, ...]
