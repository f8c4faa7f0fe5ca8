"""A query's checkpoint in the hands of one worker: got by a lease, moved, kept, given back."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress

from eventree.errors import CheckpointFenced, CheckpointHeld, EventStoreError, QuerySuperseded
from eventree.sourcing.queries.commits import GivenUp, Key, Triage, keys_of
from eventree.sourcing.queries.context import QueryContext
from eventree.sourcing.queries.options import Options
from eventree.sourcing.queries.progress import Progress
from eventree.sourcing.queries.tasks import now
from eventree.sourcing.queries.worker import is_dead
from eventree.stores.contract import (
    Checkpoint,
    CheckpointUpdate,
    EventStore,
    LeaseRequest,
    ParkedCommit,
    StoredCheckpoint,
)

SAVE_WITHIN = 0.1
"""Seconds after which what was handled is stored, so that a crash repeats little."""

SAVE_AFTER = 500
"""Positions after which it is."""

CONFIRMED_FOR = 0.1
"""Seconds after which a worker makes sure that it still is the one before it hands over what cannot be taken back."""


class Hold:
    """Know where a query stands, and write that down.

    Attributes:
        key: The name and the version of the query.
        position: Everything up to here was handled, parked or skipped; the stored checkpoint may be behind.
        given_up: What to do with commits that are not to be handed over any more, by position.
        narrow_until: Up to here commits are handed over one by one, as one of them is to blame for a failure.
        is_held: Whether this worker is the one.
        is_known: Whether the position that is shown is one that counts.
    """

    def __init__(self, options: Options, store: EventStore, progress: Progress, worker: str) -> None:
        """Hold nothing yet.

        Args:
            options: Of the query.
            store: Keeps the checkpoint.
            progress: Where to show how far it is.
            worker: Who claims it; the same for all incarnations.
        """
        self.key = options.key
        self.position = 0
        self.given_up: dict[int, GivenUp] = {}
        self.narrow_until = 0
        self.is_held = False
        self.is_known = False
        self._options = options
        self._store = store
        self._progress = progress
        self._worker = worker
        self._stored: StoredCheckpoint | None = None
        self._blocked: set[Key] = set()
        self._checkpoint: Checkpoint = Checkpoint(0, 0)
        self._claim_at = 0.0
        self._confirmed_at = 0.0
        self._save_at: float | None = None

    @property
    def fence(self) -> int:
        """What allows this worker to move the checkpoint; 0 if it is not held."""
        return self._checkpoint.fencing_token if self.is_held else 0

    @property
    def stored_position(self) -> int:
        """Where the stored checkpoint is, as far as this worker knows."""
        return self._checkpoint.position

    @property
    def superseded(self) -> QuerySuperseded | None:
        """Why nothing may be handled any more, if a newer version is live."""
        live, version = self._stored.live_version if self._stored is not None else 0, self.key[1]
        return QuerySuperseded(*self.key, live) if live > version else None

    @property
    def is_live(self) -> bool:
        """Whether the results of this version count."""
        return self._stored is not None and self._stored.live_version == self.key[1]

    @property
    def live_position(self) -> int:
        """Where that one stands, as far as this worker knows."""
        return self._stored.live_position if self._stored is not None else 0

    @property
    def save_at(self) -> float | None:
        """When the checkpoint should be stored, on the loop's clock; None if nothing was handled since it was."""
        return self._save_at

    @property
    def replay_until(self) -> int:
        """Up to where events were handled before, by another version or before a reset."""
        if self._stored is None:
            return 0
        return self._stored.replay_until if self.is_live else max(self._stored.replay_until, self.live_position)

    async def take(self, claim: Callable[[LeaseRequest], Awaitable[Checkpoint]]) -> bool:
        """Claim the checkpoint if it is not held yet and nobody else works on it; return whether it is held.

        What was not heard of for the time of its lease, as a process that was frozen, asks first whether it still is.
        """
        if self.is_held:
            if now() - self._confirmed_at < self._options.lease or await self._keep():
                return True
            self.drop()
        checkpoint = await self._claim(claim)
        await self.refresh()
        if checkpoint is None:
            return False
        self._go_on_from(checkpoint)
        return True

    def _go_on_from(self, checkpoint: Checkpoint) -> None:
        """Go on where the checkpoint is, or where this worker was if it alone has worked and just not stored that."""
        is_alone = checkpoint.fencing_token == self._checkpoint.fencing_token + 1
        if not is_alone:
            self.given_up = {}
        if not is_alone or checkpoint.position != self._checkpoint.position:
            self.position = checkpoint.position
        elif self.position > checkpoint.position:
            self._save_at = now()
        self.is_held = True
        self._checkpoint = checkpoint
        self._progress.position = checkpoint.position
        self._confirmed_at = now()

    async def _claim(self, claim: Callable[[LeaseRequest], Awaitable[Checkpoint]]) -> Checkpoint | None:
        asked_at, lease = now(), self._options.lease
        if asked_at < self._claim_at:
            return None
        try:
            return await claim(LeaseRequest(self._worker, lease, self._options.start))
        except CheckpointHeld as held:
            self._claim_at = asked_at + min(held.seconds, lease / 3)
            if is_dead(held.owner):  # its process cannot speak up any more
                self._claim_at = asked_at
                with suppress(CheckpointHeld):  # another one was faster
                    await self._store.claim_checkpoint(*self.key, LeaseRequest(held.owner))
            return None

    async def confirm(self) -> None:
        """Make sure that nobody else has taken over, if that was not seen just now.

        Raises:
            CheckpointFenced: Somebody has.
        """
        if now() - self._confirmed_at > CONFIRMED_FOR:
            stored = await self._store.load_checkpoint(*self.key)
            if stored is None or stored.checkpoint.fencing_token != self.fence:
                raise CheckpointFenced(self.key[0], self.fence)
            self._confirmed_at = now()

    async def refresh(self) -> None:
        """Look at what is stored: how far others are, and what is parked."""
        self._stored = await self._store.load_checkpoint(*self.key)
        if self._stored is None:
            return
        if not self.is_held:
            self._progress.position = self._stored.checkpoint.position
        self.is_known = True
        self._progress.is_live = self.is_live
        self._progress.parked = self._stored.parked
        parked = await self._store.load_parked(*self.key, limit=self._stored.parked) if self._stored.parked else ()
        self._blocked = keys_of(parked)

    def drop(self) -> None:
        """Forget the hold: it is somebody else's, or nobody knows what became of it."""
        self.is_held = False
        self._save_at = None

    def context(self, position: int) -> QueryContext:
        """Return what a handler is told about the events from a position on."""
        attempt = self._progress.failures + 1 if position == self._progress.failing_at else 1
        return QueryContext(
            self._options.name,
            self._options.version,
            attempt,
            is_replay=not self.is_live or position <= self.replay_until,
        )

    def triage(self) -> Triage:
        """Return a judge of commits."""
        return Triage(self._blocked, self.given_up, max(self._options.max_parked - self._progress.parked, 0))

    def move(self, position: int, triage: Triage) -> CheckpointUpdate:
        """Return what to store when everything up to a position is dealt with."""
        checkpoint = Checkpoint(position, self.fence)
        return CheckpointUpdate(checkpoint, self._options.lease, park=triage.park, skipped=triage.skipped)

    def still(self, *, park: Sequence[ParkedCommit] = (), unpark: Sequence[int] = ()) -> CheckpointUpdate:
        """Return what to store when nothing changes but what is parked."""
        return CheckpointUpdate(Checkpoint(self.position, self.fence), self._options.lease, park=park, unpark=unpark)

    def moved(self, move: CheckpointUpdate) -> None:
        """Note that a move was stored."""
        position = move.checkpoint.position
        self.is_held = True
        self._checkpoint = move.checkpoint
        self.position = self._progress.position = position
        self._save_at = None
        self._blocked |= keys_of(move.park)
        self._progress.parked += len(move.park)
        self._progress.skipped += move.skipped
        self.given_up = {at: given_up for at, given_up in self.given_up.items() if at > position}
        self._confirmed_at = now()

    def pass_to(self, position: int, *, handled_since: float | None) -> None:
        """Note how far the query is, and when on the loop's clock it began to handle what was not only passed by.

        What was handled has to be stored soon; what was only passed by need not be.
        """
        self.position = position
        if handled_since is not None and self._save_at is None:
            self._save_at = handled_since + SAVE_WITHIN
        if self.is_held and position - self._checkpoint.position >= SAVE_AFTER and self._save_at is not None:
            self._save_at = 0.0
        if self._save_at is None:
            self._progress.position = position

    def back_to(self, position: int, parked: Sequence[ParkedCommit], head: int) -> CheckpointUpdate:
        """Return what to store to begin anew after a position, with nothing parked; the log ends at the head."""
        return CheckpointUpdate(
            Checkpoint(position, self.fence),
            self._options.lease,
            unpark=[commit.position for commit in parked],
            replay_until=min(max(self.position, self.replay_until), head),
        )

    async def save(self) -> None:
        """Store where the query stands."""
        await self.store(self.still())

    async def store(self, move: CheckpointUpdate) -> None:
        """Store a move, and note it."""
        try:
            await self._store.save_checkpoint(*self.key, move)
        except BaseException:
            self.drop()  # nobody knows whether it took place
            raise
        self.moved(move)

    async def renew(self) -> None:
        """Let others know that this one is at work, when it is time to.

        Raises:
            CheckpointFenced: It is not any more.
        """
        if self.is_held and now() - self._confirmed_at >= self._options.lease / 3:
            if self._checkpoint.position != self.position:
                await self.save()
            elif not await self._keep():
                raise CheckpointFenced(self.key[0], self.fence)

    @contextmanager
    def renewing(self) -> Generator[None, None, None]:
        """Keep the lease while something takes long."""
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        timer = loop.call_later(self._options.lease / 3, lambda: tasks.append(loop.create_task(self._keep_on())))
        try:
            yield
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()  # one that comes late does no harm, as it moves nothing

    async def _keep_on(self) -> None:
        while True:
            with suppress(EventStoreError):  # whoever moves the checkpoint next is told
                await self._keep()
            await asyncio.sleep(self._options.lease / 3)

    async def _keep(self) -> bool:
        began = now()
        is_kept = await self._store.renew_checkpoint(*self.key, self.fence, self._options.lease)
        if is_kept:
            self._confirmed_at = began
        return is_kept

    async def release(self, *, keep: bool = False) -> None:
        """Store where the query stands, and let others take over at once, unless it is to be kept for the lease."""
        if self.is_held:
            with suppress(EventStoreError):
                if self._checkpoint.position != self.position:
                    await self.save()
                if not keep:
                    await self._store.renew_checkpoint(*self.key, self.fence, 0)
