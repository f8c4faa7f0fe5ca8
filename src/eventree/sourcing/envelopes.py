"""A stored event as users see it."""

from typing import Protocol, TypeVar

from eventree.domain.codec import decode_metadata
from eventree.domain.events import EventEnvelope
from eventree.stores.contract import RecordedEvent

EventT = TypeVar("EventT")
EventT_co = TypeVar("EventT_co", covariant=True)


class Decoder(Protocol[EventT_co]):
    """Turns the stored form of events into events: a `Codec`."""

    def decode(self, type_: str, version: int, payload: str) -> EventT_co:
        """Return the event of a stored form."""
        ...


def envelope(event: RecordedEvent, decoder: Decoder[EventT]) -> EventEnvelope[EventT]:
    """Return a stored event with its payload decoded.

    Raises:
        EventNotDecodable: It does not fit the code.
    """
    return EventEnvelope(
        event.aggregate_type,
        event.aggregate_id,
        event.sequence,
        event.position,
        decoder.decode(event.event_type, event.event_version, event.payload),
        decode_metadata(event.metadata),
        event.event_type,
        event.event_version,
        event.recorded_at,
    )
