"""The actor that executes commands: load, decide, append, settle."""

import asyncio
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from time import perf_counter
from typing import Generic, TypeAlias, TypeVar

from eventree.actors import Actor, ActorContext, ExitReason, Request
from eventree.actors.actor.admission import BatchTimes
from eventree.actors.actor.mailbox import Mailbox
from eventree.backoff import Backoff
from eventree.domain.aggregate import AggregateType
from eventree.errors import ActorStopped, DomainError, EventreeError, HandlerCrashed, MailboxFull
from eventree.errors.stores import LASTING_ERRORS, TRANSIENT_ERRORS, StoreBusy
from eventree.instrumentation.guard import GuardedInstrumentation
from eventree.result import Err
from eventree.sourcing.commands.answers import log_crash
from eventree.sourcing.commands.decide import (
    AggregateBatch,
    Answer,
    CatchUp,
    DecideAgain,
    Keep,
    LookUp,
    PendingCommand,
    ReadCommit,
    Step,
    Unsettled,
    decide,
    resolve,
    settle,
)
from eventree.sourcing.commands.load import AggregateLoader, CachedAggregate
from eventree.sourcing.commands.long_loads import LongLoads
from eventree.sourcing.commands.observed import batch_commit, record_batches, record_outcomes
from eventree.sourcing.commands.requests import CommandEnvelope, CommandResult
from eventree.sourcing.commands.turns import Contested, Turn
from eventree.sourcing.snapshots.scheduler import SnapshotScheduler
from eventree.sourcing.statistics import Counters
from eventree.stores.checked import CheckedStore
from eventree.stores.contract import Conflict, EventStore, Outcome, RecordedCommand

StateT = TypeVar("StateT")
CommandT = TypeVar("CommandT")
EventT = TypeVar("EventT")
ErrorT = TypeVar("ErrorT")

CommandMailbox: TypeAlias = Mailbox[CommandEnvelope[CommandT], CommandResult[EventT, ErrorT]]

MAX_BATCH = 1_024
"""The maximum number of commands in one transaction."""

MAX_ROUNDS = 8
"""How often a command meets a conflict before it fails; aggregates take turns long before that."""

LOCK_WAIT = 0.05
"""Seconds from which on a `StoreBusy` is the end of a wait for a lock, not an immediate refusal."""

APPENDING, READING = "the store has not answered an append", "the store has not answered a read"
"""What the actor may be busy with."""

CONFLICT_BACKOFF = Backoff(initial=0.001, maximum=0.007, factor=1.5)
"""The longest wait before deciding again; jitter shortens it, so that writers in conflict do not stay in step."""


class EventSourcingActor(
    Actor[CommandEnvelope[CommandT], CommandResult[EventT, ErrorT]], Generic[StateT, CommandT, EventT, ErrorT]
):
    """Execute the commands of one aggregate type; all that are waiting share one transaction."""

    max_batch = MAX_BATCH

    def __init__(
        self,
        aggregate_type: AggregateType[StateT, CommandT, EventT, ErrorT],
        store: EventStore,
        loader: AggregateLoader[StateT, CommandT, EventT, ErrorT],
        counters: Counters,
        *,
        cache_size: int,
        snapshots: SnapshotScheduler[StateT] | None,
        instrumentation: GuardedInstrumentation | None,
    ) -> None:
        """Create an actor with an empty cache.

        Args:
            aggregate_type: Decides commands and applies events.
            store: Stores the events.
            loader: Loads aggregates from that store.
            counters: Counts the answers.
            cache_size: How many aggregates to keep in memory; the least recently used are evicted.
            snapshots: Schedules snapshots; None for none.
            instrumentation: Observes commits; None for none.
        """
        self._type = aggregate_type
        self._store = store
        self._loader = loader
        self._counters = counters
        self._cache_size = cache_size
        self._snapshots = snapshots
        self._instrumentation = instrumentation
        self._cache: dict[str, CachedAggregate[StateT]] = {}
        self._times = BatchTimes()
        self._behind: dict[str, CachedAggregate[StateT]] = {}
        self._loads = LongLoads(loader)
        self._lost: dict[str, int] = {}
        self._contested = Contested(max(cache_size, MAX_BATCH))  # else those of one batch displace each other

        self._call: tuple[str, float] | None = None

    async def init(self, ctx: ActorContext[CommandEnvelope[CommandT], CommandResult[EventT, ErrorT]]) -> None:
        """Have commands refused that would not be stored before their callers stop waiting; tell these why it lasts."""
        ctx.ref.mailbox.batch_times = self._times
        ctx.ref.mailbox.busy_with = self._busy_with

    async def receive_batch(
        self,
        requests: Sequence[Request[CommandEnvelope[CommandT], CommandResult[EventT, ErrorT]]],
        ctx: ActorContext[CommandEnvelope[CommandT], CommandResult[EventT, ErrorT]],
    ) -> None:
        """Answer every command, in as many rounds as it takes, of which each aggregate may lose at most `MAX_ROUNDS`.

        The commands of aggregates with many events are set aside while these are loaded.

        Transient and lasting store errors are returned to the callers, `StoreBusy` only to those who cannot wait once
        more; any other exception of the store crashes the actor.
        """
        pending: list[PendingCommand[CommandT, EventT, ErrorT]] = list(requests)
        lost, self._lost = self._lost, {}
        conflicts = 0
        began = perf_counter()
        try:
            while pending:
                pending, met_conflict = await self._round(pending, ctx, lost, attempt=conflicts + 1)
                if met_conflict:
                    conflicts += 1
                    if pending:
                        await asyncio.sleep(CONFLICT_BACKOFF.delay_with_full_jitter(conflicts))
        except (*LASTING_ERRORS, *TRANSIENT_ERRORS) as error:
            self._cache.clear()  # the append may have been committed all the same, and made the cached states stale
            self._behind.clear()
            waited = perf_counter() - began if isinstance(error, StoreBusy) else 0.0
            self._give_up(_in_progress(pending), error, waited, ctx.ref.mailbox)
        except BaseException:
            self._count_crashed(_in_progress(pending))
            raise
        else:
            self._times.observe(len(requests), perf_counter() - began)
        self._evict()

    def _give_up(
        self,
        requests: Sequence[PendingCommand[CommandT, EventT, ErrorT]],
        error: EventreeError,
        waited: float,
        mailbox: CommandMailbox[CommandT, EventT, ErrorT],
    ) -> None:
        """Answer commands with an error of the store, but for those that wait for its lock once more.

        A store waits for locks as long as it was told to, which is less than most callers wait. Nothing of the commands
        was stored. Those whose callers wait for so long again are taken up again, together with what has come in the
        meantime; those without a deadline as long as there are others.
        """
        until = asyncio.get_running_loop().time() + waited
        patient = waited >= LOCK_WAIT and any(_waits_until(request, until) for request in requests)
        again = [request for request in requests if patient and (not request.deadline or _waits_until(request, until))]
        mailbox.set_aside({"": again})
        mailbox.give_back("")
        for request in requests:
            if request.taken:
                self._answer(request, Err(error))

    def _busy_with(self, command: CommandEnvelope[CommandT]) -> str:
        """Return what a command waits for, for the error of its caller."""
        if command.aggregate_id in self._loads:
            return "its aggregate has many events, which are still being loaded"
        if self._call is None:
            return ""
        what, since = self._call
        known: str = getattr(self._store, "waiting_for", "")
        return f"the store waits for {known}" if known else f"{what} for {perf_counter() - since:.1f} s"

    @contextmanager
    def _calling(self, what: str) -> Generator[None, None, None]:
        self._call = what, perf_counter()
        try:
            yield
        finally:
            self._call = None

    async def on_stop(self, reason: ExitReason) -> None:
        """Stop the loads; the commands that wait for them are answered by the mailbox."""
        await self._loads.stop()

    async def on_kill(self) -> None:
        """Do the same after a cancellation."""
        await self._loads.stop()

    async def _round(
        self,
        requests: list[PendingCommand[CommandT, EventT, ErrorT]],
        ctx: ActorContext[CommandEnvelope[CommandT], CommandResult[EventT, ErrorT]],
        lost: dict[str, int],
        *,
        attempt: int,
    ) -> tuple[list[PendingCommand[CommandT, EventT, ErrorT]], bool]:
        """Load, decide, append and settle once.

        Args:
            requests: The commands.
            ctx: The actor's context.
            lost: How many rounds each aggregate has lost to other writers so far; brought up to date.
            attempt: From 1; one more after each round that has met a conflict.

        Returns:
            The commands of the next round, and whether this one met a conflict.
        """
        loaded, requests = await self._load(requests, ctx, lost)
        ctx.check_current()  # an abandoned actor must not append: its callers have already got an error
        if self._contested and any(id in self._contested for id in loaded):
            return await self._take_turn(loaded, requests, lost, attempt=attempt)
        batch = decide(self._type, loaded, [request for request in requests if not request.abandoned])
        if len(batch.aggregates) < len(loaded):  # the callers of the others are gone, or their commands deferred
            self._cache.update((id, loaded[id]) for id in loaded.keys() - batch.aggregates.keys())
        if not batch.aggregates:
            return batch.deferred, False
        appends = list(batch.aggregates.values())
        outcomes = await self._append(appends, attempt)
        steps, met_conflict = self._settle(appends, outcomes, lost)
        self._counters.conflicts += met_conflict
        again = await self._carry_out(steps)
        return again + batch.deferred, met_conflict

    def _settle(
        self,
        batches: Sequence[AggregateBatch[StateT, CommandT, EventT, ErrorT]],
        outcomes: Sequence[Outcome],
        lost: dict[str, int],
    ) -> tuple[list[Step[StateT, CommandT, EventT, ErrorT]], bool]:
        """Return the steps that follow an append, and whether it met a conflict."""
        met_conflict = False
        steps: list[Step[StateT, CommandT, EventT, ErrorT]] = []
        for each, outcome in zip(batches, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                met_conflict = True
                lost[each.aggregate_id] = lost.get(each.aggregate_id, 0) + 1
                self._contested.lost(each.aggregate_id, lost[each.aggregate_id])
            steps += settle(each, outcome, is_last_round=lost.get(each.aggregate_id) == MAX_ROUNDS)
        return steps, met_conflict

    async def _take_turn(
        self,
        loaded: Mapping[str, CachedAggregate[StateT]],
        requests: Sequence[PendingCommand[CommandT, EventT, ErrorT]],
        lost: dict[str, int],
        *,
        attempt: int,
    ) -> tuple[list[PendingCommand[CommandT, EventT, ErrorT]], bool]:
        """Decide the commands of contested aggregates before any other writer can append; see `_round`.

        The commands of the other aggregates, which must not hold up other writers, are left to the next round.
        """
        contested = {id: each for id, each in loaded.items() if id in self._contested}
        self._cache.update((id, each) for id, each in loaded.items() if id not in contested)
        mine = [each for each in requests if each.message.aggregate_id in contested and not each.abandoned]
        others = [each for each in requests if each.message.aggregate_id not in contested]  # decided in the next round
        turn = Turn(self._type, self._loader, contested, mine)
        outcomes = await self._append_in_turn(turn, attempt)
        for id in contested:
            self._contested.had_turn(id, has_changed=id in turn.changed)
        steps, met_conflict = self._settle(list(turn.batch.aggregates.values()), outcomes, lost)
        self._behind.update(turn.behind)
        again = await self._carry_out(steps)
        for request in mine:
            if (error := turn.broken.get(request.message.aggregate_id)) is not None:
                self._answer(request, Err(error))  # logged where it was applied
        left = [request for request in mine if request.message.aggregate_id in turn.behind]
        return again + turn.batch.deferred + left + others, met_conflict

    async def _append_in_turn(self, turn: Turn[StateT, CommandT, EventT, ErrorT], attempt: int) -> Sequence[Outcome]:
        if self._instrumentation is None:
            with self._calling(APPENDING):
                return await self._store.read_and_append(turn.reads, turn.decide)
        record = batch_commit(self._type.name, (), attempt)
        with self._instrumentation.commit(record), self._calling(APPENDING):
            outcomes = await self._store.read_and_append(turn.reads, turn.decide)
            record_batches(record, list(turn.batch.aggregates.values()))
            record_outcomes(record, outcomes)
        return outcomes

    async def _append(
        self, batches: Sequence[AggregateBatch[StateT, CommandT, EventT, ErrorT]], attempt: int
    ) -> Sequence[Outcome]:
        append = CheckedStore.unchecked_append(self._store)  # `make_request` and the codec have checked the arguments
        requests = [each.to_append() for each in batches]
        if self._instrumentation is None:
            with self._calling(APPENDING):
                return await append(requests)
        record = batch_commit(self._type.name, batches, attempt)
        with self._instrumentation.commit(record), self._calling(APPENDING):
            outcomes = await append(requests)
            record_outcomes(record, outcomes)
        return outcomes

    async def _load(
        self,
        requests: list[PendingCommand[CommandT, EventT, ErrorT]],
        ctx: ActorContext[CommandEnvelope[CommandT], CommandResult[EventT, ErrorT]],
        lost: Mapping[str, int],
    ) -> tuple[Mapping[str, CachedAggregate[StateT]], list[PendingCommand[CommandT, EventT, ErrorT]]]:
        """Take aggregates out of the cache or load them; answer the commands of those that cannot be loaded.

        An aggregate goes back into the cache only once its events are stored, as `apply` may change the state in place.
        """
        requests = self._set_aside(requests, ctx.ref.mailbox)
        loaded: dict[str, CachedAggregate[StateT]] = {}
        missing: dict[str, None] = {}
        for request in requests:
            id = request.message.aggregate_id
            if (cached := self._cache.pop(id, None)) is not None:
                loaded[id] = cached
            elif id not in loaded:
                missing[id] = None
        if not missing:
            return loaded, requests
        with self._calling(READING):
            known = {id: self._behind.pop(id) for id in missing if id in self._behind} if self._behind else None
            found, behind = await self._loader.begin(missing, known)
        for id in behind:
            self._start_load(id, found.pop(id), ctx.ref.mailbox, lost.get(id, 0))
        requests = self._set_aside(requests, ctx.ref.mailbox)
        broken: dict[str, EventreeError] = {}
        for id, each in found.items():
            if isinstance(each, CachedAggregate):
                loaded[id] = each
            else:
                broken[id] = each
        for request in requests:
            if (error := broken.get(request.message.aggregate_id)) is not None:
                self._answer(request, Err(error))
        return loaded, [request for request in requests if request.message.aggregate_id in loaded]

    # --- aggregates with many events

    def _set_aside(
        self,
        requests: list[PendingCommand[CommandT, EventT, ErrorT]],
        mailbox: CommandMailbox[CommandT, EventT, ErrorT],
    ) -> list[PendingCommand[CommandT, EventT, ErrorT]]:
        """Set the commands aside whose aggregates are being loaded, and return the others.

        As many may wait there as in the mailbox; any more are refused.
        """
        if not self._loads:
            return requests
        waiting: dict[str, list[PendingCommand[CommandT, EventT, ErrorT]]] = {}
        others: list[PendingCommand[CommandT, EventT, ErrorT]] = []
        room = mailbox.maxsize - mailbox.aside
        for request in requests:
            if (id := request.message.aggregate_id) not in self._loads:
                others.append(request)
            elif room > 0:
                waiting.setdefault(id, []).append(request)
                room -= 1
            else:
                self._answer(request, Err(MailboxFull(f"{self._type.name} {id!r}", mailbox.maxsize)))
        mailbox.set_aside(waiting)
        return others

    def _start_load(
        self,
        id: str,
        aggregate: CachedAggregate[StateT] | EventreeError,
        mailbox: CommandMailbox[CommandT, EventT, ErrorT],
        lost: int,
    ) -> None:
        def ended(id: str) -> None:
            with suppress(ActorStopped):
                mailbox.call_in_actor(lambda actor: self._end_load(id, mailbox, lost) if actor is self else None)

        self._loads.start(id, aggregate, ended)

    def _end_load(self, id: str, mailbox: CommandMailbox[CommandT, EventT, ErrorT], lost: int) -> None:
        """Take up the commands again that wait for an aggregate, between two batches, so that their order is kept."""
        try:
            found = self._loads.take(id)
        except BaseException:
            self._count_crashed(mailbox.resume_aside(id))
            raise
        if isinstance(found, EventreeError):
            for request in mailbox.resume_aside(id):
                self._answer(request, Err(found))
            return
        if found is not None:
            self._cache[id] = found
        self._lost[id] = lost
        mailbox.give_back(id)

    async def _carry_out(
        self, steps: Iterable[Step[StateT, CommandT, EventT, ErrorT]]
    ) -> list[PendingCommand[CommandT, EventT, ErrorT]]:
        """Carry out the steps that follow an append; return the commands to decide again.

        Commands that need no look-up are answered first, so that a failing look-up cannot affect them.
        """
        unsettled: list[Unsettled[CommandT, EventT, ErrorT]] = []
        for step in steps:
            match step:
                case Answer(request, result):
                    self._answer_decided(request, result)
                case Keep(aggregate_id, aggregate):
                    self._keep(aggregate_id, aggregate)
                case CatchUp(aggregate_id, aggregate):
                    self._behind[aggregate_id] = aggregate
                case _:
                    unsettled.append(step)
        return await self._look_up(unsettled) if unsettled else []

    async def _look_up(
        self, steps: Iterable[Unsettled[CommandT, EventT, ErrorT]]
    ) -> list[PendingCommand[CommandT, EventT, ErrorT]]:
        """Answer commands that were stored before with their first commit; return the commands to decide again."""
        ids = {step.command_id for step in steps if isinstance(step, LookUp)}
        with self._calling(READING):
            found: Mapping[str, RecordedCommand] = await self._store.find_commands(ids) if ids else {}
        again: list[PendingCommand[CommandT, EventT, ErrorT]] = []
        for step in steps:
            match resolve(step, self._type, found):
                case Answer(request, result):
                    self._answer_decided(request, result)
                case ReadCommit(request, recorded):
                    self._answer(request, await self._loader.commit(recorded, request.message.commit_id))
                case DecideAgain(request):
                    again.append(request)
        return again

    def _keep(self, aggregate_id: str, aggregate: CachedAggregate[StateT]) -> None:
        self._cache[aggregate_id] = aggregate
        if self._snapshots is not None:
            aggregate.snapshot = self._snapshots.schedule_if_due(
                aggregate_id, aggregate.state, aggregate.sequence, aggregate.snapshot, aggregate.stamp
            )

    def _answer_decided(
        self, request: PendingCommand[CommandT, EventT, ErrorT], result: CommandResult[EventT, ErrorT]
    ) -> None:
        if isinstance(result, Err) and isinstance(result.error, HandlerCrashed):
            log_crash(result.error)  # only now, as a decision that is not the answer does not matter
        self._answer(request, result)

    def _answer(self, request: PendingCommand[CommandT, EventT, ErrorT], result: CommandResult[EventT, ErrorT]) -> None:
        self._counters.commands += 1
        if isinstance(result, Err):
            if isinstance(result.error, DomainError):
                self._counters.refused += 1
            else:
                self._counters.failed += 1
        request.reply(result)

    def _count_crashed(self, requests: Iterable[PendingCommand[CommandT, EventT, ErrorT]]) -> None:
        crashed = sum(not request.answered for request in requests)
        self._counters.commands += crashed
        self._counters.failed += crashed

    def _evict(self) -> None:
        """Drop the least recently used aggregates: the first ones, as used ones are put back at the end."""
        for kept in (self._cache, self._behind):
            excess = len(kept) - self._cache_size
            if excess > 0:
                for id in list(islice(kept, excess)):
                    del kept[id]


def _in_progress(
    requests: Iterable[PendingCommand[CommandT, EventT, ErrorT]],
) -> list[PendingCommand[CommandT, EventT, ErrorT]]:
    """Return the commands that are neither answered nor set aside."""
    return [request for request in requests if request.taken and not request.answered]


def _waits_until(request: PendingCommand[CommandT, EventT, ErrorT], time: float) -> bool:
    return request.deadline is not None and request.deadline.at > time
