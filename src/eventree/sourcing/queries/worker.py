"""Do what the state of a query asks for, and report what came of it."""

import asyncio
import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import assert_never

from eventree.errors import (
    CheckpointFenced,
    CheckpointHeld,
    EventreeError,
    EventStoreError,
    InvalidArgument,
    LogRolledBack,
    QueryLeasedElsewhere,
    StoreReadOnly,
)
from eventree.errors.stores import TRANSIENT_ERRORS
from eventree.sourcing.queries.at_least_once import MAX_TURN_SECONDS
from eventree.sourcing.queries.commits import HandlingFailed, Key, StoredCommit, commits_of, key_of, reason_of
from eventree.sourcing.queries.delivery import Delivery
from eventree.sourcing.queries.requests import (
    Claim,
    Deliver,
    GoLive,
    LookUp,
    Read,
    Release,
    Renew,
    Request,
    Save,
    Wait,
)
from eventree.sourcing.queries.state import QueryState
from eventree.stores.contract import CheckpointUpdate, EventStore, ParkedCommit

logger = logging.getLogger("eventree")


@dataclass(slots=True)
class Published:
    """Where a worker shows its state to its handles; it outlives the actor's restarts."""

    state: QueryState


@dataclass(slots=True)
class Retry:
    """A pass over parked commits.

    Attributes:
        aggregate_id: Only those of this aggregate; None for all.
        after: Up to this position all were looked at.
        worked: How many worked.
        failed: Aggregates of which one failed again, so that their later ones have to wait.
    """

    aggregate_id: str | None
    after: int = 0
    worked: int = 0
    failed: set[Key] = field(default_factory=set[Key])


class QueryWorker:
    """Carry out the requests of a `QueryState` on a store and a delivery.

    Attributes:
        state: What is known of the query now.
        heard_of: The newest position that the store has told of since the state was told; 0 for none. It is apart from
            the state since the store may tell of it while a request is carried out.
    """

    def __init__(self, store: EventStore, types: Sequence[str], delivery: Delivery, published: Published) -> None:
        """Begin anew where the last incarnation left off.

        Args:
            store: Has the log and the checkpoint.
            types: The aggregate types whose events the query follows.
            delivery: Hands commits to the user's function.
            published: Has the state of the last incarnation; shows this one's.
        """
        self.state: QueryState = published.state.restarted()
        self.heard_of = 0
        self._store = store
        self._types = types
        self._delivery = delivery
        self._published = published
        self._key = self.state.options.key
        self._now = asyncio.get_running_loop().time
        self.publish()

    def publish(self) -> None:
        """Show the state to the handles."""
        self._published.state = self.state

    async def turn(self, *, save: bool) -> float | None:
        """Do what there is to do, up to the first delivery and what it leads to.

        Args:
            save: Whether a caller waits for the checkpoint to be stored.

        Returns:
            The seconds after which there is more to do; None if only a message can bring more.
        """
        has_delivered = False
        while True:
            if self.heard_of:
                self.state, self.heard_of = self.state.heard_of(self.heard_of), 0
            request = self.state.next(self._now(), save=save)
            if isinstance(request, Wait):
                return request.seconds
            if isinstance(request, Read | Deliver):
                if has_delivered:
                    return 0.0  # messages first
                has_delivered = isinstance(request, Deliver)
            try:
                await self._carry_out(request)
            except (HandlingFailed, CheckpointFenced, LogRolledBack, StoreReadOnly, *TRANSIENT_ERRORS) as error:
                self._report(error)

    def _report(self, error: HandlingFailed | EventreeError) -> None:
        """Report to the state what went wrong, and log what comes of it."""
        before, now = self.state, self._now()
        match error:
            case HandlingFailed():
                self.state = before.failed(error, now)
            case CheckpointFenced():
                logger.warning("%s", error)
                self.state = before.fenced(now)
            case LogRolledBack():
                self.state = before.rolled_back(error)
            case StoreReadOnly():
                self.state = before.gave_up(error)
            case _:
                self.state = before.store_failed(error, now)
        _log_change(before, self.state, error)

    async def _carry_out(self, request: Request) -> None:  # noqa: C901 - a case for each request
        """Carry out a request and report its outcome to the state."""
        state, store, now = self.state, self._store, self._now()
        match request:
            case Claim(lease):
                try:
                    self.state = state.claimed(await self._delivery.claim(lease), now)
                except CheckpointHeld as held:
                    self.state = state.leased_elsewhere(held.seconds, now)
            case LookUp():
                await self._look_up()
            case Renew(fence):
                self.state = state.renewed(await store.renew_checkpoint(*self._key, fence, state.options.lease), now)
            case Read(after, limit):
                page = await store.read(after, limit, self._types, live=True)
                self.state = self.state.page_read(commits_of(page.events), page.position, now, more=page.more)
            case Deliver():
                with self._renewing():
                    outcome = await self._delivery.deliver(state)
                self.state = self.state.delivered(outcome, self._now())
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

    async def _look_up(self) -> None:
        now = self._now()
        stored = await self._store.load_checkpoint(*self._key)
        parked: Sequence[ParkedCommit] = ()
        if stored is not None and stored.parked:
            parked = await self._store.load_parked(*self._key, limit=stored.parked)
        was_superseded = self.state.superseded
        self.state = self.state.looked_up(stored, parked, now)
        if self.state.superseded is not was_superseded:
            logger.info("%s", self.state.superseded)

    async def save(self, update: CheckpointUpdate | None = None) -> None:
        """Store the checkpoint; by default where the query stands, if something was handled since it was stored."""
        if update is None:
            if not self.state.is_unsaved:
                return
            update = self.state.update()
        try:
            await self._store.save_checkpoint(*self._key, update)
        except BaseException:
            self.state = self.state.released()  # it is unknown whether that took place
            raise
        self.state = self.state.saved(update, self._now())

    async def release(self, *, keep: bool = False) -> None:
        """Store where the query stands, and let other workers take over at once, unless the lease is to be kept."""
        if self.state.has_lease:
            with suppress(EventStoreError):
                if self.state.position != self.state.checkpoint.position:
                    await self.save(self.state.update())
                if not keep:
                    await self._store.renew_checkpoint(*self._key, self.state.fencing_token, 0)
        self.state = self.state.released()

    @contextmanager
    def _renewing(self) -> Generator[None, None, None]:
        """Extend the lease while a user's function takes long."""
        loop, fence, interval = asyncio.get_running_loop(), self.state.fencing_token, self.state.options.lease / 3

        async def renew() -> None:
            while True:
                with suppress(EventStoreError):  # the next move of the checkpoint tells
                    await self._store.renew_checkpoint(*self._key, fence, self.state.options.lease)
                await asyncio.sleep(interval)

        tasks: list[asyncio.Task[None]] = []
        timer = loop.call_later(interval, lambda: tasks.append(loop.create_task(renew())))
        try:
            yield
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()  # a late one does no harm, as it moves nothing

    # --- what operators want; each returns once it is done

    async def acquire(self) -> None:
        """Make sure that this worker has the lease.

        Raises:
            QueryLeasedElsewhere: Another worker has it.
            EventStoreError: The store failed.
            HandlingFailed: The projection's `setup` raised.
        """
        self.state = self.state.stale()
        while (request := self.state.acquire(self._now())) is not None:
            await self._carry_out(request)
        if not self.state.has_lease:
            raise QueryLeasedElsewhere(self.state.options.name)

    async def acquire_live(self) -> None:
        """Make sure of the lease, and that no newer version is live.

        Raises:
            QuerySuperseded: One is.
            QueryLeasedElsewhere, EventStoreError, HandlingFailed: See `acquire`.
        """
        await self.acquire()
        self.refuse_superseded()

    def refuse_superseded(self) -> None:
        """Raise `QuerySuperseded` if a newer version is live."""
        if self.state.superseded is not None:
            raise self.state.superseded

    async def pause(self) -> None:
        """Deliver nothing until `resume`, and keep the lease meanwhile."""
        self.state = self.state.paused()
        with suppress(*TRANSIENT_ERRORS):  # it is paused all the same, and claims the lease when the store is back
            try:
                await self.acquire()
            except QueryLeasedElsewhere:
                self.state = self.state.paused(is_paused=False)
                raise
            await self.save()

    async def resume(self) -> None:
        """Go on after a pause or a failure."""
        self.refuse_superseded()
        with suppress(EventStoreError):  # what is not stored is handled again
            await self.save()
        self.state = self.state.resumed()

    async def skip(self, position: int) -> None:
        """Skip the failing commit, if it is at this position, and go on.

        Raises:
            InvalidArgument: It is not.
        """
        await self.acquire_live()
        self.state = self.state.with_skipped(position)
        await self.resume()

    async def reset(self) -> None:
        """Begin anew where the query began, or at the beginning of the log if it began at its end."""
        await self.acquire_live()
        await self.save(self.state.update())  # so that a reset whose answer is lost can be told from none
        parked: list[ParkedCommit] = []
        while page := await self._store.load_parked(*self._key, after=parked[-1].position if parked else 0):
            parked += page
        update = self.state.reset_update(parked, await self._store.head())
        try:
            with self._renewing():
                await self._delivery.reset(self.state, update)
        except HandlingFailed:
            self.state = self.state.released()  # its transaction may have been committed all the same
            raise
        self.state = self.state.saved(update, self._now())
        await self.resume()

    async def drop_parked(self, position: int) -> None:
        """Forget a parked commit.

        Raises:
            InvalidArgument: None is parked at this position.
        """
        await self.acquire_live()
        if not await self._is_parked(position):
            raise InvalidArgument("position", f"no commit is parked at {position}; parked() lists them")
        await self._update(unpark=[position])
        await self._look_up()

    async def retry(self, retry: Retry) -> bool:
        """Deliver parked commits again, in order, for one turn; return whether all were tried that can be."""
        await self.acquire_live()
        over = self._now() + MAX_TURN_SECONDS
        while page := await self._store.load_parked(*self._key, after=retry.after, limit=100):
            for parked in page:
                key = key_of(parked)
                if retry.aggregate_id in {None, parked.aggregate_id} and key not in retry.failed:
                    if await self._deliver_parked(parked):
                        retry.worked += 1
                    else:
                        retry.failed.add(key)
                retry.after = parked.position
                if self._now() >= over:
                    return False
        await self._look_up()
        return True

    async def _deliver_parked(self, parked: ParkedCommit) -> bool:
        """Deliver a parked commit; return whether that worked, and park it again with the new reason if not."""
        if self._now() - self.state.confirmed_at > self.state.recheck_after:
            await self.acquire()
        commit = await self._read_parked(parked)
        try:
            with self._renewing():
                update = await self._delivery.deliver_parked(self.state, commit, parked)
        except HandlingFailed as failure:
            if failure.is_uncertain:
                self.state = self.state.released()
            await self.acquire()
            if not await self._is_parked(parked.position):  # it took place after all
                return True
            await self._update(park=[replace(parked, reason=reason_of(failure.error))])
            return False
        if update is None:
            await self._update(unpark=[parked.position])
        else:
            self.state = self.state.saved(update, self._now())
        return True

    async def _read_parked(self, parked: ParkedCommit) -> StoredCommit:
        page = await self._store.read(parked.position - 1, parked.last_position - parked.position + 1, live=True)
        if page.position < parked.last_position:
            raise LogRolledBack(f"query {self.state.options.name!r}", parked.last_position, page.position)
        return commits_of(page.events)[0]

    async def _is_parked(self, position: int) -> bool:
        page = await self._store.load_parked(*self._key, after=position - 1, limit=1)
        return any(parked.position == position for parked in page)

    async def _update(self, *, park: Sequence[ParkedCommit] = (), unpark: Sequence[int] = ()) -> None:
        """Change what is parked, and store where the query stands with it."""
        await self.save(self.state.update(park=park, unpark=unpark))

    def forget_lease(self, error: EventreeError) -> None:
        """Claim the checkpoint again after an error that leaves open who has it."""
        if isinstance(error, (CheckpointFenced, *TRANSIENT_ERRORS)):
            self.state = self.state.lost()


def _log_change(before: QueryState, after: QueryState, error: BaseException) -> None:
    """Log what is tried again, was given up, or stopped the query because of an error."""
    name, failure = after.options.name, after.failure
    raised = error.error if isinstance(error, HandlingFailed) else error
    if after.stopped is not None and before.stopped is None:
        logger.error("query %s stopped after position %d", name, after.position, exc_info=after.stopped)
    elif after.store_failures == 1 and not before.store_failures:
        logger.warning("query %s waits for its store: %s", name, error)
    elif len(after.rejected) > len(before.rejected):
        position = max(after.rejected.keys() - before.rejected.keys())
        policy = after.options.on_failure.value
        logger.error("query %s: %s what failed at position %d", name, policy, position, exc_info=raised)
    elif failure is not None and failure is not before.failure:
        where = "before the first event" if failure.commit is None else f"at position {failure.commit.position}"
        logger.warning(
            "query %s failed %s, attempt %d of %d, next in %.2f s",
            *(name, where, failure.attempts, after.options.max_attempts),
            failure.retry_at - asyncio.get_running_loop().time(),
            exc_info=raised,
        )
