"""The handle of a query: observe it, wait for it, control it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Never

from eventree.actors import ActorRef, ChildSpec, Status, Supervisor
from eventree.actors.actor.ref import current_actor
from eventree.domain.limits import check_id
from eventree.errors import (
    ActorCrashed,
    ActorStopped,
    ActorTimeout,
    AskCycle,
    InvalidArgument,
    QueryLeasedElsewhere,
    QueryStopped,
    ReportedFailure,
)
from eventree.errors.root import check_positive
from eventree.sourcing.queries.actor import CaughtUp, QueryMessage
from eventree.sourcing.queries.context import refuse_in_transaction
from eventree.sourcing.queries.controls import (
    Control,
    DropParked,
    Pause,
    Reset,
    Resume,
    RetriedParked,
    RetryParked,
    SkipCommit,
)
from eventree.sourcing.queries.decoding import Decoding
from eventree.sourcing.queries.remote import ask_elsewhere
from eventree.sourcing.queries.state import QueryState
from eventree.sourcing.queries.status import QueryProgress, QueryStats, QueryStatus, seconds_since, stored_status
from eventree.sourcing.queries.worker import PublishedState
from eventree.stores.checked import MAX_NUMBER
from eventree.stores.contract import EventStore, ParkedCommit, StoredCheckpoint

_FINAL = {QueryStatus.STOPPED, QueryStatus.SUPERSEDED}
_MOST_URGENT_FIRST = [
    QueryStatus.STOPPED,
    QueryStatus.OUTDATED,
    QueryStatus.RETRYING,
    QueryStatus.PAUSED,
    QueryStatus.NOT_RUNNING,
    QueryStatus.STARTING,
    QueryStatus.BUILDING,
    QueryStatus.RUNNING,
    QueryStatus.WAITING,
    QueryStatus.SUPERSEDED,
]


@dataclass(frozen=True, slots=True)
class QueryPart:
    """Hold one partition of a query; a query without partitions has one.

    Attributes:
        key: The name and the version of its checkpoint.
        spec: The child spec of its actor.
        published: Its state as published by its worker.
        decoding: Counts the events that it ignored.
    """

    key: tuple[str, int]
    spec: ChildSpec[QueryMessage, int]
    published: PublishedState
    decoding: Decoding[object]

    @property
    def state(self) -> QueryState:
        """Its state after the last turn of its worker."""
        return self.published.state

    @property
    def status(self) -> QueryStatus:
        """What it is doing here; it has stopped if its actor has ended and is not being restarted."""
        status = self.state.status
        if not self.ref.incarnation:
            return QueryStatus.NOT_RUNNING
        has_ended = self.ref.status is Status.STOPPED
        return QueryStatus.STOPPED if has_ended and status is not QueryStatus.SUPERSEDED else status

    def true_status(self, stored: StoredCheckpoint | None) -> QueryStatus:
        """Return what it is doing, in whatever process, given its checkpoint."""
        status = self.status
        if status is QueryStatus.NOT_RUNNING:
            return stored_status(stored, self.key[1])
        if status in _FINAL or stored is None or stored.owner == self.state.owner or not stored.lease_seconds:
            return status
        return QueryStatus.WAITING

    def true_position(self, stored: StoredCheckpoint | None, head: int) -> int:
        """Return its position, given its checkpoint and the head of the log; without one, where it will start."""
        if stored is None:
            start = self.state.options.start
            return head if start is None else min(start, head)
        is_mine = self.state.has_lease and self.state.fencing_token == stored.checkpoint.fencing_token
        return max(stored.checkpoint.position, self.state.settled_position if is_mine else 0)

    @property
    def ref(self) -> ActorRef[QueryMessage, int]:
        """The reference to its actor."""
        if self.spec.ref is None:
            raise InvalidArgument("spec", "has no reference")
        return self.spec.ref


class QueryHandle:
    """Observe and control one query.

    Attributes:
        name: The query's name.
        version: Its version.
        parts: Its partitions, at least one.
    """

    def __init__(self, name: str, version: int, store: EventStore, parts: Sequence[QueryPart]) -> None:
        """Use `EventSourcing.query` or `Query.handle` to get one."""
        self.name = name
        self.version = version
        self.parts = parts
        self._store = store

    def __repr__(self) -> str:
        status = self.status
        if status is QueryStatus.NOT_RUNNING:  # its position is in the store only
            return f"<QueryHandle {self.name!r} not running in this process>"
        return f"<QueryHandle {self.name!r} {status.value} at position {self.position}>"

    def child_spec(self) -> ChildSpec[Never, object]:
        """Return the query as a child of a supervisor."""
        if len(self.parts) == 1:
            return self.parts[0].spec
        specs = [part.spec for part in self.parts]
        id = self.name if self.version == 1 else (self.name, self.version)
        return ChildSpec(id=id, start=lambda: Supervisor(specs, name=f"query {self.name}"))

    def follows(self, aggregate_type: str) -> bool:
        """Return whether it gets the events of an aggregate type."""
        return aggregate_type in self.parts[0].decoding.types

    # --- observing

    @property
    def position(self) -> int:
        """The checkpoint, as far as this process knows.

        Everything up to this position was handled and will not be delivered again.
        """
        return min(part.state.settled_position for part in self.parts)

    @property
    def status(self) -> QueryStatus:
        """What the query is doing in this process; with several partitions, the most urgent. `stats` asks the store."""
        return _most_urgent(part.status for part in self.parts)

    @property
    def is_live(self) -> bool:
        """Whether this version is the live one, as far as this process knows."""
        return all(part.state.is_live for part in self.parts)

    @property
    def last_error(self) -> BaseException | None:
        """The last failure of its handler or its store; None after a success."""
        return next((part.state.last_error for part in self.parts if part.state.last_error is not None), None)

    @property
    def incarnation(self) -> int:
        """How often its actor was started; with several partitions, the highest count."""
        return max(part.ref.incarnation for part in self.parts)

    async def stats(self) -> QueryStats:
        """Return statistics of the query, including its lag.

        Raises:
            EventStoreError: The store could not be read.
        """
        return await self.stats_at(await self._store.head())

    async def stats_at(self, head: int) -> QueryStats:
        """Return statistics of the query, given the head of the store.

        Args:
            head: The position of the store's last event.

        Raises:
            EventStoreError: The store could not be read.
        """
        parts = [(part, await self._store.load_checkpoint(*part.key)) for part in self.parts]
        stored = [each for _, each in parts if each is not None]
        position = min(part.true_position(each, head) for part, each in parts)
        head = max(head, position)
        seconds = 0.0
        if head > position:
            page = await self._store.read(position, 1, live=True)
            seconds = seconds_since(page.events[0].recorded_at, datetime.now(UTC)) if page.events else 0.0
        held = [each for each in stored if each.lease_seconds]
        failures = [each.failure for each in stored if each.failure is not None]
        return QueryStats(
            self.name,
            self.version,
            _most_urgent(part.true_status(each) for part, each in parts),
            len(stored) == len(parts) and all(each.live_version == self.version for each in stored),
            position,
            head,
            seconds,
            max([failure.attempts for failure in failures] + [part.state.attempts for part in self.parts]),
            sum(each.parked for each in stored),
            sum(each.skipped for each in stored),
            sum(part.decoding.ignored for part in self.parts),
            self._reported(stored) if self.last_error is None else self.last_error,
            ", ".join(dict.fromkeys(each.owner for each in held)) or None,
            min((each.lease_seconds for each in held), default=0.0),
            min(failures, key=lambda failure: failure.position, default=None),
        )

    def _reported(self, stored: Sequence[StoredCheckpoint]) -> ReportedFailure | None:
        """Return what the workers of other processes have reported."""
        stops = [each.stop.reason for each in stored if each.stop is not None]
        reasons = [*stops, *(each.failure.reason for each in stored if each.failure is not None)]
        return ReportedFailure(self.name, reasons[0]) if reasons else None

    async def progress(self, *, interval: float = 0.1) -> AsyncIterator[QueryProgress]:
        """Yield the progress of the query until it is live and has reached the head of the log at the time of the call.

        Args:
            interval: Seconds between two values; default 0.1.

        Raises:
            QueryStopped: The query gave up first.
            EventStoreError: The store could not be read.
        """
        check_positive("interval", interval)
        target = await self._store.head()
        while True:
            position = self.position
            yield QueryProgress(position, target)
            if position >= target and (self.is_live or not target):
                return
            if self.status in _FINAL:
                raise QueryStopped(self.name, position, self.last_error)
            await asyncio.sleep(interval)

    async def caught_up(self, position: int | None = None, *, timeout: float = 5.0) -> None:
        """Wait until the checkpoint has reached a position, even if the query's actor crashes meanwhile.

        Commits that the query has parked or skipped count as handled.

        Args:
            position: The position to wait for; default the head of the log at the time of the call.
            timeout: How long to wait, in seconds; default 5.

        Raises:
            ActorTimeout: The checkpoint has not reached the position in time.
            QueryStopped: The query gave up first.
            ActorStopped: The query does not run in this process.
            WouldDeadlock: The caller is inside a projection's transaction.
            WrongEventLoop: The query runs in another event loop.
            EventStoreError: The store could not be read.
        """
        check_positive("timeout", timeout)
        if position is not None:
            _check_position("position", position)
        self._check_loop()
        refuse_in_transaction(f"query {self.name}")
        try:
            async with asyncio.timeout(timeout):
                target = await self._store.head() if position is None else position
                for part in self.parts:
                    while not await self._reaches(part, CaughtUp(target, is_head=position is None), timeout):
                        pass
        except TimeoutError:
            detail = f"query {self.name!r} is {self.status.value} after position {self.position}"
            raise ActorTimeout("caught_up", timeout, detail=detail) from self.last_error

    async def _reaches(self, part: QueryPart, message: CaughtUp, timeout: float) -> bool:
        """Wait for the answer of the current incarnation; return False if it crashes first."""
        try:
            await part.ref.ask(message, timeout=timeout)
        except ActorCrashed:  # its supervisor restarts it
            return False
        return True

    # --- control: each method raises the errors of `_control`. Where another process has the lease, or none, it puts a
    # request into the store: see `QueryRequestPending`

    async def pause(self, *, timeout: float = 5.0) -> int:
        """Deliver nothing until `resume`, from whichever process; restarts and takeovers do not end a pause.

        A running handler is not cancelled: this waits until it has returned, or was cancelled by its `handler_timeout`.
        If that takes longer than the timeout here, the query is paused afterwards all the same.

        Args:
            timeout: How long to wait for the handler to return, in seconds; default 5.

        Returns:
            The position up to which everything was handled.
        """
        return min(await self._control(Pause(), timeout))

    async def resume(self, *, timeout: float = 5.0) -> int:
        """Continue after `pause`, or after the query stopped because of failures.

        Args:
            timeout: How long to wait, in seconds; default 5.

        Returns:
            The position after which it continues.
        """
        return min(await self._control(Resume(), timeout))

    async def skip(self, expected_position: int, *, timeout: float = 5.0) -> int:
        """Skip the failing commit for good and continue after it.

        Args:
            expected_position: The position of its first event, so that no other commit is skipped by mistake.
            timeout: How long to wait, in seconds; default 5.

        Raises:
            InvalidArgument: Another commit is failing, or none.
        """
        _check_position("expected_position", expected_position)
        for part in self.parts[1:]:
            stored = await self._store.load_checkpoint(*part.key)
            stored_at = stored.failure.position if stored is not None and stored.failure is not None else 0
            if expected_position in {part.state.failing_at, stored_at}:
                return min(await self._control(SkipCommit(expected_position), timeout, [part]))
        return min(await self._control(SkipCommit(expected_position), timeout, self.parts[:1]))

    async def reset(self, *, timeout: float = 5.0) -> int:
        """Start over: deliver everything again, drop parked commits, and end a pause.

        The query starts after the position given as its `start`; one that started at the end of the log starts at the
        beginning. Until it is back at its old position, handlers see `query_context().is_replay`. A projection empties
        its tables with `clear` in the same transaction, so readers see it being rebuilt. To rebuild next to the live
        read model, give the query another version instead.

        Args:
            timeout: How long to wait, in seconds; default 5.

        Returns:
            The position after which it continues.

        Raises:
            InvalidArgument: It is a projection without `clear`.
        """
        return min(await self._control(Reset(), timeout))

    async def parked(self, *, after: int = 0, limit: int = 1_000) -> Sequence[ParkedCommit]:
        """Return parked commits, ordered by position.

        Args:
            after: Return only those with a higher position; default 0, all.
            limit: Return at most this many; default 1,000.
        """
        pages = [await self._store.load_parked(*part.key, after=after, limit=limit) for part in self.parts]
        return sorted((commit for page in pages for commit in page), key=lambda commit: commit.position)[:limit]

    async def retry_parked(self, aggregate_id: str | None = None, *, timeout: float = 5.0) -> RetriedParked:
        """Deliver parked commits again, in order; one that fails stays parked, with all later ones of its aggregate.

        This works while the query is paused or stopped, too.

        Args:
            aggregate_id: Only those of this aggregate; default all.
            timeout: How long to wait, in seconds; default 5.

        Returns:
            How many were handled, an int; its `reason` says why the first one that failed again did.
        """
        if aggregate_id is not None:
            check_id("aggregate_id", aggregate_id)
        answers = await self._control(RetryParked(aggregate_id), timeout)
        reasons = [answer.reason for answer in answers if isinstance(answer, RetriedParked) and answer.reason]
        return RetriedParked(sum(answers), reasons[0] if reasons else "")

    async def drop_parked(self, position: int, *, timeout: float = 5.0) -> int:
        """Discard a parked commit for good; later ones of its aggregate stay parked until they are retried.

        Args:
            position: The position of its first event.
            timeout: How long to wait, in seconds; default 5.

        Returns:
            The position up to which everything was handled.

        Raises:
            InvalidArgument: No commit is parked at this position.
        """
        if not _check_position("position", position):
            raise InvalidArgument("position", "is 0, but the first event is at position 1")
        for part in self.parts[1:]:
            page = await self._store.load_parked(*part.key, after=position - 1, limit=1)
            if any(parked.position == position for parked in page):
                return min(await self._control(DropParked(position), timeout, [part]))
        return min(await self._control(DropParked(position), timeout, self.parts[:1]))

    async def _control(self, message: Control, timeout: float, parts: Sequence[QueryPart] | None = None) -> list[int]:
        """Send a message to the worker of the query, and return the answers.

        Raises:
            QueryRequestPending: Another process, or none yet, is to do it and has not done so in time; it is queued.
            QueryRequestFailed: The process that works on it could not do it.
            TooManyRequests: So many wait that no more are queued.
            ActorTimeout: The actor of this process did not answer in time.
            ActorCrashed: An actor crashed meanwhile; check the status before you try again.
            QuerySuperseded: A newer version is live.
            AskCycle: The caller is this query's own handler, for which its actor would have to wait.
            WouldDeadlock: The caller is inside a projection's transaction.
            WrongEventLoop: The query runs in another event loop; nothing was sent.
            EventStoreError: The store failed.
        """
        check_positive("timeout", timeout)
        self._check_loop()
        refuse_in_transaction(f"query {self.name}")
        caller = current_actor()
        if caller is not None and any(part.ref is caller for part in self.parts):
            raise AskCycle([caller.id, caller.id])
        asks = [self._ask(part, message, timeout) for part in parts or self.parts]
        return [await asks[0]] if len(asks) == 1 else await asyncio.gather(*asks)

    async def _ask(self, part: QueryPart, message: Control, timeout: float) -> int:
        began = asyncio.get_running_loop().time()
        if part.ref.incarnation and part.ref.status is not Status.STOPPED:
            with suppress(QueryLeasedElsewhere, ActorStopped):
                return await part.ref.ask(message, timeout=timeout, operation=type(message).__name__)
        return await ask_elsewhere(self._store, part.key, message, began, timeout)

    def _check_loop(self) -> None:
        for part in self.parts:
            part.ref.check_loop()


def _most_urgent(statuses: Iterable[QueryStatus]) -> QueryStatus:
    return min(statuses, key=_MOST_URGENT_FIRST.index)


def _check_position(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_NUMBER:
        raise InvalidArgument(name, f"must be a position, got {value!r}")
    return value
