"""The reference store: the contract in plain Python, for tests and as the specification of the other stores."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import Self
from uuid import UUID

from eventree.errors import CheckpointFenced, CheckpointHeld, LogRolledBack, StoreUnavailable
from eventree.stores.checked import CheckedStore, Decide
from eventree.stores.clock import Clock, check_clock, read_clock, utc_now
from eventree.stores.contract import (
    AggregateSummary,
    Appended,
    AppendRequest,
    Checkpoint,
    CheckpointUpdate,
    CommitStamp,
    Conflict,
    DuplicateCommand,
    LeaseRequest,
    LogPage,
    Outcome,
    ParkedCommit,
    QueryRequest,
    QuerySummary,
    RecordedCommand,
    RecordedEvent,
    RequestAnswer,
    StoredCheckpoint,
    StoredFailure,
    StoredSnapshot,
    StoredStop,
    StreamPage,
    StreamRead,
)
from eventree.stores.contract.checkpoints import NEARLY
from eventree.stores.contract.requests import KEEP_ANSWERS, MAX_REQUESTS
from eventree.stores.lifecycle import Lifecycle
from eventree.stores.live import CommitListeners, page_of, types_of
from eventree.stores.versions import VersionRow, decide_make_live


@dataclass(slots=True)
class _CheckpointRow:
    checkpoint: Checkpoint
    owner: str = ""
    lease_until: float = 0.0
    skipped: int = 0
    replay_until: int = 0
    is_live: bool = False
    parked: dict[int, ParkedCommit] = field(default_factory=dict[int, ParkedCommit])
    failure: StoredFailure | None = None
    is_paused: bool = False
    stop: StoredStop | None = None


class MemoryStore(CheckedStore):
    """An event store in memory, whose contents last as long as the object; `EventStore` documents its methods."""

    def __init__(self, *, clock: Clock = utc_now) -> None:
        """Create an empty store.

        Args:
            clock: For tests: returns the time to store with events, as an aware datetime; default the system clock.
                Leases always use the system's own clock.

        Raises:
            InvalidArgument: The clock is not callable, or, raised by `append`, it does not return an aware datetime.
        """
        self._clock = check_clock(clock)
        self._log: list[RecordedEvent] = []
        self._streams: dict[tuple[str, str], list[RecordedEvent]] = {}
        self._commands: dict[str, RecordedCommand] = {}
        self._checkpoints: dict[tuple[str, int], _CheckpointRow] = {}
        self._requests: dict[UUID, QueryRequest] = {}
        self._answers: dict[UUID, tuple[RequestAnswer, float]] = {}
        self._snapshots: dict[tuple[str, str, str], StoredSnapshot] = {}
        self._listeners = CommitListeners()
        self._lifecycle = Lifecycle(self)

    def __repr__(self) -> str:
        return f"<MemoryStore with {len(self._log)} events>"

    async def __aenter__(self) -> Self:
        await self._lifecycle.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._lifecycle.leave(error)

    def _check_open(self) -> None:
        self._lifecycle.check_loop()
        if not self._lifecycle.is_open:
            raise StoreUnavailable("the memory store is not open; use it inside `async with store:`")

    # --- the log

    async def _append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        self._check_open()
        head, now = len(self._log), read_clock(self._clock)
        outcomes = [self._append_one(request, now) for request in requests]
        if len(self._log) > head:
            self._listeners.notify(len(self._log), types_of(zip(requests, outcomes, strict=True)))
        return outcomes

    async def _read_and_append(self, reads: Sequence[StreamRead], decide: Decide) -> Sequence[Outcome]:
        return await self._append(decide(await self._read_streams(reads)))  # neither of the two ever suspends

    def _append_one(self, request: AppendRequest, now: datetime) -> Outcome:
        key = (request.aggregate_type, request.aggregate_id)
        stream = self._streams.get(key, [])
        if len(stream) != request.expected_sequence or _is_other(stream, len(stream), request.expected_stamp):
            return Conflict(len(stream))
        known = frozenset(c.command_id for c in request.commands if c.command_id in self._commands)
        if known:
            return DuplicateCommand(known)
        for event in request.events:
            recorded = RecordedEvent(
                len(self._log) + 1,
                *key,
                len(stream) + 1,
                event.event_type,
                event.event_version,
                event.payload,
                event.metadata,
                event.commit_id,
                now,
            )
            self._log.append(recorded)
            stream.append(recorded)
        if stream:
            self._streams[key] = stream
        for command in request.commands:
            self._commands[command.command_id] = RecordedCommand(
                command.command_id, *key, command.first_sequence, command.last_sequence, command.fingerprint
            )
        return Appended(len(stream), stream[-1].position, stream[-1].stamp) if stream else Appended(0, 0)

    async def _find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        self._check_open()
        return {id: self._commands[id] for id in command_ids if id in self._commands}

    async def _read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        self._check_open()
        return [self._read_stream(read) for read in reads]

    def _read_stream(self, read: StreamRead) -> StreamPage:
        stream = self._streams.get((read.aggregate_type, read.aggregate_id), [])
        sequence, position = len(stream), stream[-1].position if stream else 0
        if _is_other(stream, read.after, read.after_stamp):
            return StreamPage(sequence, position, (), is_diverged=True)
        events = tuple(
            event
            for event in stream[read.after : read.after + read.limit]
            if (read.up_to is None or event.sequence <= read.up_to)
            and (read.up_to_position is None or event.position <= read.up_to_position)
        )
        return StreamPage(sequence, position, events)

    async def _read(
        self,
        after: int,
        limit: int,
        types: Collection[str] | None,
        event_types: Collection[str] | None,
        after_stamp: CommitStamp | None,
    ) -> LogPage:
        self._check_open()
        if after > len(self._log) or _is_other(self._log, after, after_stamp):
            raise LogRolledBack("a reader", after, len(self._log))
        events = (self._log[at] for at in range(after, len(self._log)))
        return page_of(events, after, limit, types, event_types)

    async def _read_backwards(
        self, before: int, limit: int, types: Collection[str] | None, event_types: Collection[str] | None
    ) -> LogPage:
        self._check_open()
        before = min(before, len(self._log) + 1)
        events = (self._log[at] for at in range(before - 2, -1, -1))
        return page_of(events, before, limit, types, event_types)

    async def _list_aggregates(
        self, aggregate_type: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[AggregateSummary]:
        self._check_open()
        keys = sorted(key for key in self._streams if key > after and aggregate_type in {None, key[0]})
        ends = ((key, self._streams[key][-1]) for key in keys[:limit])
        return [AggregateSummary(*key, last.sequence, last.position) for key, last in ends]

    async def list_aggregate_types(self) -> Sequence[str]:
        """Return the types of all aggregates, in order."""
        self._check_open()
        return sorted({aggregate_type for aggregate_type, _ in self._streams})

    async def head(self) -> int:
        """Return the position of the newest event."""
        self._check_open()
        return len(self._log)

    def _watch(self, listener: Callable[[int], None], types: Collection[str] | None) -> Callable[[], None]:
        self._lifecycle.check_loop()
        return self._listeners.add(listener, types)

    # --- checkpoints

    async def _claim_checkpoint(self, name: str, version: int, lease: LeaseRequest) -> Checkpoint:
        self._check_open()
        row = self._checkpoints.get((name, version))
        if row is None:
            row = self._checkpoints[name, version] = self._new_checkpoint(name, lease)
        left = row.lease_until - monotonic()
        if left > 0 and row.owner != lease.owner:
            raise CheckpointHeld(name, row.owner, left)
        row.checkpoint = _fenced(row.checkpoint)
        row.owner = lease.owner
        row.lease_until = monotonic() + lease.seconds
        row.stop = None
        return row.checkpoint

    def _new_checkpoint(self, name: str, lease: LeaseRequest) -> _CheckpointRow:
        versions = self._versions(name)
        live = [row.checkpoint.position for row in versions.values() if row.is_live]
        start = len(self._log) if lease.start is None else lease.start
        return _CheckpointRow(Checkpoint(min([start, *live]), 0), is_live=not versions)

    async def _save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        self._check_open()
        row = self._checkpoints.get((name, version))
        if row is None or row.checkpoint.fencing_token != update.checkpoint.fencing_token:
            raise CheckpointFenced(name, update.checkpoint.fencing_token)
        if update.moved_from not in {None, row.checkpoint.position}:
            raise LogRolledBack(f"query {name!r}", update.moved_from or 0, row.checkpoint.position)
        if _is_other(self._log, update.checkpoint.position, update.checkpoint.stamp):
            raise LogRolledBack(f"query {name!r}", update.checkpoint.position, len(self._log))
        row.checkpoint = update.checkpoint
        row.lease_until = monotonic() + update.seconds if update.seconds else row.lease_until
        row.skipped += update.skipped
        row.replay_until = update.replay_until or row.replay_until
        for position in update.unpark:
            row.parked.pop(position, None)
        row.parked |= {parked.position: parked for parked in update.park}
        row.failure = update.failure
        row.is_paused = row.is_paused if update.paused is None else update.paused
        for answer in update.answers:
            request = self._requests.get(answer.id)
            if request is not None and (request.name, request.version) == (name, version):
                del self._requests[answer.id]
                self._answers[answer.id] = (answer, monotonic())

    async def _make_live(self, name: str, version: int, fencing_token: int) -> bool:
        self._check_open()
        versions = self._versions(name)
        rows = [
            VersionRow(
                each,
                row.checkpoint.position,
                row.checkpoint.fencing_token,
                row.replay_until,
                is_live=row.is_live,
                is_leased=row.lease_until > monotonic(),
            )
            for each, row in versions.items()
        ]
        replay_until = decide_make_live(name, rows, version, fencing_token)
        if replay_until is None:
            return False
        for other, row in versions.items():
            if row.is_live and other != version:
                row.is_live, row.lease_until, row.checkpoint = False, 0.0, _fenced(row.checkpoint)
        versions[version].is_live = True
        versions[version].replay_until = replay_until
        return True

    async def _renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        self._check_open()
        row = self._checkpoints.get((name, version))
        if row is None or row.checkpoint.fencing_token != fencing_token:
            return False
        row.lease_until = monotonic() + seconds
        return True

    async def _stop_checkpoint(self, name: str, version: int, owner: str, stop: StoredStop) -> bool:
        self._check_open()
        row = self._checkpoints.get((name, version))
        if row is None or row.owner != owner:
            return False
        row.stop, row.lease_until = stop, 0.0
        return True

    async def _load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        self._check_open()
        row = self._checkpoints.get((name, version))
        if row is None:
            return None
        live_version, live = next(item for item in self._versions(name).items() if item[1].is_live)
        return StoredCheckpoint(
            row.checkpoint,
            row.owner,
            len(row.parked),
            row.skipped,
            row.replay_until,
            live_version,
            live.checkpoint.position,
            self._next_version(name, version, row.checkpoint.position),
            row.is_paused,
            row.failure,
            row.stop,
            len(self._waiting(name, version)),
            max(0.0, row.lease_until - monotonic()),
        )

    def _next_version(self, name: str, version: int, position: int) -> int:
        return max(
            (
                newer
                for newer, row in self._versions(name).items()
                if newer > version and row.lease_until > monotonic() and row.checkpoint.position + NEARLY >= position
            ),
            default=0,
        )

    async def _load_parked(self, name: str, version: int, *, after: int, limit: int) -> Sequence[ParkedCommit]:
        self._check_open()
        row = self._checkpoints.get((name, version))
        parked = row.parked if row is not None else {}
        return [parked[position] for position in sorted(parked) if position > after][:limit]

    async def list_queries(self) -> Sequence[QuerySummary]:
        """Return every version of every query, in order."""
        self._check_open()
        now = monotonic()
        return [
            QuerySummary(
                name,
                version,
                row.checkpoint,
                row.owner,
                max(0.0, row.lease_until - now),
                row.is_live,
                len(row.parked),
                row.skipped,
                row.replay_until,
            )
            for (name, version), row in sorted(self._checkpoints.items(), key=lambda item: item[0])
        ]

    def _versions(self, name: str) -> dict[int, _CheckpointRow]:
        return {version: row for (other, version), row in self._checkpoints.items() if other == name}

    # --- requests

    async def _put_request(self, request: QueryRequest) -> bool:
        self._check_open()
        now = monotonic()
        self._answers = {id: answer for id, answer in self._answers.items() if now - answer[1] < KEEP_ANSWERS}
        if request.id in self._requests or request.id in self._answers:
            return True
        if len(self._waiting(request.name, request.version)) >= MAX_REQUESTS:
            return False
        self._requests[request.id] = request
        return True

    async def _load_requests(self, name: str, version: int) -> Sequence[QueryRequest]:
        self._check_open()
        return self._waiting(name, version)

    async def _take_answer(self, id: UUID) -> RequestAnswer | None:
        self._check_open()
        answer, _ = self._answers.pop(id, (None, 0.0))
        return answer

    def _waiting(self, name: str, version: int) -> list[QueryRequest]:
        return [request for request in self._requests.values() if (request.name, request.version) == (name, version)]

    # --- snapshots

    async def _save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        self._check_open()
        for snapshot in snapshots:
            key = (snapshot.aggregate_type, snapshot.aggregate_id, snapshot.state_version)
            kept = self._snapshots.get(key)
            stream = self._streams.get((snapshot.aggregate_type, snapshot.aggregate_id), [])
            is_older = kept is not None and snapshot.sequence < kept.sequence <= len(stream)
            is_gone = snapshot.sequence > len(stream) or _is_other(stream, snapshot.sequence, snapshot.stamp)
            if not is_gone and not is_older:
                self._snapshots[key] = snapshot

    async def _load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        self._check_open()
        found = ((id, self._snapshots.get((aggregate_type, id, state_version))) for id in aggregate_ids)
        return {id: snapshot for id, snapshot in found if snapshot is not None}


def _is_other(events: Sequence[RecordedEvent], number: int, stamp: CommitStamp | None) -> bool:
    """Return whether the event of this number, from 1, is missing or has another stamp; never without a stamp."""
    return stamp is not None and not (0 < number <= len(events) and events[number - 1].stamp == stamp)


def _fenced(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint with the next fencing token, so that earlier holders cannot move it."""
    return Checkpoint(checkpoint.position, checkpoint.fencing_token + 1, checkpoint.stamp)
