"""Decode stored events into the envelopes that users see."""

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
    """Decode the stored form of events, as a `Codec` does."""

    def decode(self, type_: str, version: int, payload: str) -> EventT_co:
        """Return the event of a stored form."""
        ...


def payload_of(event: RecordedEvent, decoder: Decoder[EventT]) -> EventT:
    """Return the payload of a stored event.

    Raises:
        EventNotDecodable: The event does not fit the code; the error names its position.
    """
    try:
        return decoder.decode(event.event_type, event.event_version, event.payload)
    except EventNotDecodable as error:
        raise _with_position(error, event)  # noqa: B904 - the same error, with its position


def envelope(event: RecordedEvent, decoder: Decoder[EventT]) -> EventEnvelope[EventT]:
    """Return a stored event with its payload decoded.

    Raises:
        EventNotDecodable: The event does not fit the code.
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
    except ValueError as error:  # not written by this library
        reason = f"its metadata: {error_text(error)}"
        raise _with_position(EventNotDecodable(event.event_type, event.event_version, reason), event) from error


def _with_position(error: EventNotDecodable, event: RecordedEvent) -> EventNotDecodable:
    return error.at(event.aggregate_type, event.aggregate_id, event.position)
