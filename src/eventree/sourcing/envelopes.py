"""A stored event as users see it."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from eventree.domain.events import EventEnvelope
from eventree.domain.metadata import decode_metadata
from eventree.errors import EventNotDecodable
from eventree.errors.root import error_text
from eventree.stores.contract import RecordedEvent

EventT = TypeVar("EventT")
EventT_co = TypeVar("EventT_co", covariant=True)


class Decoder(Protocol[EventT_co]):
    """Turns the stored form of events into events: a `Codec`."""

    def decode(self, type_: str, version: int, payload: str) -> EventT_co:
        """Return the event of a stored form."""
        ...


def payload_of(event: RecordedEvent, decoder: Decoder[EventT]) -> EventT:
    """Return the payload of a stored event.

    Raises:
        EventNotDecodable: It does not fit the code; the error tells where it is.
    """
    try:
        return decoder.decode(event.event_type, event.event_version, event.payload)
    except EventNotDecodable as error:
        raise _placed(error, event)  # noqa: B904 - it is the same


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
        payload_of(event, decoder),
        _metadata_of(event),
        event.event_type,
        event.event_version,
        event.recorded_at,
        event.commit_id,
    )


def _metadata_of(event: RecordedEvent) -> Mapping[str, str]:
    try:
        return decode_metadata(event.metadata)
    except ValueError as error:  # it was not stored by us
        reason = f"its metadata: {error_text(error)}"
        raise _placed(EventNotDecodable(event.event_type, event.event_version, reason), event) from error


def _placed(error: EventNotDecodable, event: RecordedEvent) -> EventNotDecodable:
    return error.at(event.aggregate_type, event.aggregate_id, event.position)
