"""The public suite catches every store that breaks a promise: mutants of the memory store with one fault each."""

import asyncio
import inspect
import itertools
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from msgspec import structs

from eventree.errors import StoreUnavailable
from eventree.stores import MemoryStore
from eventree.stores.checked import Decide
from eventree.stores.contract import (
    MAX_PAGE_BYTES,
    NO_LEASE,
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
    QueryRequest,
    QuerySummary,
    RecordedCommand,
    RecordedEvent,
    RequestAnswer,
    StoredCheckpoint,
    StoredSnapshot,
    StoredStop,
    StreamPage,
    StreamRead,
)
from eventree.stores.live import is_wanted
from eventree.testing import EventStoreSuite

Types: TypeAlias = Collection[str] | None
Stamp: TypeAlias = CommitStamp | None


class ForgetsToCheckTheSequence(MemoryStore):
    def _append_one(self, request: AppendRequest, now: datetime) -> Outcome:
        stands = len(self._streams.get((request.aggregate_type, request.aggregate_id), []))
        return super()._append_one(replace(request, expected_sequence=stands), now)


class IgnoresTheExpectedStamp(MemoryStore):
    def _append_one(self, request: AppendRequest, now: datetime) -> Outcome:
        return super()._append_one(replace(request, expected_stamp=None), now)


class ComparesOnlyCommitIds(MemoryStore):
    def _append_one(self, request: AppendRequest, now: datetime) -> Outcome:
        last = self._streams.get((request.aggregate_type, request.aggregate_id), [])[-1:]
        if last and request.expected_stamp is not None and request.expected_stamp.commit_id == last[0].commit_id:
            request = replace(request, expected_stamp=None)
        return super()._append_one(request, now)


class AnswersWithoutStamps(MemoryStore):
    def _append_one(self, request: AppendRequest, now: datetime) -> Outcome:
        outcome = super()._append_one(request, now)
        return replace(outcome, stamp=None) if isinstance(outcome, Appended) else outcome


class ReadsStreamsOfAnyHistory(MemoryStore):
    async def _read_streams(self, reads: Sequence[StreamRead]) -> Sequence[StreamPage]:
        return await super()._read_streams([replace(read, after_stamp=None) for read in reads])


class ReadsTheLogOfAnyHistory(MemoryStore):
    async def _read(self, after: int, limit: int, types: Types, event_types: Types, after_stamp: Stamp) -> LogPage:
        return await super()._read(after, limit, types, event_types, None)


class ReadsPagesWithoutStamps(MemoryStore):
    async def _read(self, after: int, limit: int, types: Types, event_types: Types, after_stamp: Stamp) -> LogPage:
        return replace(await super()._read(after, limit, types, event_types, after_stamp), stamp=None)


class MovesCheckpointsFromAnywhere(MemoryStore):
    async def _save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await super()._save_checkpoint(name, version, replace(update, moved_from=None))


class MovesCheckpointsToAnyEvent(MemoryStore):
    async def _save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        stamp = update.checkpoint.stamp
        to = replace(update.checkpoint, stamp=None)
        await super()._save_checkpoint(name, version, replace(update, checkpoint=to))
        self._checkpoints[name, version].checkpoint = replace(to, stamp=stamp)


class ForgetsTheStampOfACheckpoint(MemoryStore):
    async def _claim_checkpoint(self, name: str, version: int, lease: LeaseRequest) -> Checkpoint:
        return replace(await super()._claim_checkpoint(name, version, lease), stamp=None)


class KeepsSnapshotsOfAnyHistory(MemoryStore):
    async def _save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        await super()._save_snapshots([replace(one, stamp=None) for one in snapshots])


class LeavesAGapInPositions(MemoryStore):
    def _append_one(self, request: AppendRequest, now: datetime) -> Outcome:
        outcome = super()._append_one(request, now)
        if len(self._log) > 1 and isinstance(outcome, Appended) and request.events:
            self._log[-1] = structs.replace(self._log[-1], position=self._log[-1].position + 1)
        return outcome


class AcknowledgesBeforeTheCommit(MemoryStore):
    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        kept = (self._log.copy(), {key: list(events) for key, events in self._streams.items()}, self._commands.copy())
        outcomes = await super().append(requests)
        done = (self._log, self._streams, self._commands)
        self._log, self._streams, self._commands = kept

        def commit() -> None:
            self._log, self._streams, self._commands = done

        asyncio.get_running_loop().call_soon(commit)
        return outcomes


class ForgetsCommands(MemoryStore):
    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        outcomes = await super().append(requests)
        self._commands.clear()
        return outcomes


class DecidesOnWhatOthersMayChange(MemoryStore):
    async def _read_and_append(self, reads: Sequence[StreamRead], decide: Decide) -> Sequence[Outcome]:
        pages = await self._read_streams(reads)
        await asyncio.sleep(0)
        return await self._append(decide(pages))


class ForgetsFingerprints(MemoryStore):
    async def find_commands(self, command_ids: Collection[str]) -> Mapping[str, RecordedCommand]:
        found = await super().find_commands(command_ids)
        return {id: replace(recorded, fingerprint=None) for id, recorded in found.items()}


class RecordsRefusedCommands(MemoryStore):
    def _append_one(self, request: AppendRequest, now: datetime) -> Outcome:
        outcome = super()._append_one(request, now)
        if isinstance(outcome, Conflict):
            for command in request.commands:
                place = (request.aggregate_type, request.aggregate_id)
                self._commands[command.command_id] = RecordedCommand(command.command_id, *place, 1, 1)
        return outcome


class LetsADuplicateWinOverAConflict(MemoryStore):
    def _append_one(self, request: AppendRequest, now: datetime) -> Outcome:
        known = frozenset(command.command_id for command in request.commands if command.command_id in self._commands)
        return DuplicateCommand(known) if known else super()._append_one(request, now)


class StopsAtTheFirstRefusedRequest(MemoryStore):
    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for request in requests:
            refused = bool(outcomes) and not isinstance(outcomes[-1], Appended)
            outcomes += [Conflict(0)] if refused else await super().append([request])
        return outcomes


class EndsAPageInsideACommit(MemoryStore):
    async def _read(self, after: int, limit: int, types: Types, event_types: Types, after_stamp: Stamp) -> LogPage:
        page = await super()._read(after, limit, types, event_types, after_stamp)
        end = min(page.position, after + limit)
        return LogPage(end, [event for event in page.events if event.position <= end], page.more)


class ReadsAllTypes(MemoryStore):
    async def _read(self, after: int, limit: int, types: Types, event_types: Types, after_stamp: Stamp) -> LogPage:
        return await super()._read(after, limit, None, event_types, after_stamp)


class IgnoresARolledBackLog(MemoryStore):
    async def _read(self, after: int, limit: int, types: Types, event_types: Types, after_stamp: Stamp) -> LogPage:
        return (
            LogPage(after, (), more=False)
            if after > len(self._log)
            else await super()._read(after, limit, types, event_types, after_stamp)
        )


class NeverSaysThatThereIsMore(MemoryStore):
    async def _read(self, after: int, limit: int, types: Types, event_types: Types, after_stamp: Stamp) -> LogPage:
        return replace(await super()._read(after, limit, types, event_types, after_stamp), more=False)


class AlwaysSaysThatThereIsMore(MemoryStore):
    async def _read(self, after: int, limit: int, types: Types, event_types: Types, after_stamp: Stamp) -> LogPage:
        return replace(await super()._read(after, limit, types, event_types, after_stamp), more=True)


class CutsPagesElsewhere(MemoryStore):
    """Count what a page holds in another way, and end it in another place."""

    most = MAX_PAGE_BYTES

    def _size(self, event: RecordedEvent) -> int:
        return len(event.payload.encode()) + len(event.metadata.encode())

    async def _read(self, after: int, limit: int, types: Types, event_types: Types, after_stamp: Stamp) -> LogPage:
        await super()._read(after, limit, types, event_types, after_stamp)
        end, size, events = after, 0, list[RecordedEvent]()
        while end < min(after + limit, len(self._log)):
            commit = await super()._read(end, 1, None, None, None)
            wanted = [event for event in commit.events if is_wanted(event, types, event_types)]
            size += sum(map(self._size, self._counted(wanted, commit.events)))
            if size > self.most and end > self._cut_from(after):
                break
            end, events = commit.position, events + wanted
        stamp = self._log[end - 1].stamp if end > after else None
        return LogPage(end, events, end < len(self._log), stamp)

    def _counted(self, wanted: Sequence[RecordedEvent], commit: Sequence[RecordedEvent]) -> Sequence[RecordedEvent]:
        return wanted

    def _cut_from(self, after: int) -> int:
        return after


class ReadsPagesOfAnySize(CutsPagesElsewhere):
    most = 2**60


class ReadsPagesOfOneByteMore(CutsPagesElsewhere):
    most = MAX_PAGE_BYTES + 1


class ReadsPagesOfOneByteLess(CutsPagesElsewhere):
    most = MAX_PAGE_BYTES - 1


class CountsCharactersForBytes(CutsPagesElsewhere):
    def _size(self, event: RecordedEvent) -> int:
        return len(event.payload) + len(event.metadata)


class CountsPayloadsOnly(CutsPagesElsewhere):
    def _size(self, event: RecordedEvent) -> int:
        return len(event.payload.encode())


class CountsEventsOfOtherTypes(CutsPagesElsewhere):
    def _counted(self, wanted: Sequence[RecordedEvent], commit: Sequence[RecordedEvent]) -> Sequence[RecordedEvent]:
        return commit


class ReturnsNoPageForALargeCommit(CutsPagesElsewhere):
    def _cut_from(self, after: int) -> int:
        return -1


class EndsALargePageInsideACommit(MemoryStore):
    async def _read(self, after: int, limit: int, types: Types, event_types: Types, after_stamp: Stamp) -> LogPage:
        page = await super()._read(after, limit, types, event_types, after_stamp)
        sizes = itertools.accumulate(len(event.payload) + len(event.metadata) for event in page.events)
        events = [event for event, size in zip(page.events, sizes, strict=True) if size <= MAX_PAGE_BYTES]
        end = page.position if len(events) == len(page.events) else events[-1].position
        return LogPage(end, events, page.more)


class ReadsAllEventTypes(MemoryStore):
    async def _read(self, after: int, limit: int, types: Types, event_types: Types, after_stamp: Stamp) -> LogPage:
        return await super()._read(after, limit, types, None, after_stamp)


class ReadsBackwardsOldestFirst(MemoryStore):
    async def _read_backwards(self, before: int, limit: int, types: Types, event_types: Types) -> LogPage:
        page = await super()._read_backwards(before, limit, types, event_types)
        return replace(page, events=[*reversed(page.events)])


class EndsAPageInsideACommitBackwards(MemoryStore):
    async def _read_backwards(self, before: int, limit: int, types: Types, event_types: Types) -> LogPage:
        page = await super()._read_backwards(before, limit, types, event_types)
        end = max(page.position, min(before, len(self._log) + 1) - limit)
        return LogPage(end, [event for event in page.events if event.position >= end], page.more)


class ReadsBackwardsWithoutFilters(MemoryStore):
    async def _read_backwards(self, before: int, limit: int, types: Types, event_types: Types) -> LogPage:
        return await super()._read_backwards(before, limit, None, None)


class ReadsBackwardsFromTheVeryPosition(MemoryStore):
    async def _read_backwards(self, before: int, limit: int, types: Types, event_types: Types) -> LogPage:
        return await super()._read_backwards(before + 1, limit, types, event_types)


class ReadsBackwardsPagesOfAnySize(MemoryStore):
    async def _read_backwards(self, before: int, limit: int, types: Types, event_types: Types) -> LogPage:
        page = await super()._read_backwards(before, limit, types, event_types)
        while page.more and min(before, len(self._log) + 1) - page.position < limit:
            rest = await super()._read_backwards(page.position, 1, types, event_types)
            page = LogPage(rest.position, [*page.events, *rest.events], rest.more)
        return page


class NeverSaysThatThereIsMoreBefore(MemoryStore):
    async def _read_backwards(self, before: int, limit: int, types: Types, event_types: Types) -> LogPage:
        return replace(await super()._read_backwards(before, limit, types, event_types), more=False)


class ReadsStreamsBeyondTheirBound(MemoryStore):
    def _read_stream(self, read: StreamRead) -> StreamPage:
        return super()._read_stream(replace(read, up_to=None))


class ReadsStreamsBeyondAPosition(MemoryStore):
    def _read_stream(self, read: StreamRead) -> StreamPage:
        return super()._read_stream(replace(read, up_to_position=None))


class SaysThatABoundIsTheEndOfAStream(MemoryStore):
    def _read_stream(self, read: StreamRead) -> StreamPage:
        page = super()._read_stream(read)
        return page if read.up_to is None else replace(page, sequence=min(page.sequence, read.up_to))


class ListsAggregatesInTheOrderOfTheirCreation(MemoryStore):
    async def _list_aggregates(
        self, aggregate_type: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[AggregateSummary]:
        listed = await super()._list_aggregates(aggregate_type, after, limit)
        return sorted(listed, key=lambda one: [*self._streams].index(one.key))


class ListsAggregatesAsPeopleSortThem(MemoryStore):
    async def _list_aggregates(
        self, aggregate_type: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[AggregateSummary]:
        listed = await super()._list_aggregates(aggregate_type, after, limit)
        return sorted(listed, key=lambda one: (one.aggregate_type.lower(), one.aggregate_id.lower()))


class ListsAggregatesOfAllTypes(MemoryStore):
    async def _list_aggregates(
        self, aggregate_type: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[AggregateSummary]:
        return await super()._list_aggregates(None, after, limit)


class RepeatsTheLastAggregateOfThePageBefore(MemoryStore):
    async def _list_aggregates(
        self, aggregate_type: str | None, after: tuple[str, str], limit: int
    ) -> Sequence[AggregateSummary]:
        return await super()._list_aggregates(aggregate_type, (after[0], after[1][:-1]), limit)


class ListsTypesAsOftenAsTheyHaveAggregates(MemoryStore):
    async def list_aggregate_types(self) -> Sequence[str]:
        return sorted(aggregate_type for aggregate_type, _ in self._streams)


class ListsLiveVersionsOnly(MemoryStore):
    async def list_queries(self) -> Sequence[QuerySummary]:
        return [query for query in await super().list_queries() if query.is_live]


class ListsLeasesThatWereReleased(MemoryStore):
    async def list_queries(self) -> Sequence[QuerySummary]:
        return [replace(query, lease_seconds=query.lease_seconds or 1.0) for query in await super().list_queries()]


class CountsNothingParkedInLists(MemoryStore):
    async def list_queries(self) -> Sequence[QuerySummary]:
        return [replace(query, parked=0) for query in await super().list_queries()]


class TakesAnyListener(MemoryStore):
    def watch(self, listener: Callable[[int], None], types: Collection[str] | None = None) -> Callable[[], None]:
        return self._watch(listener, types)


class NotifiesListenersOfAllTypes(MemoryStore):
    def _watch(self, listener: Callable[[int], None], types: Collection[str] | None) -> Callable[[], None]:
        return super()._watch(listener, None)


class NotifiesListenersForEachType(MemoryStore):
    def _watch(self, listener: Callable[[int], None], types: Collection[str] | None) -> Callable[[], None]:
        removers = [self._listeners.add(listener, each) for each in ([[each] for each in types] if types else [types])]

        def remove() -> None:
            for each in removers:
                each()

        return remove


class ReadsStreamsOneEventLate(MemoryStore):
    def _read_stream(self, read: StreamRead) -> StreamPage:
        return super()._read_stream(replace(read, after=read.after + 1))


class NotifiesListenersBeforeTheCommit(MemoryStore):
    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        self._listeners.notify(len(self._log) + sum(len(request.events) for request in requests))
        return await super().append(requests)


class IgnoresFencingTokens(MemoryStore):
    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        self._checkpoints[name, version].checkpoint = update.checkpoint


class ClaimsWithoutANewFencingToken(MemoryStore):
    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        known = (name, version) in self._checkpoints
        claimed = await super().claim_checkpoint(name, version, lease)
        if known:
            claimed = self._checkpoints[name, version].checkpoint = Checkpoint(
                claimed.position, claimed.fencing_token - 1
            )
        return claimed


class SharesCheckpointsBetweenVersions(MemoryStore):
    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        return await super().claim_checkpoint(name, 1, lease)


class IgnoresLeases(MemoryStore):
    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        for held in self._checkpoints.values():
            held.lease_until = 0.0
        return await super().claim_checkpoint(name, version, lease)


class SavesWithoutExtendingTheLease(MemoryStore):
    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await super().save_checkpoint(name, version, replace(update, seconds=0.0))


class ReleasesWithAnyFencingToken(MemoryStore):
    async def renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        self._checkpoints[name, version].lease_until = 0.0
        return True


class MovesTheCheckpointOnRenewal(MemoryStore):
    async def renew_checkpoint(self, name: str, version: int, fencing_token: int, seconds: float) -> bool:
        await self.save_checkpoint(name, version, CheckpointUpdate(Checkpoint(0, fencing_token), seconds))
        return True


class GoesLiveTooEarly(MemoryStore):
    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        held = self._checkpoints[name, version]
        there, held.checkpoint = held.checkpoint, Checkpoint(2**62, held.checkpoint.fencing_token)
        try:
            return await super().make_live(name, version, fencing_token)
        finally:
            held.checkpoint = Checkpoint(there.position, held.checkpoint.fencing_token)


class DoesNotFenceTheVersionThatWasLive(MemoryStore):
    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        before = {key: held.checkpoint for key, held in self._checkpoints.items()}
        is_live = await super().make_live(name, version, fencing_token)
        for key, held in self._checkpoints.items():
            held.checkpoint = before[key]
        return is_live


class LetsAnOlderVersionGoLive(MemoryStore):
    async def make_live(self, name: str, version: int, fencing_token: int) -> bool:
        is_live = await super().make_live(name, version, fencing_token)
        held = self._checkpoints[name, version]
        if not is_live and held.checkpoint.position >= 9:
            held.is_live = True
            return True
        return is_live


class IgnoresTheStartOfAClaim(MemoryStore):
    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        return await super().claim_checkpoint(name, version, replace(lease, start=0))


class ParksAlthoughItIsFenced(MemoryStore):
    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        held = self._checkpoints.get((name, version))
        if held is not None:
            held.parked |= {parked.position: parked for parked in update.park}
        await super().save_checkpoint(name, version, update)


class CountsNothingSkipped(MemoryStore):
    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await super().save_checkpoint(name, version, replace(update, skipped=0))


class KeepsFailuresForGood(MemoryStore):
    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        held = self._checkpoints.get((name, version))
        kept = update.failure or (held.failure if held is not None else None)
        await super().save_checkpoint(name, version, replace(update, failure=kept))


class ForgetsFailuresInAClaim(MemoryStore):
    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        claimed = await super().claim_checkpoint(name, version, lease)
        self._checkpoints[name, version].failure = None
        return claimed


class EndsAPauseWithEveryUpdate(MemoryStore):
    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await super().save_checkpoint(name, version, replace(update, paused=bool(update.paused)))


class PausesAllVersions(MemoryStore):
    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await super().save_checkpoint(name, version, update)
        for held in self._checkpoints.values():
            held.is_paused = self._checkpoints[name, version].is_paused


class LetsAnybodyReportAStop(MemoryStore):
    async def stop_checkpoint(self, name: str, version: int, owner: str, stop: StoredStop) -> bool:
        held = self._checkpoints.get((name, version))
        return await super().stop_checkpoint(name, version, held.owner if held is not None else owner, stop)


class KeepsTheLeaseOfWhoStopped(MemoryStore):
    async def stop_checkpoint(self, name: str, version: int, owner: str, stop: StoredStop) -> bool:
        held = self._checkpoints.get((name, version))
        until = held.lease_until if held is not None else 0.0
        is_last = await super().stop_checkpoint(name, version, owner, stop)
        if held is not None:
            held.lease_until = until
        return is_last


class KeepsStopsForGood(MemoryStore):
    async def claim_checkpoint(self, name: str, version: int, lease: LeaseRequest = NO_LEASE) -> Checkpoint:
        held = self._checkpoints.get((name, version))
        stop = held.stop if held is not None else None
        claimed = await super().claim_checkpoint(name, version, lease)
        self._checkpoints[name, version].stop = stop
        return claimed


class CountsNoRequests(MemoryStore):
    async def load_checkpoint(self, name: str, version: int) -> StoredCheckpoint | None:
        stored = await super().load_checkpoint(name, version)
        return stored if stored is None else replace(stored, requests=0)


class LoadsTheNewestRequestFirst(MemoryStore):
    async def load_requests(self, name: str, version: int) -> Sequence[QueryRequest]:
        return [*await super().load_requests(name, version)][::-1]


class LoadsRequestsOfAllVersions(MemoryStore):
    async def load_requests(self, name: str, version: int) -> Sequence[QueryRequest]:
        return [request for request in self._requests.values() if request.name == name]


class AnswersRequestsOfAnyVersion(MemoryStore):
    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await super().save_checkpoint(name, version, update)
        for answer in update.answers:
            self._requests.pop(answer.id, None)


class AnswersAlthoughItIsFenced(MemoryStore):
    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        for answer in update.answers:
            self._requests.pop(answer.id, None)
        await super().save_checkpoint(name, version, update)


class KeepsTheLastAnswer(MemoryStore):
    async def save_checkpoint(self, name: str, version: int, update: CheckpointUpdate) -> None:
        await super().save_checkpoint(name, version, update)
        self._answers |= {answer.id: (answer, 0.0) for answer in update.answers}


class GivesAnswersTwice(MemoryStore):
    async def take_answer(self, id: UUID) -> RequestAnswer | None:
        return self._answers[id][0] if id in self._answers else None


class TakesAnyNumberOfRequests(MemoryStore):
    async def put_request(self, request: QueryRequest) -> bool:
        self._requests.setdefault(request.id, request)
        return True


class PutsARequestAgainThatWasAnswered(MemoryStore):
    async def put_request(self, request: QueryRequest) -> bool:
        self._requests.setdefault(request.id, request)
        return len(await self.load_requests(request.name, request.version)) <= 100


class KeepsTheOlderSnapshot(MemoryStore):
    async def save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        for one in snapshots:
            self._snapshots[one.aggregate_type, one.aggregate_id, one.state_version] = one


class ChecksChecksums(MemoryStore):
    async def load_snapshots(
        self, aggregate_type: str, aggregate_ids: Sequence[str], state_version: str
    ) -> Mapping[str, StoredSnapshot]:
        found = await super().load_snapshots(aggregate_type, aggregate_ids, state_version)
        return {id: one for id, one in found.items() if one.checksum == zlib.crc32(one.payload.encode())}


class KeepsTheChecksumOfAnOlderSnapshot(MemoryStore):
    async def save_snapshots(self, snapshots: Sequence[StoredSnapshot]) -> None:
        held = dict(self._snapshots)
        await super().save_snapshots(snapshots)
        for key, one in held.items():
            self._snapshots[key] = replace(self._snapshots[key], checksum=one.checksum)


class LosesItsDataOnExit(MemoryStore):
    async def __aexit__(self, *_: object) -> None:
        await self._lifecycle.leave()
        self._log.clear()
        self._streams.clear()


class IsAlwaysOpen(MemoryStore):
    def _check_open(self) -> None:
        pass


class ClosesOnTheFirstExit(MemoryStore):
    async def __aexit__(self, *_: object) -> None:
        while self._lifecycle.is_open:
            await self._lifecycle.leave()


class RaisesAnotherErrorWhenClosed(MemoryStore):
    def _check_open(self) -> None:
        try:
            super()._check_open()
        except StoreUnavailable as error:
            raise RuntimeError(str(error)) from error


class ChecksNoLimits(MemoryStore):
    async def append(self, requests: Sequence[AppendRequest]) -> Sequence[Outcome]:
        self._check_open()
        head = len(self._log)
        outcomes = [self._append_one(request, datetime.now(UTC)) for request in requests]
        if len(self._log) > head:
            self._listeners.notify(len(self._log))
        return outcomes


MUTANTS = [
    mutant
    for mutant in list(globals().values())
    if isinstance(mutant, type) and issubclass(mutant, MemoryStore) and mutant not in {MemoryStore, CutsPagesElsewhere}
]


def promises() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each test of the suite with each of its sets of parameters."""
    for name, test in inspect.getmembers(EventStoreSuite, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        sets = [
            [dict(zip(_names(mark.args[0]), _values(value), strict=True)) for value in mark.args[1]]
            for mark in getattr(test, "pytestmark", [])
            if mark.name == "parametrize"
        ]
        for chosen in itertools.product(*sets):
            yield name, {key: value for parameters in chosen for key, value in parameters.items()}


def _names(names: str | Sequence[str]) -> list[str]:
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


def _values(value: Any) -> Sequence[Any]:
    value = getattr(value, "values", value) if type(value).__name__ == "ParameterSet" else value
    return value if isinstance(value, tuple | list) else (value,)


async def keeps(make: Callable[[], MemoryStore], promise: str, parameters: dict[str, Any]) -> bool:
    suite = EventStoreSuite()
    try:
        async with asyncio.timeout(5), make() as store:
            await getattr(suite, promise)(store, **parameters)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - however it fails, it is caught
        return False
    return True


def broken(make: Callable[[], MemoryStore]) -> Iterator[str]:
    return (promise for promise, parameters in promises() if not asyncio.run(keeps(make, promise, parameters)))


def test_the_memory_store_keeps_every_promise() -> None:
    assert len(list(promises())) > 100
    assert list(broken(MemoryStore)) == []
    assert list(broken(CutsPagesElsewhere)) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_suite_catches(mutant: type[MemoryStore]) -> None:
    assert next(broken(mutant), None) is not None
