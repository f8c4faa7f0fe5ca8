"""Follow the log for one query, a turn at a time: take the checkpoint, read on, hand over."""

import logging
from bisect import bisect_right
from collections.abc import Sequence

from eventree.backoff import Backoff
from eventree.errors import CheckpointFenced, EventreeError, LogRolledBack
from eventree.errors.stores import TRANSIENT_ERRORS
from eventree.sourcing.queries.commits import HandlingFailed, StoredCommit, commits_of
from eventree.sourcing.queries.failures import Failures
from eventree.sourcing.queries.hold import Hold
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.pace import PAGE
from eventree.sourcing.queries.progress import Progress, QueryStatus
from eventree.sourcing.queries.target import Target
from eventree.sourcing.queries.tasks import now
from eventree.stores.contract import EventStore

logger = logging.getLogger("eventree")

STORE_BACKOFF = Backoff(initial=0.1, maximum=5.0)

RETAKE = 0.05
"""Seconds after which a query that was taken from this worker is asked for again."""


class Follower:
    """Follow the log.

    Attributes:
        hold: Where the query stands.
        failures: What fails.
    """

    def __init__(
        self,
        options: Options,
        store: EventStore,
        types: Sequence[str],
        target: Target,
        progress: Progress,
        worker: str,
    ) -> None:
        """Remember what to follow where.

        Args:
            options: How to follow.
            store: Has the log.
            types: The aggregate types whose events it follows.
            target: Gets the events.
            progress: Where to show how far it is.
            worker: Who claims the checkpoint; the same for all incarnations.
        """
        self.hold = Hold(options, store, progress, worker)
        self.failures = Failures(options, self.hold, progress)
        self._options = options
        self._store = store
        self._types = types
        self._target = target
        self._progress = progress
        self._commits: list[StoredCommit] = []
        self._at = 0
        self._end = 0
        self._head = 0
        self._read_at = 0.0
        self._store_failures = 0
        self._is_superseded = False
        self._setup_fails = False
        self._soon = options.lease / 3

    @property
    def is_over(self) -> bool:
        """Whether nothing is handled any more, unless somebody does something about it."""
        return self.failures.is_over or self._is_superseded

    def heard_of(self, head: int) -> None:
        """Note that there are events up to a position."""
        self._head = max(self._head, head)

    def look(self) -> None:
        """Look at the log next time, even if nothing was heard of it."""
        self._read_at = 0.0

    def let_go(self) -> None:
        """Forget what was read and where it stands: somebody else has it, or nobody knows what became of it."""
        self.hold.drop()
        self._commits = []

    async def turn(self, *, save: bool) -> float | None:
        """Hand over what there is for one turn.

        Args:
            save: Whether somebody waits for the checkpoint to be stored.

        Returns:
            After how many seconds there is more to do; None for never.
        """
        try:
            delay = await self._try_to_work()
            if save or self.is_over or (self.hold.save_at is not None and now() >= self.hold.save_at):
                await self.save()
            if self.is_over:
                await self.hold.release()
                self.let_go()
        except TRANSIENT_ERRORS as error:
            delay = self._store_failed(error)
        except CheckpointFenced as error:
            logger.warning("%s", error)
            self.let_go()
            self.failures.forget()
            delay = RETAKE
        except LogRolledBack as error:
            self.let_go()
            self.hold.is_known = False
            self.failures.rolled_back(error)
            delay = None
        else:
            self._store_works()
        self._progress.status = self._status()
        if delay is None or self.hold.save_at is None:
            return delay
        return min(delay, max(self.hold.save_at - now(), 0.0))

    async def save(self) -> None:
        """Store the checkpoint if something was handled since it was."""
        if self.hold.is_held and self.hold.save_at is not None:
            await self.hold.save()

    async def _try_to_work(self) -> float | None:
        try:
            return await self._work()
        except HandlingFailed as failure:
            self.failures.failed(failure)
            return 0.0

    async def _work(self) -> float | None:
        """Do the next piece of work; return after how many seconds there is more."""
        if self.is_over:
            return None
        wait = self.failures.retry_at - now()
        if self._setup_fails and wait > 0:
            return wait
        if not await self._take():
            return self._options.poll_interval
        if self._progress.is_paused or wait > 0:
            await self.hold.renew()
            return self._soon if self._progress.is_paused else min(wait, self._soon)
        if not self.hold.is_live:
            await self._build()
        return None if self._is_superseded else await self._go_on()

    async def _take(self) -> bool:
        """Take the checkpoint; what was read before counts only if the query still stands there."""
        try:
            if not await self.hold.take(self._target.claim):
                return False
        except HandlingFailed:
            self._setup_fails = True
            raise
        if self._setup_fails:
            self._setup_fails = False
            self.failures.forget()
        if self.hold.position != self._at:
            self._commits = []
        return True

    async def _go_on(self) -> float:
        """Hand over what was read, or read more; return after how many seconds to go on."""
        if not self._commits and not await self._read():
            await self.hold.renew()
            return min(max(self._read_at - now(), 0.001), self._soon)
        if self._commits:
            await self._hand_over()
        return 0.0

    async def _build(self) -> None:
        """Go live if this version has read as far as the one that is, or end where a newer one is."""
        hold = self.hold
        await hold.refresh()
        superseded = hold.superseded
        if superseded is not None:
            self._is_superseded = True
            self._progress.last_error = superseded
            logger.info("%s", superseded)
            await hold.release()
            self.let_go()
        elif hold.position >= hold.live_position and not self._commits:
            await hold.save()
            await self._target.go_live(hold)
            await hold.refresh()

    async def _read(self) -> bool:
        """Read a page unless there is nothing new; return whether there was anything in it."""
        hold = self.hold
        if self._head <= hold.position and now() < self._read_at:
            return False
        limit = self._limit(hold.position)
        if not limit:
            self._read_at = now() + self._options.poll_interval
            return False
        after = hold.position
        page = await self._store.read(after, limit, self._types)
        if not page.more:
            self._read_at = now() + self._options.poll_interval
        self._commits, self._end = self._own(commits_of(page.events)), page.position
        if not self._commits:
            hold.pass_to(page.position, handled_since=None)
        self._at = hold.position
        return page.position > after

    def _own(self, commits: list[StoredCommit]) -> list[StoredCommit]:
        """Leave out what other workers of the query handle."""
        partition = self._options.partition
        return commits if partition.count == 1 else [commit for commit in commits if partition.takes(*commit.key)]

    def _limit(self, after: int) -> int:
        """Return how many positions to read, so that a page is a replay as a whole or not at all; 0 to wait."""
        if after < self.hold.replay_until:
            return min(PAGE, self.hold.replay_until - after)
        return PAGE if self.hold.is_live else 0

    async def _hand_over(self) -> None:
        """Hand over what was read, as much of it as is good at once."""
        try:
            await self._target.hand_over(self._commits, self._end, self.hold)
        finally:
            self._at = self.hold.position
            del self._commits[: bisect_right(self._commits, self._at, key=_position)]
        self.failures.worked()

    def _store_works(self) -> None:
        if self._store_failures:
            self._store_failures = 0
            if not self._progress.failures and not self.is_over:
                self._progress.last_error = None

    def _store_failed(self, error: EventreeError) -> float:
        """Wait for the store; what was under way may have taken place, so ask for the checkpoint again."""
        self._store_failures += 1
        if self._store_failures == 1:
            logger.warning("query %s waits for its store: %s", self._options.name, error)
        self.let_go()
        self._progress.last_error = error
        return STORE_BACKOFF.delay(self._store_failures)

    def _status(self) -> QueryStatus:
        progress = self._progress
        if self._is_superseded:
            return QueryStatus.SUPERSEDED
        if self.failures.is_over:
            return QueryStatus.STOPPED
        if progress.is_paused:
            return QueryStatus.PAUSED
        if progress.failures or self._store_failures:
            return QueryStatus.RETRYING
        if not self.hold.is_held:
            return QueryStatus.WAITING
        return QueryStatus.RUNNING if self.hold.is_live else QueryStatus.BUILDING


def _position(commit: StoredCommit) -> int:
    return commit.position
