"""Decide the commands of contested aggregates in turns: under the lock that appends wait for.

A writer that loses a round loads the aggregate again and decides again; meanwhile the winner, whose cache is current,
has appended once more. So a writer that has lost twice asks for a turn: the store reads what is new, lets it decide and
appends, before any other writer can append. Turns are served in the order in which they were asked for. An aggregate
stays contested for as long as others write to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from eventree.domain.aggregate import AggregateType
from eventree.errors import EventreeError
from eventree.sourcing.commands.decide import CommandBatch, PendingCommand, decide
from eventree.sourcing.commands.load import PAGE_SIZE, AggregateLoader, CachedAggregate
from eventree.stores.contract import AppendRequest, StreamPage, StreamRead

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

LOSSES: Final = 2
"""How many rounds in a row an aggregate loses before its commands take turns."""

MAX_NEW_EVENTS: Final = 10_000
"""How many events of others a turn may read. One commit of theirs has to fit, else an aggregate is always behind."""

QUIET_TURNS: Final = 8
"""After how many turns in which no other writer has appended to an aggregate it is contested no longer."""


class Contested:
    """Remember which aggregates others write to."""

    def __init__(self, size: int) -> None:
        """Start with none.

        Args:
            size: How many to remember; beyond that the oldest is forgotten, and loses two rounds again.
        """
        self._size = size
        self._turns: dict[str, int] = {}

    def __contains__(self, aggregate_id: str) -> bool:
        return aggregate_id in self._turns

    def __bool__(self) -> bool:
        return bool(self._turns)

    def lost(self, aggregate_id: str, losses: int) -> None:
        """Note that an aggregate has lost so many rounds."""
        if losses < LOSSES:
            return
        if len(self._turns) >= self._size and aggregate_id not in self._turns:
            del self._turns[next(iter(self._turns))]
        self._turns[aggregate_id] = QUIET_TURNS

    def had_turn(self, aggregate_id: str, *, has_changed: bool) -> None:
        """Note that an aggregate had its turn, and whether others have written to it since the last one."""
        if has_changed:
            self._turns[aggregate_id] = QUIET_TURNS
        elif aggregate_id in self._turns:
            self._turns[aggregate_id] -= 1
            if not self._turns[aggregate_id]:
                del self._turns[aggregate_id]


class Turn(Generic[StateT, CommandT, EventT, ErrorT]):
    """Decide the commands of a few aggregates on what the store reads.

    Attributes:
        reads: What to read: the events after those that are loaded.
        batch: The decisions; without any until `decide` was called.
        behind: Aggregates with more new events than a turn reads, as far as they were read; nothing is decided on them.
        broken: The errors of aggregates that cannot be loaded.
        changed: The aggregates to which others have written since they were loaded.
    """

    def __init__(
        self,
        aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
        loader: AggregateLoader[StateT, CommandT, EventT, ErrorT],
        loaded: Mapping[str, CachedAggregate[StateT]],
        requests: Iterable[PendingCommand[CommandT, EventT, ErrorT]],
    ) -> None:
        """Prepare a turn.

        Args:
            aggregate_type: Decides commands and applies events.
            loader: Applies what was read.
            loaded: The aggregates, as last loaded.
            requests: Their commands, in order.
        """
        limit = max(MAX_NEW_EVENTS // max(len(loaded), 1), PAGE_SIZE)
        self.reads = [
            StreamRead(aggregate_type.name, id, each.sequence, limit, after_stamp=each.stamp)
            for id, each in loaded.items()
        ]
        self.batch: CommandBatch[StateT, CommandT, EventT, ErrorT] = CommandBatch(aggregate_type, {})
        self.behind: dict[str, CachedAggregate[StateT]] = {}
        self.broken: dict[str, EventreeError] = {}
        self.changed: set[str] = set()
        self._type = aggregate_type
        self._loader = loader
        self._loaded = loaded
        self._requests = requests

    def decide(self, pages: Sequence[StreamPage]) -> Sequence[AppendRequest]:
        """Decide all commands whose aggregate was read to its end, and return the requests to append."""
        current: dict[str, CachedAggregate[StateT]] = {}
        for (id, aggregate), read, page in zip(self._loaded.items(), self.reads, pages, strict=True):
            found = self._loader.advance(aggregate, read, page)
            if page.events or page.is_diverged:
                self.changed.add(id)
            if not isinstance(found, CachedAggregate):
                self.broken[id] = found
            elif found.sequence < page.sequence:
                self.behind[id] = found
            else:
                current[id] = found
        ready = [request for request in self._requests if request.message.aggregate_id in current]
        self.batch = decide(self._type, current, ready)
        return [each.to_append() for each in self.batch.aggregates.values()]
