"""A clock that only events move."""

from eventree import AggregateType
from sourcing.ledger import Added, Ledger, LedgerType


class Clock:
    """A clock that stands still but for the events that are applied.

    Attributes:
        seconds: How long it takes to apply one.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._now = 100.0

    def __call__(self) -> float:
        return self._now

    def slow(self, kind: LedgerType, *, state_version: int = 1) -> LedgerType:
        """Return a type that is like another, only that it takes its time."""

        def apply_slowly(state: Ledger, event: Added) -> Ledger:
            self._now += self.seconds
            return kind.apply(state, event)

        return AggregateType(
            kind.name,
            handle=kind.handle,
            apply=apply_slowly,
            empty_state=kind.empty_state,
            state_version=state_version,
        )
