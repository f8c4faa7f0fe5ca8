"""Turn stored events of several aggregate types into envelopes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, Never, TypeVar

from eventree.domain.events import EventEnvelope
from eventree.errors import EventNotDecodable, InvalidArgument, UnknownEventType
from eventree.sourcing.envelopes import Decoder, envelope
from eventree.sourcing.queries.options import Followed
from eventree.sourcing.queries.progress import Progress
from eventree.stores.contract import RecordedEvent

EventT = TypeVar("EventT")


class _NotFollowed:
    """Refuse what was parked when the query followed more."""

    def __init__(self, aggregate_type: str) -> None:
        self._aggregate_type = aggregate_type

    def decode(self, type_: str, version: int, payload: str) -> Never:
        raise EventNotDecodable(type_, version, f"the query does not follow {self._aggregate_type!r}")


class _Decoders(dict[str, Decoder[EventT]]):
    """Hold the decoders of aggregate types, and one for all others."""

    def __missing__(self, aggregate_type: str) -> Decoder[EventT]:
        return _NotFollowed(aggregate_type)


class Decoding(Generic[EventT]):
    """Decode the events of the aggregate types that a query follows.

    Attributes:
        types: Their names.
    """

    def __init__(self, follows: Iterable[Followed[EventT]], ignored: Progress | None = None) -> None:
        """Learn the types.

        Args:
            follows: Whose events.
            ignored: Where to count events of unknown types, which are left out then; None to refuse them.

        Raises:
            InvalidArgument: There is none, or two have the same name.
        """
        decoders = _Decoders[EventT]()
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
        self._ignored = ignored
        self._decoders: Mapping[str, Decoder[EventT]] = decoders
        self.types: Sequence[str] = list(decoders)

    def envelopes(self, events: Iterable[RecordedEvent]) -> list[EventEnvelope[EventT]]:
        """Return events, decoded; those of unknown types may be left out.

        Raises:
            EventNotDecodable: One does not fit the code.
        """
        decoders = self._decoders
        if self._ignored is not None:
            return list(self._known(events, self._ignored))
        return [envelope(event, decoders[event.aggregate_type]) for event in events]

    def _known(self, events: Iterable[RecordedEvent], ignored: Progress) -> Iterator[EventEnvelope[EventT]]:
        for event in events:
            try:
                yield envelope(event, self._decoders[event.aggregate_type])
            except UnknownEventType:
                ignored.ignored += 1
