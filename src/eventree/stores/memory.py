"""The reference store: the contract in plain Python, for tests and as the specification of the others."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import Self

from eventree.errors import CheckpointFenced, CheckpointHeld, LogRolledBack, StoreUnavailable
from eventree.stores.checks import (
    check_checkpoint,
    check_command_ids,
    check_fencing_token,
    check_lease_request,
    check_log_read,
    check_parked_read,
    check_renewal,
    check_requests,
    check_snapshot_ids,
    check_snapshots,
    check_stream_reads,
    check_update,
)
from eventree.stores.clock import Clock, check_clock, read_clock, utc_now
from eventree.stores.contract import (
    NO_LEASE,
    Appended,
    AppendRequest,
    Checkpoint,
    CheckpointUpdate,
    Conflict,
    DuplicateCommand,
    LeaseRequest,
    LogPage,
    Outcome,
    ParkedCommit,
    RecordedCommand,
    RecordedEvent,
    StoredCheckpoint,
    StoredSnapshot,
    StreamPage,
    StreamRead,
)
from eventree.stores.pages import page_of
from eventree.stores.versions import VersionRow, judge_make_live
from eventree.stores.watchers import Watchers


@dataclass(slots=True)
class _Held:
    checkpoint: Checkpoint
    owner: str = ""
    until: float = 0.0
    skipped: int = 0
    replay_until: int = 0
    is_live: bool = False
    parked: dict[int, ParkedCommit] = field(default_factory=dict[int, ParkedCommit])


class MemoryStore:
    """Keep events in memory, for as long as the object lives; see `EventStore` for what each method promises."""

    def __init__(self, *, clock: Clock = utc_now) -> None:
        """Make an empty store.

        Args:
            clock: For tests: says when events are stored, as an aware datetime. Default that of the computer, which
                leases go by in any case.

        Raises:
            InvalidArgument: The clock is no function; or, when events are stored, it returns no aware datetime.
        """
        self._clock = check_clock(clock)
        self._log: list[RecordedEvent] = []
        self._streams: dict[tuple[str, str], list[RecordedEvent]] = {}
        self._commands: dict[str, RecordedCommand] = {}
        self._checkpoints: dict[tuple[str, int], _Held] = {}
        self._snapshots: dict[tuple[str, str, str], StoredSnapshot] = {}
        self._watchers = Watchers()
        self._users = 0

    def __repr__(self) -> str:
        return f"<MemoryStore with {len(self._log)} events>"

    async def __aenter__(self) -> Self:
        """See `EventStore`."""
        self._users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """See `EventStore`; what the store holds stays."""
        self._users -= 1

    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        """See `EventStore.append`."""
        check_requests(requests)
        self._check_open()
        head, now = len(self._log), read_clock(self._clock)
        outcomes = [self._append_one(request, now) for request in requests]
        if len(self._log) > head:
            self._watchers.tell(len(self._log))
        return outcomes

    def _append_one(self, request: AppendRequest, now: datetime) -> Outcome:
        key = (request.aggregate_type, request.aggregate_id)
        stream = self._streams.get(key, [])
        if len(stream) != request.expected_sequence:
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
                command.command_id, *key, command.first_sequence, command.last_sequence
            )
        return Appended(len(stream), stream[-1].position if stream else 0)

    async def find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        """See `EventStore.find_commands`."""
        check_command_ids(command_ids)
        self._check_open()
        return {id: self._commands[id] for id in command_ids if id in self._commands}

    async def read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        """See `EventStore.read_streams`."""
        check_stream_reads(reads)
        self._check_open()
        return [self._read_stream(read) for read in reads]

    def _read_stream(self, read: StreamRead) -> StreamPage:
        stream = self._streams.get((read.aggregate_type, read.aggregate_id), [])
        events = tuple(stream[read.after : read.after + read.limit])
        return StreamPage(len(stream), stream[-1].position if stream else 0, events)

    async def read(self, after: int, limit: int, types: Collection[str] | None = None) -> LogPage:
        """See `EventStore.read`."""
        check_log_read(after, limit, types)
        self._check_open()
        if after > len(self._log):
            raise LogRolledBack("a reader", after, len(self._log))
        events = (self._log[at] for at in range(after, len(self._log)))
        return page_of(events, after, limit, types)

    async def head(self) -> int:
        """See `EventStore.head`."""
        self._check_open()
        return len(self._log)

    def watch(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """See `EventStore.watch`."""
        return self._watchers.add(listener)

    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        """See `EventStore.claim_checkpoint`."""
        check_lease_request(name, version, lease)
        self._check_open()
        held = self._checkpoints.get((name, version))
        if held is None:
            live = [other.checkpoint.position for other in self._versions(name).values() if other.is_live]
            start = min([len(self._log) if lease.start is None else lease.start, *live])
            held = self._checkpoints[name, version] = _Held(Checkpoint(start, 0), is_live=not self._versions(name))
        left = held.until - monotonic()
        if left > 0 and held.owner != lease.owner:
            raise CheckpointHeld(name, held.owner, left)
        held.checkpoint = Checkpoint(held.checkpoint.position, held.checkpoint.fencing_token + 1)
        held.owner = lease.owner
        held.until = monotonic() + lease.seconds
        return held.checkpoint

    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        """See `EventStore.save_checkpoint`."""
        check_update(name, version, update)
        self._check_open()
        held = self._checkpoints.get((name, version))
        if held is None or held.checkpoint.fencing_token != update.checkpoint.fencing_token:
            raise CheckpointFenced(name, update.checkpoint.fencing_token)
        held.checkpoint = update.checkpoint
        held.until = monotonic() + update.seconds if update.seconds else held.until
        held.skipped += update.skipped
        held.replay_until = update.replay_until or held.replay_until
        for position in update.unpark:
            held.parked.pop(position, None)
        held.parked |= {parked.position: parked for parked in update.park}

    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        """See `EventStore.make_live`."""
        check_checkpoint(name, version)
        check_fencing_token(fencing_token)
        self._check_open()
        versions = self._versions(name)
        rows = [
            VersionRow(each, held.checkpoint.position, held.checkpoint.fencing_token, held.replay_until, held.is_live)
            for each, held in versions.items()
        ]
        replay_until = judge_make_live(name, rows, version, fencing_token)
        if replay_until is None:
            return False
        for other, held in versions.items():
            if held.is_live and other != version:
                held.is_live, held.until = False, 0.0
                held.checkpoint = Checkpoint(held.checkpoint.position, held.checkpoint.fencing_token + 1)
        versions[version].is_live = True
        versions[version].replay_until = replay_until
        return True

    async def renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        """See `EventStore.renew_checkpoint`."""
        check_renewal(name, version, fencing_token, seconds)
        self._check_open()
        held = self._checkpoints.get((name, version))
        if held is None or held.checkpoint.fencing_token != fencing_token:
            return False
        held.until = monotonic() + seconds
        return True

    async def load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        """See `EventStore.load_checkpoint`."""
        check_checkpoint(name, version)
        self._check_open()
        held = self._checkpoints.get((name, version))
        if held is None:
            return None
        live, live_held = next(item for item in self._versions(name).items() if item[1].is_live)
        return StoredCheckpoint(
            held.checkpoint,
            held.owner,
            len(held.parked),
            held.skipped,
            held.replay_until,
            live,
            live_held.checkpoint.position,
        )

    async def load_parked(
        self, name: str, version: int, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ParkedCommit]:
        """See `EventStore.load_parked`."""
        check_parked_read(name, version, after, limit)
        self._check_open()
        held = self._checkpoints.get((name, version))
        parked = held.parked if held is not None else {}
        return [parked[position] for position in sorted(parked) if position > after][:limit]

    async def save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        """See `EventStore.save_snapshots`."""
        check_snapshots(snapshots)
        self._check_open()
        for snapshot in snapshots:
            key = (snapshot.aggregate_type, snapshot.aggregate_id, snapshot.state_version)
            held = self._snapshots.get(key)
            stands = len(self._streams.get((snapshot.aggregate_type, snapshot.aggregate_id), []))
            is_older = held is not None and snapshot.sequence < held.sequence <= stands
            if snapshot.sequence <= stands and not is_older:
                self._snapshots[key] = snapshot

    async def load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        """See `EventStore.load_snapshots`."""
        check_snapshot_ids(aggregate_type, aggregate_ids, state_version)
        self._check_open()
        found = ((id, self._snapshots.get((aggregate_type, id, state_version))) for id in aggregate_ids)
        return {id: snapshot for id, snapshot in found if snapshot is not None}

    def _versions(self, name: str) -> dict[int, _Held]:
        return {version: held for (other, version), held in self._checkpoints.items() if other == name}

    def _check_open(self) -> None:
        if not self._users:
            raise StoreUnavailable("the memory store is not open; use it inside `async with store:`")
