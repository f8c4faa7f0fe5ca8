"""Carry out the actions of a query's state, and report their outcomes to it."""

import asyncio
import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final, assert_never
from uuid import UUID

from msgspec.structs import replace as replace_state

from eventree.errors import (
    CheckpointFenced,
    CheckpointHeld,
    EventreeError,
    EventStoreError,
    InvalidArgument,
    LogRolledBack,
    QueryLeasedElsewhere,
    StoreReadOnly,
    StoreUnavailable,
    StoreUnusable,
    WrongEventLoop,
)
from eventree.errors.stores import LASTING_ERRORS, TRANSIENT_ERRORS
from eventree.sourcing.queries.actions import (
    Action,
    Claim,
    Deliver,
    GoLive,
    LoadCheckpoint,
    Look,
    Read,
    Release,
    Renew,
    Save,
    Verify,
    Wait,
)
from eventree.sourcing.queries.at_least_once import MAX_TURN_SECONDS
from eventree.sourcing.queries.commits import HandlingFailed, Key, StoredCommit, commits_of, key_of, reason_of
from eventree.sourcing.queries.delivery import Delivery
from eventree.sourcing.queries.failure_log import log_change, one_line
from eventree.sourcing.queries.looks import shared_look
from eventree.sourcing.queries.state import QueryState
from eventree.stores.contract import (
    CheckpointUpdate,
    EventStore,
    LeaseRequest,
    ParkedCommit,
    QueryRequest,
    RequestAnswer,
    StoredCheckpoint,
    StoredStop,
)

logger = logging.getLogger("eventree")

_LASTING_ERRORS: Final = (*LASTING_ERRORS, InvalidArgument)
"""Errors that no retry changes: of the store, or in the options of the query."""


@dataclass(slots=True)
class PublishedState:
    """Share a worker's state with the query's handles; it outlives restarts of the actor."""

    state: QueryState


@dataclass(slots=True)
class Retry:
    """Track one pass of delivering parked commits again.

    Attributes:
        aggregate_id: Deliver only those of this aggregate; None for all.
        after: The position of the last parked commit that this pass has covered.
        handled: The number of commits handled.
        reason: Why the first one that failed again did; empty if none has.
        failed: Aggregates of which a commit failed again, so that their later ones stay parked.
    """

    aggregate_id: str | None
    after: int = 0
    handled: int = 0
    reason: str = ""
    failed: set[Key] = field(default_factory=set[Key])


class QueryWorker:
    """Carry out the actions of a `QueryState` on a store and a delivery.

    Attributes:
        state: The current state of the query.
        notified_head: The highest position that the store has announced and the state has not been given yet; 0 for
            none. It is kept apart from the state because the store may announce it while an action is carried out.
        waiting: Requests of other processes, to be carried out before anything else.
        taken: The requests that are being carried out.
        request: The request for which the next update of the checkpoint is, and has the answer; None if there is none.
    """

    def __init__(self, store: EventStore, types: Sequence[str], delivery: Delivery, published: PublishedState) -> None:
        """Start from what the last incarnation has published.

        Args:
            store: Holds the log and the checkpoint.
            types: The aggregate types whose events the query follows.
            delivery: Delivers commits to the user's function.
            published: Holds the state of the last incarnation, and is updated with this one's.
        """
        self.state: QueryState = published.state.restarted()
        self.notified_head = 0
        self.waiting: list[QueryRequest] = []
        self.taken: set[UUID] = set()
        self.request: QueryRequest | None = None
        self._retry_at = inf
        self._store = store
        self._types = types
        self._delivery = delivery
        self._published = published
        self._key = self.state.options.key
        self._now = asyncio.get_running_loop().time
        self._fenced: tuple[QueryState, CheckpointFenced] | None = None
        self._look = shared_look(store)
        self.publish()

    def publish(self) -> None:
        """Publish the state to the handles."""
        self._published.state = self.state

    async def turn(self, *, save: bool) -> float | None:
        """Carry out actions up to the first delivery, and those that follow from it.

        Args:
            save: Whether a caller is waiting for the checkpoint to be stored.

        Returns:
            How long to wait before the next turn, in seconds; None to wait for a message.
        """
        has_delivered = False
        while True:
            if self.notified_head:
                self.state, self.notified_head = self.state.notified(self.notified_head), 0
            if self.waiting:
                return 0.0
            action = self.state.next(self._now(), save=save)
            if isinstance(action, Wait):
                return action.seconds
            if isinstance(action, Read | Deliver):
                if has_delivered:
                    return 0.0  # the actor handles its messages before the next delivery
                has_delivered = isinstance(action, Deliver)
            try:
                await self._carry_out(action)
            except (HandlingFailed, CheckpointFenced, LogRolledBack, *_LASTING_ERRORS, *TRANSIENT_ERRORS) as error:
                self._report(error, action)

    def _report(self, error: HandlingFailed | EventreeError, action: Action) -> None:
        """Report an error of an action to the state, and log the consequences."""
        before, now, in_delivery = self.state, self._now(), isinstance(action, Deliver)
        match error:
            case HandlingFailed(error=EventreeError() as cause) if error.is_transient:
                self.state = before.store_failed(cause, now, in_delivery=in_delivery)
            case HandlingFailed():
                self.state = before.failed(error, now)
            case CheckpointFenced():
                self._fenced = (before, error)
                self.state = before.fenced(now)
            case LogRolledBack():
                self.state = before.rolled_back(error, now)
            case StoreReadOnly() | StoreUnusable() | WrongEventLoop() | InvalidArgument():
                self.state = before.gave_up(error)
            case _:
                self.state = before.store_failed(error, now, in_delivery=in_delivery)
        log_change(before, self.state, error)

    async def _carry_out(self, action: Action) -> None:  # noqa: C901, PLR0912 - a case for each action
        """Carry out an action and report its outcome to the state."""
        state, store, now = self.state, self._store, self._now()
        match action:
            case Claim(lease):
                await self._claim(lease)
            case LoadCheckpoint():
                await self._load_checkpoint()
            case Renew(token):
                self.state = state.renewed(await store.renew_checkpoint(*self._key, token, state.lease), now)
            case Verify(position, stamp):
                await store.read(position, 1, (), after_stamp=stamp)
                self.state = self.state.verified()
            case Look(position, stamp, since):
                self.state = state.looked(*await self._look.at(store, position, stamp, since))
            case Read(after, limit, stamp):
                page = await store.read(after, limit, self._types, live=True, after_stamp=stamp)
                commits = commits_of(page.events)
                self.state = self.state.page_read(commits, page.position, now, more=page.more, stamp=page.stamp)
            case Deliver():
                self._delivery.calls.overdue = None
                with self._renewing():
                    outcome = await self._delivery.deliver(state)
                self.state = self.state.delivered(outcome, self._now()).overran(self._delivery.calls.overdue)
                if outcome.failure is not None:
                    raise outcome.failure
            case Save(update):
                await self.save(update)
            case GoLive():
                with self._renewing():
                    await self._delivery.go_live(state)
                self.state = state.went_live(now)
            case Release():
                await self.release()
            case Wait():
                pass
            case _ as never:
                assert_never(never)

    async def _claim(self, lease: LeaseRequest) -> None:
        await self._check_start()
        state, now = self.state, self._now()
        try:
            self.state = state.claimed(await self._delivery.claim(lease), now)
        except CheckpointHeld as held:
            self.state = state.leased_elsewhere(held.seconds, now)

    async def _check_start(self) -> None:
        """Refuse to create a checkpoint beyond the end of the log, before one that would look like a log rolled back.

        Raises:
            InvalidArgument: The query has no checkpoint, and would start beyond the end of the log.
        """
        start = self.state.options.start
        if (
            not start
            or self.state.checkpoint.fencing_token
            or await self._store.load_checkpoint(*self._key) is not None
        ):
            return
        head = await self._store.head()
        if start > head:
            raise InvalidArgument(
                "start",
                f"is {start}, but the log ends at {head}; give query {self.state.options.name!r} a lower one, or "
                "resume() it once the log has grown",
            )

    async def _load_checkpoint(self) -> None:
        now = self._now()
        stored = await self._store.load_checkpoint(*self._key)
        parked: Sequence[ParkedCommit] = ()
        if stored is not None and stored.parked:
            parked = await self._store.load_parked(*self._key, limit=stored.parked)
        was_superseded = self.state.superseded
        self.state = self.state.checkpoint_loaded(stored, parked, now)
        if stored is not None and stored.requests:
            await self._load_requests(stored)
        if self._fenced is not None:  # only now it is known whether that was another worker or a newer version
            if stored is None or stored.live_version <= self.state.options.version:
                self._log_fenced(*self._fenced)
            self._fenced = None
        if self.state.superseded is not was_superseded:
            logger.info("%s", self.state.superseded)

    async def _load_requests(self, stored: StoredCheckpoint) -> None:
        """Load what other processes have asked, if this worker has the lease or may have it."""
        if self.state.superseded is None and (self.state.has_lease or not stored.lease_seconds):
            requests = await self._store.load_requests(*self._key)
            self.waiting = [request for request in requests if request.id not in self.taken]

    async def save(self, update: CheckpointUpdate | None = None) -> None:
        """Store the checkpoint.

        Args:
            update: The update to store; default the pending one, if commits were handled since the last was stored.
        """
        if update is None:
            if not self.state.is_unsaved:
                return
            update = self.state.update()
        try:
            await self._store.save_checkpoint(*self._key, update)
        except BaseException:
            self.state = self.state.released()  # it is unknown whether the checkpoint was stored
            raise
        self.state = self.state.saved(update, self._now())

    async def release(self) -> None:
        """Store the checkpoint, say why if the query gave up, and release the lease for another worker."""
        state = self.state
        with suppress(EventStoreError):
            if state.has_lease and (state.position != state.checkpoint.position or state.is_count_unsaved):
                await self.save(state.update())
            if self.state.has_lease or (state.stopped is not None and not isinstance(state.stopped, LASTING_ERRORS)):
                await self._let_go()
        self.state = self.state.released()
        if state.stopped is not None:  # if the store does not know yet, that shows when the checkpoint is loaded
            self.state = self.state.stop_reported(self._now())

    async def _let_go(self) -> None:
        failure, stopped = self.state.failure, self.state.stopped
        if stopped is not None:
            stop = StoredStop("stopped", reason_of(stopped))
        elif failure is not None and failure.is_outdated:
            stop = StoredStop("outdated", reason_of(failure.error))
        else:
            await self._store.renew_checkpoint(*self._key, self.state.fencing_token, 0)
            return
        await self._store.stop_checkpoint(*self._key, self.state.owner, stop)

    @contextmanager
    def _renewing(self) -> Generator[None, None, None]:
        """Return a context manager that renews the lease while a user's function runs, and notes when it could not."""
        loop, state = asyncio.get_running_loop(), self.state
        interval = state.options.lease / 3
        began = renewed_at = loop.time()
        gap = 0.0

        async def renew() -> None:
            nonlocal renewed_at, gap
            while True:
                sent = loop.time()
                with suppress(EventStoreError):  # storing the checkpoint will show whether the lease is lost
                    if await self._store.renew_checkpoint(*self._key, state.fencing_token, state.lease):
                        renewed_at, gap = sent, max(gap, sent - renewed_at)
                await asyncio.sleep(interval)

        tasks: list[asyncio.Task[None]] = []
        timer = loop.call_later(interval, lambda: tasks.append(loop.create_task(renew())))
        try:
            yield
        except StoreUnavailable:  # perhaps the server has ended a transaction that was idle for as long as the lease
            gap = loop.time() - began
            raise
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()  # without waiting: a renewal that still arrives is harmless, as it moves nothing
            self.state = self.state.kept_from_renewing(max(gap, loop.time() - renewed_at))

    def _log_fenced(self, state: QueryState, error: CheckpointFenced) -> None:
        """Log that another worker has taken over, and whether a slow handler is the reason."""
        if not state.unrenewed_unsaved:
            logger.warning("%s", error)
            return
        logger.warning(
            "query %s: its handler %s took %.1f s without letting the lease of %.1f s be renewed, so that another "
            "worker took over; the events are handled again, under a longer lease. Give the query a lease of at least "
            "%.0f s, or let the handler await",
            *(state.options.name, self._delivery.calls.function, state.unrenewed_unsaved, state.options.lease),
            2 * state.unrenewed_unsaved + 1,
        )

    # --- control; each method returns once its effect is stored

    async def acquire(self) -> None:
        """Make sure that this worker holds the lease.

        Raises:
            QueryLeasedElsewhere: Another worker holds it.
            EventStoreError: The store failed.
            HandlingFailed: The projection's `setup` raised.
        """
        self.state = self.state.stale()
        while (action := self.state.acquire(self._now())) is not None:
            await self._carry_out(action)
        if not self.state.has_lease:
            raise QueryLeasedElsewhere(self.state.options.name)

    async def acquire_live(self) -> None:
        """Make sure that this worker holds the lease and no newer version is live.

        Raises:
            QuerySuperseded: A newer version is live.
            QueryLeasedElsewhere, EventStoreError, HandlingFailed: See `acquire`.
        """
        await self.acquire()
        self.refuse_superseded()

    def refuse_superseded(self) -> None:
        """Raise `QuerySuperseded` if a newer version is live."""
        if self.state.superseded is not None:
            raise self.state.superseded

    async def pause(self) -> None:
        """Deliver nothing until `resume`, whichever worker takes over meanwhile."""
        before = self.state
        self.state = before.paused()
        try:
            await self.acquire()
            await self._save_and_answer(self.state.update())
        except TRANSIENT_ERRORS:
            if self.request is not None:
                raise
            # It stays paused, and that is stored once the store is available again.
        except (EventreeError, HandlingFailed):
            self.state = replace_state(self.state, is_paused=before.is_paused, is_pause_unsaved=before.is_pause_unsaved)
            raise

    async def resume(self) -> None:
        """Continue after a pause or a failure.

        Raises:
            QuerySuperseded: A newer version is live, as this worker knew.
            QueryLeasedElsewhere: Another worker holds the lease; only this one has stopped no longer.
        """
        self.refuse_superseded()
        self.state = self.state.resumed()
        try:
            await self.acquire()
            await self._save_and_answer(self.state.update())
        except QueryLeasedElsewhere:
            self.state = replace_state(self.state, is_count_unsaved=False, is_pause_unsaved=False)
            stored = self.state.stored
            if stored is None or stored.live_version <= self.state.options.version:
                raise
        except (EventStoreError, HandlingFailed):  # it is stored later, or tried again
            if self.request is not None:
                raise
        self.state = self.state.stale().lost()  # what was read may be delivered already

    async def skip(self, position: int) -> None:
        """Skip the failing commit, if it is at this position, and continue.

        Raises:
            InvalidArgument: Another commit is failing, or none.
        """
        await self.acquire_live()
        skipping = self.state.with_skipped(position)
        after = self.state.position
        page = await self._store.read(after, max(position - after, 1), self._types, live=True)
        following = [commit for commit in commits_of(page.events) if self.state.is_mine(commit)]
        if following and following[0].position == position:
            end = await self._store.read(position - 1, 1, live=True)
            await self._save_and_answer(self.state.skip_update(end.position, end.stamp))
        else:  # what is before it is handled first
            self.state = skipping
        await self.resume()

    async def reset(self) -> None:
        """Start over where the query started, or at the beginning of the log if it started at its end."""
        await self.acquire_live()
        # Stored even if nothing is pending: should the answer to the reset be lost, the next claim can then tell from
        # the checkpoint whether the reset took place. Without a stamp, as the log may have been rolled back.
        update = self.state.update()
        await self.save(replace(update, checkpoint=replace(update.checkpoint, stamp=None)))
        parked: list[ParkedCommit] = []
        while page := await self._store.load_parked(*self._key, after=parked[-1].position if parked else 0):
            parked += page
        update = self._with_answer(self.state.reset_update(parked, await self._store.head()))
        try:
            with self._renewing():
                await self._delivery.reset(self.state, update)
        except HandlingFailed:
            self.state = self.state.released()  # the transaction may have been committed all the same
            raise
        self.state = self.state.saved(update, self._now())
        self._answered(update)
        await self.resume()

    async def drop_parked(self, position: int) -> None:
        """Discard a parked commit.

        Raises:
            InvalidArgument: No commit is parked at this position.
        """
        await self.acquire_live()
        if not await self._is_parked(position):
            raise InvalidArgument("position", f"no commit is parked at {position}; parked() lists them")
        await self._save_and_answer(self.state.update(unpark=[position]))
        await self._load_checkpoint()

    async def retry(self, retry: Retry) -> bool:
        """Deliver parked commits again, in order, for one turn; return whether the pass is complete."""
        await self.acquire_live()
        deadline = self._now() + MAX_TURN_SECONDS
        while page := await self._store.load_parked(*self._key, after=retry.after, limit=100):
            for parked in page:
                key = key_of(parked)
                if retry.aggregate_id in {None, parked.aggregate_id} and key not in retry.failed:
                    reason = await self._deliver_parked(parked)
                    if reason is None:
                        retry.handled += 1
                    else:
                        retry.failed.add(key)
                        retry.reason = retry.reason or f"position {parked.position}: {reason}"
                retry.after = parked.position
                if self._now() >= deadline:
                    return False
        await self._load_checkpoint()
        return True

    async def _deliver_parked(self, parked: ParkedCommit) -> str | None:
        """Deliver a parked commit; return None if it was handled, else the reason, which is stored with it."""
        if self._now() - self.state.confirmed_at > self.state.recheck_after:
            await self.acquire()
        commit = await self._read_parked(parked)
        try:
            with self._renewing():
                update = await self._delivery.deliver_parked(self.state, commit, parked)
        except HandlingFailed as failure:
            if failure.is_uncertain:
                self.state = self.state.released()
            if failure.is_transient:
                raise failure.error from None
            await self.acquire()
            if not await self._is_parked(parked.position):  # the transaction was committed after all
                return None
            reason = reason_of(failure.error)
            text = "query %s: the commit parked at position %d (%s %r) failed again: %s; drop_parked(%d) discards it"
            place = (parked.position, parked.aggregate_type, parked.aggregate_id)
            logger.warning(text, self.state.options.name, *place, one_line(failure.error), parked.position)
            await self._update(park=[replace(parked, reason=reason)])
            return reason
        if update is None:
            await self._update(unpark=[parked.position])
        else:
            self.state = self.state.saved(update, self._now())
        return None

    async def _read_parked(self, parked: ParkedCommit) -> StoredCommit:
        page = await self._store.read(parked.position - 1, parked.last_position - parked.position + 1, live=True)
        if page.position < parked.last_position:
            raise LogRolledBack(f"query {self.state.options.name!r}", parked.last_position, page.position)
        return commits_of(page.events)[0]

    async def _is_parked(self, position: int) -> bool:
        page = await self._store.load_parked(*self._key, after=position - 1, limit=1)
        return any(parked.position == position for parked in page)

    async def _update(self, *, park: Sequence[ParkedCommit] = (), unpark: Sequence[int] = ()) -> None:
        """Add or remove parked commits, and store the checkpoint with that."""
        await self.save(self.state.update(park=park, unpark=unpark))

    # --- requests of other processes

    def take_waiting(self) -> list[QueryRequest]:
        """Return the requests that wait, to be carried out now."""
        waiting, self.waiting = self.waiting, []
        self.taken.update(request.id for request in waiting)
        return waiting

    async def still_waits(self, request: QueryRequest) -> bool:
        """Make sure that this worker holds the lease, and return whether no other has answered a request before.

        Raises:
            QueryLeasedElsewhere, EventStoreError, HandlingFailed: See `acquire`.
        """
        await self.acquire()
        return any(waiting.id == request.id for waiting in await self._store.load_requests(*self._key))

    async def answer(self, request: QueryRequest, result: int, detail: str = "") -> None:
        """Answer a request, unless an update of the checkpoint had the answer."""
        if self.request is not None:
            await self._answer(RequestAnswer(request.id, result, detail=detail))

    async def refuse(self, request: QueryRequest, error: BaseException) -> None:
        """Answer a request with an error, unless it has to be tried again."""
        if isinstance(error, TRANSIENT_ERRORS):
            self.state = self.state.store_failed(error, self._now())
        elif not isinstance(error, (CheckpointFenced, QueryLeasedElsewhere)) and self.state.has_lease:
            with suppress(EventStoreError):  # it waits, and is tried again
                text = str(error) if isinstance(error, EventreeError) else reason_of(error).partition(": ")[2]
                await self._answer(RequestAnswer(request.id, 0, type(error).__name__[:255], text[:1_000]))

    async def _answer(self, answer: RequestAnswer) -> None:
        update = self.state.update()
        checkpoint = replace(update.checkpoint, stamp=None)  # an answer comes even if the log was rolled back
        await self.save(replace(update, checkpoint=checkpoint, answers=[answer]))
        self.request = None

    async def _save_and_answer(self, update: CheckpointUpdate) -> None:
        """Store an update that does what is asked, and the answer with it."""
        update = self._with_answer(update)
        await self.save(update)
        self._answered(update)

    def _with_answer(self, update: CheckpointUpdate) -> CheckpointUpdate:
        if self.request is None:
            return update
        return replace(update, answers=[RequestAnswer(self.request.id, update.checkpoint.position)])

    def _answered(self, update: CheckpointUpdate) -> None:
        if update.answers:
            self.request = None

    # --- parked commits that are retried now and then

    def until_retry(self, delay: float | None) -> float | None:
        """Return how long to wait, given how long the query itself would: parked commits may be due to be retried."""
        every, state = self.state.options.retry_parked_every, self.state
        if every is None or not state.parked_count or not state.has_lease or state.is_over or state.is_paused:
            self._retry_at = inf
            return delay
        self._retry_at = min(self._retry_at, self._now() + every)
        left = max(self._retry_at - self._now(), 0.0)
        return left if delay is None else min(delay, left)

    def take_retry(self) -> Retry | None:
        """Return a pass that is due, and none again before it has ended."""
        if self._now() < self._retry_at:
            return None
        self._retry_at = inf
        return Retry(None)

    def forget_lease(self, error: EventreeError) -> None:
        """Claim the checkpoint again after an error that leaves open whether this worker still holds the lease."""
        if isinstance(error, (CheckpointFenced, *TRANSIENT_ERRORS)):
            self.state = self.state.lost()
