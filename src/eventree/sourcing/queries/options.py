"""How to follow the log: what is common to everything that goes into `queries=[...]`."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, TypeVar
from zlib import crc32

from eventree.backoff import Backoff
from eventree.domain.limits import check_id, check_version
from eventree.errors import InvalidArgument
from eventree.errors.arguments import check_positive
from eventree.sourcing.envelopes import Decoder
from eventree.stores.checks import MAX_LEASE, MAX_NUMBER

EventT_co = TypeVar("EventT_co", covariant=True)

Start: TypeAlias = Literal["beginning", "end"] | int
"""Where a query begins: an int is a position that counts as handled."""

OnFailure: TypeAlias = Literal["stop", "skip", "park"]
"""What becomes of events that a handler has failed on for the last time."""


class FailurePolicy(Enum):
    """What becomes of a commit whose handler has failed for the last time: the values of `on_failure`."""

    STOP = "stop"
    """The query stops visibly; the rest of the system runs on."""
    SKIP = "skip"
    """The commit is left out for good, and counted."""
    PARK = "park"
    """The commit and all later ones of its aggregate are kept as dead letters, to be retried or dropped."""


class Followed(Protocol[EventT_co]):
    """Whose events can be followed: an `AggregateType`."""

    @property
    def name(self) -> str:
        """The name under which its events are stored."""
        ...

    @property
    def events(self) -> Decoder[EventT_co]:
        """Decodes them."""
        ...


class QueryOptions(TypedDict, total=False):
    """What a `Query` or a `Projection` can be told besides its name and its handler.

    Attributes:
        version: From 1; default 1. Another version has a checkpoint of its own and begins anew. Where an older version
            is there, the newer one is built beside it, and goes live when it has read as far.
        on_failure: What to do with events whose handler has failed `max_attempts` times. "stop", the default: the query
            stops visibly, the rest of the system runs. "skip": leave them out. "park": leave them and all later events
            of their aggregate for later, to be retried or dropped by `query(name)`. What is skipped or parked is
            recorded together with the checkpoint.
        max_attempts: From 1; default 8, which takes about 13 s with the default backoff.
        max_parked: How many commits may be parked before the query stops all the same; default 1,000.
        backoff: How long to wait between two attempts; default 0.1 s, doubled each time up to 30 s.
        poll_interval: Seconds, default 0.2. Commits of the same process are heard of at once; those of other processes
            at the next look, or at once where the store tells of them.
        lease: Seconds, default 5, at most a day. Of several processes with this query one works on it. It says so
            every third of that time, also beside a handler that takes long, unless that keeps the event loop busy.
        ignore_unknown: Whether to leave out events of the aggregate types it follows whose names no class of this code
            has, as those of a newer version of it, or of a class that is gone; default False: they are a failure. What
            was left out is passed for good.
        start: Where to begin without a checkpoint: at the "beginning" of the log, the default, at its "end", or after a
            position. Later starts go on from the checkpoint.
    """

    version: int
    on_failure: OnFailure
    max_attempts: int
    max_parked: int
    backoff: Backoff
    poll_interval: float
    lease: float
    ignore_unknown: bool
    start: Start


@dataclass(frozen=True, slots=True)
class Partition:
    """Say which aggregates a worker handles, of several that share a query.

    Attributes:
        number: From 1.
        count: How many there are.
    """

    number: int = 1
    count: int = 1

    def takes(self, aggregate_type: str, aggregate_id: str) -> bool:
        """Return whether an aggregate is one of these; the same on every machine and in every version."""
        return crc32(f"{aggregate_type}\0{aggregate_id}".encode()) % self.count == self.number - 1


@dataclass(frozen=True, slots=True)
class Options:
    """Hold `QueryOptions`, checked and complete; `start` is a position, or None for the end of the log."""

    name: str
    version: int = 1
    on_failure: FailurePolicy = FailurePolicy.STOP
    max_attempts: int = 8
    max_parked: int = 1_000
    backoff: Backoff = field(default_factory=Backoff)
    poll_interval: float = 0.2
    lease: float = 5.0
    ignore_unknown: bool = False
    start: int | None = 0
    partition: Partition = Partition()

    @property
    def key(self) -> tuple[str, int]:
        """The name and the version of the checkpoint."""
        part = f"/{self.partition.number} of {self.partition.count}" if self.partition.count > 1 else ""
        return self.name + part, self.version

    @classmethod
    def of(cls, name: str, options: QueryOptions) -> "Options":
        """Check and complete.

        Raises:
            InvalidArgument: One of them is unknown or out of range.
        """
        given: dict[str, Any] = {**options}
        unknown = given.keys() - QueryOptions.__annotations__.keys()
        if unknown:
            known = ", ".join(QueryOptions.__annotations__)
            raise InvalidArgument(min(unknown), f"is not an option of a query; there are: {known}")
        given["start"] = _position(given.get("start", "beginning"))
        given["on_failure"] = _policy(given.get("on_failure", "stop"))
        made = cls(check_id("name", name), **given)
        for number in ("version", "max_attempts", "max_parked"):
            check_version(number, getattr(made, number))
        check_positive("poll_interval", made.poll_interval)
        check_positive("lease", made.lease)
        if made.lease > MAX_LEASE:
            raise InvalidArgument("lease", f"must be at most {MAX_LEASE} seconds, got {made.lease!r}")
        if not isinstance(made.ignore_unknown, bool):
            raise InvalidArgument("ignore_unknown", f"must be True or False, got {made.ignore_unknown!r}")
        if not isinstance(made.backoff, Backoff):
            raise InvalidArgument("backoff", f"must be a Backoff, got {type(made.backoff).__name__}")
        return made


def _policy(on_failure: OnFailure) -> FailurePolicy:
    if on_failure not in ("stop", "skip", "park"):
        raise InvalidArgument("on_failure", f"must be 'stop', 'skip' or 'park', got {on_failure!r}")
    return FailurePolicy(on_failure)


def _position(start: Start) -> int | None:
    """Return the position to begin after, None for the end of the log."""
    if start == "end":
        return None
    if start == "beginning":
        return 0
    if isinstance(start, bool) or not isinstance(start, int) or not 0 <= start <= MAX_NUMBER:
        raise InvalidArgument("start", f"must be 'beginning', 'end' or a position from 0, got {start!r}")
    return start
