"""Decode stored events of several aggregate types into envelopes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, Never, TypeVar

from eventree.domain.events import EventEnvelope
from eventree.errors import EventNotDecodable, InvalidArgument, UnknownEventType
from eventree.sourcing.envelopes import Decoder, envelope
from eventree.sourcing.queries.options import Followed
from eventree.stores.contract import RecordedEvent

EventT = TypeVar("EventT")
EventT_co = TypeVar("EventT_co", covariant=True)


class _NotFollowed:
    """Refuse to decode: the event was parked when the query still followed its aggregate type."""

    def __init__(self, aggregate_type: str) -> None:
        self._aggregate_type = aggregate_type

    def decode(self, type_: str, version: int, payload: str) -> Never:
        raise EventNotDecodable(type_, version, f"the query does not follow {self._aggregate_type!r}")


class _Decoders(dict[str, Decoder[EventT]]):
    """Map followed aggregate types to their decoders, and all others to one that refuses."""

    def __missing__(self, aggregate_type: str) -> Decoder[EventT]:
        return _NotFollowed(aggregate_type)


class Decoding(Generic[EventT_co]):
    """Decode the events of the aggregate types that a query follows.

    Attributes:
        types: The names of these aggregate types.
        ignored: The number of events of unknown types that were left out.
    """

    def __init__(self, follows: Iterable[Followed[EventT_co]], *, ignore_unknown: bool = False) -> None:
        """Collect the decoders.

        Args:
            follows: The aggregate types.
            ignore_unknown: Whether to leave out events of unknown types; default False: they are errors.

        Raises:
            InvalidArgument: There is no aggregate type, or two have the same name.
        """
        decoders = _Decoders[EventT_co]()
        if not isinstance(follows, Iterable):
            raise InvalidArgument("follows", f"must be a list of aggregate types, got {follows!r}")
        for followed in follows:
            if not callable(getattr(getattr(followed, "events", None), "decode", None)):
                raise InvalidArgument("follows", f"must hold aggregate types, got {followed!r}")
            if followed.name in decoders:
                raise InvalidArgument("follows", f"has two aggregate types called {followed.name!r}; name each once")
            decoders[followed.name] = followed.events
        if not decoders:
            raise InvalidArgument("follows", "must name an aggregate type, such as follows=[bank_account]")
        self.ignored = 0
        self._ignores_unknown = ignore_unknown
        self._decoders: Mapping[str, Decoder[EventT_co]] = decoders
        self.types: Sequence[str] = list(decoders)

    def envelopes(self, events: Iterable[RecordedEvent]) -> list[EventEnvelope[EventT_co]]:
        """Decode events, leaving out those of unknown types if the query ignores them.

        Raises:
            EventNotDecodable: An event does not fit the code.
        """
        decoders = self._decoders
        if self._ignores_unknown:
            return list(self._known(events))
        return [envelope(event, decoders[event.aggregate_type]) for event in events]

    def _known(self, events: Iterable[RecordedEvent]) -> Iterator[EventEnvelope[EventT_co]]:
        for event in events:
            try:
                yield envelope(event, self._decoders[event.aggregate_type])
            except UnknownEventType:
                self.ignored += 1
