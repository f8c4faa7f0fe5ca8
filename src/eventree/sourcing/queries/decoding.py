"""Turn stored events of several aggregate types into envelopes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from eventree.domain.events import EventEnvelope
from eventree.errors import InvalidArgument
from eventree.sourcing.envelopes import Decoder, envelope
from eventree.sourcing.queries.commits import StoredCommit
from eventree.sourcing.queries.options import Followed

EventT = TypeVar("EventT")


class Decoding(Generic[EventT]):
    """Decode the events of the aggregate types that a query follows.

    Attributes:
        types: Their names.
    """

    def __init__(self, follows: Iterable[Followed[EventT]]) -> None:
        """Learn the types.

        Raises:
            InvalidArgument: There is none, or two have the same name.
        """
        decoders: dict[str, Decoder[EventT]] = {}
        for followed in follows:
            if followed.name in decoders:
                raise InvalidArgument("follows", f"has two aggregate types called {followed.name!r}; name each once")
            decoders[followed.name] = followed.events
        if not decoders:
            raise InvalidArgument("follows", "must name an aggregate type, such as follows=[bank_account]")
        self._decoders: Mapping[str, Decoder[EventT]] = decoders
        self.types: Sequence[str] = list(decoders)

    def envelopes(self, commit: StoredCommit) -> list[EventEnvelope[EventT]]:
        """Return the events of a commit, decoded.

        Raises:
            EventNotDecodable: One does not fit the code.
        """
        return [envelope(event, self._decoders[event.aggregate_type]) for event in commit.events]
