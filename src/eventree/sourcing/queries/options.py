"""The options that a `Query` and a `Projection` share, validated."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, TypeVar
from zlib import crc32

from eventree.backoff import Backoff
from eventree.domain.limits import check_id, check_version
from eventree.errors import InvalidArgument
from eventree.errors.root import check_positive
from eventree.sourcing.envelopes import Decoder
from eventree.stores.checked import MAX_LEASE, MAX_NUMBER

EventT_co = TypeVar("EventT_co", covariant=True)

Start: TypeAlias = Literal["beginning", "end"] | int
"""Where a query starts reading; an int is the position to start after."""

OnFailure: TypeAlias = Literal["stop", "skip", "park"]
"""What to do with a commit whose handler has failed `max_attempts` times; see `FailurePolicy`."""


class FailurePolicy(Enum):
    """Decide about a commit whose handler has failed `max_attempts` times: the values of `on_failure`."""

    STOP = "stop"
    """The query stops visibly; the rest of the system runs on."""
    SKIP = "skip"
    """The commit is left out for good, and counted."""
    PARK = "park"
    """The commit and all later ones of its aggregate are kept as dead letters, to be retried or dropped."""


class Followed(Protocol[EventT_co]):
    """A source of events that a query can follow: an `AggregateType`."""

    @property
    def name(self) -> str:
        """The name under which its events are stored."""
        ...

    @property
    def events(self) -> Decoder[EventT_co]:
        """Decodes its events."""
        ...


class QueryOptions(TypedDict, total=False):
    """The keyword options of a `Query` or a `Projection`.

    Attributes:
        version: From 1; default 1. Each version has its own checkpoint and starts anew. If an older version is live,
            the newer one is built next to it and goes live once it has read as far.
        on_failure: What to do with a commit whose handler has failed `max_attempts` times. "stop", the default: the
            query stops visibly, and the rest of the system runs on. "skip": leave it out for good. "park": keep it and
            all later commits of its aggregate as dead letters, which `query(name)` can retry or drop. Skipped and
            parked commits are recorded together with the checkpoint.
        max_attempts: How often to try a commit before `on_failure` applies, from 1; default 8, which takes about 13 s
            with the default backoff.
        max_parked: How many commits may be parked before the query stops after all; default 1,000.
        retry_parked_every: How often to deliver all parked commits again, in seconds; default None: only when
            `retry_parked` is called. The process that holds the lease does so, unless the query is paused or stopped.
        backoff: How long to wait between two attempts; default 0.1 s, doubled each time up to 30 s.
        poll_interval: How often to check for commits of other processes, in seconds; default 0.2. Commits of the same
            process are noticed at once, as are others if the store sends notifications.
        lease: How long a process keeps the query without renewing its lease, in seconds; default 5, at most a day. Of
            all processes that have the query, the one that holds the lease runs it; another takes over once the lease
            has expired. It is renewed every third of that time, also while a handler runs, unless the handler blocks
            the event loop.
        handler_timeout: How long a call of one of its functions may take, in seconds; default 60, `math.inf` for no
            limit. An async function is then cancelled, which counts as a failure. A plain function cannot be cancelled
            while it holds the event loop; once it has returned, `last_error` and the log tell.
        ignore_unknown: Whether to skip events of followed aggregate types that this code has no class for, for example
            because a newer version of the code stored them; default False: the query lets go of its lease, so that a
            process with newer code takes over, whatever `on_failure` says. Skipped events are never delivered later.
        start: Where to start if there is no checkpoint: at the "beginning" of the log, the default, at its "end", or
            after a position. Later starts continue from the checkpoint. A query whose position is beyond the end of the
            log when it starts does not begin: it stops with `InvalidArgument`, which names that end, and leaves no
            checkpoint behind.
    """

    version: int
    on_failure: OnFailure
    max_attempts: int
    max_parked: int
    retry_parked_every: float | None
    backoff: Backoff
    poll_interval: float
    lease: float
    handler_timeout: float
    ignore_unknown: bool
    start: Start


@dataclass(frozen=True, slots=True)
class Partition:
    """Identify the share of the aggregates that one of several workers of a query handles.

    Attributes:
        number: The number of this partition, from 1.
        count: The number of partitions.
    """

    number: int = 1
    count: int = 1

    def takes(self, aggregate_type: str, aggregate_id: str) -> bool:
        """Return whether an aggregate belongs to this partition; the same on every machine and in every version."""
        return crc32(f"{aggregate_type}\0{aggregate_id}".encode()) % self.count == self.number - 1


@dataclass(frozen=True, slots=True)
class Options:
    """Hold `QueryOptions` validated and complete; `start` is a position, or None for the end of the log."""

    name: str
    version: int = 1
    on_failure: FailurePolicy = FailurePolicy.STOP
    max_attempts: int = 8
    max_parked: int = 1_000
    retry_parked_every: float | None = None
    backoff: Backoff = field(default_factory=Backoff)
    poll_interval: float = 0.2
    lease: float = 5.0
    handler_timeout: float = 60.0
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
        """Validate options and fill in the defaults.

        Raises:
            InvalidArgument: An option is unknown or out of range.
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
        if made.retry_parked_every is not None:
            check_positive("retry_parked_every", made.retry_parked_every)
        check_positive("poll_interval", made.poll_interval)
        check_positive("lease", made.lease)
        check_positive("handler_timeout", made.handler_timeout)
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
    """Return the position to start after, None for the end of the log."""
    if start == "end":
        return None
    if start == "beginning":
        return 0
    if isinstance(start, bool) or not isinstance(start, int) or not 0 <= start <= MAX_NUMBER:
        raise InvalidArgument("start", f"must be 'beginning', 'end' or a position from 0, got {start!r}")
    return start
