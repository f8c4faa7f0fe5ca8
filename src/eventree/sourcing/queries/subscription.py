"""What a query is: a name, a handler, and how patient to be with it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Literal, TypeAlias, TypeVar

from eventree.actors.policy import Backoff
from eventree.domain.events import EventEnvelope
from eventree.domain.limits import check_id
from eventree.errors import InvalidArgument
from eventree.errors.arguments import check_count, check_positive
from eventree.stores.checks import MAX_LEASE, MAX_NUMBER

EventT = TypeVar("EventT")
EventT_contra = TypeVar("EventT_contra", contravariant=True)

QueryHandler: TypeAlias = Callable[[str, Sequence[EventEnvelope[EventT]]], Awaitable[None] | None]
"""`(aggregate_id, events)`: called once per commit, with all events of one command."""

Start: TypeAlias = Literal["beginning", "end"] | int
"""Where a query begins: an int is a position that counts as handled."""


class QueryStatus(Enum):
    """What a query is doing."""

    RUNNING = "running"
    """It follows the log."""
    RETRYING = "retrying"
    """Its handler failed; it waits and tries the same events again."""
    WAITING = "waiting"
    """Another process works on it; this one takes over as soon as that one ends, or is not heard of for its lease."""
    STOPPED = "stopped"
    """It gave up; nothing is handed to it any more."""


@dataclass(slots=True)
class Progress:
    """How far a query is; it outlives the actor's restarts.

    Attributes:
        position: The checkpoint: everything up to here was handled.
        status: What the query is doing.
        failures: How often in a row its handler failed at the same events.
        last_error: The last failure, None after a success.
    """

    position: int = 0
    status: QueryStatus = QueryStatus.RUNNING
    failures: int = 0
    last_error: BaseException | None = None


class Subscription(Generic[EventT_contra]):
    """Follow the log from a durable checkpoint. The base of all that goes into `queries=[...]`.

    Attributes:
        name: Names the query and its checkpoint; unique in a store.
        version: Part of the checkpoint's key: another version begins anew.
        max_attempts: How often the same events are tried before the query stops.
        backoff: How long it waits between two tries.
        poll_interval: Seconds between two looks at a log that seems quiet.
        lease: Seconds after which another process takes over from one that is not heard of.
        start: After which position a new checkpoint begins; None for the end of the log.
    """

    def __init__(
        self,
        name: str,
        *,
        version: int = 1,
        max_attempts: int = 8,
        backoff: Backoff | None = None,
        poll_interval: float = 0.2,
        lease: float = 5.0,
        start: Start = "beginning",
    ) -> None:
        """Describe how to follow.

        Args:
            name: 1 to 255 bytes of UTF-8.
            version: From 1; default 1.
            max_attempts: From 1; default 8, which takes about 13 s with the default backoff.
            backoff: Default 0.1 s, doubled each time up to 30 s.
            poll_interval: Seconds, default 0.2. Commits of the same process are heard of at once; those of other
                processes at the next look.
            lease: Seconds, default 5, at most a day. Of several processes with this query one works on it. It says so
                every third of that time; a handler that takes longer at a time may be run by two.
            start: Where a query begins that has no checkpoint yet: at the "beginning" of the log, the default, at its
                "end", or after a position. Later starts go on from the checkpoint.

        Raises:
            InvalidArgument: One of them is out of range.
        """
        self.name = check_id("name", name)
        check_count("version", version)
        check_count("max_attempts", max_attempts)
        check_positive("poll_interval", poll_interval)
        check_positive("lease", lease)
        if lease > MAX_LEASE:
            raise InvalidArgument("lease", f"must be at most {MAX_LEASE} seconds, got {lease!r}")
        self.version = version
        self.max_attempts = max_attempts
        self.backoff = backoff if backoff is not None else Backoff()
        self.poll_interval = poll_interval
        self.lease = lease
        self.start = _position(start)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    async def project(self, aggregate_id: str, events: "Sequence[EventEnvelope[EventT_contra]]") -> None:
        """Handle the events of one command."""
        raise NotImplementedError(f"{type(self).__name__} must override project")


class Query(Subscription[EventT_contra]):
    """Hand every commit to a function, in the order of the log, at least once.

    The checkpoint moves after the function has returned, so a crash repeats what was not yet saved: a page of commits
    at most. Make the function idempotent, for example by setting values instead of adding to them.
    """

    def __init__(
        self,
        name: str,
        handler: QueryHandler[EventT_contra],
        *,
        version: int = 1,
        max_attempts: int = 8,
        backoff: Backoff | None = None,
        poll_interval: float = 0.2,
        lease: float = 5.0,
        start: Start = "beginning",
    ) -> None:
        """Describe a query.

        Args:
            name: See `Subscription`.
            handler: Called with `(aggregate_id, events)`; sync or async. If it raises, the same events are tried
                again after a while, and after `max_attempts` tries the query stops.
            version: See `Subscription`.
            max_attempts: See `Subscription`.
            backoff: See `Subscription`.
            poll_interval: See `Subscription`.
            lease: See `Subscription`.
            start: See `Subscription`.

        Raises:
            InvalidArgument: One of them cannot work.
        """
        super().__init__(
            name,
            version=version,
            max_attempts=max_attempts,
            backoff=backoff,
            poll_interval=poll_interval,
            lease=lease,
            start=start,
        )
        if not callable(handler):
            raise InvalidArgument("handler", f"must be a function of (aggregate_id, events), got {handler!r}")
        self._handler = handler

    async def project(self, aggregate_id: str, events: "Sequence[EventEnvelope[EventT_contra]]") -> None:
        """Call the function and wait for it if it is async."""
        result = self._handler(aggregate_id, events)
        if result is not None:
            await result


def _position(start: Start) -> int | None:
    """Return the position to begin after, None for the end of the log."""
    if start == "end":
        return None
    if start == "beginning":
        return 0
    if isinstance(start, bool) or not isinstance(start, int) or not 0 <= start <= MAX_NUMBER:
        raise InvalidArgument("start", f"must be 'beginning', 'end' or a position from 0, got {start!r}")
    return start
