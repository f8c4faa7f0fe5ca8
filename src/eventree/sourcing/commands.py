"""The command path: take what waits, load what is missing, decide, commit once, answer."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

from eventree.actors import Actor, ActorContext, Request
from eventree.domain.aggregate import AggregateType
from eventree.domain.events import Commit
from eventree.errors import (
    CodecError,
    CommandIdReused,
    ConcurrencyConflict,
    DomainError,
    EventreeError,
    LogRolledBack,
)
from eventree.errors.stores import TRANSIENT_ERRORS
from eventree.result import Err, Ok
from eventree.sourcing.batch import Batch, Decided, Draft, Execute, Executed, Work
from eventree.sourcing.loading import Live, Loader, missing_event
from eventree.sourcing.snapshots.taker import SnapshotTaker
from eventree.sourcing.statistics import Counters
from eventree.stores.contract import (
    Appended,
    Conflict,
    DuplicateCommand,
    EventStore,
    Outcome,
    RecordedCommand,
    StreamRead,
)

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

MAX_BATCH = 1_024
"""Commands in one transaction at most."""

MAX_ROUNDS = 8
"""How often a command is decided again because somebody else wrote to its aggregate first."""

CONFLICT_PAUSE = 0.001
"""Seconds to wait at most before deciding again, times the conflicts so far: those who collided should not again."""


class EventSourcingActor(Actor[Execute[CommandT], Executed[EventT, ErrorT]], Generic[StateT, CommandT, EventT, ErrorT]):
    """Own the live states of one aggregate type and decide its commands, as many in one commit as are waiting."""

    max_batch = MAX_BATCH

    def __init__(
        self,
        aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
        store: EventStore,
        loader: Loader[StateT, CommandT, EventT, ErrorT],
        counters: Counters,
        *,
        cache_size: int,
        snapshots: SnapshotTaker[StateT] | None,
    ) -> None:
        """Begin without any state in memory.

        Args:
            aggregate_type: Decides.
            store: Keeps the events.
            loader: Loads aggregates from it.
            counters: What to count in.
            cache_size: How many states stay in memory; the least recently used go first.
            snapshots: Takes snapshots; None for never.
        """
        self._type = aggregate_type
        self._store = store
        self._loader = loader
        self._counters = counters
        self._cache_size = cache_size
        self._snapshots = snapshots
        self._states: dict[str, Live[StateT]] = {}

    async def receive_batch(
        self,
        requests: Sequence[Request[Execute[CommandT], Executed[EventT, ErrorT]]],
        ctx: ActorContext[Execute[CommandT], Executed[EventT, ErrorT]],
    ) -> None:
        """Answer every command, in as many rounds as it takes; conflicts are decided again, a bounded number of times.

        A store that is away is an answer for all that wait; anything else it raises crashes the actor.
        """
        pending: list[Work[CommandT, EventT, ErrorT]] = list(requests)
        conflicts = 0
        try:
            while pending:
                pending, lost = await self._round(pending, ctx, last=conflicts == MAX_ROUNDS - 1)
                conflicts += lost
                if lost and pending:
                    await asyncio.sleep(random.uniform(0, CONFLICT_PAUSE * conflicts))  # noqa: S311
        except TRANSIENT_ERRORS as error:
            self._states.clear()
            for work in pending:
                if not work.answered:
                    self._answer(work, Err(error))
        except BaseException:
            crashed = sum(not work.answered for work in pending)
            self._counters.commands += crashed
            self._counters.failed += crashed
            raise
        self._evict()

    async def _round(
        self,
        work: list[Work[CommandT, EventT, ErrorT]],
        ctx: ActorContext[Execute[CommandT], Executed[EventT, ErrorT]],
        *,
        last: bool,
    ) -> tuple[list[Work[CommandT, EventT, ErrorT]], bool]:
        """Decide and commit once; return what is left for the next round and whether there was a conflict."""
        states, work = await self._load(work)
        batch = Batch(self._type, states)
        batch.decide(work)
        drafts = list(batch.drafts.values())
        if not drafts:
            return batch.postponed, False
        ctx.check_current()  # one left behind could still append; nobody would get the answer
        outcomes = await self._store.append([draft.request(self._type.name) for draft in drafts])
        settled = list(zip(drafts, outcomes, strict=True))
        conflict = any(isinstance(outcome, Conflict) for outcome in outcomes)
        self._counters.conflicts += conflict
        # What was kept is answered first: whatever fails after this, it was stored.
        left = [decided for draft, outcome in settled for decided in self._settle(draft, outcome, last=last)]
        again = await self._answer_repeated(left)
        return again + batch.postponed, conflict

    async def _load(
        self, work: list[Work[CommandT, EventT, ErrorT]]
    ) -> tuple[Mapping[str, Live[StateT]], list[Work[CommandT, EventT, ErrorT]]]:
        """Take the states of a batch out of the cache or the store; answer those whose aggregate cannot be loaded.

        A state comes back into the cache only with its commit: `apply` may have changed it in place.
        """
        ids = dict.fromkeys(request.message.aggregate_id for request in work)
        states = {id: self._states.pop(id) for id in ids if id in self._states}
        missing = [id for id in ids if id not in states]
        if not missing:
            return states, work
        broken: dict[str, EventreeError] = {}
        for id, loaded in (await self._loader.load(missing)).items():
            if isinstance(loaded, Live):
                states[id] = loaded
            else:
                broken[id] = loaded
        for request in work:
            if request.message.aggregate_id in broken:
                self._answer(request, Err(broken[request.message.aggregate_id]))
        return states, [request for request in work if request.message.aggregate_id in states]

    def _settle(
        self, draft: Draft[StateT, CommandT, EventT, ErrorT], outcome: Outcome, *, last: bool
    ) -> list[Decided[CommandT, EventT, ErrorT]]:
        """Answer what can be answered now; return the rest, without an error if it is to be decided again.

        Left over are the commands of a refused request, and failed commands with an id: a repeated command easily
        fails on the state that it led to itself, and then its first answer counts.
        """
        match outcome:
            case Appended():
                self._keep(draft, outcome)
                for decided in draft.decided:
                    if not decided.is_suspect:
                        self._answer(decided.work, draft.answer(decided, outcome))
                return [decided for decided in draft.decided if decided.is_suspect]
            case Conflict(sequence):
                return [decided.failed(self._lost(decided, draft, sequence, last=last)) for decided in draft.decided]
            case DuplicateCommand():
                return [decided.failed(None) for decided in draft.decided]

    def _lost(
        self,
        decided: Decided[CommandT, EventT, ErrorT],
        draft: Draft[StateT, CommandT, EventT, ErrorT],
        sequence: int,
        *,
        last: bool,
    ) -> EventreeError | None:
        """Return why a command is over whose aggregate stands elsewhere; None to decide it again."""
        id, base = draft.aggregate_id, draft.base.sequence
        if sequence < base:
            return LogRolledBack(f"{self._type.name} {id!r}", base, sequence)
        expected = decided.work.message.expected_sequence
        if expected is not None and expected < sequence:
            return ConcurrencyConflict(self._type.name, id, expected, sequence)
        return ConcurrencyConflict(self._type.name, id, base, sequence) if last else None

    def _keep(self, draft: Draft[StateT, CommandT, EventT, ErrorT], outcome: Appended) -> None:
        if draft.closed:
            return
        base = draft.base
        live = self._states[draft.aggregate_id] = Live(
            draft.state, outcome.sequence, outcome.position, base.snapshot, base.replay_seconds, base.needs_snapshot
        )
        if self._snapshots is not None:
            self._snapshots.take_if_due(draft.aggregate_id, live)

    async def _answer_repeated(
        self, left: Sequence[Decided[CommandT, EventT, ErrorT]]
    ) -> list[Work[CommandT, EventT, ErrorT]]:
        """Give commands that were stored before their first answer; return those to be decided again."""
        ids = {decided.command_id for decided in left if decided.command_id is not None}
        found: Mapping[str, RecordedCommand] = await self._store.find_commands(ids) if ids else {}
        again: list[Work[CommandT, EventT, ErrorT]] = []
        for decided in left:
            first = found.get(decided.command_id or "")
            if first is not None:
                self._answer(decided.work, await self._first_answer(first, decided.work.message))
            elif decided.error is not None:
                self._answer(decided.work, Err(decided.error))
            else:
                again.append(decided.work)
        return again

    async def _first_answer(self, command: RecordedCommand, repetition: Execute[CommandT]) -> Executed[EventT, ErrorT]:
        aggregate_id = repetition.aggregate_id
        if (command.aggregate_type, command.aggregate_id) != (self._type.name, aggregate_id):
            return Err(CommandIdReused(command.command_id, aggregate_id))
        count = command.last_sequence - command.first_sequence + 1
        after = command.last_sequence - max(count, 1)
        read = StreamRead(self._type.name, aggregate_id, max(after, 0), max(count, 1))
        [page] = await self._store.read_streams([read])
        missing = missing_event(read, page)
        if missing is not None:
            return Err(missing)
        if not command.last_sequence:
            return Ok(Commit(aggregate_id, 0, 0, (), repetition.commit_id))
        try:
            events = tuple(self._loader.envelope(event).payload for event in page.events) if count else ()
        except CodecError as error:
            return Err(error)
        position = page.events[-1].position
        return Ok(Commit(aggregate_id, command.last_sequence, position, events, repetition.commit_id))

    def _answer(self, work: Work[CommandT, EventT, ErrorT], answer: Executed[EventT, ErrorT]) -> None:
        self._counters.commands += 1
        if isinstance(answer, Err):
            if isinstance(answer.error, DomainError):
                self._counters.refused += 1
            else:
                self._counters.failed += 1
        work.reply(answer)

    def _evict(self) -> None:
        """Forget the states used least recently; a state that was used came back at the end."""
        excess = len(self._states) - self._cache_size
        for id in list(islice(self._states, max(excess, 0))):
            del self._states[id]
